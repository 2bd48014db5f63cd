//! Whatever is killed on the way of an undo or a release: what is kept is there, once and whole, and the undo can be
//! finished or taken back.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use zeebe_snap_backends::{Progress, Volume};

use crate::apart::{What, cut_everywhere};
use crate::attempt::{Attempt, kept, kept_as, stage};
use crate::interruptions::{Cut, filled, task};
use crate::snapshots::{label, look_at};
use crate::undoing::Restored;
use crate::{Fixture, perform, tree};

/// A small tree was brought back, and its entries come, go and are replaced since.
fn restored<F: Fixture>() -> Restored<F> {
    Restored::of(filled::<F>(), ruin, work)
}

fn ruin(data: &Path) {
    for file in ["same", "only older"] {
        fs::remove_file(data.join(file)).unwrap();
        fs::write(data.join(file), "ruined").unwrap();
    }
    fs::remove_file(data.join("both")).unwrap();
    fs::create_dir(data.join("ruined")).unwrap();
}

/// As a broker does.
fn work(data: &Path) {
    fs::write(data.join("same.tmp"), "worked").unwrap();
    fs::rename(data.join("same.tmp"), data.join("same")).unwrap();
    fs::remove_file(data.join("only older")).unwrap();
    fs::create_dir(data.join("only older")).unwrap();
    fs::remove_dir_all(data.join("folder")).unwrap();
    fs::write(data.join("worked"), "worked").unwrap();
}

fn is_every_other() -> impl Fn() -> bool {
    let turn = AtomicU32::new(0);
    move || turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
}

pub fn what_is_kept_is_taken_or_not<F: Fixture>() {
    let it = restored::<F>();
    let before = it.fixture.traces();
    let volume = it.fixture.volume();
    let undo = Attempt::undoing(&*volume, "restore-1", "undo-1");
    let kept = kept_as(&*volume, "restore-1");
    let name = kept.name.clone();
    let takes = || undo.rollback.take_kept(&kept, &undo.stage, &undo.label);
    let puts_back = || undo.rollback.put_back(&name, &undo.stage);
    let as_it_was = |when: &str| {
        assert_eq!(undo.progress(), Progress::Untouched, "{when}");
        it.keeps(&[("restore-1", &it.replaced)], when);
        tree::same(&it.fixture.look(), &it.worked, when);
        it.fixture.no_trace(&before, when);
    };
    let is_even = is_every_other();
    let what = What::TakeKept(kept.clone(), undo.stage.clone(), label("undo-1"));
    cut_everywhere(F::CUT, &task(&*volume, what), |when| {
        match undo.progress() {
            Progress::Untouched => it.keeps(&[("restore-1", &it.replaced)], when),
            Progress::Staged => it.keeps(&[], when),
            other => panic!("{when}: {other:?}"),
        }
        if is_even() {
            perform(&takes());
            assert_eq!(undo.progress(), Progress::Staged, "{when}");
            let staged = it.fixture.beside("undo-1", |path| tree::look(path, &[]));
            tree::same(&staged, &it.replaced, when);
        }
        perform(&puts_back());
        as_it_was(when);
    });
    // One that was swapped and taken back, and so has more to be put away.
    let takes_back = || {
        perform(&takes());
        undo.swap();
        undo.reverse();
    };
    takes_back();
    let what = What::PutBack(name.clone(), undo.stage.clone());
    cut_everywhere(F::CUT, &task(&*volume, what), |when| {
        match undo.progress() {
            // It can be swapped in after all.
            Progress::Staged if is_even() => {
                undo.swap();
                undo.reverse();
            }
            Progress::Staged => {}
            Progress::Untouched => it.keeps(&[("restore-1", &it.replaced)], when),
            other => panic!("{when}: {other:?}"),
        }
        perform(&puts_back());
        as_it_was(when);
        takes_back();
    });
}

fn cut_in_swaps<F: Fixture>(it: &Restored<F>, volume: &dyn Volume) {
    let before = it.fixture.traces();
    let cut = Cut {
        attempt: Attempt::undoing(volume, "restore-1", "undo-1"),
        fixture: &it.fixture,
        old: it.replaced.clone(),
        new: it.fixture.look(),
    };
    cut.everywhere(volume);
    it.fixture.no_trace(&before, "put back");
    let kept = kept_as(volume, "restore-1");
    let kept = look_at(&volume.rollback().unwrap().view_kept(&kept));
    tree::same_but_for_its_time(&kept, &it.replaced, "put back");
}

pub fn a_killed_undo_is_finished_or_taken_back<F: Fixture>() {
    let it = restored::<F>();
    cut_in_swaps(&it, &*it.fixture.volume());
}

pub fn a_killed_undo_onto_nothing_is_finished_or_taken_back<F: Fixture>() {
    let it = restored::<F>();
    it.fixture.remove_data();
    cut_in_swaps(&it, &*it.fixture.volume());
}

pub fn a_killed_forget_is_finished<F: Fixture>() {
    let it = restored::<F>();
    let undo = |from: &str, to: &str| {
        let volume = it.fixture.volume();
        let undo = Attempt::undoing(&*volume, from, to);
        undo.stage();
        undo.swap();
    };
    let forget = |name: &str| {
        let volume = it.fixture.volume();
        perform(&volume.rollback().unwrap().forget_kept(&stage(name)));
    };
    undo("restore-1", "undo-1");
    let what = What::ForgetKept(stage("restore-1"));
    cut_everywhere(F::CUT, &task(&*it.fixture.volume(), what), |when| {
        it.keeps(&[("undo-1", &it.worked)], when);
        forget("restore-1");
        it.keeps(&[("undo-1", &it.worked)], when);
        tree::same(&it.fixture.look(), &it.replaced, when);
        let mut left = it.fixture.traces();
        left.retain(|path| path.to_string_lossy().contains("restore-1"));
        assert!(left.is_empty(), "{when}: {left:?}");
        // Back, and there again.
        undo("undo-1", "restore-1");
        forget("undo-1");
        undo("restore-1", "undo-1");
    });
}

pub fn a_killed_release_is_finished<F: Fixture>() {
    let it = restored::<F>();
    let release = || {
        let volume = it.fixture.volume();
        perform(&volume.rollback().unwrap().discard(&stage("restore-1")));
    };
    release();
    let before = it.fixture.traces();
    // The data is what was captured from here on, and so is what is kept.
    let restore = || {
        let volume = it.fixture.volume();
        let attempt = Attempt::of(&*volume, &it.name, "restore-1");
        attempt.stage();
        attempt.swap();
    };
    restore();
    release();
    restore();
    let what = What::Discard(stage("restore-1"));
    cut_everywhere(F::CUT, &task(&*it.fixture.volume(), what), |when| {
        // It is there, and whole, or it is not said to be.
        if !kept(&*it.fixture.volume()).is_empty() {
            it.keeps(&[("restore-1", &it.old)], when);
        }
        release();
        it.keeps(&[], when);
        tree::same(&it.fixture.look(), &it.old, when);
        it.fixture.no_trace(&before, when);
        restore();
    });
}
