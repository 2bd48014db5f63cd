//! Rollbacks: whatever has become of the data, the snapshot's content comes back and what it replaces is kept.

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Action, Label, Progress, Purpose, Rollback, SnapName, Snapshot};
use zeebe_snap_backends::{StageName, Volume};

use crate::snapshots::{captured, label, remove, take};
use crate::{Fixture, host, snap, tree};

fn stage(name: &str) -> StageName {
    StageName::try_from(name.to_owned()).unwrap()
}

/// One rollback, asked where it stands before and after each step.
struct Attempt<'a> {
    rollback: &'a dyn Rollback,
    from: Snapshot,
    stage: StageName,
    label: Label,
}

impl<'a> Attempt<'a> {
    fn of(volume: &'a dyn Volume, from: &SnapName, name: &str) -> Attempt<'a> {
        Attempt {
            rollback: volume.rollback().unwrap(),
            from: volume.find(&host(), from).unwrap().unwrap(),
            stage: stage(name),
            label: label(name),
        }
    }

    fn progress(&self) -> Progress {
        self.rollback
            .progress(&host(), &self.from, &self.stage)
            .unwrap()
    }

    fn is_unclear(&self) {
        let progress = self.progress();
        assert!(matches!(progress, Progress::Unclear(_)), "{progress:?}");
    }

    fn step(&self, before: Progress, actions: Vec<Action>, after: Progress) {
        assert_eq!(self.progress(), before, "before {actions:?}");
        perform_all(&actions, &host()).unwrap();
        assert_eq!(self.progress(), after, "after {actions:?}");
    }

    fn stage(&self) {
        let actions = self
            .rollback
            .stage(&self.from.name, &self.stage, &self.label);
        self.step(Progress::Untouched, actions, Progress::Staged);
    }

    fn swap(&self) {
        let actions = self.rollback.swap(&self.stage);
        self.step(Progress::Staged, actions, Progress::Swapped);
    }

    fn reverse(&self) {
        let actions = self.rollback.reverse(&self.stage);
        self.step(Progress::Swapped, actions, Progress::Staged);
    }

    fn discard(&self) {
        let actions = self.rollback.discard(&self.stage);
        self.step(Progress::Staged, actions, Progress::Untouched);
    }
}

/// What is kept: names, labels, and the trees themselves.
fn kept(volume: &dyn Volume) -> Vec<(StageName, Option<Label>, tree::Seen)> {
    let kept = volume.rollback().unwrap().kept(&host()).unwrap();
    kept.into_iter()
        .map(|kept| (kept.name, kept.label, tree::look(&kept.path)))
        .collect()
}

pub fn data_as_it_was_is_brought_back<F: Fixture>() {
    brought_back::<F>(|_| {});
}

pub fn data_with_its_content_deleted_is_brought_back<F: Fixture>() {
    brought_back::<F>(|fixture| tree::empty(fixture.data()));
}

pub fn data_deleted_altogether_is_brought_back<F: Fixture>() {
    brought_back::<F>(|fixture| fixture.remove_data());
}

pub fn data_replaced_by_a_folder_is_brought_back<F: Fixture>() {
    brought_back::<F>(|fixture| {
        fixture.remove_data();
        std::fs::create_dir(fixture.data()).unwrap();
        tree::fill(fixture.data(), "other");
    });
}

/// Restores after `ruin`: once taken back, once for good, and then once more from the same snapshot.
fn brought_back<F: Fixture>(ruin: impl FnOnce(&F)) {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    tree::fill(fixture.data(), "old");
    let old = tree::look(fixture.data());
    take(&*fixture.volume(), &name, &label("1"));
    tree::change(fixture.data());
    ruin(&fixture);
    let ruined = tree::look(fixture.data());
    assert_ne!(ruined, old);

    let volume = fixture.volume();
    let around = tree::around(fixture.data());
    let obstacles = volume.obstacles(&host(), Purpose::BringBack).unwrap();
    assert_eq!(obstacles, []);
    let first = Attempt::of(&*volume, &name, "restore-1");
    first.stage();
    assert_eq!(tree::look(fixture.data()), ruined);
    first.swap();
    assert_eq!(tree::look(fixture.data()), old);
    first.reverse();
    assert_eq!(tree::look(fixture.data()), ruined);
    first.discard();
    assert_eq!(tree::look(fixture.data()), ruined);
    assert_eq!(kept(&*volume), []);
    assert_eq!(tree::around(fixture.data()), around);

    first.stage();
    first.swap();
    assert_eq!(tree::look(fixture.data()), old);
    let mut expected = Vec::new();
    if ruined.is_some() {
        expected.push((stage("restore-1"), Some(label("restore-1")), ruined));
    }
    assert_eq!(kept(&*fixture.volume()), expected);

    // Work goes on, and the snapshot does not notice.
    tree::change(fixture.data());
    let worked = tree::look(fixture.data());
    assert_eq!(captured(&*volume, &name), old);

    let volume = fixture.volume();
    let second = Attempt::of(&*volume, &name, "restore-2");
    assert_eq!(second.from, first.from, "the snapshot is still ours");
    second.stage();
    second.swap();
    second.reverse();
    assert_eq!(tree::look(fixture.data()), worked);
    second.swap();
    assert_eq!(tree::look(fixture.data()), old);
    expected.push((stage("restore-2"), Some(label("restore-2")), worked));
    assert_eq!(kept(&*fixture.volume()), expected);

    // What came back is a volume like any other: it can be captured in its turn.
    let volume = fixture.volume();
    let capture = volume.obstacles(&host(), Purpose::Capture).unwrap();
    assert_eq!(capture, []);
    take(&*volume, &snap("zeebe-snap-2"), &label("2"));
    assert_eq!(captured(&*volume, &snap("zeebe-snap-2")), old);
    let listed = volume.list(&host()).unwrap();
    let labels: Vec<_> = listed.into_iter().map(|snapshot| snapshot.label).collect();
    assert_eq!(labels, [Some(label("1")), Some(label("2"))]);
}

/// One that was taken back, and one that had nothing to replace: once the snapshot is gone there is no trace of either.
pub fn a_rollback_that_keeps_nothing_leaves_nothing<F: Fixture>() {
    let fixture = F::fresh();
    let name = snap("zeebe-snap-1");
    let around = tree::around(fixture.data());
    take(&*fixture.volume(), &name, &label("1"));
    let volume = fixture.volume();
    let taken_back = Attempt::of(&*volume, &name, "restore-1");
    taken_back.stage();
    taken_back.swap();
    taken_back.reverse();
    taken_back.discard();
    remove(&*volume, &name);
    assert_eq!(tree::around(fixture.data()), around);

    take(&*volume, &name, &label("1"));
    fixture.remove_data();
    let volume = fixture.volume();
    let onto_nothing = Attempt::of(&*volume, &name, "restore-2");
    onto_nothing.stage();
    onto_nothing.swap();
    remove(&*fixture.volume(), &name);
    assert_eq!(tree::around(fixture.data()), around);
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
        from: Snapshot {
            identity: "of another snapshot".to_owned(),
            ..attempt.from.clone()
        },
        ..Attempt::of(&*volume, &name, "restore-1")
    };
    other.is_unclear();
    attempt.swap();
    other.is_unclear();
    let kept = volume.rollback().unwrap().kept(&host()).unwrap();
    std::fs::remove_dir_all(&kept[0].path).unwrap();
    attempt.is_unclear();

    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-2");
    attempt.stage();
    fixture.remove_data();
    attempt.is_unclear();
    std::fs::create_dir(fixture.data()).unwrap();
    attempt.is_unclear();
}
