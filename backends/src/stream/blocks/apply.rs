//! Applies a block stream to a device or a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::read::{ReadError, Reader, Record};
use super::{Holds, Totals};
use crate::action::Stop;

/// What a stream is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto<'a> {
    /// A device on which nothing is mapped, or a file of zeros.
    Nothing,
    /// One that is just as the base with this identity.
    Base(&'a str),
}

/// Why a stream was not applied, or not all of it. What it was applied to is good for nothing then, unless it was refused.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The stream is not as it should be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is for something else. Nothing was written.
    #[error("the block stream is {wanted}, and this is {there}; nothing was written")]
    Base {
        /// What it starts from.
        wanted: String,
        /// What it was to be applied to.
        there: String,
    },
    /// It does not fit. Nothing was written.
    #[error(
        "the block stream is of {wanted} bytes, and the device has {there}; nothing was written"
    )]
    Size {
        /// Of the device it was made of.
        wanted: u64,
        /// Of this one.
        there: u64,
    },
    /// The device could not be written.
    #[error("write {length} bytes at {offset}: {source}")]
    Write {
        /// Where.
        offset: u64,
        /// How many.
        length: u64,
        /// The system's answer.
        source: io::Error,
    },
    /// It was given up.
    #[error("it was given up")]
    GivenUp,
}

/// Applies all of it, and syncs. The caller vouches for what `onto` says; what the stream starts from is compared with that.
pub fn apply<R: Read>(
    stream: &mut Reader<R>,
    device: &mut File,
    onto: Onto<'_>,
    stop: Stop<'_>,
) -> Result<Totals, ApplyError> {
    let header = stream.header();
    let base = header.base.as_ref().map(|base| base.identity.as_str());
    let there = match onto {
        Onto::Nothing => None,
        Onto::Base(identity) => Some(identity),
    };
    if base != there {
        let said = |of: Option<&str>, none: &str| {
            of.map_or(none.to_owned(), |of| format!("from the base {of}"))
        };
        return Err(ApplyError::Base {
            wanted: said(base, "of all there is"),
            there: match there {
                Some(identity) => format!("the base {identity}"),
                None => "no base".to_owned(),
            },
        });
    }
    let writing = |offset, length| {
        move |source| ApplyError::Write {
            offset,
            length,
            source,
        }
    };
    let size = device.seek(SeekFrom::End(0)).map_err(writing(0, 0))?;
    // A pool of larger chunks makes a device larger than was asked for.
    if size < header.device_size {
        return Err(ApplyError::Size {
            wanted: header.device_size,
            there: size,
        });
    }
    loop {
        if stop() {
            return Err(ApplyError::GivenUp);
        }
        match stream.next_record()? {
            Record::Piece(extent, data) => {
                let done = match extent.holds {
                    Holds::Data => device.write_all_at(data, extent.offset),
                    Holds::Zero if there.is_none() => Ok(()),
                    Holds::Zero => make_zero(device, extent.offset, extent.length),
                };
                done.map_err(writing(extent.offset, extent.length))?;
            }
            Record::End(totals) => {
                device.sync_all().map_err(writing(0, header_size(stream)))?;
                return Ok(totals);
            }
        }
    }
}

fn header_size<R: Read>(stream: &Reader<R>) -> u64 {
    stream.header().device_size
}

/// What is looked at, and written, at once where something is to be zero.
const PIECE: usize = 64 << 10;

/// Unmaps as much of it as can be, and writes zeros where it does not read as zero then.
fn make_zero(device: &File, offset: u64, length: u64) -> io::Result<()> {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(device, hole, offset, length) {
        Ok(()) => return Ok(()),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NODEV) => {}
        Err(error) => return Err(error.into()),
    }
    // What is discarded need not read as zero; a thin volume's whole chunks do.
    if let Err(error) = discard(device, offset, length) {
        tracing::debug!(%error, offset, length, "not discarded");
    }
    let (mut there, zeros) = (vec![0; PIECE], vec![0; PIECE]);
    let (mut at, end) = (offset, offset + length);
    while at < end {
        let part = (end - at).min(PIECE as u64) as usize;
        device.read_exact_at(&mut there[..part], at)?;
        if there[..part] != zeros[..part] {
            device.write_all_at(&zeros[..part], at)?;
        }
        at += part as u64;
    }
    Ok(())
}

/// BLKDISCARD: a device that can forgets what it has there.
#[allow(unsafe_code)]
fn discard(device: &File, offset: u64, length: u64) -> nix::Result<()> {
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
    // SAFETY: the descriptor is open, and the kernel reads the two numbers, which outlive the call.
    unsafe { blkdiscard(device.as_raw_fd(), &[offset, length]) }.map(drop)
}
