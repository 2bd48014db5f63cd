//! What only ZFS must hold: what a dataset has besides its content, and what hangs on what.

use std::fs;
use std::path::PathBuf;

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Action, Obstacle, Progress, Purpose, Volume};

use super::{MountPoint, Zfs, create};
use crate::attempt::{Attempt, kept, stage};
use crate::site::{Site, answer};
use crate::snapshots::{captured, label, remove, take};
use crate::streams::Sides;
use crate::{Fixture, host, perform, snap, tree};

pub type At = Zfs<MountPoint>;

pub fn zfs(words: &[&str]) -> String {
    let words: Vec<_> = words
        .iter()
        .map(|word| word as &dyn AsRef<std::ffi::OsStr>)
        .collect();
    answer("zfs", &words)
}

#[track_caller]
pub fn fails(actions: &[Action], words: &[&str]) {
    let error = perform_all(actions, &host(), &|| false)
        .unwrap_err()
        .to_string();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[track_caller]
pub fn one(found: &[Obstacle], words: &[&str]) {
    assert_eq!(found.len(), 1, "{found:?}");
    for word in words {
        assert!(found[0].what.contains(word), "{word}: {found:?}");
    }
}

pub fn taken(fixture: &At, name: &str, seed: &str) -> tree::Seen {
    tree::empty(fixture.data(), &[]);
    tree::fill_small(fixture.data(), seed);
    take(&*fixture.volume(), &snap(name), &label(name))
}

/// Properties, quotas, reservations and what is delegated.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn what_was_set_on_a_dataset_is_carried_over() {
    let fixture = At::fresh();
    let dataset = fixture.place.dataset.as_str();
    let name = snap("zeebe-snap-1");
    taken(&fixture, "zeebe-snap-1", "older");
    for set in [
        "quota=300M",
        "refreservation=20M",
        "compression=zstd-3",
        "snapdir=visible",
        "org.x:odd=a \"b\" größe",
    ] {
        zfs(&["set", set, dataset]);
    }
    for allow in [
        &["-s", "@ours", "send,hold"][..],
        &["-u", "nobody", "@ours,mount"],
        &["-l", "-g", "daemon", "snapshot"],
        &["-d", "-u", "4242", "diff"],
        &["-e", "bookmark"],
        &["-c", "destroy"],
    ] {
        zfs(&[&["allow"], allow, &[dataset]].concat());
    }
    let told = || {
        let set = zfs(&[
            "get",
            "-Hp",
            "-s",
            "local",
            "-o",
            "property,value",
            "all",
            dataset,
        ]);
        let mut set: Vec<String> = set
            .lines()
            .filter(|line| !line.starts_with("zeebe-snap:"))
            .map(str::to_owned)
            .collect();
        set.sort();
        (
            set,
            zfs(&["allow", dataset]),
            zfs(&["get", "-Hpo", "value", "canmount", dataset]),
        )
    };
    zfs(&["set", "canmount=on", dataset]);
    let before = told();
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    assert_eq!(told(), before, "staged");
    attempt.swap();
    assert_eq!(told(), before, "swapped");
    let beside = fixture.beside_it("restore-1");
    assert_eq!(
        zfs(&["get", "-Hpo", "value", "canmount", &beside]),
        "noauto\n"
    );
    attempt.reverse();
    assert_eq!(told(), before, "reversed");
    attempt.discard();
    assert_eq!(told(), before, "discarded");
}

/// A stage that was cut after its clone was made, and before all was carried over, has staged nothing.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn a_stage_that_was_cut_in_carrying_over_is_none() {
    let fixture = At::fresh();
    let name = snap("zeebe-snap-1");
    taken(&fixture, "zeebe-snap-1", "older");
    zfs(&["allow", "-u", "nobody", "mount", &fixture.place.dataset]);
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    let beside = fixture.beside_it("restore-1");
    zfs(&["set", "zeebe-snap:unfinished=yes", &beside]);
    zfs(&["unallow", "-u", "nobody", &beside]);
    assert_eq!(attempt.progress(), Progress::Untouched);
    assert_eq!(kept(&*volume), []);
    // It is made anew.
    attempt.stage();
    assert!(zfs(&["allow", &beside]).contains("nobody mount"));
    zfs(&["set", "zeebe-snap:unfinished=yes", &beside]);
    perform(&attempt.rollback.clear(&attempt.stage));
    assert!(!fixture.names().contains(&beside));
}

/// What was taken after the snapshot that is brought back stays with what is kept: it is found, read and brought back from
/// there, and what is kept does not go before it.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn what_was_taken_later_stays_with_what_is_kept() {
    let fixture = At::fresh();
    let names = ["zeebe-snap-1", "zeebe-snap-2", "zeebe-snap-3"];
    let seen = [("older", 0), ("new", 1), ("newest", 2)]
        .map(|(seed, at)| taken(&fixture, names[at], seed));
    zfs(&[
        "snapshot",
        &format!("{}@autosnap-daily", fixture.place.dataset),
    ]);
    let before = fixture.traces();
    let all_are_there = |when: &str| {
        let volume = fixture.volume();
        let listed = volume
            .list(&host())
            .unwrap()
            .into_iter()
            .filter(|it| it.label.is_some());
        let listed: Vec<String> = listed.map(|it| it.name.into()).collect();
        assert_eq!(listed, names, "{when}");
        for (name, was) in names.iter().zip(&seen) {
            tree::same(&captured(&*volume, &snap(name)), was, when);
        }
    };
    let volume = fixture.volume();
    let first = Attempt::of(&*volume, &snap(names[0]), "restore-1");
    first.stage();
    first.swap();
    all_are_there("the first was brought back");
    let left = ["zeebe-snap-2", "zeebe-snap-3", "autosnap-daily"];
    fails(&first.rollback.discard(&stage("restore-1")), &left);
    // Out of what is kept, and back; and for good.
    let volume = fixture.volume();
    let second = Attempt::of(&*volume, &snap(names[1]), "restore-2");
    second.stage();
    second.swap();
    tree::same(&fixture.look(), &seen[1], "the second was brought back");
    all_are_there("the second was brought back");
    second.reverse();
    tree::same(&fixture.look(), &seen[0], "and taken back");
    all_are_there("and taken back");
    second.discard();
    all_are_there("discarded");
    second.stage();
    second.swap();
    fixture.site().reboot();
    tree::same(&fixture.look(), &seen[1], "for good");
    all_are_there("for good");
    let volume = fixture.volume();
    let rollback = volume.rollback().unwrap();
    fails(
        &rollback.discard(&stage("restore-1")),
        &["zeebe-snap-3", "autosnap-daily"],
    );
    perform(&rollback.discard(&stage("restore-2")));
    // Undone, it is as it was.
    let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
    undo.stage();
    undo.swap();
    perform(&undo.rollback.forget_kept(&stage("restore-1")));
    perform(&undo.rollback.discard(&stage("undo-1")));
    tree::same(&fixture.look(), &seen[2], "undone");
    all_are_there("undone");
    fixture.no_trace(&before, "undone");
}

/// What was sent is a base for what is sent to the same place later, though its snapshot has gone.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn what_was_sent_stays_a_base() {
    let sides = Sides::<At>::fresh().unwrap();
    let data = sides.fixture.data();
    let dataset = &sides.fixture.place.dataset;
    let marks = || {
        let listed = zfs(&["list", "-H", "-t", "bookmark", "-o", "name", dataset]);
        let name = |line: &str| Some(line.split_once('#')?.1.split_once('.')?.0.to_owned());
        let names: Vec<String> = listed.lines().filter_map(name).collect();
        names
    };
    tree::fill_small(data, "older");
    take(&*sides.volume, &snap("zeebe-snap-1"), &label("1"));
    assert_eq!(sides.ship(&snap("zeebe-snap-1")), None);
    for (before, name) in [
        ("zeebe-snap-1", "zeebe-snap-2"),
        ("zeebe-snap-2", "zeebe-snap-3"),
    ] {
        assert_eq!(marks(), [before]);
        remove(&*sides.volume, &snap(before));
        tree::empty(data, &[]);
        tree::fill_small(data, name);
        let new = take(&*sides.volume, &snap(name), &label(name));
        let base = sides.ship(&snap(name)).expect("not all of it");
        assert!(base.as_str().starts_with(before), "{base}");
        tree::same(&sides.seen(&snap(name)), &new, name);
    }
    assert_eq!(marks(), ["zeebe-snap-3"]);
}

/// It would go with it.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn somebodys_clone_is_not_lost_with_a_snapshot() {
    let fixture = At::fresh();
    let name = snap("zeebe-snap-1");
    let old = taken(&fixture, "zeebe-snap-1", "older");
    let clone = format!("{}/somebodys", fixture.place.pool);
    let full = format!("{}@{name}", fixture.place.dataset);
    zfs(&["clone", &full, &clone]);
    fails(&fixture.volume().destroy(&name), &[&full, &clone]);
    // Nor if they promoted it, and the snapshot is theirs now.
    zfs(&["promote", &clone]);
    let volume = fixture.volume();
    assert_eq!(
        volume.find(&host(), &name).unwrap().unwrap().label,
        Some(label("zeebe-snap-1"))
    );
    tree::same(&captured(&*volume, &name), &old, "promoted");
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
    let names = fixture.names();
    assert!(
        names.contains(&format!("{clone}@{name}")),
        "nothing is taken from them: {names:?}"
    );
    attempt.reverse();
    attempt.discard();
    assert!(fixture.names().contains(&clone));
}

/// A dataset with a key of its own, which `location` says.
struct Encrypted {
    site: Site,
    dataset: String,
    data: PathBuf,
}

impl Encrypted {
    fn fresh() -> Encrypted {
        let site = Site::new();
        let dataset = format!("{}/data", site.pool());
        let (key, data) = (site.dir().join("key"), site.dir().join("data"));
        fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
        let location = format!("keylocation=file://{}", key.display());
        let mountpoint = format!("mountpoint={}", data.display());
        create(
            &["encryption=on", "keyformat=raw", &location, &mountpoint],
            &dataset,
        );
        Encrypted {
            site,
            dataset,
            data,
        }
    }

    fn volume(&self) -> Box<dyn Volume> {
        At::driver().detect(&host(), &self.data).unwrap().unwrap()
    }

    fn look(&self) -> tree::Seen {
        tree::look(&self.data, &[])
    }

    fn load(&self) {
        let location = format!("file://{}", self.site.dir().join("key").display());
        zfs(&["load-key", "-L", &location, &self.dataset]);
    }
}

/// A promotion takes the key with it.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn an_encrypted_dataset_is_brought_back() {
    for is_asked_for in [false, true] {
        let it = Encrypted::fresh();
        let name = snap("zeebe-snap-1");
        if is_asked_for {
            zfs(&["set", "keylocation=prompt", &it.dataset]);
        }
        tree::fill_small(&it.data, "older");
        let old = take(&*it.volume(), &name, &label("1"));
        tree::empty(&it.data, &[]);
        let new = it.look();
        let volume = it.volume();
        let attempt = Attempt::of(&*volume, &name, "restore-1");
        attempt.stage();
        for _ in 0..2 {
            attempt.swap();
            tree::same(&it.look(), &old, "brought back");
            attempt.reverse();
            tree::same_but_for_its_time(&it.look(), &new, "and taken back");
        }
        attempt.swap();
        tree::same(&captured(&*it.volume(), &name), &old, "captured");
        perform(&attempt.rollback.discard(&attempt.stage));
        tree::same(&it.look(), &old, "let go of what was replaced");
        let found = it.volume().obstacles(&host(), Purpose::BringBack).unwrap();
        if is_asked_for {
            // It is still mounted.
            one(&found, &["key", &it.dataset]);
            it.load();
        }
        let volume = it.volume();
        assert_eq!(volume.obstacles(&host(), Purpose::BringBack).unwrap(), []);
        zfs(&["unmount", &it.dataset]);
        zfs(&["unload-key", &it.dataset]);
        for purpose in [Purpose::Capture, Purpose::BringBack] {
            let found = it.volume().obstacles(&host(), purpose).unwrap();
            one(&found, &[&it.dataset, "key"]);
        }
        it.load();
        zfs(&["mount", &it.dataset]);
        tree::same(&it.look(), &old, "with its key");
    }
}
