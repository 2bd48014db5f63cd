//! Trees for real, in temporary folders. They need root: owners, device nodes, mounts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod cloning;
mod cloning_volumes;
mod differences;
mod listing;
mod random;
mod reading;
mod refusing;
mod volumes;

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

use super::{Entry, Pass, TreeDigest, TreeError, TreePath, digest};

/// A folder that is gone afterwards, however deep it grew.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(
            tempfile::Builder::new()
                .prefix("tree-test-")
                .tempdir()
                .unwrap()
                .keep(),
        )
    }

    fn at(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.0.join(OsStr::from_bytes(path.as_ref()))
    }

    fn file(&self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn dir(&self, path: &str) -> PathBuf {
        let path = self.at(path);
        std::fs::create_dir(&path).unwrap();
        path
    }

    fn digest(&self) -> TreeDigest {
        read(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // std's removal holds a descriptor per level.
        let gone = Command::new("rm").arg("-rf").arg(&self.0).status();
        if !std::thread::panicking() {
            assert!(gone.unwrap().success());
        }
    }
}

fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn read(root: &Path) -> Result<TreeDigest, TreeError> {
    digest(
        root,
        &Pass {
            threads: threads(2),
            ..Pass::new()
        },
    )
}

fn tree_path(path: impl AsRef<[u8]>) -> TreePath {
    TreePath::try_from(super::ByteString::from(path.as_ref().to_vec())).unwrap()
}

fn entry(tree: &TreeDigest, path: impl AsRef<[u8]>) -> &Entry {
    let path = tree_path(path);
    tree.entries
        .iter()
        .find(|entry| entry.path == path)
        .unwrap()
}

fn make_node(path: &Path, kind: FileType, rdev: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), rdev).expect("this test needs root");
}

/// Sets the access and modification time of `path` itself.
fn set_times(path: &Path, seconds: i64, nanoseconds: u32) {
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

/// Does `change`, then puts back the times of `path`.
fn with_times_kept(path: &Path, change: impl FnOnce()) {
    use std::os::unix::fs::MetadataExt;
    let before = path.symlink_metadata().unwrap();
    change();
    set_times(
        path,
        before.mtime(),
        before.mtime_nsec().try_into().unwrap(),
    );
}

/// Changes one bit of one byte and nothing else that a listing shows.
fn flip_bit(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    with_times_kept(path, || {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    });
}

/// `user::rw- user:7:r-- group::r-- mask::r-- other::r--` as the kernel writes it.
fn acl() -> Vec<u8> {
    let all = u32::MAX;
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permission, id) in [
        (1u16, 6u16, all),
        (2, 4, 7),
        (4, 4, all),
        (16, 4, all),
        (32, 4, all),
    ] {
        acl.extend([tag.to_le_bytes(), permission.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    acl
}
