//! What tells one file or directory from any other that ever stood under its name.
//!
//! It must not know trees.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};

use super::entry::Mtime;

/// An inode of one file system: its number, which is given again once it is free, and when it was born, which is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    /// Its number.
    pub ino: u64,
    /// When it was made, where the file system keeps that.
    pub born: Option<Mtime>,
}

impl Inode {
    /// Of what is at `path`; a symbolic link is itself.
    pub fn of(path: &Path) -> io::Result<Inode> {
        Inode::get(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// Of what is open.
    pub(crate) fn of_open(fd: impl AsFd) -> io::Result<Inode> {
        Inode::get(fd, Path::new(""), AtFlags::EMPTY_PATH)
    }

    fn get(dir: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<Inode> {
        let it = statx(dir, path, flags, StatxFlags::INO | StatxFlags::BTIME)?;
        let born = Mtime {
            seconds: it.stx_btime.tv_sec,
            nanoseconds: it.stx_btime.tv_nsec,
        };
        let told = it.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(Inode {
            ino: it.stx_ino,
            born: told.then_some(born),
        })
    }
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {}", self.ino)?;
        match self.born {
            Some(born) => write!(f, " born {born}"),
            None => Ok(()),
        }
    }
}
