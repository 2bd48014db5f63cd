//! What has to be true after every case, looked at by no code of the program.
//!
//! What the program says of itself is asked for in one way only: whatever is on the volumes has to be named by `list` or
//! `status`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::BROKERS;
use crate::cluster::Cluster;
use crate::folder::Generation;
use crate::layout::Layout;
use crate::locks::names;
use crate::rig::tool;

/// What stands beside the data of broker 0 and is none of ours: put there before the first run, and never touched.
const STRANGERS: &str = "foreign";

/// Names of the forms that the program's own have.
const SNAPSHOT_OF_STRANGERS: &str = "zeebe-snap-20200101T000000Z";
const TREE_OF_STRANGERS: &str = "restore-20200101T000000Z";

impl Cluster {
    /// Puts them there.
    pub fn invite_strangers(&self) {
        let beside = self.place.data(0).with_file_name(STRANGERS);
        let store = self.place.store(0);
        fs::create_dir_all(&store).unwrap();
        match self.layout() {
            Layout::Subvolumes => {
                subvolume(&["create"], &[&beside]);
                fs::write(beside.join("file"), "a stranger's").unwrap();
                subvolume(
                    &["snapshot", "-r"],
                    &[&beside, &store.join(SNAPSHOT_OF_STRANGERS)],
                );
            }
            _ => {
                for folder in [&beside, &store.join(SNAPSHOT_OF_STRANGERS)] {
                    fs::create_dir(folder).unwrap();
                    fs::write(folder.join("file"), "a stranger's").unwrap();
                }
            }
        }
        fs::create_dir(store.join(TREE_OF_STRANGERS)).unwrap();
        fs::write(store.join(TREE_OF_STRANGERS).join("file"), "a stranger's").unwrap();
    }

    fn strangers(&self) -> [PathBuf; 3] {
        let store = self.place.store(0);
        [
            self.place.data(0).with_file_name(STRANGERS),
            store.join(SNAPSHOT_OF_STRANGERS),
            store.join(TREE_OF_STRANGERS),
        ]
    }

    /// That the brokers of these nodes run, and no others, on folders of one generation, which it gives back.
    pub fn one_generation(&self, up: [bool; BROKERS]) -> Generation {
        assert_eq!(self.offences(), "", "offences");
        assert_eq!(self.up(), up, "which brokers run");
        let found: Vec<_> = (0..BROKERS).map(|node| self.found(node).unwrap()).collect();
        let generation = found[0].generation;
        for (node, found) in found.iter().enumerate() {
            assert_eq!(
                found.generation, generation,
                "the generation of broker {node}'s folder"
            );
            match self.running(node) {
                Some(running) => {
                    assert_eq!(running.generation, generation, "what broker {node} runs on");
                    assert!(self.answers(node), "broker {node} answers");
                }
                None => assert!(found.at_rest, "the folder of broker {node} is not at rest"),
            }
        }
        generation
    }

    /// That of a set which is listed as complete all members are there, of one generation and at rest.
    pub fn set_is_whole(&self, set: &str) -> Generation {
        let found: Vec<_> = (0..BROKERS)
            .map(|node| self.captured(node, set).unwrap())
            .collect();
        let first = found[0].generation;
        for (node, found) in found.iter().enumerate() {
            assert!(found.at_rest, "set {set} has broker {node} not at rest");
            assert_eq!(
                found.generation, first,
                "the generation of broker {node} in set {set}"
            );
        }
        first
    }

    /// That there is nothing on the volumes but data, strangers, and what `list` and `status` name; that nothing is owed;
    /// and what is kept.
    pub fn nothing_is_left(&self, sets: &BTreeMap<String, String>) -> BTreeSet<PathBuf> {
        let status = self.run(&["status", "--json"]).exits(0).json();
        assert_eq!(status["owed"], serde_json::json!([]), "{status}");
        assert_eq!(status["half_forgotten"], serde_json::json!([]), "{status}");
        assert_eq!(status["lost"], serde_json::json!([]), "{status}");
        let kept = Cluster::kept(&status);
        let snapshots = sets
            .keys()
            .flat_map(|set| (0..BROKERS).map(|node| self.place.snapshot(node, set)));
        let wanted: BTreeSet<PathBuf> = snapshots.chain(kept.iter().cloned()).collect();
        for path in wanted.iter().chain(&self.strangers()) {
            assert!(path.is_dir(), "{} is not there", path.display());
        }
        for stranger in self.strangers() {
            let listing: Vec<_> = fs::read_dir(&stranger)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert_eq!(
                listing,
                [stranger.join("file")],
                "the stranger {}",
                stranger.display()
            );
            assert_eq!(
                fs::read_to_string(&listing[0]).unwrap(),
                "a stranger's",
                "{}",
                stranger.display()
            );
        }
        let mut known: BTreeSet<PathBuf> = wanted;
        known.extend(self.strangers());
        known.extend((0..BROKERS).map(|node| self.place.data(node)));
        let mut found = BTreeSet::new();
        only(&self.place.root(), &known, &mut found);
        if self.layout() == Layout::Subvolumes {
            self.subvolumes_are(&found);
        }
        self.no_mount_nor_lock();
        let in_catalog: BTreeSet<String> = names(&self.state().join("sets"));
        assert_eq!(
            in_catalog,
            sets.keys().cloned().collect(),
            "folders of sets, and sets"
        );
        let mut hidden = BTreeSet::new();
        find_hidden(&self.state(), &mut hidden);
        assert_eq!(hidden, BTreeSet::new(), "hidden files in the state folder");
        kept
    }

    /// That every subvolume of the volume is one that was found by its name.
    fn subvolumes_are(&self, found: &BTreeSet<PathBuf>) {
        let root = self.place.root();
        let list = tool(Command::new("btrfs").args(["subvolume", "list"]).arg(&root));
        for line in list.lines() {
            let (_, path) = line.split_once(" path ").expect("a path");
            assert!(
                found.contains(&root.join(path)),
                "the subvolume {path} is left"
            );
        }
    }

    fn no_mount_nor_lock(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let below = format!(" {}/", self.dir().display());
        let ours: Vec<&str> = mounts
            .lines()
            .filter(|line| line.contains(&below))
            // Where a test put the state folder on a disk of its own.
            .filter(|line| !line.contains(&format!(" {} ", self.state().display())))
            .collect();
        assert_eq!(ours.len(), 1, "mounts: {ours:?}");
        assert_eq!(self.held_locks(), BTreeSet::new(), "locks that are held");
    }
}

fn find_hidden(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            find_hidden(&path, found);
        } else if name.starts_with('.') {
            found.insert(path);
        }
    }
}

/// That below `folder` there is nothing but `known`, folders around them, and what is written of one of them beside it. All
/// of `known` and around is added to `found`.
fn only(folder: &Path, known: &BTreeSet<PathBuf>, found: &mut BTreeSet<PathBuf>) {
    for name in names(folder) {
        let path = folder.join(&name);
        if known.contains(&path) {
            found.insert(path);
            continue;
        }
        if known.iter().any(|known| known.starts_with(&path)) {
            found.insert(path.clone());
            only(&path, known, found);
            continue;
        }
        // `NAME.json` and `NAME.seal` say what NAME is; `lost+found` is the file system's.
        let (stem, end) = name.rsplit_once('.').unwrap_or_default();
        let of = path.with_file_name(stem);
        let says = ["json", "seal"].contains(&end) && known.contains(&of);
        // `.NAME.papers` has a copy of what is written of the set.
        let papers = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".papers"));
        let papers = papers.is_some_and(|of| known.contains(&path.with_file_name(of)));
        assert!(
            says || papers || name == "lost+found",
            "{} is left",
            path.display()
        );
    }
}

fn subvolume(words: &[&str], paths: &[&Path]) {
    tool(
        Command::new("btrfs")
            .arg("subvolume")
            .args(words)
            .args(paths),
    );
}
