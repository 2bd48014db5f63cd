//! The block stream: chunks of a block device, all that are mapped or those that differ from a base, one after another.
//!
//! It is for LVM thin, which has no stream of its own. It is written and read in one pass with no seek on the stream, and
//! holds no more than one record in memory.
//!
//! # The format, version 1
//! Numbers are little-endian. `hash` is BLAKE3, 32 bytes.
//! ```text
//! header   "ZSBLOCKS"  version u32  length u32  that many bytes of JSON (Header)  hash of all of this
//! record   kind u8 ('D' data, 'Z' zero)  offset u64  length u64  [data]  hash of: number of the record u64, all of this
//! …
//! end      'E'  records u64  bytes of data u64  bytes of zero u64  hash of the whole stream up to here
//! ```
//! Offsets are in bytes of the device, rise, and never overlap or pass its end. A data record has at most 1 MiB ([`LONGEST`]).
//! What no record names is as it is in the base, and zero where there is none. Nothing follows the end. A stream that does
//! not reach it is cut; one with any bit changed is refused at the latest there.
//!
//! Must not know LVM: what a device is called, and how it gets its base, is for who opens it.

pub mod apply;
pub mod delta;
pub mod explain;
pub mod read;
pub mod write;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// How a stream begins.
pub const MAGIC: &[u8; 8] = b"ZSBLOCKS";

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// A data record has no more bytes than this.
pub const LONGEST: usize = 1 << 20;

/// What is around the data of a stream has about so many bytes, if it has few records.
pub const AROUND: u64 = 1 << 10;

/// The header's JSON has no more bytes than this.
const LONGEST_HEADER: usize = 1 << 16;

/// What a stream is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The state that the stream makes.
    pub of: Volume,
    /// The state that it is to be applied to; absent if all of it is there.
    pub base: Option<Volume>,
    /// Bytes of the device.
    pub device_size: u64,
    /// Bytes of a chunk of the pool that it comes from.
    pub chunk_size: u64,
}

/// A logical volume, as it was where the stream was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The snapshot's name.
    pub name: String,
    /// What both sides know it by: the uuid of the logical volume that was sent first.
    pub identity: String,
    /// The uuid of its thin pool, or the pool's name.
    pub pool: String,
    /// Its number in the pool.
    pub thin_id: u32,
}

/// A piece of a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is; never 0.
    pub length: u64,
    /// What is there.
    pub holds: Holds,
}

/// What an [`Extent`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holds {
    /// Bytes, which follow.
    Data,
    /// Nothing any more: it is not mapped, and reads as zero.
    Zero,
}

impl Holds {
    fn byte(self) -> u8 {
        match self {
            Holds::Data => b'D',
            Holds::Zero => b'Z',
        }
    }
}

const END: u8 = b'E';

/// What a whole stream amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Records, without the last.
    pub records: u64,
    /// Bytes of data.
    pub data: u64,
    /// Bytes that are zero.
    pub zero: u64,
}

/// What one record is proven by. Its number is in it, so that none can be left out or change places.
fn hash_of(number: u64, head: &[u8], data: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&number.to_le_bytes())
        .update(head)
        .update(data);
    hasher.finalize()
}
