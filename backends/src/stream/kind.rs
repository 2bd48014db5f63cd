//! What kind a stream is of, by how it begins, and who explains it.

use std::fmt;
use std::path::Path;

use super::blocks::{
    self,
    explain::{As, Explaining},
};
use super::pipe::Sender;
use crate::btrfs;
use crate::cmd::Cmd;

/// The kinds there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of `btrfs send`.
    Btrfs,
    /// Of `zfs send`.
    Zfs,
    /// Of ours.
    Blocks,
}

/// DMU_BACKUP_MAGIC, which is written as the sender's machine has it.
const ZFS: u64 = 0x2_F5BA_CBAC;

impl Kind {
    /// The kind of a stream that begins so; `None` for what is none.
    pub fn of(first: &[u8]) -> Option<Kind> {
        let is_zfs = |bytes: &[u8]| {
            let number = <[u8; 8]>::try_from(bytes).ok();
            // After the type of the first record and the length of what follows it.
            number.is_some_and(|it| u64::from_le_bytes(it) == ZFS || u64::from_be_bytes(it) == ZFS)
        };
        if first.starts_with(btrfs::STREAM_MAGIC) {
            Some(Kind::Btrfs)
        } else if first.get(8..16).is_some_and(is_zfs) {
            Some(Kind::Zfs)
        } else if first.starts_with(blocks::MAGIC) {
            Some(Kind::Blocks)
        } else {
            None
        }
    }

    /// What explains the stream in `file`, record by record.
    pub fn explain(self, file: &Path, form: As) -> Sender {
        match self {
            Kind::Blocks => Sender::Own(Box::new(Explaining {
                file: file.to_owned(),
                form,
            })),
            Kind::Btrfs => Sender::Tool(
                Cmd::new("btrfs")
                    .args(["receive", "--dump", "-f"])
                    .arg(file),
            ),
            Kind::Zfs => Sender::Tool(Cmd::new("zstream").args(["dump", "-v"]).arg(file)),
        }
    }
}

/// Whose it is.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Btrfs => "btrfs",
            Kind::Zfs => "zstream",
            Kind::Blocks => "zeebe-snap",
        })
    }
}
