//! What is said of an inode beside its content: owner, mode, ACLs, extended attributes, inode flags, times; and saying
//! the same of another.
//!
//! The order matters. Writing and chown take away setuid and file capabilities, so those come after; setting an ACL
//! and chmod set the same bits, to the same; an immutable inode takes nothing, so that comes last.
//! It must not know trees.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, IFlags, Mode as Bits, Timespec, Timestamps, Uid, chmodat, chownat,
    fchmod, fchown, futimens, utimensat,
};
use rustix::io::Errno;

use super::TreeError;
use super::beneath::Root;
use super::entry::{Mode, Mtime};
use super::flags;
use super::name::TreePath;
use super::stat::Stat;
use super::xattrs::{self, Xattrs};

/// What could not be kept.
#[derive(Debug)]
pub(crate) struct Lacking {
    pub what: String,
    pub source: io::Error,
}

fn lacking<E: Into<io::Error>>(what: impl fmt::Display) -> impl FnOnce(E) -> Lacking {
    move |error| Lacking {
        what: what.to_string(),
        source: error.into(),
    }
}

/// What is said of an inode that was just made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub uid: u32,
    pub gid: u32,
    pub mode: Mode,
}

impl Made {
    pub(crate) fn of(stat: &Stat) -> Made {
        Made {
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.mode,
        }
    }
}

/// Says of `to`, an open file or directory, what is said of `from`, which is as in `stat`. Flags are not set: the
/// caller does that, some before there is content and some last of all.
pub(crate) fn keep(from: &OwnedFd, stat: &Stat, to: &OwnedFd, made: Made) -> Result<(), Lacking> {
    let (owner, group) = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
    let chown = (made.uid, made.gid) != (stat.uid, stat.gid);
    if chown {
        fchown(to, Some(owner), Some(group)).map_err(lacking("the owner"))?;
    }
    let xattrs = xattrs::of(from).map_err(lacking("the extended attributes"))?;
    set_xattrs(&xattrs, |name, value| xattrs::set(to, name, value))?;
    if needs_chmod(stat, made, chown, &xattrs) {
        fchmod(to, bits(stat.mode)).map_err(lacking("the mode"))?;
    }
    futimens(to, &times(stat)).map_err(lacking("the times"))
}

/// The same for `name` in two directories, whatever it is. One in `to` was just made and is in nobody else's reach.
pub(crate) fn keep_at(
    from: &OwnedFd,
    name: &CStr,
    stat: &Stat,
    to: &OwnedFd,
    made: Made,
) -> Result<(), Lacking> {
    let itself = AtFlags::SYMLINK_NOFOLLOW;
    let (owner, group) = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
    let chown = (made.uid, made.gid) != (stat.uid, stat.gid);
    if chown {
        chownat(to, name, Some(owner), Some(group), itself).map_err(lacking("the owner"))?;
    }
    let xattrs = xattrs::at(from, name).map_err(lacking("the extended attributes"))?;
    set_xattrs(&xattrs, |attribute, value| {
        xattrs::set_at(to, name, attribute, value)
    })?;
    // A symbolic link has no mode of its own.
    if stat.file_type != FileType::Symlink && needs_chmod(stat, made, chown, &xattrs) {
        chmodat(to, name, bits(stat.mode), AtFlags::empty()).map_err(lacking("the mode"))?;
    }
    utimensat(to, name, &times(stat), itself).map_err(lacking("the times"))
}

fn needs_chmod(stat: &Stat, made: Made, chown: bool, xattrs: &Xattrs) -> bool {
    let special = stat.mode.bits() & 0o7000 != 0;
    made.mode != stat.mode || (chown && special) || !xattrs.is_empty()
}

fn set_xattrs(
    xattrs: &Xattrs,
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
) -> Result<(), Lacking> {
    for (name, value) in xattrs {
        match set(name, value) {
            // Means nothing elsewhere.
            Err(Errno::OPNOTSUPP) if xattrs::is_flag(name) => {}
            done => done.map_err(lacking(format_args!("the extended attribute {name}")))?,
        }
    }
    Ok(())
}

pub(crate) fn bits(mode: Mode) -> Bits {
    Bits::from_raw_mode(mode.bits().into())
}

fn times(stat: &Stat) -> Timestamps {
    timestamps(stat.atime, stat.mtime)
}

/// Access and modification time as the system takes them.
pub(crate) fn timestamps(accessed: Mtime, modified: Mtime) -> Timestamps {
    let time = |time: Mtime| Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: time(accessed),
        last_modification: time(modified),
    }
}

/// The flags of an open file or directory.
pub(crate) fn flags(of: impl AsFd) -> Result<IFlags, Lacking> {
    flags::of(of).map_err(lacking("the inode flags"))
}

/// Makes `wanted` the flags of `to`.
pub(crate) fn set_flags(to: impl AsFd, wanted: IFlags) -> Result<(), Lacking> {
    flags::set(to, wanted).map_err(lacking(format_args!(
        "the inode flags ({:#x})",
        wanted.bits()
    )))
}

/// Takes from `dir`, an open directory, what it has from the directory around it and would hand on: ACLs, flags, its
/// group's bit; and shuts it to all but its owner.
pub(crate) fn reset(dir: &OwnedFd) -> Result<(), Lacking> {
    set_flags(dir, IFlags::empty())?;
    fchmod(dir, Bits::RWXU).map_err(lacking("the mode"))?;
    for acl in [c"system.posix_acl_default", c"system.posix_acl_access"] {
        match rustix::fs::fremovexattr(dir, acl) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(lacking("no ACL")(errno)),
        }
    }
    Ok(())
}

/// Says of the directory `to` what is said of the directory `from`: owner, mode, ACLs, extended attributes (what else
/// `to` has of those goes), inode flags as far as they mean something there, times.
pub fn clone_attributes(from: &Path, to: &Path) -> Result<(), TreeError> {
    let (from, to) = (Root::open(from)?, Root::open(to)?);
    let not_kept = |lacking| from.not_kept(&TreePath::root(), lacking);
    let flags = flags(&from.fd).map_err(not_kept)?;
    set_flags(&to.fd, flags - flags::LATE).map_err(not_kept)?;
    let wanted = xattrs::of(&from.fd).map_err(lacking("the extended attributes"));
    let wanted = wanted.map_err(not_kept)?;
    let there = xattrs::of(&to.fd).map_err(lacking("the extended attributes"));
    for name in there.map_err(not_kept)?.keys() {
        if !wanted.contains_key(name) && !xattrs::is_flag(name) {
            let removed = xattrs::remove(&to.fd, name);
            let what = format_args!("the lack of the extended attribute {name}").to_string();
            removed.map_err(lacking(what)).map_err(not_kept)?;
        }
    }
    keep(&from.fd, &from.stat, &to.fd, Made::of(&to.stat)).map_err(not_kept)?;
    match Stat::of(&from.fd) {
        Ok(now) if now.unchanged(&from.stat) => {}
        Ok(_) => return Err(from.changed(&TreePath::root())),
        Err(errno) => return Err(from.failed("look at", &TreePath::root())(errno)),
    }
    if flags.intersects(flags::LATE) {
        set_flags(&to.fd, flags).map_err(not_kept)?;
    }
    Ok(())
}
