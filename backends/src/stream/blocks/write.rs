//! Writes a block stream.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::{END, Extent, Header, Holds, LONGEST, LONGEST_HEADER, MAGIC, Totals, VERSION, hash_of};
use crate::action::Stop;

/// A stream that is being written. One that is dropped before [`Writer::end`] is cut, and refused by who reads it.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    all: blake3::Hasher,
    totals: Totals,
    device_size: u64,
    at: u64,
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(to: W, header: &Header) -> io::Result<Writer<W>> {
        let json = serde_json::to_vec(header)?;
        if json.len() > LONGEST_HEADER {
            return Err(wrong("the names in the header are too long".to_owned()));
        }
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend((json.len() as u32).to_le_bytes());
        head.extend(json);
        let mut writer = Writer {
            to,
            all: blake3::Hasher::new(),
            totals: Totals::default(),
            device_size: header.device_size,
            at: 0,
        };
        writer.put(&head)?;
        writer.put(blake3::hash(&head).as_bytes())?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.all.update(bytes);
        self.to.write_all(bytes)
    }

    fn record(&mut self, holds: Holds, offset: u64, length: u64, data: &[u8]) -> io::Result<()> {
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= self.device_size);
        let Some(end) = end.filter(|_| offset >= self.at && length > 0) else {
            let text = format!(
                "a record of {length} bytes at {offset}, after {} of {}",
                self.at, self.device_size
            );
            return Err(wrong(text));
        };
        let mut head = [0; 17];
        head[0] = holds.byte();
        head[1..9].copy_from_slice(&offset.to_le_bytes());
        head[9..].copy_from_slice(&length.to_le_bytes());
        let hash = hash_of(self.totals.records, &head, data);
        self.put(&head)?;
        self.put(data)?;
        self.put(hash.as_bytes())?;
        self.at = end;
        self.totals.records += 1;
        match holds {
            Holds::Data => self.totals.data += length,
            Holds::Zero => self.totals.zero += length,
        }
        Ok(())
    }

    /// Writes bytes of the device, of which there may be any number.
    pub fn data(&mut self, mut offset: u64, data: &[u8]) -> io::Result<()> {
        for part in data.chunks(LONGEST) {
            self.record(Holds::Data, offset, part.len() as u64, part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Writes that there is nothing any more.
    pub fn zero(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.record(Holds::Zero, offset, length, &[])
    }

    /// Writes the end, without which a stream is none.
    pub fn end(mut self) -> io::Result<Totals> {
        let Totals {
            records,
            data,
            zero,
        } = self.totals;
        let mut end = vec![END];
        for number in [records, data, zero] {
            end.extend(number.to_le_bytes());
        }
        self.put(&end)?;
        let hash = self.all.finalize();
        self.to.write_all(hash.as_bytes())?;
        self.to.flush()?;
        Ok(self.totals)
    }
}

/// Writes `extents` of `device`, which rise. Data that is all zero is written as such.
pub fn send(
    device: &File,
    extents: impl IntoIterator<Item = Extent>,
    header: &Header,
    to: impl Write,
    stop: Stop<'_>,
) -> io::Result<Totals> {
    let mut writer = Writer::new(to, header)?;
    let mut buffer = vec![0; LONGEST];
    for extent in extents {
        if extent.holds == Holds::Zero {
            writer.zero(extent.offset, extent.length)?;
            continue;
        }
        let mut at = extent.offset;
        let end = extent.offset.saturating_add(extent.length);
        while at < end {
            if stop() {
                return Err(io::Error::new(
                    io::ErrorKind::Interrupted,
                    "it was given up",
                ));
            }
            let part = (end - at).min(LONGEST as u64) as usize;
            let part = &mut buffer[..part];
            device.read_exact_at(part, at)?;
            match part.iter().all(|byte| *byte == 0) {
                true => writer.zero(at, part.len() as u64)?,
                false => writer.data(at, part)?,
            }
            at += part.len() as u64;
        }
    }
    writer.end()
}
