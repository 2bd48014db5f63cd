//! What `digest` says of trees made by hand.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::fs::{
    CWD, FallocateFlags, FileType, Mode as Create, OFlags, fallocate, mkdirat, openat,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{Folder, entry, flip_bit, make_node, set_times, threads, tree_path};
use crate::tree::{DeviceNumber, Kind, LinkGroup, Pass, compare, digest};

#[test]
fn an_empty_folder_is_its_root_alone() {
    let folder = Folder::new();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o2751)).unwrap();
    chown(&folder.0, Some(12), Some(34)).expect("this test needs root");
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o2751)).unwrap();
    set_times(&folder.0, -5, 7);
    let tree = folder.digest();
    let [root] = tree.entries.as_slice() else {
        panic!("{tree:?}")
    };
    assert_eq!(root.path.as_bytes(), b"");
    assert_eq!(root.kind, Kind::Dir);
    assert_eq!(root.mode.to_string(), "2751");
    assert_eq!((root.uid, root.gid), (12, 34));
    assert_eq!((root.mtime.seconds, root.mtime.nanoseconds), (-5, 7));
    assert_eq!((tree.files, tree.bytes), (0, 0));
}

#[test]
fn every_kind_is_told_and_nothing_is_followed() {
    let folder = Folder::new();
    folder.dir("dir");
    folder.file("dir/file", "hello");
    symlink("/nowhere/at all", folder.at("dangling")).unwrap();
    symlink("dir", folder.at("to-dir")).unwrap();
    symlink("loop", folder.at("loop")).unwrap();
    make_node(&folder.at("fifo"), FileType::Fifo, 0);
    make_node(
        &folder.at("null"),
        FileType::CharacterDevice,
        rustix::fs::makedev(1, 3),
    );
    make_node(
        &folder.at("disk"),
        FileType::BlockDevice,
        rustix::fs::makedev(7, 300),
    );
    let _listener = UnixListener::bind(folder.at("socket")).unwrap();
    let tree = folder.digest();
    let paths: Vec<_> = tree
        .entries
        .iter()
        .map(|entry| entry.path.as_bytes())
        .collect();
    let expected = [
        "", "dangling", "dir", "dir/file", "disk", "fifo", "loop", "null", "to-dir",
    ];
    assert_eq!(paths, expected.map(str::as_bytes));
    let blake3 = blake3::hash(b"hello").into();
    assert_eq!(
        entry(&tree, "dir/file").kind,
        Kind::File { size: 5, blake3 }
    );
    let target = |text: &str| Kind::Symlink {
        target: text.as_bytes().to_vec().into(),
    };
    assert_eq!(entry(&tree, "dangling").kind, target("/nowhere/at all"));
    assert_eq!(entry(&tree, "to-dir").kind, target("dir"));
    assert_eq!(entry(&tree, "loop").kind, target("loop"));
    assert_eq!(entry(&tree, "fifo").kind, Kind::Fifo);
    assert_eq!(tree.sockets, [tree_path("socket")]);
    let rdev = |major, minor| DeviceNumber { major, minor };
    assert_eq!(entry(&tree, "null").kind, Kind::Char { rdev: rdev(1, 3) });
    assert_eq!(
        entry(&tree, "disk").kind,
        Kind::Block { rdev: rdev(7, 300) }
    );
    assert_eq!((tree.files, tree.bytes), (1, 5));
}

#[test]
fn hard_links_are_grouped_and_hashed_once() {
    let folder = Folder::new();
    let outside = Folder::new();
    folder.dir("z");
    let big = folder.file("z/big", vec![7; 3 << 20]);
    fs::hard_link(&big, folder.at("y")).unwrap();
    fs::hard_link(&big, folder.at("x")).unwrap();
    let small = folder.file("b", "small");
    fs::hard_link(&small, folder.at("c")).unwrap();
    fs::hard_link(folder.file("alone", ""), outside.at("other name")).unwrap();
    symlink("x", folder.at("link 1")).unwrap();
    fs::hard_link(folder.at("link 1"), folder.at("link 2")).unwrap();
    let hashed = AtomicU64::new(0);
    let progress = |bytes| {
        hashed.fetch_add(bytes, Ordering::Relaxed);
    };
    let tree = digest(
        &folder.0,
        &Pass {
            threads: threads(2),
            progress: &progress,
            ..Pass::new()
        },
    )
    .unwrap();
    let group = |path: &str| entry(&tree, path).link;
    assert_eq!([group("b"), group("c")], [Some(LinkGroup(0)); 2]);
    assert_eq!([group("link 1"), group("link 2")], [Some(LinkGroup(1)); 2]);
    assert_eq!(
        [group("x"), group("y"), group("z/big")],
        [Some(LinkGroup(2)); 3]
    );
    assert_eq!(group("alone"), None, "its other name is not in the tree");
    assert_eq!(entry(&tree, "x").kind, entry(&tree, "z/big").kind);
    assert_eq!((tree.files, tree.bytes), (3, (3 << 20) + 5));
    assert_eq!(hashed.into_inner(), tree.bytes);
}

#[test]
fn names_of_any_bytes_are_kept() {
    let folder = Folder::new();
    let names: [&[u8]; 8] = [
        b" ",
        b"...",
        b"-rf",
        b"\x01\x1b[31m",
        b"new\nline",
        "na\u{ef}ve \u{202e}".as_bytes(),
        b"\xff\xfe\x80",
        &[b'n'; 255],
    ];
    for name in names {
        folder.file(name, name);
    }
    let tree = folder.digest();
    assert_eq!(tree.entries.len(), 1 + names.len());
    for name in names {
        let blake3 = blake3::hash(name).into();
        let size = name.len() as u64;
        assert_eq!(entry(&tree, name).kind, Kind::File { size, blake3 });
    }
}

#[test]
fn holes_and_preallocation_are_not_content() {
    let (sparse, dense) = (Folder::new(), Folder::new());
    let mut content = vec![0; 5 << 20];
    content[4 << 20] = 1;
    dense.file("holes", &content);
    let file = fs::File::create(sparse.at("holes")).unwrap();
    file.set_len(5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[1], 4 << 20).unwrap();
    dense.file("reserved", "abc");
    let file = fs::File::create(sparse.at("reserved")).unwrap();
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"abc", 0).unwrap();
    let blocks = |folder: &Folder, name: &str| fs::metadata(folder.at(name)).unwrap().blocks();
    assert!(
        blocks(&sparse, "holes") < blocks(&dense, "holes")
            && blocks(&sparse, "reserved") > blocks(&dense, "reserved")
    );
    for folder in [&sparse, &dense] {
        for path in ["holes", "reserved", ""] {
            set_times(&folder.at(path), 1, 0);
        }
    }
    let tree = sparse.digest();
    assert_eq!(tree, dense.digest());
    let blake3 = blake3::hash(&content).into();
    assert_eq!(
        entry(&tree, "holes").kind,
        Kind::File {
            size: 5 << 20,
            blake3
        }
    );
}

#[test]
fn extended_attributes_and_acls_are_kept() {
    let folder = Folder::new();
    folder.dir("dir");
    folder.file("file", "");
    make_node(&folder.at("fifo"), FileType::Fifo, 0);
    symlink("nowhere", folder.at("link")).unwrap();
    let long = vec![0xfe; 2000];
    let acl = super::acl();
    for path in ["", "dir", "file", "fifo", "link"] {
        xattr::set(folder.at(path), "trusted.note", path.as_bytes()).expect("this test needs root");
    }
    xattr::set(folder.at("file"), "user.long", &long).unwrap();
    xattr::set(folder.at("file"), "user.empty", b"").unwrap();
    xattr::set(folder.at("file"), "system.posix_acl_access", &acl).unwrap();
    let many: Vec<_> = (0..40)
        .map(|n| format!("user.some-attribute-{n}"))
        .collect();
    for name in &many {
        xattr::set(folder.at("dir"), name, name.as_bytes()).unwrap();
    }
    let tree = folder.digest();
    let value = |path: &str, name: &str| {
        let found = &entry(&tree, path).xattrs;
        found
            .get(&name.as_bytes().to_vec().into())
            .map(|value| value.to_vec())
    };
    for path in ["", "dir", "file", "fifo", "link"] {
        assert_eq!(
            value(path, "trusted.note").as_deref(),
            Some(path.as_bytes()),
            "{path}"
        );
    }
    assert_eq!(value("file", "user.long"), Some(long));
    assert_eq!(value("file", "user.empty"), Some(Vec::new()));
    assert_eq!(value("file", "system.posix_acl_access"), Some(acl));
    for name in &many {
        assert_eq!(value("dir", name).as_deref(), Some(name.as_bytes()));
    }
}

#[test]
fn what_is_left_out_is_left_out_of_the_root_alone() {
    let folder = Folder::new();
    folder.dir("out");
    folder.file("out/file", "x");
    folder.dir("in");
    folder.file("in/out", "x");
    let leave_out = ["out".into(), "not there".into()];
    let pass = Pass {
        leave_out: &leave_out,
        ..Pass::new()
    };
    let tree = digest(&folder.0, &pass).unwrap();
    let paths: Vec<_> = tree.entries.iter().map(|e| e.path.as_bytes()).collect();
    assert_eq!(paths, ["", "in", "in/out"].map(str::as_bytes));
}

/// A chain of directories, each called `name`, made by descriptors; `each` gets every one, the deepest with `true`.
pub(super) fn chain(root: &Path, name: &str, depth: usize, each: impl Fn(&OwnedFd, usize)) {
    let open = |dir: std::os::fd::BorrowedFd<'_>, name: &str| {
        openat(
            dir,
            name,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Create::empty(),
        )
        .unwrap()
    };
    let mut dir = openat(
        CWD,
        root,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Create::empty(),
    )
    .unwrap();
    for level in 0..depth {
        each(&dir, level);
        mkdirat(&dir, name, Create::from_raw_mode(0o755)).unwrap();
        dir = open(std::os::fd::AsFd::as_fd(&dir), name);
    }
    each(&dir, depth);
}

pub(super) fn write_in(dir: &OwnedFd, name: &str, content: &[u8]) {
    let file = openat(
        dir,
        name,
        OFlags::WRONLY | OFlags::CREATE,
        Create::from_raw_mode(0o644),
    )
    .unwrap();
    assert_eq!(rustix::io::write(file, content).unwrap(), content.len());
}

#[test]
fn a_tree_deeper_than_any_path_is_read_with_few_descriptors() {
    let folder = Folder::new();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(1024);
    setrlimit(Resource::Nofile, limit).unwrap();
    let depth = 1500;
    chain(&folder.0, "d", depth, |dir, level| {
        // Directories beside the way down, so that the way back up is walked, too.
        for side in ["a", "z"] {
            mkdirat(dir, side, Create::from_raw_mode(0o755)).unwrap();
        }
        write_in(dir, "file", level.to_string().as_bytes());
    });
    let tree = folder.digest();
    assert_eq!(tree.files, depth as u64 + 1);
    assert_eq!(tree.entries.len(), 1 + depth + 3 * (depth + 1));
    let bottom = vec!["d"; depth].join("/");
    let blake3 = blake3::hash(b"1500").into();
    assert_eq!(
        entry(&tree, format!("{bottom}/file")).kind,
        Kind::File { size: 4, blake3 }
    );

    let folder = Folder::new();
    let name = "n".repeat(200);
    chain(&folder.0, &name, 30, |dir, level| {
        write_in(dir, "file", &vec![level as u8; level << 17]);
        rustix::fs::symlinkat("file", dir, "link").unwrap();
    });
    let tree = folder.digest();
    let bottom = vec![name.as_str(); 30].join("/");
    assert!(bottom.len() > 4096);
    let blake3 = blake3::hash(&vec![30; 30 << 17]).into();
    assert_eq!(
        entry(&tree, format!("{bottom}/file")).kind,
        Kind::File {
            size: 30 << 17,
            blake3
        }
    );
}

#[test]
fn one_thread_or_many_say_the_same() {
    let folder = Folder::new();
    for dir in 0..5 {
        folder.dir(&format!("{dir}"));
        for file in 0..50 {
            folder.file(format!("{dir}/{file}"), vec![file; usize::from(file) * dir]);
        }
    }
    folder.file("large", vec![9; 5_000_001]);
    let one = digest(
        &folder.0,
        &Pass {
            threads: threads(1),
            ..Pass::new()
        },
    )
    .unwrap();
    for count in [2, 7, 64] {
        let callers = std::sync::Mutex::new(std::collections::HashSet::new());
        let progress = |_| {
            callers.lock().unwrap().insert(thread::current().id());
        };
        let tree = digest(
            &folder.0,
            &Pass {
                threads: threads(count),
                progress: &progress,
                ..Pass::new()
            },
        )
        .unwrap();
        assert_eq!(tree, one);
        assert!(callers.into_inner().unwrap().len() <= count);
    }
    assert_eq!(one.files, 251);
}

#[test]
fn one_flipped_bit_with_times_put_back_is_found() {
    let folder = Folder::new();
    folder.file("small", "content");
    folder.file("large", vec![0; 3_000_000]);
    for (path, at) in [
        ("small", 3),
        ("large", 0),
        ("large", 1 << 20),
        ("large", 2_999_999),
    ] {
        let before = folder.digest();
        flip_bit(&folder.at(path), at);
        let after = folder.digest();
        let found = compare(&before.entries, &after.entries);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0]
                .to_string()
                .starts_with(&format!("\"{path}\": content is ")),
            "{}",
            found[0]
        );
        assert_ne!(before.content, after.content);
        assert_eq!(before.metadata, after.metadata);
    }
}

#[test]
fn reading_leaves_no_trace() {
    let folder = Folder::new();
    folder.dir("dir");
    folder.file("dir/file", "content");
    let paths = ["", "dir", "dir/file"];
    for path in paths.iter().rev() {
        set_times(&folder.at(path), 1_000_000_000, 0);
    }
    let times = || paths.map(|path| fs::metadata(folder.at(path)).unwrap().atime());
    let before = times();
    folder.digest();
    assert_eq!(times(), before);
}
