//! A data directory that receives a snapshot of another volume, of another folder or another file system.

use std::fs;
use std::path::{Path, PathBuf};

use zeebe_snap_backends::{
    DRIVERS, Driver, Progress, Purpose, SnapName, Snapshot, Volume, VolumeId, driver, open,
    receiving,
};

use crate::apart::{Cut, What, cut_everywhere};
use crate::around::{STAYS, neighbours, no_trace, traces};
use crate::attempt::{Attempt, From, kept, stage};
use crate::interruptions::task;
use crate::site::{ODD, Site, furnish, run};
use crate::snapshots::{captured, label, take};
use crate::{host, perform, snap, tree};

/// The volume as it is found with `backend = "auto"`.
fn found(data: &Path) -> Box<dyn Volume> {
    let detect = |driver: &&dyn Driver| driver.detect(&host(), data).unwrap();
    DRIVERS.iter().find_map(detect).unwrap()
}

/// What is received.
struct Source {
    volume: Box<dyn Volume>,
    name: SnapName,
    seen: tree::Seen,
}

impl Source {
    fn of(data: &Path) -> Source {
        let name = snap("zeebe-snap-1");
        let seen = take(&*found(data), &name, &label("1"));
        // Its brokers go on.
        fs::write(data.join("same"), "goes on").unwrap();
        let volume = found(data);
        Source { volume, name, seen }
    }

    /// A filled folder of a file system of `kind`.
    fn rich(site: &Site, kind: &str) -> Source {
        let data = site.mounted(kind, "from").join("data");
        match kind {
            "btrfs" => run("btrfs", &[&"subvolume", &"create", &data]),
            _ => fs::create_dir(&data).unwrap(),
        }
        tree::fill(&data, "received");
        Source::of(&data)
    }

    fn snapshot(&self) -> Snapshot {
        self.volume.find(&host(), &self.name).unwrap().unwrap()
    }

    /// The volume at `data` that receives this.
    fn onto(&self, data: &Path) -> Box<dyn Volume> {
        let at = driver("copy").unwrap().detect(&host(), data).unwrap();
        let id = receiving(&at.unwrap().id(), &self.volume.id(), &self.name).unwrap();
        let text = serde_json::to_string(&id).unwrap();
        open(&serde_json::from_str::<VolumeId>(&text).unwrap()).unwrap()
    }

    fn attempt<'a>(&self, onto: &'a dyn Volume) -> Attempt<'a> {
        Attempt {
            rollback: onto.rollback().unwrap(),
            from: From::Snapshot(self.snapshot(), self.volume.view(&self.name)),
            stage: stage("restore-1"),
            label: label("restore-1"),
        }
    }
}

/// What the directory that receives is.
#[derive(Debug, Clone, Copy)]
enum Target {
    Missing,
    /// The folder around it is there, and nothing else.
    Alone,
    Empty,
    Full,
    EmptyMount,
    FullMount,
    /// A btrfs subvolume inside a bigger mount.
    Subvolume,
}

impl Target {
    fn make(self, site: &Site, kind: &str) -> PathBuf {
        let at = Path::new("to").join(ODD);
        let data = match self {
            Target::EmptyMount | Target::FullMount => site.mounted(kind, &at),
            _ => site.mounted(kind, "to").join(ODD),
        };
        match self {
            Target::Alone => fs::create_dir_all(data.parent().unwrap()).unwrap(),
            _ => furnish(data.parent().unwrap()),
        }
        match self {
            Target::Missing | Target::Alone | Target::EmptyMount | Target::FullMount => {}
            Target::Empty | Target::Full => fs::create_dir(&data).unwrap(),
            Target::Subvolume => run("btrfs", &[&"subvolume", &"create", &data]),
        }
        if let Target::Full | Target::FullMount | Target::Subvolume = self {
            tree::fill(&data, "full");
        }
        data
    }
}

/// Onto each kind of target: once taken back, once for good, undone, and the undo undone.
fn received(from: &str, to: &str, targets: &[Target]) {
    for target in targets {
        let site = Site::new();
        let source = Source::rich(&site, from);
        let data = target.make(&site, to);
        let look = || tree::look(&data, &STAYS.map(Into::into));
        let case = |what: &str| format!("{what}: {from} to {to}, {target:?}");
        let mut was = look();
        let (around, before) = (neighbours(&site, &data), traces(&site, &data));
        let check = |what: &str, expected: &tree::Seen| {
            tree::same(&look(), expected, &case(what));
            assert_eq!(neighbours(&site, &data), around, "{}", case(what));
            let snapshot = captured(&*source.volume, &source.name);
            tree::same(&snapshot, &source.seen, &case(what));
        };
        let volume = source.onto(&data);
        let obstacles = volume.obstacles(&host(), Purpose::BringBack).unwrap();
        assert_eq!(obstacles, [], "{}", case("obstacles"));
        let attempt = source.attempt(&*volume);
        // The first that is put into the root of a mount, and the last to leave it, changes its time.
        let still = |what: &str, was: &mut tree::Seen| {
            tree::same_but_for_its_time(&look(), was, &case(what));
            *was = look();
        };
        attempt.stage();
        still("staged", &mut was);
        check("staged", &was);
        let staged = attempt.rollback.staged(&attempt.stage).unwrap();
        tree::same(&tree::look(&staged, &[]), &source.seen, &case("staged"));
        attempt.swap();
        check("swapped", &source.seen);
        attempt.reverse();
        check("reversed", &was);
        attempt.discard();
        no_trace(&site, &data, &before, &case("discarded"));
        still("discarded", &mut was);
        attempt.stage();
        still("staged again", &mut was);
        attempt.swap();
        check("swapped for good", &source.seen);
        site.reboot();
        check("after a boot", &source.seen);
        if let Target::Subvolume = target {
            run("btrfs", &[&"subvolume", &"show", &data]);
        }

        // From here on it is a volume like any other.
        let volume = found(&data);
        assert_eq!(volume.obstacles(&host(), Purpose::Capture).unwrap(), []);
        let of = |name: &str, seen: &tree::Seen| (stage(name), Some(label(name)), seen.clone());
        tree::work(&data);
        let worked = look();
        if was.is_none() {
            assert_eq!(kept(&*volume), [], "{}", case("nothing is kept"));
            continue;
        }
        assert_eq!(kept(&*volume), [of("restore-1", &was)], "{}", case("kept"));
        let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
        undo.stage();
        undo.swap();
        perform(&undo.rollback.forget_kept(&stage("restore-1")));
        check("undone", &was);
        let volume = found(&data);
        assert_eq!(
            kept(&*volume),
            [of("undo-1", &worked)],
            "{}",
            case("undone")
        );
        let again = Attempt::undoing(&*volume, "undo-1", "undo-2");
        again.stage();
        again.swap();
        perform(&again.rollback.forget_kept(&stage("undo-1")));
        check("the undo undone", &worked);
        let volume = found(&data);
        assert_eq!(kept(&*volume), [of("undo-2", &was)], "{}", case("undone"));
        perform(&volume.rollback().unwrap().discard(&stage("undo-2")));
        assert_eq!(kept(&*found(&data)), [], "{}", case("let go of"));
        tree::same_but_for_its_time(&look(), &worked, &case("let go of"));
        no_trace(&site, &data, &before, &case("let go of"));
    }
}

const ANYWHERE: &[Target] = &[
    Target::Missing,
    Target::Alone,
    Target::Empty,
    Target::Full,
    Target::EmptyMount,
    Target::FullMount,
];

#[test]
fn from_btrfs_to_xfs() {
    received("btrfs", "xfs", ANYWHERE);
}

#[test]
fn from_ext4_to_btrfs() {
    received("ext4", "btrfs", ANYWHERE);
    received("ext4", "btrfs", &[Target::Subvolume]);
}

#[test]
fn from_xfs_to_ext4() {
    received("xfs", "ext4", ANYWHERE);
}

#[test]
fn from_btrfs_to_another_btrfs() {
    received("btrfs", "btrfs", ANYWHERE);
    received("btrfs", "btrfs", &[Target::Subvolume]);
}

/// A folder beside the one that was captured.
#[test]
fn within_one_file_system() {
    for kind in ["btrfs", "xfs", "ext4"] {
        let site = Site::new();
        let source = Source::rich(&site, kind);
        let data = source.volume.data().with_file_name("other");
        let around = neighbours(&site, &data);
        let volume = source.onto(&data);
        assert_eq!(volume.obstacles(&host(), Purpose::BringBack).unwrap(), []);
        let attempt = source.attempt(&*volume);
        attempt.stage();
        attempt.swap();
        tree::same(&tree::look(&data, &[]), &source.seen, kind);
        assert_eq!(neighbours(&site, &data), around);
    }
}

/// A snapshot that is not the one that is received is not taken for it.
#[test]
fn what_is_received_is_known() {
    let site = Site::new();
    let source = Source::rich(&site, "xfs");
    let data = Target::Full.make(&site, "ext4");
    let volume = source.onto(&data);
    let attempt = source.attempt(&*volume);
    attempt.stage();
    let other = Attempt {
        from: From::Snapshot(
            Snapshot {
                identity: "of another snapshot".to_owned(),
                ..source.snapshot()
            },
            source.volume.view(&source.name),
        ),
        ..source.attempt(&*volume)
    };
    other.is_unclear();
    attempt.discard();
}

/// The obstacles to receiving `source`, when the file system of `data` has `left` bytes.
#[track_caller]
fn obstacle(source: &Source, data: &Path) -> Option<String> {
    let volume = source.onto(data);
    let found = volume.obstacles(&host(), Purpose::BringBack).unwrap();
    assert!(found.len() <= 1, "{found:?}");
    found.into_iter().next().map(|found| found.what)
}

#[test]
fn room_is_weighed_where_it_is_needed() {
    let site = Site::new();
    let data = site.mounted("xfs", "from").join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("large"), vec![7; 20 << 20]).unwrap();
    let source = Source::of(&data);
    let small = site.mount(Path::new("none"), "size=16m", "small");
    let what = obstacle(&source, &small.join("data")).expect("there is no room");
    assert!(what.contains("20 MiB") && what.contains("16 MiB"), "{what}");
    assert!(what.contains(small.to_str().unwrap()), "{what}");
    let large = site.mount(Path::new("none"), "size=32m", "large");
    assert_eq!(obstacle(&source, &large.join("data")), None);
    // What shares blocks needs none.
    let rest = site.dir().join("from/rest");
    let free = nix::sys::statvfs::statvfs(&data).unwrap();
    let free = free.blocks_available() * free.fragment_size() - (10 << 20);
    run("fallocate", &[&"-l", &free.to_string(), &rest]);
    assert_eq!(obstacle(&source, &data.with_file_name("other")), None);
    // Not with another mount of it, as far as every kernel goes.
    let again = site.mount(&site.dir().join("from"), "bind", "again");
    assert!(obstacle(&source, &again.join("other")).is_some());
}

/// There is nothing, or all of it, and then nothing again.
#[test]
fn a_killed_stage_leaves_nothing() {
    for (from, to, target) in [
        ("xfs", "btrfs", Target::Subvolume),
        ("btrfs", "ext4", Target::FullMount),
        ("ext4", "xfs", Target::Alone),
    ] {
        let site = Site::new();
        let from = site.mounted(from, "from").join("data");
        fs::create_dir(&from).unwrap();
        tree::fill_small(&from, "older");
        let source = Source::of(&from);
        let data = target.make(&site, to);
        let look = || tree::look(&data, &STAYS.map(Into::into));
        let (was, before) = (look(), traces(&site, &data));
        let volume = source.onto(&data);
        let attempt = source.attempt(&*volume);
        let what = What::Stage(
            source.volume.id(),
            source.snapshot(),
            stage("restore-1"),
            label("restore-1"),
        );
        cut_everywhere(Cut::Calls, &task(&*volume, what), |when| {
            assert_eq!(kept(&*found(&data)), [], "{when}");
            match attempt.progress() {
                Progress::Untouched => perform(&attempt.rollback.clear(&attempt.stage)),
                Progress::Staged => {
                    let staged = attempt.rollback.staged(&attempt.stage).unwrap();
                    tree::same(&tree::look(&staged, &[]), &source.seen, when);
                    attempt.discard();
                }
                other => panic!("{when}: {other:?}"),
            }
            no_trace(&site, &data, &before, when);
            tree::same_but_for_its_time(&look(), &was, when);
        });
    }
}
