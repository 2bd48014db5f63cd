//! A rollback, taken step by step, and asked where it stands before and after each of them.

use zeebe_snap_backends::{
    Action, Kept, Label, Progress, Rollback, SnapName, Snapshot, StageName, View, Volume,
};

use crate::snapshots::{label, look_at};
use crate::{host, perform, tree};

/// A stage's name.
pub fn stage(name: &str) -> StageName {
    StageName::try_from(name.to_owned()).unwrap()
}

/// What is brought back.
#[derive(Clone)]
pub enum From {
    Snapshot(Snapshot, View),
    Kept(Kept),
}

/// One rollback.
pub struct Attempt<'a> {
    pub rollback: &'a dyn Rollback,
    pub from: From,
    pub stage: StageName,
    pub label: Label,
}

impl<'a> Attempt<'a> {
    /// Of `volume` to its snapshot `from`.
    pub fn of(volume: &'a dyn Volume, from: &SnapName, name: &str) -> Attempt<'a> {
        Attempt {
            rollback: volume.rollback().unwrap(),
            from: From::Snapshot(
                volume.find(&host(), from).unwrap().unwrap(),
                volume.view(from),
            ),
            stage: stage(name),
            label: label(name),
        }
    }

    /// Of `volume` to what it keeps under the name `from`.
    pub fn undoing(volume: &'a dyn Volume, from: &str, name: &str) -> Attempt<'a> {
        Attempt {
            rollback: volume.rollback().unwrap(),
            from: From::Kept(kept_as(volume, from)),
            stage: stage(name),
            label: label(name),
        }
    }

    pub fn identity(&self) -> &str {
        match &self.from {
            From::Snapshot(from, _) => &from.identity,
            From::Kept(from) => &from.identity,
        }
    }

    pub fn progress(&self) -> Progress {
        self.rollback
            .progress(&host(), self.identity(), &self.stage)
            .unwrap()
    }

    #[track_caller]
    pub fn is_unclear(&self) {
        let progress = self.progress();
        assert!(matches!(progress, Progress::Unclear(_)), "{progress:?}");
    }

    #[track_caller]
    fn step(&self, before: Progress, actions: Vec<Action>, after: Progress) {
        assert_eq!(self.progress(), before, "before {actions:?}");
        perform(&actions);
        assert_eq!(self.progress(), after, "after {actions:?}");
    }

    #[track_caller]
    pub fn stage(&self) {
        let (rollback, stage, label) = (self.rollback, &self.stage, &self.label);
        let actions = match &self.from {
            From::Snapshot(from, view) => rollback.stage(from, view, stage, label),
            From::Kept(from) => rollback.take_kept(from, stage, label),
        };
        self.step(Progress::Untouched, actions, Progress::Staged);
    }

    #[track_caller]
    pub fn swap(&self) {
        self.step(
            Progress::Staged,
            self.rollback.swap(&self.stage),
            Progress::Swapped,
        );
    }

    #[track_caller]
    pub fn reverse(&self) {
        self.step(
            Progress::Swapped,
            self.rollback.reverse(&self.stage),
            Progress::Staged,
        );
    }

    /// Nothing is staged any more.
    #[track_caller]
    pub fn discard(&self) {
        let (rollback, stage) = (self.rollback, &self.stage);
        let (first, again) = match &self.from {
            From::Snapshot(..) => (rollback.discard(stage), rollback.clear(stage)),
            From::Kept(from) => {
                let back = || rollback.put_back(&from.name, stage);
                (back(), back())
            }
        };
        self.step(Progress::Staged, first, Progress::Untouched);
        self.step(Progress::Untouched, again, Progress::Untouched);
    }
}

/// What is kept under that name.
pub fn kept_as(volume: &dyn Volume, name: &str) -> Kept {
    let kept = volume.rollback().unwrap().kept(&host()).unwrap();
    let mut kept = kept.into_iter().filter(|kept| kept.name == stage(name));
    kept.next().expect("it is kept")
}

/// What is kept: names, labels, and the trees themselves.
pub fn kept(volume: &dyn Volume) -> Vec<(StageName, Option<Label>, tree::Seen)> {
    let rollback = volume.rollback().unwrap();
    let seen = |kept: Kept| {
        let seen = look_at(&rollback.view_kept(&kept));
        (kept.name, kept.label, seen)
    };
    rollback
        .kept(&host())
        .unwrap()
        .into_iter()
        .map(seen)
        .collect()
}
