//! Whether what is to be cloned finds room where it is staged.
//!
//! Must not know what is cloned.

use std::ffi::OsString;
use std::path::Path;

use super::Exchange;
use crate::cmd::System;
use crate::tree::{self, Pass, Weight};
use crate::{Error, Obstacle, Result, View, mounts};

/// The tree at `path`, without these names in its root.
pub fn weigh(path: &Path, leave_out: &[OsString]) -> Result<Weight> {
    let pass = Pass {
        leave_out,
        ..Pass::new()
    };
    Ok(tree::weigh(path, &pass)?)
}

impl Exchange {
    /// Whether clones share blocks with the data.
    pub fn shares(&self) -> Result<bool> {
        let around = self.around();
        tree::shares_blocks(around).map_err(Error::io("try to share blocks in", around))
    }

    /// The bytes that one more copy of `from` takes.
    pub fn weigh_copy(&self, sys: &dyn System, from: &View) -> Result<u64> {
        let around = self.around();
        // Blocks are not shared between file systems, nor, before Linux 5.18, between two mounts of one.
        let beside = from.standing().map(|path| mounts::is_one(path, around));
        if beside.transpose()? == Some(true) && self.shares()? {
            return Ok(0);
        }
        let weight = from.read(sys, |path| weigh(path, &from.leave_out))??;
        Ok(weight.allocated)
    }

    /// Whether there is room for one more copy of `from`.
    pub fn room(&self, sys: &dyn System, from: &View) -> Result<Option<Obstacle>> {
        self.room_for(from, self.weigh_copy(sys, from)?)
    }

    /// Whether there is room for so many `bytes` of `from`.
    pub fn room_for(&self, from: &View, bytes: u64) -> Result<Option<Obstacle>> {
        let around = self.around();
        let fs = rustix::fs::statvfs(around).map_err(Error::io("look at the room in", around))?;
        let free = fs.f_bavail * fs.f_frsize;
        Ok((bytes > free).then(|| Obstacle {
            what: format!(
                "{from} holds {} MiB, and the file system of {} has {} MiB free",
                bytes >> 20,
                around.display(),
                free >> 20
            ),
            why: "no blocks can be shared between the two, so each copy needs that room again"
                .to_owned(),
            todo: "make room, or use a file system with snapshots or reflinks (btrfs, xfs, ZFS)"
                .to_owned(),
        }))
    }
}
