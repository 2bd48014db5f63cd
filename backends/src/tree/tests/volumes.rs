//! Trees on file systems made for the test, in a mount namespace that ends with the test's thread, and with it every
//! mount and loop device. They need root, mkfs.btrfs, mkfs.xfs and mount.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::{Folder, entry, read, threads};
use crate::tree::{Pass, TreeDigest, TreeError, digest};

/// Runs `test` where its mounts are its own.
pub(super) fn apart(test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("this test needs root");
            mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                None::<&str>,
            )
            .unwrap();
            test();
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn run(program: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    assert!(
        done.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// What is mounted there, until this is dropped. Declared after the folder it is in, so that it goes first.
#[derive(Debug)]
pub(super) struct Mounted(pub(super) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let gone = umount2(&self.0, MntFlags::MNT_DETACH);
        if !thread::panicking() {
            gone.unwrap();
        }
    }
}

/// Makes a file system of `kind` in an image in `folder` and mounts it at `mnt` beside it.
pub(super) fn volume(folder: &Folder, kind: &str) -> Mounted {
    let image = folder.file("image", "");
    fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(512 << 20)
        .unwrap();
    run(&format!("mkfs.{kind}"), &[&"-q", &image]);
    let at = folder.dir("mnt");
    run("mount", &[&"-o", &"loop", &image, &at]);
    Mounted(at)
}

fn other_volume(result: Result<TreeDigest, TreeError>, expected: &Path) {
    match result {
        Err(error @ TreeError::OtherVolume { .. }) => {
            assert!(
                error.to_string().contains(&format!("{expected:?}")),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_mount_point_below_the_root_is_an_error() {
    apart(|| {
        let folder = Folder::new();
        let inner = folder.dir("inner");
        mount(
            Some("none"),
            &inner,
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        let mounted = Mounted(inner.clone());
        other_volume(read(&folder.0), &inner);
        assert_eq!(
            read(&inner).unwrap().entries.len(),
            1,
            "as a root it is as good as any"
        );
        drop(mounted);
        // Mounted from the same device: the device number is no other.
        let source = folder.file("source", "x");
        let file = folder.file("file", "");
        mount(
            Some(&source),
            &file,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        let mounted = Mounted(file.clone());
        other_volume(read(&folder.0), &file);
        drop(mounted);
        read(&folder.0).unwrap();
    });
}

#[test]
fn a_nested_btrfs_subvolume_is_an_error_in_place_and_in_a_snapshot() {
    apart(|| {
        let folder = Folder::new();
        let mounted = volume(&folder, "btrfs");
        let top = &mounted.0;
        let btrfs = |arguments: &[&dyn AsRef<std::ffi::OsStr>]| run("btrfs", arguments);
        btrfs(&[&"subvolume", &"create", &top.join("data")]);
        fs::write(top.join("data/file"), "x").unwrap();
        assert_eq!(read(&top.join("data")).unwrap().files, 1);
        other_volume(read(top), &top.join("data"));
        btrfs(&[&"subvolume", &"create", &top.join("data/nested")]);
        other_volume(read(&top.join("data")), &top.join("data/nested"));
        // A snapshot has an empty directory there.
        btrfs(&[
            &"subvolume",
            &"snapshot",
            &"-r",
            &top.join("data"),
            &top.join("snapshot"),
        ]);
        other_volume(read(&top.join("snapshot")), &top.join("snapshot/nested"));
    });
}

#[test]
fn a_block_that_cannot_be_read_is_an_error_naming_the_file() {
    apart(|| {
        let folder = Folder::new();
        let mounted = volume(&folder, "btrfs");
        let top = &mounted.0;
        let pattern: Vec<u8> = (0..1u32 << 18)
            .flat_map(|n| (n ^ 0x5a5a_1234).to_le_bytes())
            .collect();
        fs::create_dir(top.join("dir")).unwrap();
        fs::write(top.join("dir/good"), "x").unwrap();
        fs::write(top.join("dir/bad"), &pattern).unwrap();
        read(top).unwrap();
        drop(mounted);
        // btrfs keeps a checksum of every block: one that does not match is read as EIO.
        let image = fs::File::options()
            .read(true)
            .write(true)
            .open(folder.at("image"))
            .unwrap();
        let (start, end) = (&pattern[..4096], pattern.len() as u64);
        let mut block = vec![0; 4096];
        let size = image.metadata().unwrap().len();
        let found = (0..size).step_by(4096).find(|at| {
            image.read_exact_at(&mut block, *at).unwrap();
            block == start
        });
        image
            .write_all_at(b"corrupt", found.unwrap() + end / 2)
            .unwrap();
        let top = folder.at("mnt");
        run("mount", &[&"-o", &"loop", &folder.at("image"), &top]);
        let _mounted = Mounted(top.clone());
        match digest(
            &top,
            &Pass {
                threads: threads(2),
                ..Pass::new()
            },
        ) {
            Err(TreeError::Io {
                what: "read",
                path,
                source,
            }) => {
                assert_eq!(path, top.join("dir/bad"));
                assert_eq!(source.raw_os_error(), Some(5), "{source}");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn xfs_tells_an_acl_once() {
    apart(|| {
        let folder = Folder::new();
        let mounted = volume(&folder, "xfs");
        let top = &mounted.0;
        fs::write(top.join("file"), "").unwrap();
        fs::create_dir(top.join("dir")).unwrap();
        let acl = super::acl();
        xattr::set(top.join("file"), "system.posix_acl_access", &acl).unwrap();
        xattr::set(top.join("dir"), "system.posix_acl_default", &acl).unwrap();
        xattr::set(top.join("dir"), "trusted.other", b"kept").unwrap();
        let listed: Vec<_> = xattr::list(top.join("file")).unwrap().collect();
        assert!(
            listed.iter().any(|name| name == "trusted.SGI_ACL_FILE"),
            "{listed:?}"
        );
        let tree = read(top).unwrap();
        let names = |path: &str| -> Vec<String> {
            entry(&tree, path)
                .xattrs
                .keys()
                .map(|name| name.to_string())
                .collect()
        };
        assert_eq!(names("file"), ["\"system.posix_acl_access\""]);
        assert_eq!(
            names("dir"),
            ["\"system.posix_acl_default\"", "\"trusted.other\""]
        );
    });
}
