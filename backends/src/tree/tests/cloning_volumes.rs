//! Clones on and across file systems made for the test, and removals there.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::Folder;
use super::cloning::faithful;
use super::volumes::{Mounted, apart, volume};
use crate::tree::{Pass, TreeError, clone, remove, shares_blocks};

fn flags(path: &Path) -> IFlags {
    ioctl_getflags(fs::File::open(path).unwrap()).unwrap()
}

fn set_flags(path: &Path, flags: IFlags) {
    let file = fs::File::open(path).unwrap();
    let now = ioctl_getflags(file.as_fd()).unwrap();
    ioctl_setflags(file, now | flags).expect("this test needs root");
}

fn add(path: PathBuf, content: &[u8]) -> PathBuf {
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn blocks_are_shared_where_they_can_be() {
    for (kind, shares) in [("ext4", false), ("xfs", true), ("btrfs", true)] {
        apart(|| {
            let folder = Folder::new();
            let mounted = volume(&folder, kind);
            let top = &mounted.0;
            fs::create_dir(top.join("a")).unwrap();
            add(top.join("a/large"), &vec![5; 3 << 20]);
            add(top.join("a/small"), b"x");
            // Holes, and what was reserved and not written.
            let sparse = fs::File::create(top.join("a/sparse")).unwrap();
            sparse.write_all_at(&[1; 10_000], 1 << 20).unwrap();
            sparse.set_len(20 << 20).unwrap();
            rustix::fs::fallocate(
                fs::File::create(top.join("a/reserved")).unwrap(),
                rustix::fs::FallocateFlags::empty(),
                0,
                1 << 20,
            )
            .unwrap();
            let cloned = faithful(&top.join("a"), &top.join("b"));
            assert_eq!(shares_blocks(top).unwrap(), shares, "{kind}");
            let expected = if shares { cloned.bytes } else { 0 };
            assert_eq!(cloned.shared, expected, "{kind}");
            let sparse = fs::metadata(top.join("b/sparse")).unwrap();
            assert!(
                std::os::unix::fs::MetadataExt::blocks(&sparse) < 200,
                "{kind}"
            );
        });
    }
}

#[test]
fn flags_are_kept_with_the_immutable_ones_last() {
    for kind in ["ext4", "xfs", "btrfs"] {
        apart(|| {
            let folder = Folder::new();
            let mounted = volume(&folder, kind);
            let top = &mounted.0;
            fs::create_dir_all(top.join("a/dir")).unwrap();
            let file = add(top.join("a/dir/file"), b"content");
            fs::hard_link(&file, top.join("a/name")).unwrap();
            add(top.join("a/log"), b"line");
            set_flags(&file, IFlags::IMMUTABLE | IFlags::NODUMP);
            set_flags(&top.join("a/log"), IFlags::APPEND);
            set_flags(&top.join("a/dir"), IFlags::IMMUTABLE | IFlags::NOATIME);
            set_flags(&top.join("a"), IFlags::IMMUTABLE);
            faithful(&top.join("a"), &top.join("b"));
            for path in ["", "dir", "dir/file", "log", "name"] {
                let [was, is] = ["a", "b"].map(|root| flags(&top.join(root).join(path)));
                assert_eq!(is, was, "{kind} {path}");
            }
            for root in ["a", "b"] {
                remove(&top.join(root)).unwrap();
                assert!(!top.join(root).exists());
            }
        });
    }
}

#[test]
fn a_file_without_copy_on_write_stays_so_and_shares_its_blocks() {
    apart(|| {
        let folder = Folder::new();
        let mounted = volume(&folder, "btrfs");
        let top = &mounted.0;
        fs::create_dir(top.join("a")).unwrap();
        let file = add(top.join("a/file"), b"");
        set_flags(&file, IFlags::NOCOW);
        add(file, &[3; 100_000]);
        fs::create_dir(top.join("a/pressed")).unwrap();
        xattr::set(top.join("a/pressed"), "btrfs.compression", b"zstd").unwrap();
        let cloned = faithful(&top.join("a"), &top.join("b"));
        assert!(flags(&top.join("b/file")).contains(IFlags::NOCOW));
        assert_eq!(cloned.shared, 100_000);
        let pressed = xattr::get(top.join("b/pressed"), "btrfs.compression").unwrap();
        assert_eq!(pressed.as_deref(), Some(&b"zstd"[..]));
        // Elsewhere there is no such thing.
        let other = Folder::new();
        let elsewhere = volume(&other, "xfs");
        faithful(&top.join("a"), &elsewhere.0.join("b"));
    });
}

#[test]
fn what_the_other_file_system_does_not_take_is_an_error_that_names_it() {
    apart(|| {
        let (folder, other) = (Folder::new(), Folder::new());
        let (xfs, ext4) = (volume(&folder, "xfs"), volume(&other, "ext4"));
        fs::create_dir(xfs.0.join("a")).unwrap();
        let file = add(xfs.0.join("a/file"), b"x");
        xattr::set(&file, "user.large", &[1; 20_000]).unwrap();
        let to = ext4.0.join("b");
        match clone(&xfs.0.join("a"), &to, &Pass::new(), &mut |_| panic!()) {
            Err(error @ TreeError::NotKept { .. }) => assert_eq!(
                error.to_string(),
                format!("cannot keep the extended attribute \"user.large\" of {file:?}")
            ),
            other => panic!("{other:?}"),
        }
        assert!(!to.exists() && !ext4.0.join(".b.partial").exists());
    });
}

#[test]
fn a_mount_point_below_is_neither_cloned_nor_removed() {
    apart(|| {
        let folder = Folder::new();
        folder.dir("a");
        folder.dir("a/dir");
        let inner = folder.dir("a/dir/inner");
        let kept = folder.file("a/dir/file", "x");
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &inner, tmpfs, MsFlags::empty(), None::<&str>).unwrap();
        let mounted = Mounted(inner.clone());
        let inside = add(inner.join("file"), b"x");
        let other_volume = |result: Result<(), TreeError>| match result {
            Err(TreeError::OtherVolume { path }) => assert_eq!(path, inner),
            other => panic!("{other:?}"),
        };
        let (from, to) = (folder.at("a"), folder.at("b"));
        other_volume(clone(&from, &to, &Pass::new(), &mut |_| panic!()).map(drop));
        assert!(!to.exists() && !folder.at(".b.partial").exists());
        other_volume(remove(&from));
        assert!(kept.exists() && inside.exists());
        drop(mounted);
        remove(&from).unwrap();
        assert!(!from.exists());
        remove(&from).expect("nothing there is no error");
    });
}
