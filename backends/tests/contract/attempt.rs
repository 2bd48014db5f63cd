//! A rollback, taken step by step, and asked where it stands before and after each of them.

use zeebe_snap_backends::{
    Action, Label, Progress, Rollback, SnapName, Snapshot, StageName, Volume,
};

use crate::snapshots::label;
use crate::{host, perform, tree};

/// A stage's name.
pub fn stage(name: &str) -> StageName {
    StageName::try_from(name.to_owned()).unwrap()
}

/// One rollback.
pub struct Attempt<'a> {
    pub rollback: &'a dyn Rollback,
    pub from: Snapshot,
    pub stage: StageName,
    pub label: Label,
}

impl<'a> Attempt<'a> {
    /// Of `volume` to its snapshot `from`.
    pub fn of(volume: &'a dyn Volume, from: &SnapName, name: &str) -> Attempt<'a> {
        Attempt {
            rollback: volume.rollback().unwrap(),
            from: volume.find(&host(), from).unwrap().unwrap(),
            stage: stage(name),
            label: label(name),
        }
    }

    pub fn progress(&self) -> Progress {
        self.rollback
            .progress(&host(), &self.from.identity, &self.stage)
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
        let actions = self.rollback.stage(&self.from, &self.stage, &self.label);
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

    #[track_caller]
    pub fn discard(&self) {
        self.step(
            Progress::Staged,
            self.rollback.discard(&self.stage),
            Progress::Untouched,
        );
        perform(&self.rollback.clear(&self.stage));
        assert_eq!(self.progress(), Progress::Untouched);
    }
}

/// What is kept: names, labels, and the trees themselves.
pub fn kept(volume: &dyn Volume) -> Vec<(StageName, Option<Label>, tree::Seen)> {
    let kept = volume.rollback().unwrap().kept(&host()).unwrap();
    kept.into_iter()
        .map(|kept| (kept.name, kept.label, tree::look(&kept.path, &[])))
        .collect()
}
