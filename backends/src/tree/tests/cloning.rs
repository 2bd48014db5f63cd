//! What `clone` keeps, and what is left when it fails.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::FileType;

use super::reading::{chain, write_in};
use super::{Folder, acl, make_node, set_times, threads, tree_path};
use crate::tree::{
    Cloned, Inode, Pass, TreeError, clone, clone_attributes, compare, digest, weigh,
};

fn copy(from: &Path, to: &Path) -> Result<Cloned, TreeError> {
    clone(from, to, &Pass::new(), &mut |_| Ok(()))
}

/// Clones `from` to `to`, and sees that a listing tells no difference.
pub(super) fn faithful(from: &Path, to: &Path) -> Cloned {
    let cloned = copy(from, to).unwrap();
    let [source, target] = [from, to].map(|path| digest(path, &Pass::new()).unwrap());
    assert_eq!(compare(&source.entries, &target.entries), []);
    assert_eq!(cloned.entries, source.entries.len() as u64);
    assert_eq!((cloned.files, cloned.bytes), (source.files, source.bytes));
    assert_eq!(cloned.sockets, source.sockets);
    assert_eq!(cloned.root, Inode::of(to).unwrap());
    cloned
}

/// The names in `folder`.
fn names(folder: &Folder) -> Vec<OsString> {
    let listing = fs::read_dir(&folder.0).unwrap();
    let mut names: Vec<_> = listing.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_a_listing_tells_is_kept_and_so_are_times_of_access_and_holes() {
    let folder = Folder::new();
    folder.dir("a");
    folder.dir("a/shut");
    folder.file("a/shut/file", "inside");
    let special = folder.file("a/special", "#!/bin/true\n");
    chown(&special, Some(33), Some(4_000_000_000)).expect("this test needs root");
    fs::set_permissions(&special, fs::Permissions::from_mode(0o6751)).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(&special, "security.capability", &capability).unwrap();
    let sparse = fs::File::create(folder.at("a/sparse")).unwrap();
    sparse.write_all_at(&[7; 5000], 3 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    symlink("no/such\n", folder.at("a/link")).unwrap();
    fs::hard_link(folder.at("a/link"), folder.at("a/shut/link")).unwrap();
    fs::hard_link(&special, folder.at(b"a/\xff\n")).unwrap();
    make_node(&folder.at("a/pipe"), FileType::Fifo, 0);
    let null = rustix::fs::makedev(1, 3);
    make_node(&folder.at("a/null"), FileType::CharacterDevice, null);
    let _listener = UnixListener::bind(folder.at("a/socket")).unwrap();
    for path in ["a", "a/shut", "a/special", "a/link", "a/pipe"] {
        xattr::set(folder.at(path), "trusted.note", path.as_bytes()).unwrap();
    }
    xattr::set(folder.at("a"), "system.posix_acl_default", &acl()).unwrap();
    xattr::set(folder.at("a/sparse"), "system.posix_acl_access", &acl()).unwrap();
    let sockets = [tree_path("socket")];
    for (mode, path) in [(0o000, "a/shut"), (0o3770, "a")] {
        fs::set_permissions(folder.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let timed = [
        "a/shut/file",
        "a/shut",
        "a/link",
        "a/pipe",
        "a/sparse",
        "a/special",
        "a",
    ];
    for (second, path) in timed.into_iter().enumerate() {
        set_times(&folder.at(path), second as i64 - 3, 123_456_789);
    }

    copy(&folder.at("a"), &folder.at("b")).unwrap();
    // Before anybody reads: to read a symbolic link moves its time of access.
    for (second, path) in timed.into_iter().enumerate() {
        let told = folder.at(path.replacen('a', "b", 1));
        let told = told.symlink_metadata().unwrap();
        let expected = (second as i64 - 3, 123_456_789);
        assert_eq!((told.atime(), told.atime_nsec()), expected, "{path}");
    }
    let cloned = faithful(&folder.at("a"), &folder.at("c"));
    assert_eq!(cloned.sockets, sockets);
    let blocks = |path| fs::metadata(folder.at(path)).unwrap().blocks();
    assert_eq!(blocks("b/sparse"), blocks("a/sparse"));
    assert!(blocks("b/sparse") < 100);
    assert_eq!(names(&folder), ["a", "b", "c"]);
}

#[test]
fn a_folder_that_hands_on_what_it_has_hands_nothing_to_a_clone_in_it() {
    let folder = Folder::new();
    folder.dir("a");
    folder.dir("a/dir");
    folder.file("a/dir/file", "x");
    let heir = folder.dir("heir");
    xattr::set(&heir, "system.posix_acl_default", &acl()).unwrap();
    chown(&heir, None, Some(1234)).expect("this test needs root");
    fs::set_permissions(&heir, fs::Permissions::from_mode(0o2777)).unwrap();
    faithful(&folder.at("a"), &heir.join("b"));
    chown(folder.at("a"), None, Some(1234)).unwrap();
    fs::set_permissions(folder.at("a"), fs::Permissions::from_mode(0o2700)).unwrap();
    faithful(&folder.at("a"), &heir.join("c"));
}

#[test]
fn any_depth_is_cloned_and_removed_with_few_descriptors() {
    let folder = Folder::new();
    let root = folder.dir("a");
    chain(&root, &"n".repeat(100), 200, |dir, level| {
        for side in ["a", "z"] {
            rustix::fs::mkdirat(dir, side, rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
        }
        write_in(dir, "file", level.to_string().as_bytes());
    });
    assert_eq!(faithful(&root, &folder.at("b")).files, 201);
    crate::tree::remove(&folder.at("b")).unwrap();
    assert_eq!(names(&folder), ["a"]);
}

#[test]
fn one_thread_or_many_make_the_same() {
    let folder = Folder::new();
    folder.dir("a");
    for dir in 0..20 {
        folder.dir(&format!("a/{dir}"));
        for file in 0..200 {
            let path = folder.file(format!("a/{dir}/{file}"), vec![file; usize::from(file)]);
            if dir % 2 == 1 && file % 3 == 0 {
                let other = format!("a/{}/{file} again", dir - 1);
                fs::hard_link(path, folder.at(other)).unwrap();
            }
        }
    }
    let source = digest(&folder.at("a"), &Pass::new()).unwrap();
    for count in [1, 2, 9] {
        let done = AtomicU64::new(0);
        let pass = Pass {
            threads: threads(count),
            progress: &|bytes| {
                done.fetch_add(bytes, Ordering::Relaxed);
            },
            ..Pass::new()
        };
        let to = folder.at(count.to_string());
        let cloned = clone(&folder.at("a"), &to, &pass, &mut |_| Ok(())).unwrap();
        assert_eq!(done.into_inner(), cloned.bytes);
        let target = digest(&to, &Pass::new()).unwrap();
        assert_eq!(compare(&source.entries, &target.entries), []);
    }
}

#[test]
fn it_is_sealed_when_it_is_whole_and_before_it_has_its_name() {
    let folder = Folder::new();
    folder.dir("a");
    folder.file("a/file", "content");
    let (from, to) = (folder.at("a"), folder.at("b"));
    let mut sealed = None;
    let mut seal = |cloned: &Cloned| {
        assert!(!to.exists());
        assert_eq!(fs::read(folder.at(".b.partial/file")).unwrap(), b"content");
        // Nobody else comes to the same place meanwhile.
        match copy(&from, &to) {
            Err(TreeError::Busy { .. }) => {}
            other => panic!("{other:?}"),
        }
        sealed = Some(cloned.clone());
        Ok(())
    };
    let cloned = clone(&from, &to, &Pass::new(), &mut seal).unwrap();
    assert_eq!(sealed, Some(cloned));
    assert_eq!(names(&folder), ["a", "b"]);

    let mut refuse = |_: &Cloned| Err(io::Error::from_raw_os_error(28));
    match clone(&from, &folder.at("c"), &Pass::new(), &mut refuse) {
        Err(TreeError::Io { source, path, .. }) => {
            assert_eq!(source.raw_os_error(), Some(28));
            assert_eq!(path, folder.at("c"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(&folder), ["a", "b"]);

    // What has the name stays.
    fs::write(folder.at("b/more"), "").unwrap();
    match copy(&from, &to) {
        Err(TreeError::Io { source, .. }) => {
            assert_eq!(source.kind(), io::ErrorKind::AlreadyExists)
        }
        other => panic!("{other:?}"),
    }
    assert!(folder.at("b/more").exists());
}

#[test]
fn an_interrupted_one_leaves_nothing() {
    let folder = Folder::new();
    folder.dir("a");
    folder.dir("a/dir");
    for file in 0..400 {
        folder.file(format!("a/dir/{file}"), [1; 100]);
    }
    for count in [1, 3] {
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let pass = Pass {
            threads: threads(count),
            stop: &|| stop.load(Ordering::Relaxed),
            progress: &|bytes| {
                if done.fetch_add(bytes, Ordering::Relaxed) > 20_000 {
                    stop.store(true, Ordering::Relaxed);
                }
            },
            ..Pass::new()
        };
        match clone(&folder.at("a"), &folder.at("b"), &pass, &mut |_| panic!()) {
            Err(TreeError::Interrupted) => {}
            other => panic!("{other:?}"),
        }
        assert!(done.into_inner() < 40_000, "it went on");
        assert_eq!(names(&folder), ["a"]);
    }
}

#[test]
fn a_source_that_changes_is_an_error_that_names_what_did() {
    type Change = dyn Fn(&Folder) + Sync;
    let changes: [(&str, &Change); 4] = [
        ("a/dir/file", &|folder| {
            let file = fs::File::options()
                .write(true)
                .open(folder.at("a/dir/file"));
            file.unwrap().write_all_at(b"x", 0).unwrap();
        }),
        ("a/dir/file", &|folder| {
            let path = folder.at("a/dir/file");
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("a/dir", &|folder| drop(folder.file("a/dir/came later", ""))),
        ("a/dir", &|folder| {
            xattr::set(folder.at("a/dir"), "user.note", b"later").unwrap();
        }),
    ];
    for (changed, change) in changes {
        let folder = Folder::new();
        folder.dir("a");
        folder.dir("a/dir");
        folder.file("a/dir/file", vec![1; 2 << 20]);
        let done = AtomicBool::new(false);
        let pass = Pass {
            progress: &|_| {
                if !done.swap(true, Ordering::Relaxed) {
                    change(&folder);
                }
            },
            ..Pass::new()
        };
        match clone(&folder.at("a"), &folder.at("b"), &pass, &mut |_| panic!()) {
            Err(TreeError::Changed { path }) => assert_eq!(path, folder.at(changed)),
            other => panic!("{changed}: {other:?}"),
        }
        assert_eq!(names(&folder), ["a"]);
    }
}

#[test]
fn what_a_killed_one_left_is_replaced() {
    let folder = Folder::new();
    folder.dir("a");
    folder.file("a/file", "new");
    folder.dir(".b.partial");
    folder.dir(".b.partial/old");
    folder.file(".b.partial/old/file", "old");
    folder.file(".b.partial/file", "old");
    fs::set_permissions(
        folder.at(".b.partial/old"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    faithful(&folder.at("a"), &folder.at("b"));
    assert_eq!(names(&folder), ["a", "b"]);
}

#[test]
fn it_may_lie_inside_its_source_below_what_is_left_out() {
    let folder = Folder::new();
    folder.file("file", "x");
    folder.dir(".kept");
    let leave_out = [".kept".into()];
    let pass = Pass {
        leave_out: &leave_out,
        ..Pass::new()
    };
    let to = folder.at(".kept/clone");
    clone(&folder.0, &to, &pass, &mut |_| Ok(())).unwrap();
    let listing: Vec<_> = fs::read_dir(&to).unwrap().collect();
    assert_eq!(listing.len(), 1, "{listing:?}");
    match copy(&folder.0, &folder.at(".kept/other")) {
        Err(TreeError::Inside { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(!folder.at(".kept/other").exists());
}

#[test]
fn a_directory_takes_the_attributes_of_another_and_loses_its_own() {
    let folder = Folder::new();
    let (from, to) = (folder.dir("from"), folder.dir("to"));
    xattr::set(&from, "user.note", b"kept").unwrap();
    xattr::set(&to, "user.extra", b"gone").unwrap();
    xattr::set(&to, "system.posix_acl_default", &acl()).unwrap();
    xattr::set(&to, "system.posix_acl_access", &acl()).unwrap();
    chown(&from, Some(5), Some(6)).expect("this test needs root");
    fs::set_permissions(&from, fs::Permissions::from_mode(0o2750)).unwrap();
    fs::write(to.join("file"), "stays").unwrap();
    set_times(&from, 12, 34);
    clone_attributes(&from, &to).unwrap();
    let told = |path: &Path| digest(path, &Pass::new()).unwrap().entries[0].clone();
    assert_eq!(told(&from), told(&to));
    assert_eq!(fs::read(to.join("file")).unwrap(), b"stays");
}

#[test]
fn a_tree_weighs_what_du_says() {
    let folder = Folder::new();
    folder.dir("dir");
    fs::hard_link(folder.file("file", [1; 100_000]), folder.at("dir/again")).unwrap();
    let sparse = fs::File::create(folder.at("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    symlink("x".repeat(500), folder.at("link")).unwrap();
    let du = std::process::Command::new("du")
        .args(["-s", "-B1"])
        .arg(&folder.0)
        .output();
    let du = String::from_utf8(du.unwrap().stdout).unwrap();
    let weight = weigh(&folder.0, &Pass::new()).unwrap();
    assert_eq!(
        du.split('\t').next(),
        Some(weight.allocated.to_string().as_str())
    );
    assert_eq!(weight.entries, 6);
}
