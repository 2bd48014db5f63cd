//! What the system says of an inode, and opening things without side effects.
//!
//! It must not know trees.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode as Create, OFlags, StatxAttributes, StatxFlags, StatxTimestamp, statx,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;

use super::entry::{DeviceNumber, Mode, Mtime};

/// statx(2), as much of it as matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub dev: DeviceNumber,
    pub ino: u64,
    pub file_type: FileType,
    pub mode: Mode,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Bytes that are allocated for it.
    pub allocated: u64,
    pub atime: Mtime,
    pub mtime: Mtime,
    pub ctime: Mtime,
    pub rdev: DeviceNumber,
    /// Something is mounted here, be it from the same device. Never said by kernels before 5.8.
    pub mounted: bool,
}

impl Stat {
    /// Of `name` in `dir`; a symbolic link is itself, and nothing is mounted by looking.
    pub(crate) fn at(dir: impl AsFd, name: impl Arg) -> Result<Stat, Errno> {
        Stat::get(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// Of what is open.
    pub(crate) fn of(fd: impl AsFd) -> Result<Stat, Errno> {
        Stat::get(fd, c"", AtFlags::EMPTY_PATH)
    }

    fn get(dir: impl AsFd, name: impl Arg, flags: AtFlags) -> Result<Stat, Errno> {
        let it = statx(dir, name, flags, StatxFlags::BASIC_STATS)?;
        let time = |time: StatxTimestamp| Mtime {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec,
        };
        Ok(Stat {
            dev: (it.stx_dev_major, it.stx_dev_minor).into(),
            ino: it.stx_ino,
            file_type: FileType::from_raw_mode(it.stx_mode.into()),
            mode: Mode::from_bits(it.stx_mode),
            nlink: it.stx_nlink,
            uid: it.stx_uid,
            gid: it.stx_gid,
            size: it.stx_size,
            allocated: it.stx_blocks * 512,
            atime: time(it.stx_atime),
            mtime: time(it.stx_mtime),
            ctime: time(it.stx_ctime),
            rdev: (it.stx_rdev_major, it.stx_rdev_minor).into(),
            mounted: it.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        })
    }

    /// Whether this is what `before` was: one inode, and nobody wrote to it or changed what is said of it. To be read
    /// is no change, nor is to be written back, which moves what is allocated.
    pub(crate) fn unchanged(&self, before: &Stat) -> bool {
        let told = |it: &Stat| {
            let names = (it.nlink, it.uid, it.gid, it.mode.bits());
            let what = (it.size, it.mtime, it.ctime, it.rdev, it.mounted);
            (names, what)
        };
        self.same_inode(before) && told(self) == told(before)
    }

    /// Whether both are one inode, whatever happened to it in between.
    pub(crate) fn same_inode(&self, other: &Stat) -> bool {
        (self.dev, self.ino, self.file_type) == (other.dev, other.ino, other.file_type)
    }
}

/// openat(2), called again when a signal ended it.
pub(crate) fn openat(
    dir: impl AsFd,
    name: impl Arg + Copy,
    flags: OFlags,
    create: Create,
) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(&dir, name, flags, create))
}

/// Opens `name` in `dir` for reading, leaving its access time alone where the system allows it. A symbolic link is
/// an error (ELOOP or ENOTDIR), and a pipe or a lease does not make it wait.
pub(crate) fn open_at(
    dir: impl AsFd,
    name: impl Arg + Copy,
    more: OFlags,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC
        | more;
    match openat(&dir, name, flags | OFlags::NOATIME, Create::empty()) {
        // Only the owner and root may ask for that.
        Err(Errno::PERM) => openat(&dir, name, flags, Create::empty()),
        other => other,
    }
}

/// Opens a directory only to look things up in it, which needs no permission to list it.
pub(crate) fn open_path(dir: impl AsFd, name: impl Arg + Copy) -> Result<OwnedFd, Errno> {
    openat(
        dir,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Create::empty(),
    )
}
