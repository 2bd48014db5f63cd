//! Inode flags, as chattr sets them.
//!
//! It must not know trees.

use std::os::fd::AsFd;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::{Errno, retry_on_intr};

const NOCOMP: IFlags = IFlags::from_bits_retain(0x400);
const DAX: IFlags = IFlags::from_bits_retain(0x0200_0000);

/// Flags that keep an inode from being worked on, or make that slow. They are set last.
pub(crate) const LATE: IFlags = IFlags::IMMUTABLE
    .union(IFlags::APPEND)
    .union(IFlags::SYNC)
    .union(IFlags::DIRSYNC);

/// Flags that say something on any file system. The others are about how one kind of file system keeps its blocks.
const EVERYWHERE: IFlags = LATE.union(IFlags::NODUMP).union(IFlags::NOATIME);

/// Flags that belong to an inode and can be set. Not among them: what tells how an inode is stored (extents, inline
/// data), and inheriting a project's quota, which is the place's and not the tree's.
const SETTABLE: IFlags = EVERYWHERE
    .union(IFlags::NOCOW)
    .union(IFlags::COMPRESSED)
    .union(NOCOMP)
    .union(DAX)
    .union(IFlags::JOURNALING)
    .union(IFlags::NOTAIL)
    .union(IFlags::TOPDIR)
    .union(IFlags::SECURE_REMOVAL)
    .union(IFlags::UNRM);

/// Encryption, verity and case folding: they change what a file or a folder is, and cannot be set later.
const BORN_WITH: IFlags = IFlags::from_bits_retain(0x800 | 0x0010_0000 | 0x4000_0000);

/// Of an open file or directory. No flags is also what a file system without them says.
pub(crate) fn of(fd: impl AsFd) -> Result<IFlags, Errno> {
    match get(fd) {
        Ok(flags) => Ok(flags & (SETTABLE | BORN_WITH)),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(IFlags::empty()),
        Err(errno) => Err(errno),
    }
}

fn get(fd: impl AsFd) -> Result<IFlags, Errno> {
    retry_on_intr(|| ioctl_getflags(&fd))
}

/// Makes `wanted` the flags that are set, save those that mean nothing on this file system.
pub(crate) fn set(fd: impl AsFd, wanted: IFlags) -> Result<(), Errno> {
    let there = match get(&fd) {
        Ok(there) => there,
        Err(_) if (wanted & EVERYWHERE).is_empty() && (wanted & BORN_WITH).is_empty() => {
            return Ok(());
        }
        Err(errno) => return Err(errno),
    };
    if !there.contains(wanted & BORN_WITH) {
        return Err(Errno::OPNOTSUPP);
    }
    let with = |wanted: IFlags| (there - SETTABLE) | (wanted & SETTABLE);
    let change = |to: IFlags| match to == there {
        true => Ok(()),
        false => retry_on_intr(|| ioctl_setflags(&fd, to)),
    };
    match change(with(wanted)) {
        Err(Errno::OPNOTSUPP) => change(with(wanted & EVERYWHERE)),
        other => other,
    }
}

/// Takes away the flags that keep an inode from being removed, or things in it. Says whether there were any.
pub(crate) fn loosen(fd: impl AsFd) -> Result<bool, Errno> {
    let now = of(&fd)?;
    let fixed = now & (IFlags::IMMUTABLE | IFlags::APPEND);
    if fixed.is_empty() {
        return Ok(false);
    }
    set(fd, now - fixed)?;
    Ok(true)
}
