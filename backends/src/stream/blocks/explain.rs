//! Explains a block stream, as text or as lines of JSON. All of it is read and checked.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use serde_json::json;

use super::apply::ApplyError;
use super::read::{ReadError, Reader, Record};
use super::{Header, Holds, Volume};
use crate::action::Stop;
use crate::cmd::System;
use crate::stream::pipe::Writes;
use crate::{Error, Result};

/// As what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// For people.
    Text,
    /// One document on each line.
    Json,
}

/// Writes what `stream` has, record by record. What was written before an error is true.
pub fn explain(stream: impl Read, to: &mut impl Write, form: As) -> Result<(), ReadError> {
    let mut reader = Reader::new(stream)?;
    head(reader.header(), to, form)?;
    loop {
        match reader.next_record()? {
            Record::Piece(extent, data) => {
                let (offset, length) = (extent.offset, extent.length);
                let (kind, hash) = match extent.holds {
                    Holds::Data => ("data", Some(blake3::hash(data).to_hex())),
                    Holds::Zero => ("zero", None),
                };
                let hash = hash.as_ref().map(|hash| hash.as_str());
                match (form, hash) {
                    (As::Json, hash) => {
                        let line = json!({ "record": kind, "offset": offset, "length": length, "blake3": hash });
                        writeln!(to, "{line}")?;
                    }
                    (As::Text, Some(hash)) => {
                        writeln!(to, "{kind}  {offset:>16}  {length:>10}  {}", &hash[..16])?
                    }
                    (As::Text, None) => writeln!(to, "{kind}  {offset:>16}  {length:>10}")?,
                }
            }
            Record::End(totals) => {
                match form {
                    As::Json => {
                        let (records, data, zero) = (totals.records, totals.data, totals.zero);
                        let line = json!({ "record": "end", "records": records, "data": data, "zero": zero });
                        writeln!(to, "{line}")?;
                    }
                    As::Text => writeln!(
                        to,
                        "end   {} records, {} bytes of data, {} bytes of zero; all checksums fit",
                        totals.records, totals.data, totals.zero
                    )?,
                }
                return Ok(to.flush()?);
            }
        }
    }
}

fn head(header: &Header, to: &mut impl Write, form: As) -> io::Result<()> {
    if form == As::Json {
        let (of, base) = (&header.of, &header.base);
        let (device, chunk) = (header.device_size, header.chunk_size);
        let line = json!({ "record": "header", "format": 1, "of": of, "base": base, "device_size": device, "chunk_size": chunk });
        return writeln!(to, "{line}");
    }
    let volume = |volume: &Volume| {
        let Volume {
            name,
            identity,
            pool,
            thin_id,
        } = volume;
        format!("{name}, {identity} (thin volume {thin_id} of pool {pool})")
    };
    writeln!(to, "of    {}", volume(&header.of))?;
    match &header.base {
        Some(base) => writeln!(to, "base  {}", volume(base))?,
        None => writeln!(to, "base  none: all of it is here")?,
    }
    writeln!(
        to,
        "size  {} bytes, in chunks of {}",
        header.device_size, header.chunk_size
    )
}

/// The end of a pipe that explains the stream in a file.
#[derive(Debug)]
pub struct Explaining {
    /// The file.
    pub file: PathBuf,
    /// As what.
    pub form: As,
}

impl fmt::Display for Explaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file.to_string_lossy())
    }
}

impl Writes for Explaining {
    fn write(&mut self, _: &dyn System, to: File, _: Stop<'_>) -> Result<()> {
        let file = File::open(&self.file).map_err(Error::io("open", &self.file))?;
        let (file, mut to) = (BufReader::new(file), BufWriter::new(to));
        let explained = explain(file, &mut to, self.form);
        // What was written before an error is true.
        to.flush().map_err(Error::io("explain", &self.file))?;
        explained.map_err(|error| Error::Blocks(ApplyError::Read(error)))
    }
}
