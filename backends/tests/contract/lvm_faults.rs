//! What can go wrong with logical volumes: each fault is told with the name of what has it, and costs nothing that was there.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Action, Error, Obstacle, Progress, Purpose, Volume};

use super::{Ext4, Folder, Group, Thick, Whole, Xfs};
use crate::attempt::Attempt;
use crate::site::{Site, answer, run};
use crate::snapshots::{captured, label, remove, take};
use crate::streams::{Sides, landing};
use crate::{Fixture, host, perform, snap, tree};

const MIB: u64 = 1 << 20;

/// What `actions` end with, who must not succeed.
#[track_caller]
fn fails(actions: &[Action]) -> String {
    let error = perform_all(actions, &host(), &|| false).unwrap_err();
    with_causes(&error)
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[track_caller]
pub fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// There is one for each of both purposes that make a snapshot, and it names all of `words`.
#[track_caller]
fn in_the_way(volume: &dyn Volume, words: &[&str]) {
    for purpose in [Purpose::Capture, Purpose::BringBack] {
        let found = volume.obstacles(&host(), purpose).unwrap();
        let [Obstacle { what, .. }] = &found[..] else {
            panic!("{purpose:?}: {found:?}")
        };
        says(what, words);
    }
    let to_take_back = volume.obstacles(&host(), Purpose::TakeBack).unwrap();
    assert_eq!(to_take_back, []);
}

/// Writes to a device, MiB by MiB, until it takes no more.
fn fill(node: &Path, mib: std::ops::Range<u64>) {
    let device = fs::OpenOptions::new().write(true).open(node).unwrap();
    let block = vec![7; MIB as usize];
    for at in mib {
        if device.write_all_at(&block, at * MIB).is_err() {
            return;
        }
    }
    // What cannot be written is no one's.
    drop(device.sync_all());
}

impl Group {
    pub fn device(&self, name: &str) -> String {
        let group = self.name.replace('-', "--");
        format!("{group}-{}", name.replace('-', "--"))
    }

    fn of_pool<T: FromStr<Err: Debug>>(&self, field: &str) -> T {
        let pool = self.lv("pool");
        let words: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"--noheadings", &"-o", &field, &pool];
        answer("lvs", &words).trim().parse().unwrap()
    }

    /// How much of the pool is used, in percent.
    fn used(&self, field: &str) -> f64 {
        self.of_pool(field)
    }

    /// How many changes to the pool LVM has counted.
    fn transaction(&self) -> u64 {
        self.of_pool("transaction_id")
    }

    /// What is written to a full pool fails at once, and does not wait for somebody to extend it.
    fn fails_when_full(&self) {
        run(
            "lvchange",
            &[&"-q", &"--errorwhenfull", &"y", &self.lv("pool")],
        );
    }
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_pool_with_no_room_is_in_the_way_and_keeps_what_it_has() {
    let fixture = Whole::<Ext4>::fresh();
    let group = &fixture.group;
    group.fails_when_full();
    let name = snap("zeebe-snap-1");
    tree::fill_small(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    assert_eq!(volume.obstacles(&host(), Purpose::Capture).unwrap(), []);
    group.volume("filler", "600m");
    let mut written = 0;
    while group.used("data_percent") < 91.0 {
        fill(&group.node("filler"), written..written + 30);
        written += 30;
    }
    assert!(group.used("data_percent") < 100.0);
    in_the_way(&*volume, &[&group.lv("pool"), "% full"]);

    fill(&group.node("filler"), written..600);
    assert_eq!(group.used("data_percent"), 100.0);
    in_the_way(&*volume, &[&group.lv("pool")]);
    let names = group.names();
    let why = fails(&volume.snapshot(&snap("zeebe-snap-2"), &label("2")));
    says(&why, &["lvcreate", &group.name]);
    assert_eq!(group.names(), names, "nothing is left");
    tree::same(&captured(&*volume, &name), &old, "captured");

    // With room again all is well.
    group.remove("filler");
    in_no_ones_way(&*volume);
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
}

#[track_caller]
fn in_no_ones_way(volume: &dyn Volume) {
    for purpose in [Purpose::Capture, Purpose::BringBack] {
        assert_eq!(
            volume.obstacles(&host(), purpose).unwrap(),
            [],
            "{purpose:?}"
        );
    }
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_pool_with_no_metadata_left_is_in_the_way_and_keeps_what_it_has() {
    let fixture = Whole::<Ext4>::fresh();
    let group = &fixture.group;
    let name = snap("zeebe-snap-1");
    tree::fill_small(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    in_no_ones_way(&*volume);
    // A snapshot shares the map of its volume until that is written to: then each leaf of it is copied.
    group.volume("filler", "200m");
    let (node, device) = (group.node("filler"), group.device("filler"));
    fill(&node, 0..200);
    let table = answer("dmsetup", &[&"table", &device]);
    let thin = table.split_whitespace().next_back().unwrap().to_owned();
    let pool = group.device("pool") + "-tpool";
    let mut warned = false;
    for number in 1000.. {
        run("dmsetup", &[&"suspend", &device]);
        let message = format!("create_snap {number} {thin}");
        let made = crate::site::attempt("dmsetup", &[&"message", &pool, &"0", &message]);
        run("dmsetup", &[&"resume", &device]);
        if made.is_err() || !touch_each_leaf(&node) {
            break;
        }
        let used = group.used("metadata_percent");
        if !warned && (80.0..95.0).contains(&used) {
            in_the_way(&*volume, &["metadata", &group.lv("pool"), "% full"]);
            let why = fails(&volume.snapshot(&snap("zeebe-snap-2"), &label("2")));
            says(&why, &["lvcreate", &group.name]);
            warned = true;
        }
        assert!(number < 1200, "{used} %");
    }
    assert!(warned);
    in_the_way(&*volume, &[&group.lv("pool")]);
    let names = group.names();
    let why = fails(&volume.snapshot(&snap("zeebe-snap-2"), &label("2")));
    says(&why, &["lvcreate", &group.name]);
    assert_eq!(group.names(), names, "nothing is left");
    let found = volume.find(&host(), &name).unwrap().unwrap();
    assert_eq!(found.label, Some(label("1")));
    tree::same(&captured(&*volume, &name), &old, "captured");
}

/// As after a change that was cut.
#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_pool_that_is_out_of_step_is_in_the_way_and_left() {
    let fixture = Whole::<Ext4>::fresh();
    let group = &fixture.group;
    let name = snap("zeebe-snap-1");
    tree::fill_small(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    in_no_ones_way(&*volume);
    let pool = group.device("pool") + "-tpool";
    let is = group.transaction();
    let tell = |from: u64, to: u64| {
        let message = format!("set_transaction_id {from} {to}");
        run("dmsetup", &[&"message", &pool, &"0", &message]);
    };
    tell(is, is + 1);
    let expected = format!("at transaction {}, and LVM expects {is}", is + 1);
    in_the_way(&*volume, &[&group.lv("pool"), &expected]);
    let names = group.names();
    let why = fails(&volume.snapshot(&snap("zeebe-snap-2"), &label("2")));
    says(&why, &["lvcreate", &group.name]);
    assert_eq!(group.names(), names, "nothing is left");
    tree::same(&captured(&*volume, &name), &old, "captured");

    // When somebody has settled it all is well.
    tell(is + 1, is);
    in_no_ones_way(&*volume);
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
}

/// Whether all of it could be written.
fn touch_each_leaf(node: &Path) -> bool {
    let device = fs::OpenOptions::new().write(true).open(node).unwrap();
    let written = (0..200 * MIB)
        .step_by(8 * MIB as usize)
        .try_for_each(|at| device.write_all_at(&[9; 1 << 16], at));
    written.and_then(|()| device.sync_all()).is_ok()
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_snapshot_that_was_run_over_is_told_of_and_removed() {
    let fixture = Thick::fresh();
    let name = snap("zeebe-snap-1");
    let before = fixture.traces();
    tree::fill_small(fixture.data(), "old");
    take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let lv = fixture.group.lv(&fixture.group.called(name.as_str()));
    let large = fixture.data().join("large");
    fs::write(&large, vec![1; 20 << 20]).unwrap();
    perform(&[Action::Sync(fixture.data().to_owned())]);
    // To bring it back would write more than it has room for.
    fs::remove_file(&large).unwrap();
    fs::write(&large, vec![2; 12 << 20]).unwrap();
    perform(&[Action::Sync(fixture.data().to_owned())]);
    fs::write(&large, vec![3; 40 << 20]).unwrap();
    perform(&[Action::Sync(fixture.data().to_owned())]);

    let found = volume.find(&host(), &name).unwrap().unwrap();
    assert_eq!(found.label, Some(label("1")), "it is still ours");
    let read = |_: &Path| Ok::<_, Error>(());
    let error = volume.view(&name).read(&host(), read).unwrap_err();
    says(&error.to_string(), &[&lv, "run over"]);
    in_no_ones_way(&*volume);
    let (attempt, worked) = (Attempt::of(&*volume, &name, "restore-1"), fixture.look());
    let stage = attempt
        .rollback
        .stage(&found, &volume.view(&name), &attempt.stage, &attempt.label);
    says(&fails(&stage), &[&lv, "run over"]);
    assert_eq!(attempt.progress(), Progress::Untouched);
    perform(&attempt.rollback.clear(&attempt.stage));
    tree::same_but_for_its_time(&fixture.look(), &worked, "the data");
    remove(&*volume, &name);
    tree::empty(fixture.data(), &Thick::leaves_out());
    fixture.no_trace(&before, "nothing is left");
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_snapshot_with_too_little_room_to_bring_it_back_is_in_the_way() {
    let fixture = Thick::fresh();
    let (volume, name) = (fixture.volume(), snap("zeebe-snap-1"));
    fs::write(fixture.data().join("large"), vec![1; 30 << 20]).unwrap();
    take(&*volume, &name, &label("1"));
    let lv = fixture.group.lv(&fixture.group.called(name.as_str()));
    let obstacles = volume.obstacles(&host(), Purpose::BringBack).unwrap();
    let [obstacle] = &obstacles[..] else {
        panic!("{obstacles:?}")
    };
    says(&obstacle.what, &[&lv]);
    // What it says is to be done helps.
    let words: Vec<&str> = obstacle.todo.split(' ').collect();
    let arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = words[1..]
        .iter()
        .map(|word| word as &dyn AsRef<std::ffi::OsStr>)
        .collect();
    run(words[0], &arguments);
    in_no_ones_way(&*volume);
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    assert!(captured(&*volume, &name).is_some());
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_snapshot_that_cannot_be_read_is_told_of_and_nothing_is_left() {
    let fixture = Thick::fresh();
    let group = &fixture.group;
    let (volume, name) = (fixture.volume(), snap("zeebe-snap-1"));
    let large = fixture.data().join("large");
    fs::write(&large, vec![1; 12 << 20]).unwrap();
    take(&*volume, &name, &label("1"));
    // In place, so that what was there is in the snapshot's own room.
    let file = fs::OpenOptions::new().write(true).open(&large).unwrap();
    file.write_all_at(&vec![2; 12 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let (before, was) = (fixture.traces(), fixture.look());
    // The first of that can be read; the rest of it returns errors. What is cloned is written to the volume, so the snapshot
    // would have to take more, and cannot.
    let called = group.called(name.as_str());
    let (lv, device) = (group.lv(&called), group.device(&called) + "-cow");
    let table = answer("dmsetup", &[&"table", &device]);
    let words: Vec<&str> = table.split_whitespace().collect();
    let (all, kind) = (words[1].parse::<u64>().unwrap(), words[2..].join(" "));
    let first = 6 * MIB / 512;
    let file = fixture.site().dir().join("disks/table");
    fs::write(
        &file,
        format!("0 {first} {kind}\n{first} {} error\n", all - first),
    )
    .unwrap();
    run("dmsetup", &[&"suspend", &"--noflush", &device]);
    run("dmsetup", &[&"load", &device, &file]);
    run("dmsetup", &[&"resume", &device]);

    let attempt = Attempt::of(&*volume, &name, "restore-1");
    let found = volume.find(&host(), &name).unwrap().unwrap();
    let stage = attempt
        .rollback
        .stage(&found, &volume.view(&name), &attempt.stage, &attempt.label);
    says(&fails(&stage), &[&lv, "nothing is left in it"]);
    assert_eq!(attempt.progress(), Progress::Untouched);
    perform(&attempt.rollback.clear(&attempt.stage));
    tree::same_but_for_its_time(&fixture.look(), &was, "the data");
    fixture.no_trace(&before, "nothing is left");
    remove(&*volume, &name);
    assert_eq!(volume.find(&host(), &name).unwrap(), None);
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_volume_in_use_stays_where_it_is() {
    let fixture = Whole::<Xfs>::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill_small(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    tree::empty(fixture.data(), &[]);
    let was = fixture.look();
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    let mut sits = Command::new("sleep")
        .arg("600")
        .current_dir(fixture.data())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let why = fails(&attempt.rollback.swap(&attempt.stage));
    sits.kill().unwrap();
    sits.wait().unwrap();
    says(&why, &["umount", fixture.data().to_str().unwrap(), "busy"]);
    assert_eq!(attempt.progress(), Progress::Staged);
    tree::same(&fixture.look(), &was, "the data");
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
}

/// A disk below a volume group, of which parts can be broken.
struct Disk {
    mapped: String,
    whole: String,
    tables: PathBuf,
}

impl Disk {
    fn fresh() -> (Group, Disk) {
        let site = Site::new();
        let (name, mapped) = site.frail_group();
        let disk = Disk {
            whole: answer("dmsetup", &[&"table", &mapped]),
            tables: site.dir().join("disks/table"),
            mapped,
        };
        let group = Group {
            site,
            name,
            is_thin: false,
        };
        (group.with_pool(), disk)
    }

    /// So many MiB of the pool of `group`, counted from the end of what is used, cannot be read or written any more.
    fn break_at(&self, group: &Group, mib: std::ops::Range<i64>) {
        let table = answer("dmsetup", &[&"table", &group.device("pool_tdata")]);
        assert_eq!(table.lines().count(), 1, "it is of one piece");
        let [_, length, _, _, start] = numbers(&table);
        let used = (length as f64 * group.used("data_percent") / 100.0) as u64;
        let [_, all, _, _, offset] = numbers(&self.whole);
        let at = |mib: i64| (start + used).saturating_add_signed(mib * MIB as i64 / 512);
        let (from, to) = (at(mib.start), at(mib.end));
        let device = self.whole.split_whitespace().nth(3).unwrap();
        self.load(&format!(
            "0 {from} linear {device} {offset}\n{from} {} error\n{to} {} linear {device} {}\n",
            to - from,
            all - to,
            offset + to
        ));
    }

    fn mend(&self) {
        self.load(&self.whole);
    }

    fn load(&self, table: &str) {
        fs::write(&self.tables, table).unwrap();
        run("dmsetup", &[&"suspend", &"--noflush", &self.mapped]);
        run("dmsetup", &[&"load", &self.mapped, &self.tables]);
        run("dmsetup", &[&"resume", &self.mapped]);
    }
}

/// The numbers in the first line of a table; 0 for a word.
fn numbers(table: &str) -> [u64; 5] {
    let words = table.lines().next().unwrap().split_whitespace();
    let numbers: Vec<u64> = words.map(|word| word.parse().unwrap_or(0)).collect();
    numbers.try_into().unwrap()
}

/// Writes what takes most of the room that is used, last.
fn fill_large(data: &Path) {
    fs::write(data.join("large"), vec![7; 24 << 20]).unwrap();
    perform(&[Action::Sync(data.to_owned())]);
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_disk_that_fails_under_a_send_is_told_of_and_nothing_is_left() {
    let (group, disk) = Disk::fresh();
    let sides = Sides::of(Whole::<Xfs>::on(group));
    let (group, name) = (&sides.fixture.group, snap("zeebe-snap-1"));
    fill_large(sides.fixture.data());
    let old = take(&*sides.volume, &name, &label("1"));
    let lv = group.lv(&group.called(name.as_str()));
    let (shipment, names) = (sides.shipment(&name).0, group.names());
    disk.break_at(group, -12..-8);
    let said = sides.try_to_ship(&shipment).unwrap_err();
    says(&said, &[&lv, "Input/output error"]);
    assert_eq!(sides.landing.landed(&host()).unwrap(), []);
    group.is_at_rest("failed");
    assert_eq!(group.names(), names);
    disk.mend();
    tree::same(&captured(&*sides.volume, &name), &old, "captured");
    sides.ship(&name);
    tree::same(&sides.seen(&name), &old, "sent");
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_disk_that_fails_where_a_stream_lands_is_told_of_and_nothing_is_left() {
    let (target, disk) = Disk::fresh();
    let fixture = Whole::<Xfs>::fresh();
    let place = format!("lvm:{}/pool/node-0", target.name);
    let sides = Sides {
        volume: fixture.volume(),
        landing: landing::<Whole<Xfs>>(&place),
        fixture,
    };
    let [first, second] = ["zeebe-snap-1", "zeebe-snap-2"].map(snap);
    tree::fill_small(sides.fixture.data(), "older");
    let old = take(&*sides.volume, &first, &label("1"));
    sides.ship(&first);
    fill_large(sides.fixture.data());
    let new = take(&*sides.volume, &second, &label("2"));
    let (shipment, names) = (sides.shipment(&second).0, target.names());
    disk.break_at(&target, 4..8);
    let said = sides.try_to_ship(&shipment).unwrap_err();
    says(
        &said,
        &[&target.name, second.as_str(), "Input/output error"],
    );
    assert_eq!(sides.whole(&second), None);
    assert_eq!(target.names(), names);
    sides.fixture.group.is_at_rest("failed");
    disk.mend();
    tree::same(&sides.seen(&first), &old, "its base");
    sides.ship(&second);
    tree::same(&sides.seen(&second), &new, "sent");
}

#[test]
#[ignore = "needs a kernel with device-mapper: scripts/vm runs it"]
fn a_disk_that_fails_under_a_clone_is_told_of_and_nothing_is_left() {
    let (group, disk) = Disk::fresh();
    let fixture = Folder::on(group);
    let (group, volume, name) = (&fixture.group, fixture.volume(), snap("zeebe-snap-1"));
    fill_large(fixture.data());
    let old = take(&*volume, &name, &label("1"));
    let (before, was) = (fixture.traces(), fixture.look());
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    disk.break_at(group, -12..-8);
    let found = volume.find(&host(), &name).unwrap().unwrap();
    let stage = attempt
        .rollback
        .stage(&found, &volume.view(&name), &attempt.stage, &attempt.label);
    says(&fails(&stage), &["large", "Input/output error"]);
    group.is_at_rest("failed");
    assert_eq!(attempt.progress(), Progress::Untouched);
    perform(&attempt.rollback.clear(&attempt.stage));
    disk.mend();
    tree::same(&fixture.look(), &was, "the data");
    fixture.no_trace(&before, "nothing is left");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
}
