//! Rollbacks: whatever has become of the data, the snapshot's content comes back and what it replaces is kept.

use std::fs;

use zeebe_snap_backends::{Progress, Purpose, Snapshot};

use crate::attempt::{Attempt, From, kept, stage};
use crate::snapshots::{captured, label, remove, take};
use crate::{Fixture, Moves, host, snap, tree};

pub fn data_as_it_was_is_brought_back<F: Fixture>() {
    brought_back::<F>(|_| {});
}

pub fn data_with_its_content_deleted_is_brought_back<F: Fixture>() {
    brought_back::<F>(|fixture| tree::empty(fixture.data(), &F::leaves_out()));
}

pub fn data_deleted_altogether_is_brought_back<F: Fixture>() {
    brought_back::<F>(|fixture| fixture.remove_data());
}

pub fn data_replaced_by_a_folder_is_brought_back<F: Fixture>() {
    brought_back::<F>(|fixture| {
        fixture.remove_data();
        fixture.remake_data();
        tree::fill(fixture.data(), "other");
    });
}

/// Restores after `ruin`: once taken back, once for good, and then once more from the same snapshot.
fn brought_back<F: Fixture>(ruin: impl FnOnce(&F)) {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    tree::change(fixture.data());
    ruin(&fixture);
    let ruined = fixture.look();
    assert_ne!(ruined, old);

    let volume = fixture.volume();
    let around = fixture.traces();
    let obstacles = volume.obstacles(&host(), Purpose::BringBack).unwrap();
    assert_eq!(obstacles, []);
    let first = Attempt::of(&*volume, &name, "restore-1");
    first.stage();
    tree::same(&fixture.look(), &ruined, "staged");
    first.swap();
    tree::same(&fixture.look(), &old, "swapped");
    first.reverse();
    tree::same(&fixture.look(), &ruined, "reversed");
    first.discard();
    tree::same(&fixture.look(), &ruined, "discarded");
    assert_eq!(kept(&*volume), []);
    fixture.no_trace(&around, "nothing is left");

    first.stage();
    first.swap();
    tree::same(&fixture.look(), &old, "swapped for good");
    let mut expected = Vec::new();
    if ruined.is_some() {
        expected.push((stage("restore-1"), Some(label("restore-1")), ruined));
    }
    assert_eq!(kept(&*fixture.volume()), expected);

    // Work goes on, and the snapshot does not notice.
    tree::change(fixture.data());
    let worked = fixture.look();
    tree::same(&captured(&*volume, &name), &old, "worked on");

    let volume = fixture.volume();
    let second = Attempt::of(&*volume, &name, "restore-2");
    assert_eq!(
        second.identity(),
        first.identity(),
        "the snapshot is still ours"
    );
    second.stage();
    second.swap();
    second.reverse();
    tree::same(&fixture.look(), &worked, "reversed");
    second.swap();
    tree::same(&fixture.look(), &old, "swapped again");
    expected.push((stage("restore-2"), Some(label("restore-2")), worked));
    assert_eq!(kept(&*fixture.volume()), expected);

    // What came back is a volume like any other: it can be captured in its turn.
    let volume = fixture.volume();
    let capture = volume.obstacles(&host(), Purpose::Capture).unwrap();
    assert_eq!(capture, []);
    take(&*volume, &snap("zeebe-snap-2"), &label("2"));
    tree::same(
        &captured(&*volume, &snap("zeebe-snap-2")),
        &old,
        "captured again",
    );
    let listed = volume.list(&host()).unwrap();
    let labels: Vec<_> = listed.into_iter().map(|snapshot| snapshot.label).collect();
    assert_eq!(labels, [Some(label("1")), Some(label("2"))]);
}

/// One that was taken back, and one that had nothing to replace: once the snapshot is gone there is no trace of either.
pub fn a_rollback_that_keeps_nothing_leaves_nothing<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    let before = fixture.traces();
    take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let taken_back = Attempt::of(&*volume, &name, "restore-1");
    taken_back.stage();
    taken_back.swap();
    taken_back.reverse();
    taken_back.discard();
    remove(&*volume, &name);
    fixture.no_trace(&before, "nothing is left");

    take(&*volume, &name, &label("1"));
    fixture.remove_data();
    if fixture.look().is_some() {
        // It is a mount point: there is something to keep.
        return;
    }
    let volume = fixture.volume();
    let onto_nothing = Attempt::of(&*volume, &name, "restore-2");
    onto_nothing.stage();
    onto_nothing.swap();
    remove(&*fixture.volume(), &name);
    fixture.no_trace(&before, "nothing is left");
}

/// A plan rests on what was seen: what somebody else put there, or took away, is not swapped for it.
pub fn what_changed_since_the_look_is_unclear<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(fixture.data(), "old");
    take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    let other = Attempt {
        from: From::Snapshot(
            Snapshot {
                identity: "of another snapshot".to_owned(),
                ..volume.find(&host(), &name).unwrap().unwrap()
            },
            volume.view(&name),
        ),
        ..Attempt::of(&*volume, &name, "restore-1")
    };
    other.is_unclear();
    attempt.swap();
    other.is_unclear();
    if F::MOVES == Moves::Entries {
        // A mount point cannot be another; what is in it can.
        let [entry, away] = ["sparse", "away"].map(|name| fixture.data().join(name));
        fs::rename(&entry, &away).unwrap();
        attempt.is_unclear();
        fs::rename(&away, &entry).unwrap();
        assert_eq!(attempt.progress(), Progress::Swapped);
    }
    fixture.remove_beside("restore-1");
    attempt.is_unclear();

    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-2");
    attempt.stage();
    fixture.move_beside("restore-2", "away");
    fixture.make_beside("away", "restore-2");
    attempt.is_unclear();
    fixture.remove_beside("restore-2");
    fixture.move_beside("away", "restore-2");
    assert_eq!(attempt.progress(), Progress::Staged);
    if F::MOVES == Moves::Name {
        fixture.remove_data();
        attempt.is_unclear();
        fixture.remake_data();
        attempt.is_unclear();
        appears::<F>();
    }
}

/// The same where there was nothing.
fn appears<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    take(&*fixture.volume(), &name, &label("1"));
    fixture.remove_data();
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    fixture.remake_data();
    attempt.is_unclear();
    fixture.remove_data();
    attempt.stage();
    fixture.remake_data();
    attempt.is_unclear();
}

/// What is staged is what was captured, in all that a digest tells, before any broker depends on it.
pub fn what_is_staged_is_what_was_captured<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    tree::change(fixture.data());
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    let (staged, keeps_its_hole) = fixture.beside("restore-1", |path| {
        if let Some(told) = attempt.rollback.staged(&attempt.stage) {
            assert_eq!(told, path);
        }
        (tree::look(path, &[]), tree::keeps_its_hole(path))
    });
    tree::same(&staged, &captured(&*volume, &name), "staged");
    tree::same(&staged, &old, "staged");
    assert!(keeps_its_hole);
    assert_eq!(kept(&*volume), [], "nothing has been replaced yet");
    attempt.swap();
    assert!(tree::keeps_its_hole(fixture.data()));
}

/// One that was taken back can be done all the same, over what has become of the data since.
pub fn what_was_taken_back_can_be_done_later<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(fixture.data(), "old");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    attempt.reverse();
    tree::change(fixture.data());
    let worked = fixture.look();
    attempt.swap();
    tree::same(&fixture.look(), &old, "swapped");
    let expected = [(stage("restore-1"), Some(label("restore-1")), worked.clone())];
    assert_eq!(kept(&*volume), expected);
    attempt.reverse();
    tree::same(&fixture.look(), &worked, "reversed");
}
