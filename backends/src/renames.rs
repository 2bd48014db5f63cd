//! A name that is given only if it is free, also where the file system cannot see to that.
//!
//! Must not know what is renamed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags, fstatfs, renameat, renameat_with, statat};
use rustix::io::Errno;

use crate::flush::ZFS;

/// What names ZFS's own version (modinfo(8)).
const ZFS_VERSION: &str = "/sys/module/zfs/version";

/// Whether the folder `dir` is on a ZFS that cannot exchange two names, or give one only if it is free. (2.2 can.)
pub(crate) fn on_old_zfs(dir: impl AsFd) -> bool {
    let is_old = || std::fs::read_to_string(ZFS_VERSION).is_ok_and(|version| !is_2_2(&version));
    fstatfs(dir).is_ok_and(|fs| fs.f_type == ZFS) && is_old()
}

fn is_2_2(version: &str) -> bool {
    let numbers = version.trim().split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 2),
        _ => false,
    }
}

/// What is called `name` in one folder gets the name `free` in another, if that is free. ZFS before 2.2 knows no flags of a
/// rename: there it is looked first, and nobody else gives names in these folders meanwhile.
pub(crate) fn to_free_at(
    from: impl AsFd,
    name: &OsStr,
    to: impl AsFd,
    free: &OsStr,
) -> Result<(), Errno> {
    match renameat_with(&from, name, &to, free, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL) if on_old_zfs(&from) => {}
        done => return done,
    }
    match statat(&to, free, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => renameat(from, name, to, free),
        Ok(_) => Err(Errno::EXIST),
        Err(errno) => Err(errno),
    }
}

/// The same, of paths.
pub(crate) fn to_free(from: &Path, to: &Path) -> std::io::Result<()> {
    let folder = |path: &Path| File::open(path.parent().unwrap_or(Path::new("/")));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
    let (around, onto) = (folder(from)?, folder(to)?);
    Ok(to_free_at(around, &name(from), onto, &name(to))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_versions() {
        assert!(is_2_2("2.2.0-rc1\n") && is_2_2("2.3.1-1") && is_2_2("10.0"));
        assert!(!is_2_2("2.1.11-1+deb12u1\n") && !is_2_2("0.8.6") && !is_2_2(""));
    }
}
