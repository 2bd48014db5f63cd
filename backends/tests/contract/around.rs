//! What is around the data, and must not notice what is done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Moves;
use crate::site::Site;

/// The names in the root of a mount point that are not the data's.
pub const STAYS: [&str; 2] = [".zeebe-snap", "lost+found"];

/// All paths there are but for the data's own. What snapshots and rollbacks leave behind is seen here, wherever it is.
pub fn traces(site: &Site, data: &Path) -> BTreeSet<PathBuf> {
    walk(site, data).into_iter().map(|found| found.0).collect()
}

/// Insists that there are just the paths there were `before`.
#[track_caller]
pub fn no_trace(site: &Site, data: &Path, before: &BTreeSet<PathBuf>, when: &str) {
    same(&traces(site, data), before, when);
}

/// Insists that both are the same.
#[track_caller]
pub fn same(after: &BTreeSet<PathBuf>, before: &BTreeSet<PathBuf>, when: &str) {
    let left: Vec<_> = after.difference(before).collect();
    let gone: Vec<_> = before.difference(after).collect();
    assert!(
        left.is_empty() && gone.is_empty(),
        "{when}: left is {left:#?}, gone is {gone:#?}"
    );
}

/// The folder called `name` among them.
pub fn folder(site: &Site, data: &Path, name: &str) -> PathBuf {
    let mut found = walk(site, data);
    found.retain(|(path, meta)| path.ends_with(name) && meta.is_dir());
    let paths: Vec<_> = found.into_iter().map(|found| found.0).collect();
    let [path] = <[PathBuf; 1]>::try_from(paths).unwrap();
    path
}

/// Insists that what the program made for itself is for its owner alone: what is in a snapshot is not.
pub fn is_private(site: &Site, data: &Path) {
    let mut found = walk(site, data);
    found.retain(|(path, _)| path.ends_with(STAYS[0]));
    // Those further down are in a snapshot.
    let outer = |path: &Path| path.iter().filter(|name| *name == STAYS[0]).count() == 1;
    found.retain(|(path, _)| outer(path));
    assert!(!found.is_empty());
    for (path, meta) in found {
        assert_eq!(meta.mode() & 0o777, 0o700, "{path:?}");
        assert_eq!(meta.uid(), 0, "{path:?}");
    }
}

/// What tells one file from another, and from what it was: its change time moves with all that is done to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    changed: [(i64, i64); 2],
    content: Option<blake3::Hash>,
}

/// Everything but the data, the folders above it, and what the program makes for itself.
pub fn neighbours(site: &Site, data: &Path) -> BTreeMap<PathBuf, Facts> {
    let ours = |path: &Path| path.iter().any(|name| name == STAYS[0]);
    let mut found = walk(site, data);
    found.retain(|(path, _)| !data.starts_with(path) && !ours(path));
    let facts = |path: &Path, meta: &fs::Metadata| Facts {
        inode: meta.ino(),
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        links: meta.nlink(),
        size: meta.size(),
        changed: [
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        ],
        content: meta
            .is_file()
            .then(|| blake3::hash(&fs::read(path).unwrap())),
    };
    let found: BTreeMap<_, _> = found
        .into_iter()
        .map(|(path, meta)| (path.clone(), facts(&path, &meta)))
        .collect();
    assert!(found.len() > 2, "there are neighbours: {found:?}");
    found
}

/// All of the site, but for the data. A volume may be mounted at several places: of those with the data below them only
/// the one that leads there is gone through.
fn walk(site: &Site, data: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let id = |meta: &fs::Metadata| (meta.dev(), meta.ino());
    let data_id = fs::symlink_metadata(data).ok().map(|meta| id(&meta));
    let above: Vec<_> = data
        .ancestors()
        .skip(1)
        .map(|path| id(&fs::metadata(path).unwrap()))
        .collect();
    let mut found = Vec::new();
    let mut todo = vec![site.dir().to_owned()];
    while let Some(path) = todo.pop() {
        if path == site.disks() {
            continue;
        }
        let meta = fs::symlink_metadata(&path).unwrap();
        if Some(id(&meta)) == data_id {
            if path == data && is_mount_point(data) {
                let there = STAYS.map(|name| data.join(name)).into_iter();
                todo.extend(there.filter(|path| path.exists()));
            }
            continue;
        }
        if above.contains(&id(&meta)) && !data.starts_with(&path) {
            continue;
        }
        if meta.is_dir() {
            let listing = fs::read_dir(&path).unwrap();
            todo.extend(listing.map(|entry| entry.unwrap().path()));
        }
        found.push((path, meta));
    }
    found
}

fn is_mount_point(path: &Path) -> bool {
    point(path).0 == path
}

/// The mount that `path` is in: where it is, and what the kernel says of it.
fn point(path: &Path) -> (PathBuf, String) {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    // The later of two at one point is what is seen.
    all.lines()
        .filter_map(|line| {
            let at = PathBuf::from(unescape(line.split(' ').nth(4).unwrap()));
            path.starts_with(&at).then(|| (at, line.to_owned()))
        })
        .max_by_key(|(at, _)| at.as_os_str().as_bytes().len())
        .unwrap()
}

/// Where something of the ZFS pool `pool` is mounted, if anything is: the last.
pub fn mount_of(pool: &str) -> Option<PathBuf> {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_of_it = |line: &&str| {
        let source = line.split(" - zfs ").nth(1);
        let rest = source.and_then(|source| source.strip_prefix(pool));
        rest.is_some_and(|rest| rest.starts_with(['/', ' ', '@']))
    };
    let line = all.lines().rev().find(is_of_it)?;
    Some(PathBuf::from(unescape(line.split(' ').nth(4)?)))
}

/// Where the mount is that `path` is in.
pub fn mount_point(path: &Path) -> PathBuf {
    point(path).0
}

/// The kernel writes a blank as `\040`; nothing else that is escaped is in a site.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
}

/// What is mounted where `path` is: the kernel's line, and the file system's own number. What changes where volumes change
/// places is left out.
pub fn what_is_mounted(path: &Path, moves: Moves) -> Vec<String> {
    let (at, line) = point(path);
    let words = line.split(' ').map(str::to_owned);
    if moves == Moves::Volume {
        // The mount's number, that of the one around it, the device; and there is nothing in it that the kernel counts.
        return words.skip(3).filter(|word| !word.contains(':')).collect();
    }
    let fs = nix::sys::statfs::statfs(&at).unwrap();
    words.chain([format!("{:?}", fs.filesystem_id())]).collect()
}
