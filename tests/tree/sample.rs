//! A small tree with one of everything, the same each time it is made. Must not know what is done with it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat,
    utimensat,
};

use crate::volume::tool;

/// Makes it at `root`, where nothing is.
pub fn sample(root: &Path) {
    let at = |path: &str| root.join(path);
    fs::create_dir(root).unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::create_dir_all(at("folder/below/empty")).unwrap();
    fs::write(at("file"), noise(20_000)).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("folder/small"), "small").unwrap();
    fs::write(at("folder/capable"), "capable").unwrap();
    fs::write(at("folder/listed"), "listed").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff\n\\ ")), "odd").unwrap();
    fs::hard_link(at("file"), at("folder/below/file again")).unwrap();
    fs::write(at("one"), "linked").unwrap();
    fs::hard_link(at("one"), at("two")).unwrap();
    fs::hard_link(at("one"), at("folder/three")).unwrap();
    fs::write(at("other one"), "linked").unwrap();
    fs::hard_link(at("other one"), at("other two")).unwrap();
    let sparse = fs::File::create(at("folder/sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(&noise(8192), 512 << 10).unwrap();
    fs::File::create(at("folder/hole"))
        .unwrap()
        .set_len(1 << 16)
        .unwrap();
    symlink("no/such target", at("folder/link")).unwrap();
    symlink("/", at("absolute")).unwrap();
    node(&at("fifo"), FileType::Fifo, 0);
    node(&at("char"), FileType::CharacterDevice, makedev(1, 3));
    node(&at("block"), FileType::BlockDevice, makedev(7, 200));
    node(&at("folder/socket"), FileType::Socket, 0);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(at("closed"))
        .unwrap();
    fs::write(at("closed/file"), "closed").unwrap();

    for path in ["file", "folder", "folder/link", "fifo", "char"] {
        lchown(at(path), Some(1234), Some(70_000)).unwrap();
    }
    // After the owner: the system takes them away when that changes.
    for (path, mode) in [
        ("file", 0o6755),
        ("folder", 0o3770),
        ("fifo", 0o604),
        ("closed/file", 0),
        ("closed", 0),
        ("", 0o750),
    ] {
        chmod(&at(path), mode);
    }
    set(&at(""), "user.root", b"root");
    set(&at("file"), "user.note", b"a\0note");
    set(&at("folder"), "trusted.note", &noise(500));
    set(&at("folder/link"), "trusted.note", b"of a link");
    set(&at("fifo"), "trusted.note", b"of a pipe");
    set(&at("folder/small"), "security.note", b"of a file");
    set(&at("folder/capable"), "security.capability", CAPABILITY);
    set(&at("folder/listed"), "system.posix_acl_access", &acl(6));
    set(&at("folder/below"), "system.posix_acl_default", &acl(7));
    chattr("+d", &at("folder/small"));
    chattr("+d", &at("folder/below"));

    // Folders last, or what is made in them changes their times.
    for (number, path) in [
        "file",
        "empty",
        "folder/small",
        "folder/capable",
        "folder/listed",
        "one",
        "other one",
        "folder/sparse",
        "folder/hole",
        "folder/link",
        "absolute",
        "fifo",
        "char",
        "block",
        "closed/file",
        "folder/below/empty",
        "folder/below",
        "folder",
        "closed",
        "",
    ]
    .iter()
    .enumerate()
    {
        set_time(&at(path), 1_500_000_000 + number as i64, 123_456_789);
    }
    set_time(&root.join(OsStr::from_bytes(b"\xff\n\\ ")), -5, 999_999_999);
    set_time(root, 1_400_000_000, 1);
}

/// `cap_net_bind_service=ep`, as the kernel has it.
pub const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An ACL that gives user 7 `permission`, as the kernel has it.
pub fn acl(permission: u16) -> Vec<u8> {
    let all = u32::MAX;
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permission, id) in [
        (1u16, 6u16, all),
        (2, permission, 7),
        (4, 4, all),
        (16, 7, all),
        (32, 4, all),
    ] {
        acl.extend([tag.to_le_bytes(), permission.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    acl
}

/// Bytes that are not zeros and do not repeat.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let byte = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    (0..length).map(byte).collect()
}

pub fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).unwrap();
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Sets an extended attribute of `path` itself.
pub fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

pub fn chattr(flags: &str, path: &Path) {
    tool(Command::new("chattr").arg(flags).arg(path));
}

/// Sets the times of `path` itself.
pub fn set_time(path: &Path, seconds: i64, nanoseconds: u32) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Does `change`, then puts back the times of `paths`, those that are still there.
pub fn with_times_kept(paths: &[&Path], change: impl FnOnce()) {
    let before: Vec<_> = paths.iter().map(|path| path.symlink_metadata()).collect();
    change();
    for (path, before) in paths.iter().zip(before) {
        if let (Ok(before), Ok(_)) = (before, path.symlink_metadata()) {
            set_time(
                path,
                before.mtime(),
                before.mtime_nsec().try_into().unwrap(),
            );
        }
    }
}

/// Changes one bit of the byte at `at`, and puts the time back.
pub fn flip_bit(path: &Path, at: u64) {
    with_times_kept(&[path], || {
        let file = fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    });
}
