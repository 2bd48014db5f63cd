//! What is in the way on ZFS, and is found before anything is changed; and what is met on the way all the same.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use zeebe_snap_backends::{Progress, Purpose};

use super::own::{At, fails, one, taken, zfs};
use super::{Inherited, Zfs, create};
use crate::attempt::{Attempt, stage};
use crate::site::run;
use crate::snapshots::{label, remove, take};
use crate::{Fixture, host, perform, snap, tree};

/// A process that has its working folder in the data.
struct Sitter(Child);

impl Sitter {
    fn at(data: &Path) -> Sitter {
        let child = Command::new("sleep")
            .arg("600")
            .current_dir(data)
            .stdin(Stdio::null())
            .spawn();
        Sitter(child.unwrap())
    }
}

impl Drop for Sitter {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn a_dataset_that_is_in_use_stays_as_it_is() {
    let fixture = At::fresh();
    let name = snap("zeebe-snap-1");
    let old = taken(&fixture, "zeebe-snap-1", "older");
    tree::empty(fixture.data(), &[]);
    tree::fill_small(fixture.data(), "newest");
    let new = fixture.look();
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    let sitter = Sitter::at(fixture.data());
    fails(&attempt.rollback.swap(&attempt.stage), &["umount", "busy"]);
    assert_eq!(attempt.progress(), Progress::Staged);
    tree::same(&fixture.look(), &new, "in use");
    drop(sitter);
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
}

#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn what_is_in_the_way_is_found_and_is_in_the_way() {
    let fixture = At::fresh();
    let dataset = fixture.place.dataset.as_str();
    let name = snap("zeebe-snap-1");
    let obstacles = |purpose| fixture.volume().obstacles(&host(), purpose).unwrap();
    let log = fixture.data().join("log");
    fs::write(&log, vec![7; 1 << 20]).unwrap();
    zfs(&["set", "compression=off", dataset]);
    run(
        "dd",
        &[
            &"if=/dev/zero",
            &format!("of={}", log.display()),
            &"bs=1M",
            &"count=200",
            &"conv=fsync",
        ],
    );
    run("zpool", &[&"sync"]);

    // What is reserved and used would be wanted once more.
    zfs(&["set", "refreservation=250M", dataset]);
    one(
        &obstacles(Purpose::Capture),
        &["refreservation of 250 MiB", dataset],
    );
    fails(
        &fixture.volume().snapshot(&name, &label("1")),
        &["out of space"],
    );
    zfs(&["set", "refreservation=none", dataset]);
    assert_eq!(obstacles(Purpose::Capture), []);
    take(&*fixture.volume(), &name, &label("1"));
    zfs(&["set", "reservation=250M", dataset]);
    one(
        &obstacles(Purpose::BringBack),
        &["reserves 250 MiB", dataset],
    );
    assert_eq!(obstacles(Purpose::TakeBack), []);
    let volume = fixture.volume();
    let from = volume.find(&host(), &name).unwrap().unwrap();
    let rollback = volume.rollback().unwrap();
    let staged = rollback.stage(&from, &volume.view(&name), &stage("restore-1"), &label("1"));
    fails(&staged, &["out of space"]);
    perform(&rollback.clear(&stage("restore-1")));
    zfs(&["set", "reservation=none", dataset]);
    assert_eq!(obstacles(Purpose::BringBack), []);

    // Datasets below it.
    let below = format!("{dataset}/below");
    create(&["mountpoint=none"], &below);
    assert_eq!(obstacles(Purpose::Capture), []);
    one(&obstacles(Purpose::BringBack), &[&below]);
    one(&obstacles(Purpose::TakeBack), &[&below]);
    zfs(&["destroy", &below]);

    // Not mounted.
    zfs(&["unmount", dataset]);
    for purpose in [Purpose::Capture, Purpose::BringBack, Purpose::TakeBack] {
        one(&obstacles(purpose), &[dataset, "not mounted"]);
    }
    zfs(&["mount", dataset]);
    assert_eq!(obstacles(Purpose::Capture), []);
}

/// The quota of a dataset is full: that is in nobody's way but the broker's.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn a_full_quota_keeps_nothing_from_being_brought_back() {
    let fixture = At::fresh();
    let dataset = fixture.place.dataset.as_str();
    let name = snap("zeebe-snap-1");
    zfs(&["set", "compression=off", dataset]);
    let old = taken(&fixture, "zeebe-snap-1", "older");
    zfs(&["set", "quota=30M", dataset]);
    let log = fixture.data().join("log");
    let full = fs::write(&log, vec![7; 64 << 20]);
    assert!(full.is_err(), "the quota is full");
    run("zpool", &[&"sync"]);
    let volume = fixture.volume();
    assert_eq!(volume.obstacles(&host(), Purpose::BringBack).unwrap(), []);
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
    attempt.reverse();
    attempt.discard();
    remove(&*volume, &name);
}

/// The longest names there can be; one letter more is in the way.
#[test]
#[ignore = "needs a kernel with ZFS: scripts/vm has one"]
fn long_names_are_told() {
    let fixture = Zfs::<Inherited>::fresh();
    let dataset = fixture.place.dataset.as_str();
    let around = dataset.rsplit_once('/').unwrap().0;
    let named = |length: usize| {
        let name = format!("{around}/{}", "x".repeat(length - around.len() - 1));
        create(&[], &name);
        let data = fixture
            .data()
            .with_file_name(name.rsplit_once('/').unwrap().1);
        (At::driver().detect(&host(), &data).unwrap().unwrap(), data)
    };
    let (longest, data) = named(149);
    assert_eq!(longest.obstacles(&host(), Purpose::BringBack).unwrap(), []);
    let name = snap(&format!("s{}", "x".repeat(47)));
    tree::fill_small(&data, "older");
    let old = take(&*longest, &name, &label("1"));
    let attempt = Attempt::of(&*longest, &name, &"r".repeat(48));
    attempt.stage();
    attempt.swap();
    take(&*longest, &snap("zeebe-snap-2"), &label("2"));
    attempt.reverse();
    tree::same(&tree::look(&data, &[]), &old, "the same");
    let (too_long, _) = named(150);
    one(
        &too_long.obstacles(&host(), Purpose::BringBack).unwrap(),
        &["150 bytes"],
    );
    assert_eq!(too_long.obstacles(&host(), Purpose::Capture).unwrap(), []);
}
