//! Trees of files: made, changed, and told apart by digest.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, makedev, mknodat, utimensat};
use zeebe_snap_backends::tree::{Pass, TreeDigest, compare, digest};

/// `user::rw- user:7:r-- group::r-- mask::r-- other::---`, as the kernel keeps an ACL.
const ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

/// `cap_net_bind_service=ep`, as the kernel keeps a file's capabilities.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// How far into `sparse` its content is.
const HOLE: u64 = 8 << 20;

/// Fills `dir` with files of many kinds; `seed` makes their content.
pub fn fill(dir: &Path, seed: &str) {
    let partition = dir.join("raft-partition/partitions/1");
    fs::create_dir_all(&partition).unwrap();
    fs::write(partition.join("journal.log"), seed.repeat(200_000)).unwrap();
    fs::write(dir.join("größe 'β'"), seed).unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"\xff\n")), seed).unwrap();
    fs::write(dir.join("-rf $(x) `x` \\"), seed).unwrap();
    fs::write(dir.join("x".repeat(255)), seed).unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::write(dir.join("turns"), seed).unwrap();
    fs::create_dir(dir.join("empty folder")).unwrap();

    // One file of three names, one of them elsewhere; a link that is linked.
    fs::hard_link(dir.join("empty"), dir.join("linked")).unwrap();
    fs::hard_link(dir.join("empty"), partition.join("linked")).unwrap();
    symlink("no/such/target", dir.join("link")).unwrap();
    symlink("link", dir.join("linked link")).unwrap();
    fs::hard_link(dir.join("linked link"), partition.join("linked link")).unwrap();
    lchown(dir.join("linked link"), Some(7), Some(8)).unwrap();
    symlink("..", partition.join("up")).unwrap();

    let sparse = fs::File::create(dir.join("sparse")).unwrap();
    sparse.write_all_at(seed.as_bytes(), HOLE).unwrap();
    sparse.set_len(2 * HOLE).unwrap();

    let special = dir.join("special");
    fs::create_dir(&special).unwrap();
    let node = |name: &str, kind, device| {
        mknodat(
            CWD,
            special.join(name),
            kind,
            Mode::from_raw_mode(0o640),
            device,
        )
        .unwrap();
    };
    node("fifo", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("loop", FileType::BlockDevice, makedev(7, 0));
    // Nobody listens any more: it is in no digest, and must be in nobody's way.
    node("socket", FileType::Socket, 0);

    let attribute = |name: &str, key: &str, value: &[u8]| {
        xattr::set(dir.join(name), key, value).unwrap();
    };
    attribute("sparse", "user.seed", seed.as_bytes());
    attribute("special", "trusted.odd \n", b"\0\xff");
    attribute("empty folder", "system.posix_acl_default", ACL);
    attribute("größe 'β'", "system.posix_acl_access", ACL);
    attribute("turns", "security.capability", CAPABILITY);

    let mode = |name: &str, mode| {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    lchown(dir.join("x".repeat(255)), Some(1234), Some(4321)).unwrap();
    mode(&"x".repeat(255), 0o6755);
    mode("special", 0o1777);
    mode("sparse", 0);
    mode("raft-partition/partitions", 0);
    times(&dir.join("empty folder"), 1_000_000_000, 1);
    times(&dir.join("link"), -1, 999_999_999);
    times(&dir.join("raft-partition"), 0, 0);

    // The root has attributes of its own.
    attribute("", "user.root", seed.as_bytes());
    lchown(dir, Some(1000), Some(1001)).unwrap();
    mode("", 0o2710);
}

fn times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let both = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &both, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Changes `dir` in many ways: content in place, what is new, removed, renamed, of another kind or of another mode.
pub fn change(dir: &Path) {
    write_in_place(dir, "changed");
    fs::write(dir.join("new"), "new").unwrap();
    fs::create_dir(dir.join("new folder")).unwrap();
    fs::write(dir.join("new folder/file"), "new").unwrap();
    for gone in ["link", "socket", "turns"] {
        // It may be the second time.
        drop(fs::remove_file(dir.join(gone)));
    }
    drop(fs::rename(dir.join("empty folder"), dir.join("renamed")));
    fs::create_dir_all(dir.join("turns/into a folder")).unwrap();
    fs::set_permissions(dir.join("empty"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    xattr::set(dir, "user.changed", b"root").unwrap();
    drop(xattr::remove(dir, "user.root"));
}

/// Changes `dir` in other ways, each time it is done: an entry comes, one goes, and one is replaced by a rename.
pub fn work(dir: &Path) {
    let round = fs::read_dir(dir).unwrap().count();
    write_in_place(dir, &format!("round {round}"));
    for (name, content) in [("worked", "a"), ("worked too", "b")] {
        fs::write(dir.join(format!("{name} {round}")), content).unwrap();
    }
    fs::write(dir.join("größe.tmp"), format!("round {round}")).unwrap();
    fs::rename(dir.join("größe.tmp"), dir.join("größe 'β'")).unwrap();
    drop(fs::remove_file(dir.join("linked")));
    fs::set_permissions(dir, fs::Permissions::from_mode(0o750)).unwrap();
    xattr::set(dir, "user.round", round.to_string().as_bytes()).unwrap();
}

/// Writes `text` through the path of a file that is there, as a broker does.
pub fn write_in_place(dir: &Path, text: &str) {
    let log = dir.join("raft-partition/partitions/1/journal.log");
    let log = fs::File::options().write(true).open(log).unwrap();
    log.write_all_at(text.as_bytes(), 4096).unwrap();
}

/// A tree of few files, which is soon gone through; not one entry is the same for two seeds but `same`.
pub fn fill_small(dir: &Path, seed: &str) {
    for file in ["same", "both", &format!("only {seed}")] {
        fs::write(dir.join(file), seed).unwrap();
    }
    let turns = dir.join("turns");
    match seed.len() % 2 {
        0 => fs::write(turns, seed).unwrap(),
        _ => fs::create_dir(turns).unwrap(),
    }
    fs::create_dir(dir.join("folder")).unwrap();
    fs::hard_link(dir.join("both"), dir.join("folder/both")).unwrap();
    xattr::set(dir, "user.seed", seed.as_bytes()).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700 + seed.len() as u32)).unwrap();
}

/// Removes all that is in `dir`, but for the names that stay.
pub fn empty(dir: &Path, stays: &[OsString]) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if stays.contains(&entry.file_name()) {
            continue;
        }
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
}

/// Whether the hole of a filled tree takes no space.
pub fn keeps_its_hole(dir: &Path) -> bool {
    let meta = fs::metadata(dir.join("sparse")).unwrap();
    meta.size() == 2 * HOLE && meta.blocks() * 512 < HOLE / 2
}

/// What is at a path; `None` where nothing is.
pub type Seen = Option<Tree>;

/// A tree, as its digests of content and of metadata tell it.
#[derive(Clone)]
pub struct Tree(TreeDigest);

impl PartialEq for Tree {
    fn eq(&self, other: &Tree) -> bool {
        self.0.content == other.0.content && self.0.metadata == other.0.metadata
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TreeDigest {
            content, metadata, ..
        } = &self.0;
        write!(f, "a tree of content {content} and metadata {metadata}")
    }
}

/// What is at `path`, but for the names to `leave_out`.
pub fn look(path: &Path, leave_out: &[OsString]) -> Seen {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        other => drop(other.unwrap()),
    }
    let pass = Pass {
        leave_out,
        ..Pass::new()
    };
    Some(Tree(digest(path, &pass).unwrap()))
}

/// Insists that what was `found` is what was `expected`, and names what is not.
#[track_caller]
pub fn same(found: &Seen, expected: &Seen, when: &str) {
    let lines = differences(found, expected);
    assert!(lines.is_empty(), "{when}:\n{}", lines.join("\n"));
    assert_eq!(found, expected, "{when}");
}

/// The same, but the root may have been changed at another time.
#[track_caller]
pub fn same_but_for_its_time(found: &Seen, expected: &Seen, when: &str) {
    let mut lines = differences(found, expected);
    lines.retain(|line| !line.starts_with("\".\": mtime "));
    assert!(lines.is_empty(), "{when}:\n{}", lines.join("\n"));
}

fn differences(found: &Seen, expected: &Seen) -> Vec<String> {
    match (found, expected) {
        (Some(found), Some(expected)) => {
            let differences = compare(&expected.0.entries, &found.0.entries);
            differences.iter().map(ToString::to_string).collect()
        }
        (None, None) => Vec::new(),
        (found, expected) => vec![format!("is {found:?}, not {expected:?}")],
    }
}
