//! Hashes, and the two that stand for a whole tree.
//!
//! Both are BLAKE3 over a sequence of bytes that another program can build from a listing. In it every number is
//! little-endian, and *bytes* are their length as a u64 followed by themselves, so no two listings give one sequence.
//!
//! Content: the line `zeebe-snap tree content 1\n`; the number of entries as a u64; then for each entry, in order:
//! its path (bytes); one letter for its kind, `f` file, `d` dir, `l` symlink, `p` fifo, `c` char, `b` block;
//! for a file its size (u64) and the 32 bytes of its hash, for a symlink its target (bytes), for a device
//! major and minor (u32 each); then a byte 0, or a byte 1 and its link group (u64).
//!
//! Metadata: the line `zeebe-snap tree metadata 1\n`; the number of entries as a u64; then for each entry, in order:
//! its path (bytes), mode, uid, gid (u32 each), mtime as seconds (i64) and nanoseconds (u32), the number of extended
//! attributes (u64), and of each, in order of name, name and value (bytes each).
//!
//! It must not know how the tree is read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entry::{DeviceNumber, Entry, Kind};

/// A BLAKE3 hash. JSON and for people: 64 hex digits, as b3sum prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(blake3::Hash);

impl Hash {
    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Self {
        Hash(hash)
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Hash(bytes.into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        blake3::Hash::from_hex(&text)
            .map(Hash)
            .map_err(serde::de::Error::custom)
    }
}

/// What is in the tree, whoever owns it: of paths, kinds, file contents, link targets, device numbers and hard links.
/// The order of `entries` counts; in a listing they are in order of path.
pub fn content_hash(entries: &[Entry]) -> Hash {
    let mut out = Sink::new(b"zeebe-snap tree content 1\n", entries.len());
    for entry in entries {
        out.bytes(entry.path.as_bytes());
        match &entry.kind {
            Kind::File { size, blake3 } => {
                out.raw(b"f");
                out.raw(&size.to_le_bytes());
                out.raw(blake3.as_bytes());
            }
            Kind::Dir => out.raw(b"d"),
            Kind::Symlink { target } => {
                out.raw(b"l");
                out.bytes(target);
            }
            Kind::Fifo => out.raw(b"p"),
            Kind::Char { rdev } => out.device(b"c", *rdev),
            Kind::Block { rdev } => out.device(b"b", *rdev),
        }
        match entry.link {
            None => out.raw(&[0]),
            Some(group) => {
                out.raw(&[1]);
                out.raw(&group.0.to_le_bytes());
            }
        }
    }
    out.finish()
}

/// What is said about the tree: of paths, modes, owners, modification times and extended attributes.
/// The order of `entries` counts, as in [`content_hash`].
pub fn metadata_hash(entries: &[Entry]) -> Hash {
    let mut out = Sink::new(b"zeebe-snap tree metadata 1\n", entries.len());
    for entry in entries {
        out.bytes(entry.path.as_bytes());
        out.raw(&u32::from(entry.mode.bits()).to_le_bytes());
        out.raw(&entry.uid.to_le_bytes());
        out.raw(&entry.gid.to_le_bytes());
        out.raw(&entry.mtime.seconds.to_le_bytes());
        out.raw(&entry.mtime.nanoseconds.to_le_bytes());
        out.raw(&(entry.xattrs.len() as u64).to_le_bytes());
        for (name, value) in &entry.xattrs {
            out.bytes(name);
            out.bytes(value);
        }
    }
    out.finish()
}

/// The encoding above, gathered before it is hashed: BLAKE3 is slow on a few bytes at a time.
struct Sink {
    hasher: blake3::Hasher,
    waiting: Vec<u8>,
}

impl Sink {
    const ENOUGH: usize = 64 * 1024;

    fn new(heading: &[u8], entries: usize) -> Sink {
        let mut sink = Sink {
            hasher: blake3::Hasher::new(),
            waiting: Vec::with_capacity(2 * Self::ENOUGH),
        };
        sink.raw(heading);
        sink.raw(&(entries as u64).to_le_bytes());
        sink
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= Self::ENOUGH {
            self.hasher.update(&self.waiting);
            self.waiting.clear();
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.raw(&(bytes.len() as u64).to_le_bytes());
        self.raw(bytes);
    }

    fn device(&mut self, letter: &[u8], rdev: DeviceNumber) {
        self.raw(letter);
        self.raw(&rdev.major.to_le_bytes());
        self.raw(&rdev.minor.to_le_bytes());
    }

    fn finish(mut self) -> Hash {
        self.hasher.update(&self.waiting);
        self.hasher.finalize().into()
    }
}
