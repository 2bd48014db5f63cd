//! A rollback is of the data alone: what is beside it stays as it is, and so does what is mounted.

use zeebe_snap_backends::{Progress, Purpose};

use crate::around::{neighbours, what_is_mounted};
use crate::attempt::Attempt;
use crate::snapshots::{captured, label, remove, take};
use crate::{Fixture, host, perform, snap, tree};

pub fn neighbours_do_not_notice<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(&fixture.another(), "another");
    tree::fill(fixture.data(), "old");
    let before = neighbours(fixture.site(), fixture.data());
    let same = |when: &str| {
        assert_eq!(neighbours(fixture.site(), fixture.data()), before, "{when}");
    };
    take(&*fixture.volume(), &name, &label("1"));
    same("after the snapshot");
    tree::change(fixture.data());
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    same("after the rollback");
    attempt.reverse();
    same("after its reverse");
    attempt.discard();
    remove(&*volume, &name);
    same("when all is over");
}

/// Nothing else is mounted after a swap than before, and what a broker writes through the path is where the next boot
/// looks for it.
pub fn what_is_mounted_stays_and_a_boot_finds_what_is_right<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(fixture.data(), "old");
    let mut restored = take(&*fixture.volume(), &name, &label("1"));
    tree::change(fixture.data());
    let mut replaced = fixture.look();
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    for (round, to) in [
        ("swapped", Progress::Swapped),
        ("reversed", Progress::Staged),
        ("swapped again", Progress::Swapped),
        ("reversed again", Progress::Staged),
    ] {
        let mount = what_is_mounted(fixture.data(), F::MOVES);
        let in_place = match to {
            Progress::Swapped => {
                attempt.swap();
                &mut restored
            }
            _ => {
                attempt.reverse();
                &mut replaced
            }
        };
        assert_eq!(what_is_mounted(fixture.data(), F::MOVES), mount, "{round}");
        tree::same(&fixture.look(), in_place, round);
        tree::write_in_place(fixture.data(), round);
        *in_place = fixture.look();
        fixture.site().reboot();
        tree::same(&fixture.look(), in_place, round);
        assert_eq!(attempt.progress(), to, "{round}");
    }
    let found = fixture.volume().find(&host(), &name).unwrap();
    let identity = found.as_ref().map(|found| found.identity.as_str());
    assert_eq!(identity, Some(attempt.identity()));
}

/// Two data directories of one file system. Where one snapshot holds both, it is taken once; what is brought back is one
/// of them, and the other does not notice.
pub fn each_of_two_is_brought_back_alone<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    let paths = [fixture.data().to_owned(), fixture.another()];
    let before = fixture.traces();
    for (path, seed) in paths.iter().zip(["one", "another"]) {
        tree::fill(path, seed);
    }
    let find = || {
        let found = paths
            .each_ref()
            .map(|path| F::driver().detect(&host(), path));
        found.map(|volume| volume.unwrap().unwrap())
    };
    let volumes = find();
    assert_eq!(volumes[0].freezes() == volumes[1].freezes(), F::TOGETHER);
    let first = take(&*volumes[0], &name, &label("1"));
    let second = match F::TOGETHER {
        true => tree::look(&paths[1], &volumes[1].leave_out()),
        false => take(&*volumes[1], &name, &label("1")),
    };
    let old = [first, second];
    for path in &paths {
        tree::change(path);
    }
    let volumes = find();
    // Under one name, as a restore does it.
    let attempts = volumes.each_ref().map(|volume| {
        let found = volume.find(&host(), &name).unwrap().unwrap();
        assert_eq!(found.label, Some(label("1")));
        assert_eq!(volume.obstacles(&host(), Purpose::BringBack).unwrap(), []);
        let attempt = Attempt::of(&**volume, &name, "restore-1");
        attempt.stage();
        attempt
    });
    for (turn, (volume, attempt)) in volumes.iter().zip(&attempts).enumerate() {
        tree::same(&captured(&**volume, &name), &old[turn], "captured");
        let around = neighbours(fixture.site(), &paths[turn]);
        attempt.swap();
        let now = tree::look(&paths[turn], &volume.leave_out());
        tree::same(&now, &old[turn], "brought back");
        assert_eq!(neighbours(fixture.site(), &paths[turn]), around);
        attempt.reverse();
        assert_eq!(neighbours(fixture.site(), &paths[turn]), around);
    }
    for attempt in attempts {
        attempt.discard();
    }
    perform(&volumes[0].destroy(&name));
    for (volume, left) in volumes.iter().zip([false, !F::TOGETHER]) {
        assert_eq!(volume.find(&host(), &name).unwrap().is_some(), left);
    }
    if !F::TOGETHER {
        perform(&volumes[0].unprepare(&name));
        tree::same(&captured(&*volumes[1], &name), &old[1], "the other removed");
        perform(&volumes[1].destroy(&name));
    }
    for volume in &volumes {
        perform(&volume.unprepare(&name));
    }
    tree::empty(&paths[1], &F::leaves_out());
    fixture.no_trace(&before, "nothing is left");
}

/// Volumes that have nothing to do with each other have no snapshot together.
pub fn what_is_frozen_is_of_one_file_system<F: Fixture>() {
    let [one, other] = [F::fresh(), F::fresh()];
    assert_ne!(one.volume().freezes(), other.volume().freezes());
    assert_eq!(one.volume().freezes(), one.volume().freezes());
}
