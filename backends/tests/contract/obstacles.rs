//! What a swap could not overcome is found while the brokers still run: each obstacle is one, and there are no others.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Obstacle, Progress, Purpose, Volume, driver};

use crate::around::mount_point;
use crate::attempt::{Attempt, stage};
use crate::site::{Site, furnish, run};
use crate::snapshots::{label, take};
use crate::{Fixture, Moves, host, perform, snap, tree};

const PURPOSES: [Purpose; 3] = [Purpose::Capture, Purpose::BringBack, Purpose::TakeBack];

#[track_caller]
fn obstacles(volume: &dyn Volume, purpose: Purpose) -> Vec<Obstacle> {
    volume.obstacles(&host(), purpose).unwrap()
}

/// There is one for each purpose, and it names all of `words`.
#[track_caller]
fn one(volume: &dyn Volume, purposes: &[Purpose], words: &[&str]) {
    for purpose in purposes {
        let found = obstacles(volume, *purpose);
        assert_eq!(found.len(), 1, "{purpose:?}: {found:?}");
        for word in words {
            assert!(found[0].what.contains(word), "{word}: {found:?}");
        }
    }
}

#[track_caller]
fn none(volume: &dyn Volume, purposes: &[Purpose]) {
    for purpose in purposes {
        assert_eq!(obstacles(volume, *purpose), [], "{purpose:?}");
    }
}

/// A flag that is taken away again, else nothing could be cleaned up.
struct Flag<'a>(&'a str, PathBuf);

impl<'a> Flag<'a> {
    fn set(flag: &'a str, path: PathBuf) -> Flag<'a> {
        run("chattr", &[&format!("+{flag}"), &path]);
        Flag(flag, path)
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        // What was moved has another name now.
        let off = format!("-{}", self.0);
        drop(crate::site::attempt("chattr", &[&off, &self.1]));
    }
}

/// What cannot be moved right where things are moved.
pub fn what_cannot_be_moved_is_in_the_way<F: Fixture>() {
    let fixture = F::fresh();
    tree::fill_small(fixture.data(), "older");
    let name = snap("zeebe-snap-1");
    take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    let data = fixture.data();
    let cases = match F::MOVES {
        Moves::Name => vec![("i", data.to_owned()), ("a", data.to_owned())],
        Moves::Entries => vec![("i", data.join("same")), ("a", data.join("folder"))],
        // No file is moved.
        Moves::Volume => vec![],
    };
    let both = &PURPOSES[1..];
    for (flag, path) in cases {
        none(&*fixture.volume(), both);
        let set = Flag::set(flag, path.clone());
        let what = if flag == "i" {
            "immutable"
        } else {
            "append-only"
        };
        one(&*fixture.volume(), both, &[path.to_str().unwrap(), what]);
        none(&*fixture.volume(), &[Purpose::Capture]);
        // It is one.
        let swap = attempt.rollback.swap(&attempt.stage);
        assert!(perform_all(&swap, &host(), &|| false).is_err());
        drop(set);
        if F::MOVES == Moves::Entries {
            perform(&attempt.rollback.reverse(&attempt.stage));
        }
    }
    if F::MOVES == Moves::Volume {
        return;
    }
    // So is one in what is to be brought back.
    let volume = fixture.volume();
    attempt.swap();
    let kept = crate::attempt::kept_as(&*volume, "restore-1");
    let path = match F::MOVES {
        Moves::Name => kept.path,
        _ => kept.path.join("folder"),
    };
    let _set = Flag::set("i", path.clone());
    one(
        &*fixture.volume(),
        &[Purpose::TakeBack],
        &[path.to_str().unwrap(), "immutable"],
    );
    none(&*fixture.volume(), &[Purpose::BringBack]);
}

pub fn what_cannot_be_moved_further_down_is_not<F: Fixture>() {
    let fixture = F::fresh();
    tree::fill_small(fixture.data(), "older");
    let name = snap("zeebe-snap-1");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let data = fixture.data();
    fs::write(data.join("folder/more"), "more").unwrap();
    // Right in a folder that changes its name as a whole is further down.
    let further_down = match F::MOVES {
        Moves::Entries => vec!["folder/more"],
        Moves::Name | Moves::Volume => vec!["folder/more", "same"],
    };
    let flags = further_down.iter();
    let set: Vec<_> = flags.map(|name| Flag::set("i", data.join(name))).collect();
    let volume = fixture.volume();
    none(&*volume, &PURPOSES);
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
    attempt.reverse();
    drop(set);
}

pub fn a_read_only_mount_is_in_the_way<F: Fixture>() {
    let fixture = F::fresh();
    tree::fill_small(fixture.data(), "older");
    let point = mount_point(fixture.data());
    run("mount", &[&"-o", &"remount,bind,ro", &point]);
    one(&*fixture.volume(), &PURPOSES[1..], &["read-only"]);
    run("mount", &[&"-o", &"remount,bind,rw", &point]);
    none(&*fixture.volume(), &PURPOSES);
}

/// A mount stays with the folder it shows: if that takes another name, it would show what was replaced.
pub fn a_second_mount_of_a_folder_is_in_the_way<F: Fixture>() {
    let fixture = F::fresh();
    tree::fill_small(fixture.data(), "older");
    let again = fixture.site().mount(fixture.data(), "bind", "again");
    none(&*fixture.volume(), &[Purpose::Capture]);
    let both = &PURPOSES[1..];
    match F::MOVES {
        Moves::Entries => none(&*fixture.volume(), both),
        _ => one(&*fixture.volume(), both, &[again.to_str().unwrap()]),
    }
    let name = snap("zeebe-snap-1");
    let old = take(&*fixture.volume(), &name, &label("1"));
    tree::empty(fixture.data(), &F::leaves_out());
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    if F::ALONE {
        let swap = attempt.rollback.swap(&attempt.stage);
        assert!(perform_all(&swap, &host(), &|| false).is_err());
        perform(&attempt.rollback.reverse(&attempt.stage));
        assert_eq!(attempt.progress(), Progress::Staged);
        return;
    }
    attempt.swap();
    let shown = tree::look(&again, &F::leaves_out());
    assert_eq!(shown == old, F::MOVES == Moves::Entries);
    attempt.reverse();
}

/// A process that has mounts of its own, as a container does.
struct Elsewhere(Child);

impl Elsewhere {
    fn begin() -> Elsewhere {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sleep", "600"]);
        let it = Elsewhere(unshare.stdin(Stdio::null()).spawn().unwrap());
        let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while namespace(&it.id()) == namespace("self") {
            assert!(Instant::now() < until, "it has no mounts of its own");
            thread::yield_now();
        }
        it
    }

    fn id(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// It sees what is brought back; or it is in the way, since it would go on with what is replaced.
pub fn a_mount_of_a_container_is_in_the_way_or_sees_what_is_brought_back<F: Fixture>() {
    let fixture = F::fresh();
    tree::fill_small(fixture.data(), "older");
    let name = snap("zeebe-snap-1");
    let old = take(&*fixture.volume(), &name, &label("1"));
    tree::empty(fixture.data(), &F::leaves_out());
    let elsewhere = Elsewhere::begin();
    none(&*fixture.volume(), &[Purpose::Capture]);
    let both = &PURPOSES[1..];
    if F::MOVES == Moves::Volume {
        one(&*fixture.volume(), both, &[&elsewhere.id(), "namespace"]);
        drop(elsewhere);
        none(&*fixture.volume(), both);
        return;
    }
    let volume = fixture.volume();
    none(&*volume, both);
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    let root = PathBuf::from(format!("/proc/{}/root", elsewhere.id()));
    let seen = root.join(fixture.data().strip_prefix("/").unwrap());
    tree::same(&tree::look(&seen, &F::leaves_out()), &old, "seen there");
    attempt.reverse();
}

/// An ext4 that a program of its own serves: it knows no flags of a rename.
struct Served(PathBuf);

impl Served {
    fn of(site: &Site) -> Served {
        let at = site.dir().join("served");
        fs::create_dir(&at).unwrap();
        run("fuse2fs", &[&"-o", &"fakeroot", &site.disk("ext4"), &at]);
        Served(at)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(crate::site::attempt("umount", &[&self.0]));
    }
}

#[test]
fn a_file_system_that_cannot_exchange_names_is_in_the_way() {
    let site = Site::new();
    let served = Served::of(&site);
    furnish(&served.0);
    let folder = served.0.join("data");
    fs::create_dir(&folder).unwrap();
    for data in [&folder, &served.0.join("missing"), &served.0] {
        let volume = driver("copy")
            .unwrap()
            .detect(&host(), data)
            .unwrap()
            .unwrap();
        let names = || {
            let list = fs::read_dir(&served.0).unwrap();
            list.map(|entry| entry.unwrap().file_name())
                .collect::<Vec<_>>()
        };
        let before = names();
        one(
            &*volume,
            &PURPOSES[1..],
            &["cannot exchange two names", "fuse.ext4"],
        );
        if data.exists() {
            one(
                &*volume,
                &PURPOSES[..1],
                &["only if it is free", "fuse.ext4"],
            );
            // It is one.
            let name = snap("zeebe-snap-1");
            perform(&volume.prepare(&name, &label("1")));
            assert!(perform_all(&volume.snapshot(&name, &label("1")), &host(), &|| false).is_err());
            perform(&volume.unprepare(&name));
        }
        assert_eq!(names(), before, "no trial is left");
    }
}

#[test]
fn a_store_on_another_volume_is_in_the_way() {
    let site = Site::new();
    let data = site.mounted("ext4", "mnt").join("data");
    fs::create_dir(&data).unwrap();
    let large = site.mounted("ext4", "large");
    symlink(&large, data.with_file_name(".zeebe-snap")).unwrap();
    let volume = driver("copy")
        .unwrap()
        .detect(&host(), &data)
        .unwrap()
        .unwrap();
    none(&*volume, &PURPOSES);
    fs::create_dir(large.join("data")).unwrap();
    let store = data.with_file_name(".zeebe-snap/data");
    one(
        &*volume,
        &PURPOSES,
        &[store.to_str().unwrap(), "another volume"],
    );
    // It is one.
    let name = snap("zeebe-snap-1");
    take(&*volume, &name, &label("1"));
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    let swap = attempt.rollback.swap(&stage("restore-1"));
    assert!(perform_all(&swap, &host(), &|| false).is_err());
}
