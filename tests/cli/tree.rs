//! The `tree` verb.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::World;

/// A world whose cluster.toml is gone, with the tree `a` in it.
fn world() -> World {
    let world = World::new();
    let dir = world.dir.path();
    fs::remove_file(dir.join("cluster.toml")).unwrap();
    let a = dir.join("a");
    fs::create_dir_all(a.join("folder")).unwrap();
    fs::write(a.join("folder/file"), "content\n").unwrap();
    fs::write(a.join(OsStr::from_bytes(b"not \xff UTF-8\n")), "odd").unwrap();
    fs::hard_link(a.join("folder/file"), a.join("linked")).unwrap();
    symlink("no/such", a.join("link")).unwrap();
    drop(UnixListener::bind(a.join("socket")).unwrap());
    drop(UnixListener::bind(a.join(OsStr::from_bytes(b"\xfe"))).unwrap());
    for path in ["folder/file", "link", "folder"] {
        describe(&a.join(path));
    }
    describe(&a.join(OsStr::from_bytes(b"not \xff UTF-8\n")));
    describe(&a);
    world
}

/// Gives `path` a mode and a time that do not depend on when and where this runs.
fn describe(path: &Path) {
    let about = path.symlink_metadata().unwrap();
    if !about.is_symlink() {
        let mode = if about.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let time = Timespec {
        tv_sec: 1_700_000_000,
        tv_nsec: 5,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

impl World {
    /// Runs `tree` with `verb` on paths in this world.
    fn tree(&self, verb: &[&str], paths: &[&str]) -> String {
        let paths = paths.iter().map(|path| self.dir.path().join(path));
        let paths: Vec<String> = paths
            .map(|path| path.to_str().unwrap().to_owned())
            .collect();
        let arguments = ["tree"].into_iter().chain(verb.iter().copied());
        let arguments = arguments.chain(paths.iter().map(String::as_str));
        self.run(&arguments.collect::<Vec<_>>())
    }
}

#[test]
fn a_tree_is_digested() {
    let world = world();
    insta::assert_snapshot!("tree digest", world.tree(&["digest"], &["a"]));
    insta::assert_snapshot!(
        "tree digest json",
        world.tree(&["digest", "--json"], &["a"])
    );
    insta::assert_snapshot!(
        "tree digest list",
        world.tree(&["digest", "--list"], &["a"])
    );
    insta::assert_snapshot!("tree digest of nothing", world.tree(&["digest"], &["none"]));
    insta::assert_snapshot!(
        "tree digest of a file",
        world.tree(&["digest"], &["a/linked"])
    );
}

#[test]
fn a_tree_is_cloned_and_compared() {
    let world = world();
    insta::assert_snapshot!(
        "tree clone dry run",
        world.tree(&["clone", "--dry-run"], &["a", "b"])
    );
    insta::assert_snapshot!(
        "tree clone dry run json",
        world.tree(&["clone", "--dry-run", "--json"], &["a", "b"])
    );
    insta::assert_snapshot!("tree clone", world.tree(&["clone"], &["a", "b"]));
    insta::assert_snapshot!(
        "tree clone json",
        world.tree(&["clone", "--json", "--threads", "1"], &["a", "c"])
    );
    insta::assert_snapshot!("tree compare equal", world.tree(&["compare"], &["a", "b"]));
    insta::assert_snapshot!(
        "tree compare equal json",
        world.tree(&["compare", "--json"], &["a", "b"])
    );

    let b = world.dir.path().join("b");
    fs::write(b.join("folder/file"), "Content\n").unwrap();
    fs::remove_file(b.join("link")).unwrap();
    fs::rename(
        b.join(OsStr::from_bytes(b"not \xff UTF-8\n")),
        b.join(OsStr::from_bytes(b"\xff")),
    )
    .unwrap();
    for path in ["folder/file", ""] {
        describe(&b.join(path));
    }
    insta::assert_snapshot!(
        "tree compare differs",
        world.tree(&["compare"], &["a", "b"])
    );
    insta::assert_snapshot!(
        "tree compare differs json",
        world.tree(&["compare", "--json"], &["a", "b"])
    );
}

#[test]
fn what_cannot_be_cloned_is_said() {
    let world = world();
    let said = |paths: [&str; 2]| world.tree(&["clone"], &paths);
    let all = [
        said(["a", "a"]),
        said(["a", "a/linked/b"]),
        said(["a", "no/b"]),
        said(["a", "a/folder/b"]),
        said(["a", ".."]),
        said(["a", "/"]),
        said(["no", "b"]),
        said(["a/linked", "b"]),
        said(["a/link", "b"]),
    ];
    insta::assert_snapshot!("tree clone refused", all.join("\n"));
    insta::assert_snapshot!(
        "tree compare with nothing",
        world.tree(&["compare"], &["a", "none"])
    );
    insta::assert_snapshot!("tree of nothing", world.run(&["tree"]));
}
