//! Trees of files: made, changed, and told apart by digest.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use zeebe_snap_backends::tree::{Hash, Pass, digest};

/// Fills `dir` with files of many kinds; `seed` makes their content.
pub fn fill(dir: &Path, seed: &str) {
    let partition = dir.join("raft-partition/partitions/1");
    fs::create_dir_all(&partition).unwrap();
    fs::write(partition.join("journal.log"), seed.repeat(200_000)).unwrap();
    fs::write(dir.join("größe 'β'"), seed).unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"\xff\n")), seed).unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::hard_link(dir.join("empty"), dir.join("linked")).unwrap();
    symlink("no/such/target", dir.join("link")).unwrap();
    let sparse = fs::File::create(dir.join("sparse")).unwrap();
    sparse.write_all_at(seed.as_bytes(), 1 << 20).unwrap();
    xattr::set(dir.join("sparse"), "user.seed", seed.as_bytes()).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o710)).unwrap();
}

/// Changes `dir` in many ways: content in place, a new file, one removed, one of another mode.
pub fn change(dir: &Path) {
    let log = dir.join("raft-partition/partitions/1/journal.log");
    let log = fs::File::options().write(true).open(log).unwrap();
    log.write_all_at(b"changed", 4096).unwrap();
    fs::write(dir.join("new"), "new").unwrap();
    fs::remove_file(dir.join("link")).unwrap();
    fs::set_permissions(dir.join("empty"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Removes all that is in `dir`.
pub fn empty(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
}

/// A tree by its digests of content and of metadata; `None` where nothing is.
pub type Seen = Option<(Hash, Hash)>;

/// What is at `path`.
pub fn look(path: &Path) -> Seen {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        other => drop(other.unwrap()),
    }
    let tree = digest(path, &Pass::new()).unwrap();
    Some((tree.content, tree.metadata))
}

/// The names of what is in the folder around `data`.
pub fn around(data: &Path) -> Vec<std::ffi::OsString> {
    let listing = fs::read_dir(data.parent().unwrap()).unwrap();
    let mut names: Vec<_> = listing.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}
