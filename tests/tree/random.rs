//! Random trees, cloned from any of the file systems to any.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use rustix::fs::{FileType, IFlags, ioctl_getflags, ioctl_setflags, makedev};

use crate::comparer::Comparer;
use crate::program::tree;
use crate::sample::{acl, chmod, node, set, set_time};
use crate::volume::{KINDS, apart, names, tool, volume};

const CASES: u32 = 250;

/// Shown short when a test fails.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Bytes(all) = self;
        let shown = all[..all.len().min(60)].escape_ascii();
        write!(f, "{} bytes b\"{shown}\"", all.len())
    }
}

#[derive(Debug, Clone)]
enum What {
    Folder,
    /// Length of a hole and what comes after it, some times, and a hole at the end.
    File(Vec<(u64, Bytes)>, u64),
    Symlink(Bytes),
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
    Socket,
    HardLink(Index),
}

#[derive(Debug, Clone)]
struct Node {
    parent: Index,
    name: Bytes,
    what: What,
    owner: Option<(u32, u32)>,
    mode: u32,
    time: (i64, u32),
    xattrs: Vec<(&'static str, Bytes)>,
    flags: Option<IFlags>,
}

fn name(most: usize) -> impl Strategy<Value = Bytes> {
    let byte = any::<u8>().prop_map(|byte| {
        if matches!(byte, 0 | b'/') {
            b'\n'
        } else {
            byte
        }
    });
    prop::collection::vec(byte, 1..=most)
        .prop_filter("a name", |name| !matches!(name.as_slice(), b"." | b".."))
        .prop_map(Bytes)
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes)
}

fn what() -> impl Strategy<Value = What> {
    let data = bytes(9000);
    let hole = prop_oneof![Just(0), 0..200_000u64];
    let pieces = prop::collection::vec((hole.clone(), data), 0..4);
    prop_oneof![
        4 => Just(What::Folder),
        6 => (pieces, hole).prop_map(|(pieces, end)| What::File(pieces, end)),
        2 => name(900).prop_map(What::Symlink),
        1 => Just(What::Fifo),
        1 => (0..512u32, 0..262_144u32).prop_map(|(major, minor)| What::Char(major, minor)),
        1 => (0..512u32, 0..262_144u32).prop_map(|(major, minor)| What::Block(major, minor)),
        1 => Just(What::Socket),
        4 => any::<Index>().prop_map(What::HardLink),
    ]
}

prop_compose! {
    fn any_node()(
        parent in any::<Index>(),
        name in prop_oneof![4 => name(8), 1 => name(255)],
        what in what(),
        owner in prop::option::of((any::<u32>(), any::<u32>())),
        mode in prop_oneof![Just(0o644), 0..0o10000u32],
        // As far as all three can tell; so with the device numbers above.
        time in (-2_000_000_000..8_000_000_000i64, 0..1_000_000_000u32),
        xattrs in prop::collection::vec((
            prop::sample::select(vec!["user.a", "user.b", "trusted.a", "security.a", "system.posix_acl_access", "system.posix_acl_default"]),
            bytes(300),
        ), 0..4),
        flags in prop::option::weighted(0.2, prop::sample::select(vec![
            IFlags::NODUMP, IFlags::NOATIME, IFlags::SYNC, IFlags::IMMUTABLE, IFlags::APPEND, IFlags::NODUMP.union(IFlags::IMMUTABLE), IFlags::NOCOW,
        ])),
    ) -> Node {
        // These two are no owner to chown(2).
        let owner = owner.map(|(user, group)| (user.min(u32::MAX - 1), group.min(u32::MAX - 1)));
        Node { parent, name, what, owner, mode, time, xattrs, flags }
    }
}

/// Makes the tree; nodes that cannot be are left out.
fn build(root: &Path, nodes: &[Node]) {
    fs::create_dir(root).unwrap();
    let (mut folders, mut others) = (vec![root.to_owned()], Vec::<PathBuf>::new());
    let mut made: Vec<(PathBuf, &Node)> = Vec::new();
    for one in nodes {
        let path = one
            .parent
            .get(&folders)
            .join(OsStr::from_bytes(&one.name.0));
        if path.as_os_str().len() > 4000 || path.symlink_metadata().is_ok() {
            continue;
        }
        match &one.what {
            What::Folder => fs::create_dir(&path).unwrap(),
            What::File(pieces, end) => file(&path, one, pieces, *end),
            What::Symlink(target) => symlink(OsStr::from_bytes(&target.0), &path).unwrap(),
            What::Fifo => node(&path, FileType::Fifo, 0),
            What::Char(major, minor) => {
                node(&path, FileType::CharacterDevice, makedev(*major, *minor))
            }
            What::Block(major, minor) => {
                node(&path, FileType::BlockDevice, makedev(*major, *minor))
            }
            What::Socket => node(&path, FileType::Socket, 0),
            What::HardLink(_) if others.is_empty() => continue,
            What::HardLink(to) => {
                fs::hard_link(to.get(&others), &path).unwrap();
                others.push(path);
                continue;
            }
        }
        match one.what {
            What::Folder => folders.push(path.clone()),
            _ => others.push(path.clone()),
        }
        made.push((path, one));
    }
    // What is below a folder before the folder itself, whose time it changes.
    for (path, one) in made.iter().rev() {
        describe(path, one);
    }
    set_time(root, 1_000_000_000, 1);
}

fn file(path: &Path, one: &Node, pieces: &[(u64, Bytes)], end: u64) {
    let file = fs::File::create(path).unwrap();
    if one.flags == Some(IFlags::NOCOW) {
        // Only while it is empty, and not everywhere.
        ioctl_setflags(&file, IFlags::NOCOW).ok();
    }
    let mut at = 0;
    for (hole, Bytes(data)) in pieces {
        file.write_all_at(data, at + hole).unwrap();
        at += hole + data.len() as u64;
    }
    file.set_len(at + end).unwrap();
}

fn describe(path: &Path, one: &Node) {
    if let Some((user, group)) = one.owner {
        lchown(path, Some(user), Some(group)).unwrap();
    }
    let is_link = matches!(one.what, What::Symlink(_));
    let inside = matches!(one.what, What::Folder | What::File(..));
    if !is_link {
        chmod(path, one.mode);
    }
    for (name, Bytes(value)) in &one.xattrs {
        match *name {
            "user.a" | "user.b" if !inside => {}
            "system.posix_acl_default" if !matches!(one.what, What::Folder) => {}
            "system.posix_acl_access" if is_link => {}
            name if name.starts_with("system") => set(path, name, &acl(value.len() as u16 % 8)),
            name => set(path, name, value),
        }
    }
    set_time(path, one.time.0, one.time.1);
    if inside
        && let Some(flags) = one.flags
        && flags != IFlags::NOCOW
    {
        let file = fs::File::open(path).unwrap();
        let before = ioctl_getflags(&file).unwrap();
        ioctl_setflags(&file, before | flags).unwrap();
    }
}

fn remove(path: &Path) {
    if path.exists() {
        // It fails where there is something without flags, such as a symbolic link.
        let flags = ["-R", "-f", "-i", "-a"];
        Command::new("chattr")
            .args(flags)
            .arg(path)
            .output()
            .unwrap();
        tool(Command::new("rm").arg("-rf").arg(path));
    }
}

#[test]
fn a_clone_of_any_tree_is_faithful() {
    apart(|folder| {
        let volumes = KINDS.map(|kind| volume(folder, kind, 400));
        let comparer = RefCell::new(Comparer::start());
        let config = ProptestConfig {
            cases: CASES,
            max_shrink_iters: 300,
            source_file: Some(file!()),
            ..ProptestConfig::default()
        };
        let volumes = || prop::sample::select(volumes.to_vec());
        let nodes = prop::collection::vec(any_node(), 0..30);
        let input = (nodes, volumes(), volumes(), 1..4usize, 1..4usize);
        let checked =
            TestRunner::new(config).run(&input, |(nodes, one, other, cloning, comparing)| {
                let (from, to) = (one.join("source"), other.join("target"));
                // Of a case that ended by a panic.
                remove(&from);
                build(&from, &nodes);
                let sockets = tool(
                    Command::new("find")
                        .arg(&from)
                        .args(["-type", "s", "-printf", "x"]),
                )
                .len();
                let before = comparer.borrow_mut().fingerprint(&from);
                let threads = cloning.to_string();
                let cloned = tree(
                    ["clone", "--json", "--threads", &threads]
                        .map(OsStr::new)
                        .into_iter()
                        .chain([from.as_os_str(), to.as_os_str()]),
                );
                let differences = match cloned.code {
                    0 => comparer.borrow_mut().differences(&from, &to),
                    _ => Vec::new(),
                };
                let threads = comparing.to_string();
                let compared = tree(
                    ["compare", "--threads", &threads]
                        .map(OsStr::new)
                        .into_iter()
                        .chain([from.as_os_str(), to.as_os_str()]),
                );
                let after = comparer.borrow_mut().fingerprint(&from);
                let (mut there, had) = (names(&one), names(&other));
                there.extend(had);
                remove(&from);
                remove(&to);
                prop_assert_eq!(cloned.code, 0, "{}", cloned);
                prop_assert!(differences.is_empty(), "{:#?}", differences);
                prop_assert_eq!(compared.code, 0, "{}", compared);
                prop_assert_eq!(after, before, "the source changed");
                there.sort();
                there.dedup();
                prop_assert_eq!(there, ["source", "target"]);
                prop_assert_eq!(
                    cloned.json()["sockets"].as_array().map(Vec::len),
                    Some(sockets)
                );
                Ok(())
            });
        if let Err(error) = checked {
            panic!("{error}");
        }
    });
}
