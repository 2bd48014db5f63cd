//! What is read of a stream of `btrfs send` itself: what it is of, and how much data the changed extents have. (The format is
//! in the kernel's fs/btrfs/send.h; the numbers below are its names.)

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::show::uuid_text;
use crate::action::Stop;
use crate::cmd::System;
use crate::name::SnapName;
use crate::stream::Head;
use crate::stream::pipe::Reads;
use crate::{Error, Result};

/// BTRFS_SEND_STREAM_MAGIC, with its end.
pub const MAGIC: &[u8] = b"btrfs-stream\0";

const SUBVOL: u16 = 1;
const SNAPSHOT: u16 = 2;
const UPDATE_EXTENT: u16 = 22;
const UUID: u16 = 1;
const SIZE: u16 = 4;
const PATH: u16 = 15;
const CLONE_UUID: u16 = 20;

/// Commands hold no more than this: 48 KiB of data in the first version, 128 KiB of it in the second.
const LONGEST: usize = 1 << 20;

/// One command: what it does, and its attributes.
struct Command {
    what: u16,
    attributes: Vec<u8>,
}

impl Command {
    /// The next one; `None` at the end of the stream.
    fn read(from: &mut impl Read) -> io::Result<Option<Command>> {
        let mut head = [0; 10];
        if from.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[1..])?;
        let [a, b, c, d, e, f, ..] = head;
        let long = u32::from_le_bytes([a, b, c, d]) as usize;
        if long > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no stream of btrfs send",
            ));
        }
        let mut attributes = vec![0; long];
        from.read_exact(&mut attributes)?;
        Ok(Some(Command {
            what: u16::from_le_bytes([e, f]),
            attributes,
        }))
    }

    fn attribute(&self, wanted: u16) -> Option<&[u8]> {
        let mut rest = self.attributes.as_slice();
        while let [a, b, c, d, tail @ ..] = rest {
            let long = usize::from(u16::from_le_bytes([*c, *d]));
            let value = tail.get(..long)?;
            if u16::from_le_bytes([*a, *b]) == wanted {
                return Some(value);
            }
            rest = &tail[long..];
        }
        None
    }
}

/// What a stream is of, from its first bytes.
pub fn head(first: &[u8]) -> Result<Head> {
    let wrong = |what: &str| Error::State(format!("this is no stream of btrfs send: {what}"));
    let mut rest = first
        .strip_prefix(MAGIC)
        .ok_or_else(|| wrong("it does not begin as one"))?;
    rest = rest.get(4..).ok_or_else(|| wrong("it is cut"))?;
    let command = Command::read(&mut rest).ok().flatten();
    let command = command.filter(|it| it.what == SUBVOL || it.what == SNAPSHOT);
    let command = command.ok_or_else(|| wrong("it does not begin with a subvolume"))?;
    let uuid = |which| command.attribute(which).and_then(uuid_text);
    let name = command
        .attribute(PATH)
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    Ok(Head {
        name: SnapName::try_from(name.into_owned()).map_err(|error| wrong(&error.to_string()))?,
        identity: uuid(UUID).ok_or_else(|| wrong("it has no uuid"))?,
        base: match command.what {
            SUBVOL => None,
            _ => Some(uuid(CLONE_UUID).ok_or_else(|| wrong("its base has no uuid"))?),
        },
    })
}

/// Adds up how much a stream would have that was made without its data.
#[derive(Debug)]
pub struct AddUp(pub Arc<AtomicU64>);

impl fmt::Display for AddUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wc -c   # with the data of the extents that are named")
    }
}

impl Reads for AddUp {
    fn read(&mut self, _: &dyn System, from: File, _: Stop<'_>) -> Result<()> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        let failed = |error| Error::io("read", "the stream without data".as_ref())(error);
        let mut start = [0; MAGIC.len() + 4];
        from.read_exact(&mut start).map_err(failed)?;
        while let Some(command) = Command::read(&mut from).map_err(failed)? {
            let size = command
                .attribute(SIZE)
                .and_then(|size| size.try_into().ok());
            let data = match command.what {
                UPDATE_EXTENT => size.map(u64::from_le_bytes).unwrap_or_default(),
                _ => 0,
            };
            self.0.fetch_add(
                data + 10 + command.attributes.len() as u64,
                Ordering::Relaxed,
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of `btrfs send`, btrfs-progs 6.2 on Linux 6.18: all of a subvolume, and what changed from one.
    const FULL: &[u8] = include_bytes!("fixtures/full.head");
    const FROM_BASE: &[u8] = include_bytes!("fixtures/incremental.head");

    #[test]
    fn reads_recorded_heads() {
        let full = head(FULL).unwrap();
        let from_base = head(FROM_BASE).unwrap();
        assert_eq!((full.name.as_str(), &full.base), ("zeebe-snap-1", &None));
        assert_eq!(from_base.name.as_str(), "zeebe-snap-2");
        assert_eq!(from_base.base, Some(full.identity));
        assert_eq!(from_base.identity, "925ee6c2-ce74-b44d-b148-12290024eb4b");
    }

    #[test]
    fn what_is_cut_or_something_else_is_refused() {
        for end in 0..60 {
            assert!(head(&FULL[..end]).is_err(), "{end}");
        }
        assert!(head(b"zeebe-snap").is_err());
        assert!(head(&[MAGIC, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0]].concat()).is_err());
    }
}
