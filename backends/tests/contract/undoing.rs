//! Undo and release: what a rollback replaced takes its place again, what it brought is kept in its turn, and what is kept
//! goes when it is let go of and not before.

use std::path::Path;

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Action, Purpose, SnapName, Volume};

use crate::around::neighbours;
use crate::attempt::{Attempt, kept, kept_as, stage};
use crate::snapshots::{captured, label, remove, take};
use crate::{Fixture, host, perform, snap, tree};

/// A data directory that was brought back, and at work since.
pub struct Restored<F> {
    pub fixture: F,
    pub name: SnapName,
    /// What was captured and brought back.
    pub old: tree::Seen,
    /// What that replaced.
    pub replaced: tree::Seen,
    /// What has become of the data since.
    pub worked: tree::Seen,
}

impl<F: Fixture> Restored<F> {
    /// Of a tree with all that there is in one.
    fn rich() -> Restored<F> {
        let fixture = F::fresh();
        tree::fill(fixture.data(), "old");
        Restored::of(fixture, tree::change, tree::work)
    }

    /// The data is captured, `ruined`, brought back, and at `work`.
    pub fn of(fixture: F, ruin: impl FnOnce(&Path), work: impl FnOnce(&Path)) -> Restored<F> {
        let name = snap("zeebe-snap-1");
        let old = take(&*fixture.volume(), &name, &label("1"));
        ruin(fixture.data());
        let replaced = fixture.look();
        let volume = fixture.volume();
        let attempt = Attempt::of(&*volume, &name, "restore-1");
        attempt.stage();
        attempt.swap();
        tree::same(&fixture.look(), &old, "brought back");
        work(fixture.data());
        let worked = fixture.look();
        assert!(worked != old && worked != replaced && replaced != old);
        Restored {
            fixture,
            name,
            old,
            replaced,
            worked,
        }
    }

    /// Insists on what is kept: names, and trees, each with the label of its name.
    #[track_caller]
    pub fn keeps(&self, expected: &[(&str, &tree::Seen)], when: &str) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, seen)| (stage(name), Some(label(name)), (*seen).clone()))
            .collect();
        assert_eq!(kept(&*self.fixture.volume()), expected, "{when}");
    }
}

/// An undo, once taken back, then for good; an undo of that one; and then all is let go of.
pub fn work_is_undone_and_done_again<F: Fixture>() {
    let it = Restored::<F>::rich();
    let fixture = &it.fixture;
    it.keeps(&[("restore-1", &it.replaced)], "restored");

    let volume = fixture.volume();
    assert_eq!(volume.obstacles(&host(), Purpose::BringBack).unwrap(), []);
    let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
    undo.stage();
    tree::same(&fixture.look(), &it.worked, "staged");
    it.keeps(&[], "what is merely staged is not kept");
    undo.swap();
    tree::same(&fixture.look(), &it.replaced, "undone");
    undo.reverse();
    tree::same(&fixture.look(), &it.worked, "taken back");
    undo.swap();
    perform(&undo.rollback.forget_kept(&stage("restore-1")));
    perform(&undo.rollback.forget_kept(&stage("restore-1")));
    it.keeps(&[("undo-1", &it.worked)], "undone");

    // A broker works on, and what is kept does not notice.
    tree::work(fixture.data());
    let worked_again = fixture.look();
    let volume = fixture.volume();
    let again = Attempt::undoing(&*volume, "undo-1", "undo-2");
    again.stage();
    again.swap();
    perform(&again.rollback.forget_kept(&stage("undo-1")));
    tree::same(&fixture.look(), &it.worked, "the undo undone");
    it.keeps(&[("undo-2", &worked_again)], "the undo undone");

    // What it is now can be brought back, captured, and undone like any other.
    let volume = fixture.volume();
    assert_eq!(volume.obstacles(&host(), Purpose::Capture).unwrap(), []);
    take(&*volume, &snap("zeebe-snap-2"), &label("2"));
    let second = Attempt::of(&*volume, &it.name, "restore-3");
    second.stage();
    second.swap();
    tree::same(&fixture.look(), &it.old, "brought back again");
    it.keeps(
        &[("restore-3", &it.worked), ("undo-2", &worked_again)],
        "kept side by side",
    );
    let volume = fixture.volume();
    let third = Attempt::undoing(&*volume, "restore-3", "undo-3");
    third.stage();
    third.swap();
    perform(&third.rollback.forget_kept(&stage("restore-3")));
    tree::same(&fixture.look(), &it.worked, "undone");
    it.keeps(&[("undo-2", &worked_again), ("undo-3", &it.old)], "undone");
    tree::same(&captured(&*volume, &it.name), &it.old, "the snapshot");
    let second = captured(&*volume, &snap("zeebe-snap-2"));
    tree::same(&second, &it.worked, "the second snapshot");
}

/// What was kept is brought back, and then all that was ever made is removed.
fn undone<F: Fixture>(ruin: impl FnOnce(&F), work: impl FnOnce(&F)) {
    let fixture = F::fresh();
    let before = fixture.traces();
    tree::fill(fixture.data(), "old");
    let name = snap("zeebe-snap-1");
    let old = take(&*fixture.volume(), &name, &label("1"));
    ruin(&fixture);
    let replaced = fixture.look();
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    attempt.stage();
    attempt.swap();
    tree::same(&fixture.look(), &old, "brought back");
    work(&fixture);
    let worked = fixture.look();

    let volume = fixture.volume();
    if replaced.is_none() {
        assert_eq!(kept(&*volume), [], "there was nothing to keep");
    } else {
        let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
        undo.stage();
        undo.swap();
        tree::same(&fixture.look(), &replaced, "undone");
        undo.reverse();
        tree::same(&fixture.look(), &worked, "taken back");
        undo.swap();
        perform(&undo.rollback.forget_kept(&stage("restore-1")));
        tree::same(&fixture.look(), &replaced, "undone");
    }
    let volume = fixture.volume();
    for (name, _, _) in kept(&*volume) {
        perform(&volume.rollback().unwrap().discard(&name));
    }
    remove(&*fixture.volume(), &name);
    fixture.no_trace(&before, "nothing is left");
    // It may be asked for again.
    let volume = fixture.volume();
    let rollback = volume.rollback().unwrap();
    for name in ["restore-1", "undo-1"] {
        perform(&rollback.discard(&stage(name)));
        perform(&rollback.forget_kept(&stage(name)));
    }
    fixture.no_trace(&before, "nothing is left");
}

pub fn a_restore_of_deleted_data_is_undone<F: Fixture>() {
    undone::<F>(
        |fixture| fixture.remove_data(),
        |fixture| tree::work(fixture.data()),
    );
}

pub fn deleted_data_is_undone<F: Fixture>() {
    undone::<F>(
        |fixture| tree::change(fixture.data()),
        |fixture| fixture.remove_data(),
    );
}

pub fn data_replaced_by_a_folder_is_undone<F: Fixture>() {
    let replace = |fixture: &F, seed| {
        fixture.remove_data();
        fixture.remake_data();
        tree::fill(fixture.data(), seed);
    };
    undone::<F>(
        |fixture| replace(fixture, "other"),
        |fixture| replace(fixture, "another"),
    );
}

/// The snapshot that was brought back is destroyed, and then the data is lost.
pub fn what_is_kept_outlives_the_snapshot<F: Fixture>() {
    let it = Restored::<F>::rich();
    remove(&*it.fixture.volume(), &it.name);
    it.keeps(&[("restore-1", &it.replaced)], "with no snapshot");
    it.fixture.remove_data();
    it.keeps(&[("restore-1", &it.replaced)], "with no data either");
    let volume = it.fixture.volume();
    let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
    undo.stage();
    undo.swap();
    perform(&undo.rollback.forget_kept(&stage("restore-1")));
    tree::same(&it.fixture.look(), &it.replaced, "undone");
}

/// Everything is as it was, on disk too, and the undo can be done after all.
pub fn an_undo_is_taken_back<F: Fixture>() {
    let it = Restored::<F>::rich();
    let before = it.fixture.traces();
    let volume = it.fixture.volume();
    for swaps in [0, 1, 2] {
        let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
        take(&*volume, &snap("zeebe-snap-2"), &label("2"));
        undo.stage();
        // What is written of what is kept does not go with a snapshot beside it.
        remove(&*volume, &snap("zeebe-snap-2"));
        for _ in 0..swaps {
            undo.swap();
            undo.reverse();
        }
        undo.discard();
        tree::same(&it.fixture.look(), &it.worked, "put back");
        it.keeps(&[("restore-1", &it.replaced)], "put back");
        it.fixture.no_trace(&before, "put back");
    }
    // Somebody else's folder is not taken for what is kept, nor is what is kept lost to it.
    it.fixture.make_beside("restore-1", "undo-2");
    let take = undo_actions(&*volume, "undo-2");
    assert!(perform_all(&take, &host(), &|| false).is_err());
    it.fixture.remove_beside("undo-2");
    it.keeps(&[("restore-1", &it.replaced)], "somebody was in the way");
    perform(&undo_actions(&*volume, "undo-2"));
}

fn undo_actions(volume: &dyn Volume, name: &str) -> Vec<Action> {
    let kept = kept_as(volume, "restore-1");
    let rollback = volume.rollback().unwrap();
    rollback.take_kept(&kept, &stage(name), &label(name))
}

/// One of two that are kept goes, and the other stays; once both are gone there is no trace of either.
pub fn what_is_kept_is_let_go_of<F: Fixture>() {
    let fixture = F::fresh();
    tree::fill(fixture.data(), "old");
    let name = snap("zeebe-snap-1");
    take(&*fixture.volume(), &name, &label("1"));
    let before = fixture.traces();
    remove(&*fixture.volume(), &name);
    let it = Restored::of(fixture, tree::change, tree::work);
    let volume = it.fixture.volume();
    let second = Attempt::of(&*volume, &it.name, "restore-2");
    second.stage();
    second.swap();
    it.keeps(
        &[("restore-1", &it.replaced), ("restore-2", &it.worked)],
        "two are kept",
    );
    let rollback = volume.rollback().unwrap();
    perform(&rollback.discard(&stage("restore-1")));
    it.keeps(&[("restore-2", &it.worked)], "one was let go of");
    perform(&rollback.discard(&stage("restore-1")));
    it.keeps(&[("restore-2", &it.worked)], "and is gone");
    tree::same(&it.fixture.look(), &it.old, "the data does not notice");
    perform(&rollback.discard(&stage("restore-2")));
    it.keeps(&[], "both were let go of");
    tree::same(&it.fixture.look(), &it.old, "the data does not notice");
    tree::same(&captured(&*volume, &it.name), &it.old, "nor the snapshot");
    it.fixture.no_trace(&before, "let go of");
}

pub fn neighbours_do_not_notice_an_undo<F: Fixture>() {
    let fixture = F::fresh();
    tree::fill(&fixture.another(), "another");
    tree::fill(fixture.data(), "old");
    let before = neighbours(fixture.site(), fixture.data());
    let it = Restored::of(fixture, tree::change, tree::work);
    let same = |when: &str| {
        assert_eq!(
            neighbours(it.fixture.site(), it.fixture.data()),
            before,
            "{when}"
        );
    };
    let volume = it.fixture.volume();
    let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
    undo.stage();
    same("staged");
    undo.swap();
    same("swapped");
    undo.reverse();
    undo.discard();
    same("put back");
    undo.stage();
    undo.swap();
    perform(&undo.rollback.forget_kept(&stage("restore-1")));
    same("undone");
    perform(&undo.rollback.discard(&stage("undo-1")));
    same("let go of");
}
