//! Random trees, and one random change to them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use rustix::fs::FileType;

use super::{Folder, flip_bit, make_node, set_times, with_times_kept};
use crate::tree::{Aspect, Entry, Field, Kind, compare};

#[derive(Debug, Clone)]
enum What {
    Dir,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Fifo,
    HardLink(Index),
}

#[derive(Debug, Clone)]
struct Node {
    parent: Index,
    name: Vec<u8>,
    what: What,
    mode: u32,
    mtime: (i64, u32),
    xattr: Option<Vec<u8>>,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        any::<u8>().prop_map(|b| if matches!(b, 0 | b'/') { b'\n' } else { b }),
        1..8,
    )
    .prop_filter("a name", |name| !matches!(name.as_slice(), b"." | b".."))
}

prop_compose! {
    fn node()(
        parent in any::<Index>(),
        name in name(),
        what in prop_oneof![
            2 => Just(What::Dir),
            4 => prop::collection::vec(any::<u8>(), 0..5000).prop_map(What::File),
            1 => name().prop_map(What::Symlink),
            1 => Just(What::Fifo),
            3 => any::<Index>().prop_map(What::HardLink),
        ],
        mode in 0..0o10000u32,
        mtime in (-2_000_000_000..8_000_000_000i64, 0..1_000_000_000u32),
        xattr in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) -> Node {
        Node { parent, name, what, mode, mtime, xattr }
    }
}

/// Makes the tree; nodes whose name is taken are left out.
fn build(nodes: &[Node]) -> Folder {
    let folder = Folder::new();
    let (mut dirs, mut others) = (vec![folder.0.clone()], Vec::<PathBuf>::new());
    let mut made: Vec<(PathBuf, &Node)> = Vec::new();
    for node in nodes {
        let path = node.parent.get(&dirs).join(OsStr::from_bytes(&node.name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match &node.what {
            What::Dir => fs::create_dir(&path).unwrap(),
            What::File(content) => fs::write(&path, content).unwrap(),
            What::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            What::Fifo => make_node(&path, FileType::Fifo, 0),
            What::HardLink(_) if others.is_empty() => continue,
            What::HardLink(to) => fs::hard_link(to.get(&others), &path).unwrap(),
        }
        if matches!(node.what, What::Dir) {
            dirs.push(path.clone())
        } else {
            others.push(path.clone())
        }
        made.push((path, node));
    }
    for (path, node) in made.iter().rev() {
        if !path.is_symlink() {
            fs::set_permissions(path, fs::Permissions::from_mode(node.mode)).unwrap();
        }
        if let Some(value) = &node.xattr {
            xattr::set(path, "trusted.random", value).expect("this test needs root");
        }
        set_times(path, node.mtime.0, node.mtime.1);
    }
    folder
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Flip(Index),
    Grow,
    Retarget,
    Unlink,
    Mode,
    Owner,
    Mtime,
    Xattr,
    Remove,
    Add,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<Index>().prop_map(Change::Flip),
        Just(Change::Grow),
        Just(Change::Retarget),
        Just(Change::Unlink),
        Just(Change::Mode),
        Just(Change::Owner),
        Just(Change::Mtime),
        Just(Change::Xattr),
        Just(Change::Remove),
        Just(Change::Add),
    ]
}

/// Puts something else in place of `path` that differs from it only as `make` does.
fn replace(path: &Path, make: impl FnOnce(&Path)) {
    let was = path.symlink_metadata().unwrap();
    let note = xattr::get(path, "trusted.random").unwrap();
    let fresh = path.with_file_name("fresh");
    with_times_kept(path.parent().unwrap(), || {
        make(&fresh);
        if !was.is_symlink() {
            fs::set_permissions(&fresh, was.permissions()).unwrap();
        }
        if let Some(note) = note {
            xattr::set(&fresh, "trusted.random", &note).unwrap();
        }
        set_times(&fresh, was.mtime(), was.mtime_nsec().try_into().unwrap());
        fs::rename(&fresh, path).unwrap();
    });
}

impl Change {
    /// Does it to `path` and puts back everything else; gives the field that must be told, or `None` where it cannot
    /// be done to this entry.
    fn apply(self, path: &Path, entry: &Entry) -> Option<fn(&Field) -> bool> {
        let is_root = entry.path.as_bytes().is_empty();
        match (self, &entry.kind) {
            (Change::Flip(at), Kind::File { size: 1.., .. }) => {
                flip_bit(
                    path,
                    at.index(path.metadata().unwrap().size() as usize) as u64,
                );
                Some(|field| matches!(field, Field::Content { .. }))
            }
            (Change::Grow, Kind::File { size, .. }) => {
                let file = fs::File::options().write(true).open(path).unwrap();
                with_times_kept(path, || file.set_len(size + 1).unwrap());
                Some(|field| matches!(field, Field::Size { .. }))
            }
            (Change::Retarget, Kind::Symlink { target }) if entry.link.is_none() => {
                replace(path, |fresh| {
                    symlink(OsStr::from_bytes(&[target, &b"x"[..]].concat()), fresh).unwrap()
                });
                Some(|field| matches!(field, Field::Target { .. }))
            }
            (Change::Unlink, Kind::File { .. }) if entry.link.is_some() => {
                replace(path, |fresh| {
                    assert_eq!(
                        fs::copy(path, fresh).unwrap(),
                        path.metadata().unwrap().size()
                    )
                });
                Some(|field| matches!(field, Field::Link { .. }))
            }
            (Change::Mode, kind) if !matches!(kind, Kind::Symlink { .. }) => {
                let mode = u32::from(entry.mode.bits()) ^ 0o1;
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                Some(|field| matches!(field, Field::Mode { .. }))
            }
            (Change::Owner, kind) => {
                lchown(path, None, Some(entry.gid + 1)).expect("this test needs root");
                if !matches!(kind, Kind::Symlink { .. }) {
                    let mode = u32::from(entry.mode.bits());
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                }
                Some(|field| matches!(field, Field::Owner { .. }))
            }
            (Change::Mtime, _) => {
                set_times(path, entry.mtime.seconds, entry.mtime.nanoseconds ^ 1);
                Some(|field| matches!(field, Field::Mtime { .. }))
            }
            (Change::Xattr, _) => {
                match xattr::get(path, "trusted.random").unwrap() {
                    Some(_) => xattr::remove(path, "trusted.random").unwrap(),
                    None => xattr::set(path, "trusted.random", b"").unwrap(),
                }
                Some(|field| matches!(field, Field::Xattrs { .. }))
            }
            (Change::Remove, kind) if !is_root => {
                with_times_kept(path.parent().unwrap(), || match kind {
                    Kind::Dir => fs::remove_dir_all(path).unwrap(),
                    _ => fs::remove_file(path).unwrap(),
                });
                Some(|field| matches!(field, Field::Missing))
            }
            (Change::Add, Kind::Dir) => {
                with_times_kept(path, || fs::write(path.join("one more"), "").unwrap());
                Some(|field| matches!(field, Field::Unexpected))
            }
            _ => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn one_change_is_found_and_nothing_else(
        nodes in prop::collection::vec(node(), 1..20),
        change in change(),
        at in any::<Index>(),
    ) {
        let folder = build(&nodes);
        let before = folder.digest();
        prop_assert_eq!(&folder.digest(), &before);
        // The first entry from there on to which it can be done.
        let (from, count) = (at.index(before.entries.len()), before.entries.len());
        let applied = (0..count).map(|n| &before.entries[(from + n) % count]).find_map(|entry| {
            let told = change.apply(&folder.at(entry.path.as_bytes()), entry)?;
            Some((entry, told))
        });
        let Some((entry, told)) = applied else { return Err(TestCaseError::reject("no such entry")) };

        let after = folder.digest();
        let found = compare(&before.entries, &after.entries);
        prop_assert!(found.iter().any(|one| told(&one.field)), "{:?} of {:?}: {:?}", change, entry, found);
        for one in &found {
            // What is told belongs to this entry, to what is or was below it, or to another name of the same file.
            let other = before.entries.iter().find(|other| other.path == one.path);
            let shared = entry.link.is_some() && other.is_some_and(|other| other.link == entry.link);
            let below = one.path.as_bytes().starts_with(entry.path.as_bytes())
                && matches!(one.field, Field::Missing | Field::Unexpected);
            prop_assert!(one.path == entry.path || shared || below, "{:?}: {:?}", change, one);
            prop_assert!(told(&one.field), "{:?}: {:?}", change, one);
        }
        // Each hash moves if and only if something was told that belongs to it.
        let paths = found.iter().any(|one| matches!(one.field, Field::Missing | Field::Unexpected));
        let content = found.iter().any(|one| one.field.aspect() == Aspect::Content);
        let metadata = paths || found.iter().any(|one| one.field.aspect() == Aspect::Metadata);
        prop_assert_eq!(before.content != after.content, content);
        prop_assert_eq!(before.metadata != after.metadata, metadata);
    }
}
