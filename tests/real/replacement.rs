//! The brokers are gone, with their folders: others take their place, elsewhere, on another file system, under other
//! addresses. What they listen on and whom they call comes from the settings that the set has.

use std::fs;
use std::path::Path;

use crate::cluster::{BROKERS, Cluster};
use crate::install::{SECRET, Zeebe};
use crate::instances::Instances;
use crate::layout::Layout;

use crate::rig::Kind;
use crate::running::new_cluster;
use crate::setup::Setup;

#[test]
fn others_take_their_place() {
    let old = new_cluster(Layout::Subvolumes);
    let before = old.create(30);
    old.run(&["backup"]).exits(0);
    let sets = old.sets();
    old.create(20);
    let settings = BROKERS.map(|broker| fs::read_to_string(old.settings(broker)).unwrap());
    old.kill_all();
    for broker in BROKERS {
        old.place().lose(broker);
        fs::remove_dir_all(old.home(broker)).unwrap();
    }

    let new = old.replacement(Layout::Folders(Kind::Xfs));
    new.configure(&Setup::default());
    let mut said = Vec::new();
    let as_installed = fs::read_to_string(Zeebe::Current.home().join("config/application.yaml"));
    let as_installed = as_installed.unwrap();
    let untouched = || {
        assert!(new.is_down(), "nothing was started");
        for broker in BROKERS {
            let data = new.place().data(broker);
            assert_eq!(
                fs::read_dir(&data).unwrap().count(),
                0,
                "{}",
                data.display()
            );
            let now = fs::read_to_string(new.settings(broker)).unwrap();
            assert_eq!(now, as_installed, "settings of broker {broker}");
        }
    };

    let dry_run = new.run(&["restore", "latest", "--dry-run"]).exits(0);
    shows_the_settings(&dry_run.stdout, &old, &new);
    untouched();
    let mut terminal = new.begin_in_terminal(&["restore", "latest"]);
    terminal.wait_for("type yes");
    terminal.types("no");
    let asked = terminal.finish().exits(3);
    shows_the_settings(&asked.stderr, &old, &new);
    untouched();
    said.extend([dry_run, asked]);

    said.push(new.run(&["restore", "latest", "--yes"]).exits(0));
    let jobs = new.activate_all();
    assert_eq!(jobs.instances(), before, "the set");
    for broker in BROKERS {
        let now = fs::read_to_string(new.settings(broker)).unwrap();
        assert_eq!(now, moved(&settings[broker], &old, &new));
    }
    new.complete(&jobs);
    assert_eq!(new.activate_all().instances(), Instances::new());
    assert_eq!(new.sets(), sets);

    // It is a cluster as any other.
    said.push(new.run(&["check"]).exits(0));
    said.push(new.run(&["backup"]).exits(0));
    for verb in ["status", "list", "show latest"] {
        said.push(new.run(&verb.split(' ').collect::<Vec<_>>()).exits(0));
        let json: Vec<_> = verb.split(' ').chain(["--json"]).collect();
        said.push(new.run(&json).exits(0));
    }
    for outcome in &said {
        assert!(!outcome.to_string().contains(SECRET), "{outcome}");
    }
    nowhere_below(&new.state().join("runs"), SECRET);
    drop(new);
    old.end();
}

/// Settings as they have to be at the new addresses: nothing else is another.
fn moved(settings: &str, old: &Cluster, new: &Cluster) -> String {
    let to = |text: String, broker: usize| text.replace(&old.address(broker), &new.address(broker));
    BROKERS.into_iter().fold(settings.to_owned(), to)
}

/// Insists that a text has the difference that the settings of every broker are going to have.
#[track_caller]
fn shows_the_settings(said: &str, old: &Cluster, new: &Cluster) {
    for broker in BROKERS {
        let path = new.settings(broker).display().to_string();
        assert!(said.contains(&path), "{path} is not shown; {said}");
        let line = format!("+      advertisedHost: {}", new.address(broker));
        assert!(said.contains(&line), "{line:?} is not shown; {said}");
        let old = old.address(broker);
        let left = said
            .lines()
            .find(|line| line.starts_with('+') && line.contains(&old));
        assert_eq!(left, None, "of broker {broker}");
    }
    assert!(!said.contains(SECRET), "the secret is shown; {said}");
}

/// Insists that no file has the text.
fn nowhere_below(folder: &Path, text: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nowhere_below(&path, text);
        } else {
            let content = fs::read(&path).unwrap();
            let found = String::from_utf8_lossy(&content).contains(text);
            assert!(!found, "{text} is in {}", path.display());
        }
    }
}
