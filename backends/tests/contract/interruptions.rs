//! Whatever is killed or stopped on the way: what is found afterwards is told as it is, and can be finished or taken back.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Cost, Progress, Volume};

use crate::apart::{Task, What, cut_everywhere};
use crate::attempt::{Attempt, kept, stage};
use crate::snapshots::{captured, label, take};
use crate::{Fixture, Moves, host, perform, snap, tree};

/// Small trees are soon gone through.
pub fn filled<F: Fixture>() -> F {
    let fixture = F::fresh();
    tree::fill_small(fixture.data(), "older");
    fixture
}

/// Replaces all that is in the data.
pub fn replace<F: Fixture>(fixture: &F) -> tree::Seen {
    tree::empty(fixture.data(), &F::leaves_out());
    tree::fill_small(fixture.data(), "newest");
    fixture.look()
}

pub fn task(volume: &dyn Volume, what: What) -> Task {
    Task {
        volume: volume.id(),
        what,
    }
}

/// A snapshot that is there is ours and whole; then there is none, and no trace, by the way that `recover` goes.
fn settle_snapshot<F: Fixture>(fixture: &F, volume: &dyn Volume, when: &str) {
    let name = snap("zeebe-snap-1");
    let found = volume.find(&host(), &name).unwrap();
    assert_eq!(
        volume.list(&host()).unwrap().first(),
        found.as_ref(),
        "{when}"
    );
    if let Some(found) = found {
        assert_eq!(found.label, Some(label("1")), "{when}");
        tree::same(&captured(volume, &name), &fixture.look(), when);
        perform(&volume.destroy(&name));
        assert_eq!(volume.find(&host(), &name).unwrap(), None, "{when}");
    }
    perform(&volume.unprepare(&name));
}

pub fn a_killed_snapshot_is_none_or_whole<F: Fixture>() {
    let fixture: F = filled();
    let (volume, name) = (fixture.volume(), snap("zeebe-snap-1"));
    let before = fixture.traces();
    let settle = |when: &str| {
        settle_snapshot(&fixture, &*volume, when);
        fixture.no_trace(&before, when);
    };
    cut_everywhere(
        F::CUT,
        &task(&*volume, What::Take(name.clone(), label("1"))),
        settle,
    );

    take(&*volume, &name, &label("1"));
    cut_everywhere(
        F::CUT,
        &task(&*volume, What::Destroy(name.clone())),
        |when| {
            settle(when);
            take(&*volume, &name, &label("1"));
        },
    );
}

pub fn a_stopped_snapshot_is_none_or_whole<F: Fixture>() {
    let fixture: F = filled();
    let (volume, name) = (fixture.volume(), snap("zeebe-snap-1"));
    let before = fixture.traces();
    for patience in 0.. {
        perform(&volume.prepare(&name, &label("1")));
        let asked = AtomicU32::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= patience;
        let done = perform_all(&volume.snapshot(&name, &label("1")), &host(), &stop);
        let is_there = volume.find(&host(), &name).unwrap().is_some();
        assert_eq!(is_there, done.is_ok(), "asked {patience} times: {done:?}");
        settle_snapshot(&fixture, &*volume, &format!("asked {patience} times"));
        fixture.no_trace(&before, &format!("asked {patience} times"));
        if asked.into_inner() <= patience {
            let takes_long = volume.cost().unwrap() != Cost::Instant;
            assert_eq!(patience > 0, takes_long, "what takes long can be stopped");
            return done.unwrap();
        }
    }
}

pub fn a_killed_stage_leaves_nothing<F: Fixture>() {
    let fixture: F = filled();
    let name = snap("zeebe-snap-1");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let new = replace(&fixture);
    let volume = fixture.volume();
    let attempt = Attempt::of(&*volume, &name, "restore-1");
    let before = fixture.traces();
    let settle = |when: &str| {
        assert_eq!(kept(&*volume), [], "{when}");
        match attempt.progress() {
            Progress::Untouched => perform(&attempt.rollback.clear(&attempt.stage)),
            Progress::Staged => {
                let staged = fixture.beside("restore-1", |path| tree::look(path, &[]));
                tree::same(&staged, &old, when);
                attempt.discard();
            }
            other => panic!("{when}: {other:?}"),
        }
        assert_eq!(attempt.progress(), Progress::Untouched, "{when}");
        fixture.no_trace(&before, when);
        tree::same(&fixture.look(), &new, when);
    };
    let from = volume.find(&host(), &name).unwrap().unwrap();
    let stages = What::Stage(volume.id(), from, stage("restore-1"), label("restore-1"));
    cut_everywhere(F::CUT, &task(&*volume, stages), settle);
    attempt.stage();
    cut_everywhere(
        F::CUT,
        &task(&*volume, What::Discard(stage("restore-1"))),
        |when| {
            settle(when);
            attempt.stage();
        },
    );
}

/// A rollback that is cut wherever that can be, in both directions.
pub struct Cut<'a, F> {
    pub fixture: &'a F,
    pub attempt: Attempt<'a>,
    /// What is brought back.
    pub old: tree::Seen,
    /// What it takes the place of.
    pub new: tree::Seen,
}

impl<F: Fixture> Cut<'_, F> {
    /// What is said of it is so. (An exchange of names has no journal, and xfs gives the time of it to folders.)
    fn progress(&self, when: &str) -> Progress {
        let progress = self.attempt.progress();
        let (data, beside) = match &progress {
            Progress::Staged => (&self.new, &self.old),
            Progress::Swapped => (&self.old, &self.new),
            Progress::Halfway => return progress,
            other => panic!("{when}: {other:?}"),
        };
        tree::same_but_for_its_time(&self.fixture.look(), data, when);
        if beside.is_some() {
            let name = self.attempt.stage.as_str();
            let found = self.fixture.beside(name, |path| tree::look(path, &[]));
            tree::same_but_for_its_time(&found, beside, when);
        }
        progress
    }

    /// What somebody else puts there meanwhile is not exchanged for what was.
    fn is_not_fooled(&self) {
        let [path, away] = ["same", "away"].map(|name| self.fixture.data().join(name));
        let was_there = path.exists();
        if was_there {
            fs::rename(&path, &away).unwrap();
        }
        fs::write(&path, "somebody's").unwrap();
        let swap = self.attempt.rollback.swap(&self.attempt.stage);
        assert!(perform_all(&swap, &host(), &|| false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
        fs::remove_file(&path).unwrap();
        if was_there {
            fs::rename(&away, &path).unwrap();
        }
    }

    /// It can be finished.
    fn finish(&self, when: &str) {
        if self.progress(when) != Progress::Swapped {
            perform(&self.attempt.rollback.swap(&self.attempt.stage));
        }
        assert_eq!(self.progress(when), Progress::Swapped, "{when}");
    }

    /// It can be taken back.
    fn take_back(&self, when: &str) {
        if self.progress(when) != Progress::Staged {
            perform(&self.attempt.rollback.reverse(&self.attempt.stage));
        }
        assert_eq!(self.progress(when), Progress::Staged, "{when}");
    }

    pub fn everywhere(&self, volume: &dyn Volume) {
        self.attempt.stage();
        // Every other time it is finished first.
        let turn = AtomicU32::new(0);
        let is_even = || turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        cut_everywhere(
            F::CUT,
            &task(volume, What::Swap(self.attempt.stage.clone())),
            |when| {
                if self.progress(when) == Progress::Halfway && F::MOVES == Moves::Entries {
                    self.is_not_fooled();
                }
                if is_even() {
                    self.finish(when);
                }
                self.take_back(when);
            },
        );
        self.finish("not cut");
        cut_everywhere(
            F::CUT,
            &task(volume, What::Reverse(self.attempt.stage.clone())),
            |when| {
                if is_even() {
                    self.take_back(when);
                }
                self.finish(when);
            },
        );
        self.take_back("not cut");
        self.attempt.discard();
    }
}

pub fn a_killed_swap_is_finished_or_taken_back<F: Fixture>() {
    let fixture: F = filled();
    let name = snap("zeebe-snap-1");
    let old = take(&*fixture.volume(), &name, &label("1"));
    let new = replace(&fixture);
    let before = fixture.traces();
    let volume = fixture.volume();
    let cut = Cut {
        attempt: Attempt::of(&*volume, &name, "restore-1"),
        fixture: &fixture,
        old,
        new,
    };
    cut.everywhere(&*volume);
    fixture.no_trace(&before, "nothing is left");
}

pub fn a_killed_swap_onto_nothing_is_finished_or_taken_back<F: Fixture>() {
    let fixture: F = filled();
    let name = snap("zeebe-snap-1");
    let old = take(&*fixture.volume(), &name, &label("1"));
    fixture.remove_data();
    let before = fixture.traces();
    let volume = fixture.volume();
    let cut = Cut {
        attempt: Attempt::of(&*volume, &name, "restore-1"),
        new: fixture.look(),
        fixture: &fixture,
        old,
    };
    cut.everywhere(&*volume);
    fixture.no_trace(&before, "nothing is left");
}
