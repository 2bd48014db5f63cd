//! The generated tree, on and across all file systems.

use std::path::Path;
use std::process::Command;

use rustix::fs::FileType;
use serde_json::Value;

use crate::comparer::Comparer;
use crate::program::tree;
use crate::sample::{flip_bit, node};
use crate::volume::{KINDS, apart, apart_on_disk, names, tool, volume};

/// How large a tree is.
#[derive(Clone, Copy, Debug)]
struct Size {
    bytes: &'static str,
    entries: u32,
}

/// Of every kind of file there is.
const SMALL: Size = Size {
    bytes: "256M",
    entries: 6000,
};

/// As benchmarks have it.
const LARGE: Size = Size {
    bytes: "2G",
    entries: 30_000,
};

/// Between two file systems every byte takes the same way.
const LARGE_BETWEEN: Size = Size {
    bytes: "256M",
    ..LARGE
};

fn generate(root: &Path, size: Size) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lib/make-tree");
    let entries = size.entries.to_string();
    let amount = ["--bytes", size.bytes, "--entries", &entries];
    tool(Command::new(script).arg(root).args(amount));
    node(&root.join("links/socket"), FileType::Socket, 0);
}

fn remove(path: &Path) {
    // What cannot be removed as long as its flags say so.
    let flags = ["-R", "-f", "-i", "-a"];
    Command::new("chattr")
        .args(flags)
        .arg(path)
        .output()
        .unwrap();
    tool(Command::new("rm").arg("-rf").arg(path));
}

/// Clones and lets both comparers look. Gives what the program says of the clone.
fn round_trip(comparer: &mut Comparer, from: &Path, to: &Path) -> Value {
    let outcome = tree([
        "clone".as_ref(),
        "--json".as_ref(),
        from.as_os_str(),
        to.as_os_str(),
    ]);
    let cloned = outcome.exits(0).json();
    comparer.insist_equal(from, to);
    let compared = tree([
        "compare".as_ref(),
        "--json".as_ref(),
        from.as_os_str(),
        to.as_os_str(),
    ]);
    let compared = compared.exits(0).json();
    for named in [&cloned["sockets"], &compared["a"]["sockets"]] {
        assert_eq!(*named, serde_json::json!(["links/socket"]));
    }
    assert_eq!(compared["b"]["sockets"].as_array().unwrap().len(), 0);
    assert_eq!(compared["b"]["entries"], cloned["entries"]);
    cloned
}

#[test]
fn the_tree_is_the_same_on_the_same_file_system() {
    within(SMALL);
}

#[test]
#[ignore = "long: 2 GiB and 30,000 entries on each of three file systems"]
fn a_large_tree_is_the_same_on_the_same_file_system() {
    within(LARGE);
}

#[test]
fn the_tree_is_the_same_on_another_file_system() {
    between(SMALL);
}

#[test]
#[ignore = "long: 30,000 entries from each of three file systems to each other"]
fn a_large_tree_is_the_same_on_another_file_system() {
    between(LARGE_BETWEEN);
}

fn within(size: Size) {
    apart_on_disk(|folder| {
        let mut comparer = Comparer::start();
        for kind in KINDS {
            let at = volume(folder, kind, 8000);
            let (from, to) = (at.join("source"), at.join("target"));
            generate(&from, size);
            let before = comparer.fingerprint(&from);
            let cloned = round_trip(&mut comparer, &from, &to);
            assert_eq!(names(&at), ["source", "target"]);
            assert_eq!(comparer.fingerprint(&from), before, "the source changed");
            let entries = cloned["entries"].as_u64().unwrap();
            assert!(entries > u64::from(size.entries) * 29 / 30, "{cloned}");
            let (bytes, shared) = (
                cloned["bytes"].as_u64().unwrap(),
                cloned["shared"].as_u64().unwrap(),
            );
            match kind {
                "ext4" => assert_eq!(shared, 0),
                _ => assert_eq!(shared, bytes, "on {kind} all blocks are shared"),
            }
            a_flipped_bit_is_found(&mut comparer, &from, &to);
            tool(Command::new("umount").arg(&at));
            std::fs::remove_file(folder.join(format!("{kind}.image"))).unwrap();
        }
    });
}

/// In the middle of a large file of the clone, with its time put back.
fn a_flipped_bit_is_found(comparer: &mut Comparer, from: &Path, to: &Path) {
    let listed = tree(["digest".as_ref(), "--list".as_ref(), to.as_os_str()]).exits(0);
    let entries = listed
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let large = entries
        .filter(|entry: &Value| entry["link"].is_null())
        .max_by_key(|entry| {
            let size = entry["size"].as_u64().unwrap_or(0);
            // Not the sparse one.
            if size < 500_000_000 { size } else { 0 }
        });
    let large = large.unwrap();
    let (path, size) = (
        large["path"].as_str().unwrap(),
        large["size"].as_u64().unwrap(),
    );
    assert!(size > 10_000_000, "{large}");
    flip_bit(&to.join(path), size / 2 + 12_345);
    let found = comparer.differences(from, to);
    let found: Vec<_> = found.iter().map(|one| (&*one.path, &*one.aspect)).collect();
    assert_eq!(found, [(path, "content")]);
    let compared = tree([
        "compare".as_ref(),
        "--json".as_ref(),
        from.as_os_str(),
        to.as_os_str(),
    ]);
    let found = &compared.exits(5).json()["differences"];
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    assert_eq!(
        (&found[0]["path"], &found[0]["differs"]),
        (&path.into(), &"content".into())
    );
}

fn between(size: Size) {
    apart(|folder| {
        let mut comparer = Comparer::start();
        let volumes = KINDS.map(|kind| volume(folder, kind, 4000));
        for one in &volumes {
            let from = one.join("source");
            generate(&from, size);
            for other in volumes.iter().filter(|other| *other != one) {
                let to = other.join("target");
                // The comparer takes out of the page cache what it has read, the program does not. As long as it is in
                // there a preallocated range is data, in the source itself.
                comparer.fingerprint(&from.join("raft-partition"));
                let cloned = round_trip(&mut comparer, &from, &to);
                assert_eq!(cloned["shared"], 0);
                remove(&to);
            }
            remove(&from);
        }
    });
}
