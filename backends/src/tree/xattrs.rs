//! Extended attributes of anything, by descriptor.
//!
//! It must not know what they mean, save that XFS tells each ACL twice.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr, lsetxattr,
};
use rustix::io::Errno;

use super::name::ByteString;

/// Names to values.
pub(crate) type Xattrs = BTreeMap<ByteString, ByteString>;

/// The most that the kernel gives for a list of names, and for one value (xattr(7)). A longer list is E2BIG.
const MOST: usize = 64 * 1024;

/// XFS lists an ACL a second time under these names. An ACL is `system.posix_acl_*` everywhere.
const ACL_AGAIN: [&[u8]; 2] = [b"trusted.SGI_ACL_FILE", b"trusted.SGI_ACL_DEFAULT"];

/// Inode flags that btrfs shows as attributes, too.
const FLAGS: &[u8] = b"btrfs.";

/// Whether `name` is an inode flag in truth, which no other file system knows.
pub(crate) fn is_flag(name: &[u8]) -> bool {
    name.starts_with(FLAGS)
}

/// Of an open file.
pub(crate) fn of(fd: impl AsFd) -> io::Result<Xattrs> {
    read(
        |list| flistxattr(&fd, list),
        |name, value| fgetxattr(&fd, name, value),
    )
}

/// Of `name` in `dir`, whatever it is; a symbolic link's are its own. What cannot be opened without side effects (a
/// pipe, a device) or at all (a symbolic link) has no call by descriptor before Linux 6.13, but a path through /proc
/// ends in the same directory and is short.
pub(crate) fn at(dir: impl AsFd, name: &CStr) -> io::Result<Xattrs> {
    let path = &through_proc(dir, name);
    read(
        |list| llistxattr(path, list),
        |name, value| lgetxattr(path, name, value),
    )
}

/// On an open file.
pub(crate) fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    fsetxattr(fd, name, value, XattrFlags::empty())
}

/// On `name` in `dir`, as [`at`].
pub(crate) fn set_at(
    dir: impl AsFd,
    name: &CStr,
    attribute: &[u8],
    value: &[u8],
) -> Result<(), Errno> {
    lsetxattr(
        through_proc(dir, name),
        attribute,
        value,
        XattrFlags::empty(),
    )
}

/// From an open file.
pub(crate) fn remove(fd: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    fremovexattr(fd, name)
}

fn through_proc(dir: impl AsFd, name: &CStr) -> PathBuf {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    OsString::from_vec(path).into()
}

fn read(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> io::Result<Xattrs> {
    let mut names = match growing(&list) {
        // A file system without them.
        Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
        names => names?,
    };
    let mut found = Xattrs::new();
    if names.is_empty() {
        return Ok(found);
    }
    if names.last() != Some(&0) {
        names.push(0);
    }
    for name in names.split_inclusive(|b| *b == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        if !ACL_AGAIN.contains(&name.to_bytes()) {
            let value = growing(|buffer| get(name, buffer))?;
            found.insert(name.to_bytes().to_vec().into(), value.into());
        }
    }
    Ok(found)
}

/// Most are short, and the kernel clears as much memory as it is given.
fn growing(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = [0; 256];
    match call(&mut buffer) {
        Err(Errno::RANGE) => {
            let mut buffer = vec![0; MOST];
            let length = call(&mut buffer)?;
            buffer.truncate(length);
            Ok(buffer)
        }
        length => Ok(buffer[..length?].to_vec()),
    }
}
