//! The tests: each verb on fixed and on random layouts.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::invariants::foreign_now;
use super::layout::{Layout, Spec, foreign};
use super::machine::Keeps;
use super::session::Trouble;
use super::sweep::{Counts, Sweep, kept, sweep};
use super::tree::Thing;
use super::verbs::{Verb, prepare, recover};
use super::volumes::Lies;
use crate::exec::Cause;
use crate::exit::Exit;
use crate::plan::Step;
use crate::report::ending::exit;

/// Random layouts for each verb, beside the fixed ones, and how many of the moments and steps are taken of each.
const LAYOUTS: u32 = 4;
const ONE_IN: usize = 4;

fn spec(lies: Lies, systemd: bool, up: bool, config: bool) -> Spec {
    Spec {
        lies,
        systemd,
        up,
        config,
        moves: false,
    }
}

/// One broker of each kind, and all that differs among them.
fn fixed() -> Vec<Layout> {
    let all = vec![
        spec(Lies::Nested, true, true, true),
        spec(Lies::Shared, false, true, false),
        spec(Lies::Shared, true, false, true),
    ];
    let mut moving = spec(Lies::Folder, true, true, true);
    moving.moves = true;
    let two = vec![moving, spec(Lies::Mount, true, true, false)];
    [all, two]
        .into_iter()
        .map(|brokers| Layout { brokers, seed: 1 })
        .collect()
}

/// On the same layouts each time, so that what fails is of the change that is tested; others are for the long test.
fn sweep_all(verb: Verb) {
    let same =
        |config| TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    sweep_on(verb, LAYOUTS, ONE_IN, same);
}

fn sweep_on(verb: Verb, layouts: u32, one_in: usize, runner: fn(Config) -> TestRunner) {
    let mut counts = Counts::new();
    for layout in fixed() {
        if let Err(wrong) = sweep(verb, &layout, 1, &mut counts) {
            panic!("{}: {wrong}\n{layout:#?}", verb.word());
        }
    }
    let counts = RefCell::new(counts);
    let config = Config {
        cases: layouts,
        failure_persistence: None,
        max_shrink_iters: 40,
        ..Config::default()
    };
    let result = runner(config).run(&super::layout::layouts(), |layout| {
        sweep(verb, &layout, one_in, &mut counts.borrow_mut()).map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => {
            let counts = counts.into_inner();
            told(&counts);
        }
        Err(TestError::Fail(why, layout)) => panic!("{}: {why}\n{layout:#?}", verb.word()),
        Err(error) => panic!("{}: {error}", verb.word()),
    }
}

/// Adds what was run to the file that counts all cases.
fn told(counts: &Counts) {
    let Some(path) = std::env::var_os("ZEEBE_SNAP_CASES") else {
        return;
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    for (kind, count) in counts {
        file.write_all(format!("in memory\t{kind}\t{count}\n").as_bytes())
            .unwrap();
    }
}

#[test]
fn a_snapshot_of_somebody_else_under_the_name_of_a_set_is_left() {
    let mut cases = 0;
    for layout in fixed() {
        let mut prepared = prepare(&layout, Verb::Forget);
        let set = prepared.sets[0].as_str().to_owned();
        let name = format!("zeebe-snap-{set}");
        let theirs = prepared
            .before
            .things
            .0
            .iter_mut()
            .filter(|(path, _)| path.ends_with(&name));
        let mut taken = Vec::new();
        for (path, thing) in theirs {
            if let Thing::Tree(tree) = thing {
                (tree.id, tree.parent) = (tree.id + 1_000_000, None);
                taken.push(path.clone());
            }
        }
        assert!(!taken.is_empty());
        prepared.before.foreign.extend(taken);
        let mut sweep = Sweep::new(&prepared, 1, 1);
        let mut carried = sweep.run(Trouble::None, true, Some(Keeps::All));
        let code = carried.ending.as_ref().map(exit).ok();
        assert_eq!(code, Some(Exit::Failed));
        let tape = kept(&mut carried.machine);
        let ended = tape.into_iter().map(|(_, _, machine)| machine);
        for machine in ended.chain([carried.machine]) {
            let machine = sweep.crashed(&machine, false);
            let (machine, _) = recover(machine, Trouble::None, 1, true);
            let (was, is) = (
                foreign(&prepared.before),
                foreign_now(&prepared.before, &machine),
            );
            assert_eq!(was, is);
            cases += 1;
        }
    }
    told(
        &[(
            "forget: a snapshot is somebody else's, and it dies".to_owned(),
            cases,
        )]
        .into(),
    );
}

#[test]
fn whatever_happens_to_a_backup_brokers_are_up_and_a_set_is_whole_or_gone() {
    sweep_all(Verb::Backup);
}

#[test]
fn whatever_happens_to_a_restore_all_folders_are_old_or_all_are_new() {
    sweep_all(Verb::Restore { start: true });
}

#[test]
fn a_restore_that_starts_nobody_leaves_all_down_once_it_is_committed() {
    sweep_all(Verb::Restore { start: false });
}

#[test]
fn whatever_happens_to_an_undo_all_folders_are_old_or_all_are_new_and_nothing_is_lost() {
    sweep_all(Verb::Undo { start: true });
}

#[test]
fn an_undo_that_starts_nobody_leaves_all_down_once_it_is_committed() {
    sweep_all(Verb::Undo { start: false });
}

#[test]
fn whatever_happens_to_a_release_all_is_kept_or_all_is_let_go_of() {
    sweep_all(Verb::Release);
}

#[test]
fn whatever_happens_to_a_forget_no_half_is_taken_for_a_whole() {
    sweep_all(Verb::Forget);
}

/// Each step or line of a verb has the trouble, and the run is ended at each moment.
fn trouble_and_death(verb: Verb, layout: &Layout, of: fn(usize) -> Trouble, power: bool) {
    let prepared = prepare(layout, verb);
    let mut sweep = Sweep::new(&prepared, 1, 1);
    if let Err(wrong) = sweep.then_dies(of, power) {
        panic!("{}: {wrong}\n{layout:#?}", verb.word());
    }
    told(&sweep.counts);
}

/// A forget and a release that fail at one broker are asked for again, but what went on at another when the program died
/// is not left in halves.
#[test]
fn what_fails_at_one_broker_and_dies_leaves_no_half_at_another() {
    for verb in [Verb::Forget, Verb::Release] {
        for lies in [Lies::Folder, Lies::Mount] {
            let brokers = vec![
                spec(Lies::Nested, false, true, true),
                spec(lies, false, false, false),
                spec(Lies::Nested, false, true, false),
            ];
            trouble_and_death(verb, &Layout { brokers, seed: 1 }, Trouble::Fails, false);
        }
    }
}

/// What was not synced is gone when the power goes: nothing is done of which the journal would not tell.
#[test]
fn where_a_line_cannot_be_synced_and_the_power_goes_nothing_is_lost() {
    let layout = Layout {
        brokers: vec![spec(Lies::Folder, false, true, true)],
        seed: 1,
    };
    for verb in Verb::ALL {
        trouble_and_death(verb, &layout, Trouble::SyncFails, true);
    }
}

#[test]
fn a_window_that_grows_too_long_is_given_up() {
    let prepared = prepare(&fixed()[0], Verb::Backup);
    let mut steps = prepared.plan.stages.iter().flat_map(|stage| &stage.steps);
    let snapshot = steps
        .position(|step| matches!(step, Step::Snapshot { .. }))
        .unwrap();
    let mut sweep = Sweep::new(&prepared, 1, 1);
    let carried = sweep.run(Trouble::Hangs(snapshot + 1), true, None);
    let ending = carried.ending.unwrap();
    assert!(
        matches!(ending.cause, Some(Cause::TooLong { .. })),
        "{ending:?}"
    );
    assert_eq!(exit(&ending), Exit::Failed);
}

#[test]
#[ignore = "long: the same on many more layouts, others each time"]
fn on_any_layout() {
    for verb in Verb::ALL {
        sweep_on(verb, 60, 1, TestRunner::new);
    }
}
