//! Every verb on a cluster whose brokers are down: a set is taken of folders that nobody writes to, shown, and brought back.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::World;
use crate::mask::masked;

/// What nobody but the brokers is to see. It is in the environment of `World`'s brokers, and in their config file.
pub const SECRET: &str = "hunter2";

impl World {
    /// Brokers that are down, with something in their data directories, and what a restore has to know.
    pub fn down() -> World {
        let world = World::new();
        let dir = world.dir.path();
        let config = dir.join("application.yaml");
        let text = format!(
            "zeebe.broker:\n  exporters.es.args.authentication.password: {SECRET}\n  cluster.clusterSize: 2\n"
        );
        fs::write(&config, text).unwrap();
        world.edit(
            "[[broker]]",
            &format!("[broker_defaults]\nversion = \"8.5.8\"\nconfig = [{config:?}]\n[[broker]]"),
        );
        for broker in 0..2 {
            world.edit("backend = \"btrfs\"", "backend = \"copy\"");
            world.change(broker, "as it was");
        }
        world
    }

    /// Writes to a broker's data.
    pub fn change(&self, broker: usize, content: &str) {
        let folder = self
            .dir
            .path()
            .join(format!("broker {broker}/data/raft-partition"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("segment.log"), content).unwrap();
    }

    /// What is in a broker's data.
    pub fn data(&self, broker: usize) -> String {
        let folder = self
            .dir
            .path()
            .join(format!("broker {broker}/data/raft-partition"));
        fs::read_to_string(folder.join("segment.log")).unwrap()
    }

    /// The id of the newest set.
    pub fn newest(&self) -> String {
        let sets = fs::read_dir(self.dir.path().join("state/sets")).unwrap();
        let ids = sets.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        ids.max().unwrap()
    }

    pub fn oldest(&self) -> String {
        let sets = fs::read_dir(self.dir.path().join("state/sets")).unwrap();
        let ids = sets.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        ids.min().unwrap()
    }

    /// The one snapshot of a broker.
    pub fn snapshot_of(&self, broker: usize) -> PathBuf {
        let store = self
            .dir
            .path()
            .join(format!("broker {broker}/.zeebe-snap/data"));
        let mut entries = fs::read_dir(store).unwrap().map(|entry| entry.unwrap());
        let is_snapshot = |name: &str| name.starts_with("zeebe-snap-") && name.ends_with('Z');
        let found = entries.find(|entry| is_snapshot(entry.file_name().to_str().unwrap()));
        found.unwrap().path()
    }

    /// A broker's snapshot of the newest set.
    fn snapshot(&self, broker: usize) -> PathBuf {
        let name = format!(
            "broker {broker}/.zeebe-snap/data/zeebe-snap-{}",
            self.newest()
        );
        self.dir.path().join(name)
    }

    /// Compares the output of each with the snapshot of the name.
    pub fn shows(&self, runs: &[(&str, &[&str])]) {
        for (name, arguments) in runs {
            insta::assert_snapshot!(*name, masked(&self.run(arguments)));
        }
    }
}

#[test]
fn a_set_is_taken_shown_and_verified() {
    let world = World::down();
    world.shows(&[
        ("check", &["check"]),
        ("check json", &["check", "--json"]),
        ("backup dry run", &["backup", "--dry-run"]),
        ("backup dry run json", &["backup", "--dry-run", "--json"]),
        ("backup", &["backup"]),
        ("backup json", &["backup", "--json"]),
        ("list", &["list"]),
        ("list json", &["list", "--json"]),
        ("show", &["show", "latest"]),
        ("show json", &["show", "latest", "--json"]),
        ("verify", &["verify", "latest"]),
        ("verify json", &["verify", "latest", "--json"]),
        ("status", &["status"]),
        ("status json", &["status", "--json"]),
        ("recover", &["recover"]),
        ("recover json", &["recover", "--json"]),
        ("recover dry run", &["recover", "--dry-run"]),
        ("recover dry run json", &["recover", "--dry-run", "--json"]),
    ]);
    let set = world.snapshot(0).join("raft-partition/segment.log");
    fs::write(set, "Another").unwrap();
    world.shows(&[
        ("verify of what differs", &["verify", "latest"]),
        (
            "verify of what differs json",
            &["verify", "latest", "--json"],
        ),
    ]);
}

#[test]
fn a_set_is_restored_and_that_is_undone() {
    let world = World::down();
    world.run(&["backup"]);
    world.change(0, "changed since");
    world.shows(&[
        ("undo where nothing is kept", &["undo", "--yes"]),
        ("restore dry run", &["restore", "latest", "--dry-run"]),
        (
            "restore dry run json",
            &["restore", "latest", "--dry-run", "--json"],
        ),
        ("restore with nobody to ask", &["restore", "latest"]),
        ("restore", &["restore", "latest", "--no-start", "--yes"]),
    ]);
    assert_eq!(world.data(0), "as it was");
    world.shows(&[
        ("status after a restore", &["status"]),
        ("status after a restore json", &["status", "--json"]),
        ("undo dry run", &["undo", "--no-start", "--dry-run"]),
        (
            "undo dry run json",
            &["undo", "--no-start", "--dry-run", "--json"],
        ),
        ("undo with nobody to ask", &["undo"]),
        ("undo", &["undo", "--no-start", "--yes"]),
    ]);
    assert_eq!(world.data(0), "changed since");
    world.shows(&[
        ("status after an undo", &["status"]),
        ("undo json", &["undo", "--no-start", "--yes", "--json"]),
    ]);
    assert_eq!(world.data(0), "as it was");
    world.shows(&[(
        "restore json",
        &["restore", "latest", "--no-start", "--yes", "--json"],
    )]);
    world.shows(&[
        ("release of nothing", &["release"]),
        (
            "release of what is not kept",
            &["release", "20200101T000000Z", "--yes"],
        ),
        ("release dry run", &["release", "--all", "--dry-run"]),
        (
            "release dry run json",
            &["release", "--all", "--dry-run", "--json"],
        ),
        ("release with nobody to ask", &["release", "--all"]),
        ("release", &["release", "--all", "--yes"]),
        ("release again", &["release", "--all", "--yes"]),
    ]);
    world.run(&["restore", "latest", "--no-start", "--yes"]);
    world.shows(&[
        ("release json", &["release", "--all", "--yes", "--json"]),
        ("status after a release", &["status"]),
    ]);
    assert_eq!(world.data(0), "as it was");
}

/// Nothing is replaced, so nothing is kept, and nothing is left lying about that says so.
#[test]
fn a_set_is_restored_where_the_data_is_gone() {
    let world = World::down();
    world.run(&["backup"]);
    fs::remove_dir_all(world.dir.path().join("broker 0/data")).unwrap();
    world.shows(&[(
        "restore where data is gone",
        &["restore", "latest", "--no-start", "--yes"],
    )]);
    assert_eq!(world.data(0), "as it was");
    let beside = |broker: usize| {
        let store = format!("broker {broker}/.zeebe-snap/data");
        let entries = fs::read_dir(world.dir.path().join(store)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut of_restore: Vec<_> = names.filter(|name| name.starts_with("restore-")).collect();
        of_restore.sort();
        of_restore
    };
    assert_eq!(beside(0), [""; 0]);
    assert_eq!(beside(1).len(), 3, "{:?}", beside(1));
}

/// A memory file system on a folder, which can so not be removed.
struct Mounted(PathBuf);

impl Mounted {
    fn at(folder: PathBuf) -> Mounted {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "none"]).arg(&folder);
        assert!(command.status().unwrap().success());
        Mounted(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

#[test]
fn what_is_not_released_is_named() {
    let world = World::down();
    world.run(&["backup"]);
    world.run(&["restore", "latest", "--no-start", "--yes"]);
    let store = world.dir.path().join("broker 1/.zeebe-snap/data");
    let mut names = fs::read_dir(&store)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let kept = names.find(|name| name.starts_with("restore-") && !name.contains('.'));
    let mounted = Mounted::at(store.join(kept.unwrap()).join("raft-partition"));
    world.shows(&[("release half done", &["release", "--all", "--yes"])]);
    drop(mounted);
    world.shows(&[
        ("recover of a release", &["recover"]),
        ("release when all is gone", &["release", "--all", "--yes"]),
    ]);
}

#[test]
fn a_set_is_forgotten() {
    let world = World::down();
    world.run(&["backup"]);
    let set = world.newest();
    world.run(&["backup"]);
    world.shows(&[
        ("forget of nothing", &["forget"]),
        (
            "forget of what is not there",
            &["forget", "20200101T000000Z", "--yes"],
        ),
        ("forget dry run", &["forget", &set, "--dry-run"]),
        (
            "forget dry run json",
            &["forget", &set, "--dry-run", "--json"],
        ),
        ("forget with nobody to ask", &["forget", &set]),
        ("forget", &["forget", &set, "--yes"]),
        ("list after a forget", &["list"]),
    ]);
    let set = world.newest();
    assert!(world.snapshot(0).exists());
    world.shows(&[
        ("forget json", &["forget", &set, "--yes", "--json"]),
        ("list after all is forgotten", &["list"]),
    ]);
    assert!(!world.dir.path().join("broker 0/.zeebe-snap").exists());
}
