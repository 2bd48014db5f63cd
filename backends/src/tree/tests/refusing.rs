//! When `digest` says nothing rather than something wrong.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Folder, entry, flip_bit, read, set_times, threads};
use crate::tree::beneath::Root;
use crate::tree::walk::{Visit, walk};
use crate::tree::{Kind, Pass, TreeError, digest};

#[test]
fn what_may_not_be_read_is_an_error_and_root_reads_all() {
    let folder = Folder::new();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    folder.dir("shut");
    folder.file("shut/file", "hidden");
    fs::set_permissions(folder.at("shut/file"), fs::Permissions::from_mode(0o0)).unwrap();
    fs::set_permissions(folder.at("shut"), fs::Permissions::from_mode(0o0)).unwrap();
    let tree = folder.digest();
    let blake3 = blake3::hash(b"hidden").into();
    assert_eq!(
        entry(&tree, "shut/file").kind,
        Kind::File { size: 6, blake3 }
    );

    // The file system's view of who asks is a thread's own.
    let as_nobody = || {
        thread::scope(|scope| {
            let nobody = scope.spawn(|| {
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
                digest(
                    &folder.0,
                    &Pass {
                        threads: threads(1),
                        ..Pass::new()
                    },
                )
            });
            nobody.join().unwrap()
        })
    };
    let refused = |path: &str, result| match result {
        Err(TreeError::Io {
            path: named,
            source,
            ..
        }) => {
            assert_eq!(named, folder.at(path));
            assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
        }
        other => panic!("{other:?}"),
    };
    refused("shut", as_nobody());
    fs::set_permissions(folder.at("shut"), fs::Permissions::from_mode(0o755)).unwrap();
    refused("shut/file", as_nobody());
    // Now it may be read, though not by its owner, who alone may ask to leave the access time alone.
    fs::set_permissions(folder.at("shut/file"), fs::Permissions::from_mode(0o444)).unwrap();
    let theirs = as_nobody().unwrap();
    assert_eq!(theirs, folder.digest());
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_an_error() {
    type Change = dyn Fn(&Path) + Sync;
    const SIZE: usize = 2 << 20;
    let changes: [(&str, &Change); 4] = [
        ("grown", &|path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(SIZE as u64 + 1).unwrap();
        }),
        ("cut", &|path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(SIZE as u64 - 1).unwrap();
        }),
        ("overwritten", &|path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, b"x", 0).unwrap();
        }),
        // Only the inode's change time tells; where the kernel's clock is coarse it takes a tick to do so.
        ("overwritten, its times put back", &|path| {
            let ctime = || {
                let now = fs::metadata(path).unwrap();
                (now.ctime(), now.ctime_nsec())
            };
            let before = ctime();
            while ctime() == before {
                flip_bit(path, 0);
            }
        }),
    ];
    for (what, change) in changes {
        let folder = Folder::new();
        let path = folder.file("segment", vec![1; SIZE]);
        set_times(&path, 1_000_000_000, 0);
        let done = AtomicBool::new(false);
        let progress = |_| {
            if !done.swap(true, Ordering::Relaxed) {
                change(&path);
            }
        };
        match digest(
            &folder.0,
            &Pass {
                threads: threads(2),
                progress: &progress,
                ..Pass::new()
            },
        ) {
            Err(TreeError::Changed { path: named }) => assert_eq!(named, path),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn it_stops_when_told() {
    let folder = Folder::new();
    for file in 0..4 {
        folder.file(file.to_string(), vec![0; 2 << 20]);
    }
    let (stop, hashed) = (AtomicBool::new(false), AtomicU64::new(0));
    let pass = Pass {
        threads: threads(2),
        stop: &|| stop.load(Ordering::Relaxed),
        progress: &|bytes| {
            hashed.fetch_add(bytes, Ordering::Relaxed);
            stop.store(true, Ordering::Relaxed);
        },
        ..Pass::new()
    };
    let result = digest(&folder.0, &pass);
    assert!(matches!(result, Err(TreeError::Interrupted)), "{result:?}");
    assert!(
        hashed.load(Ordering::Relaxed) <= 1 << 20,
        "{hashed:?} bytes were hashed all the same"
    );
    hashed.store(0, Ordering::Relaxed);
    let result = digest(&folder.0, &pass);
    assert!(matches!(result, Err(TreeError::Interrupted)), "{result:?}");
    assert_eq!(hashed.load(Ordering::Relaxed), 0);
}

#[test]
fn the_root_must_be_a_directory() {
    let folder = Folder::new();
    folder.dir("dir");
    folder.file("file", "");
    symlink("dir", folder.at("link")).unwrap();
    for path in ["file", "link", "nothing\nthere"] {
        match read(&folder.at(path)) {
            Err(error @ TreeError::Io { .. }) => {
                let shown = format!("cannot open the directory {:?}", folder.at(path));
                assert_eq!(error.to_string(), shown);
                assert!(!shown.contains('\n'));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_folder_that_changes_while_it_is_listed_is_an_error() {
    let folder = Folder::new();
    folder.dir("dir");
    folder.file("dir/file", "");
    for path in ["dir", ""] {
        set_times(&folder.at(path), 1_000_000_000, 0);
    }
    let root = Root::open(&folder.0).unwrap();
    let result = walk(&root, None, &Pass::new(), &mut |visit: Visit<'_>| {
        if visit.path().as_bytes() == b"dir/file" {
            folder.file("dir/came later", "");
        }
        Ok(())
    });
    match result {
        Err(TreeError::Changed { path }) => assert_eq!(path, folder.at("dir")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_that_becomes_a_link_is_not_followed() {
    let folder = Folder::new();
    folder.file("large", vec![0; 2 << 20]);
    folder.dir("dir");
    folder.file("dir/file", "content");
    let moved = AtomicBool::new(false);
    let progress = |_| {
        if !moved.swap(true, Ordering::Relaxed) {
            fs::rename(folder.at("dir"), folder.at("moved")).unwrap();
            symlink("moved", folder.at("dir")).unwrap();
        }
    };
    match digest(
        &folder.0,
        &Pass {
            threads: threads(1),
            progress: &progress,
            ..Pass::new()
        },
    ) {
        Err(TreeError::Io { path, .. }) => assert_eq!(path, folder.at("dir/file")),
        other => panic!("{other:?}"),
    }
}
