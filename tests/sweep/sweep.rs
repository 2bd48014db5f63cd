//! The sweep: every verb, killed at every line of its journal and at random times.
//!
//! `ZEEBE_SNAP_CASE` runs one case, which is written as a failing one is printed; `ZEEBE_SNAP_SEED` repeats a sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::case::{Case, On, Stage, Then, Verb};
use crate::counts;
use crate::killing::{When, Who};

const EVERYBODY: [Who; 3] = [Who::Coordinator, Who::Agent, Who::Both];

/// How much of all there is.
#[derive(Clone, Copy, Debug)]
struct Breadth {
    /// Of so many combinations of line and victim one is taken.
    one_of: usize,
    /// For each verb and cluster.
    random_times: usize,
    /// For each verb and cluster.
    recoveries: usize,
}

#[test]
fn whatever_is_killed_wherever() {
    sweep(Breadth {
        one_of: 6,
        random_times: 4,
        recoveries: 3,
    });
}

#[test]
#[ignore = "long: every boundary with every victim on every cluster takes most of an hour"]
fn whatever_is_killed_wherever_in_every_way() {
    sweep(Breadth {
        one_of: 1,
        random_times: 100,
        recoveries: 60,
    });
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

fn seed() -> u64 {
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64 | 1;
    std::env::var("ZEEBE_SNAP_SEED").map_or_else(|_| now(), |text| text.parse().unwrap())
}

/// What came of it, over all clusters.
#[derive(Debug, Default)]
struct Tally {
    counts: BTreeMap<String, usize>,
    boundaries: BTreeSet<(On, Verb, usize)>,
    failures: Vec<String>,
}

fn sweep(breadth: Breadth) {
    let tally = Mutex::new(Tally::default());
    let begun = Instant::now();
    if let Ok(case) = std::env::var("ZEEBE_SNAP_CASE") {
        let case: Case = case.parse().unwrap();
        let mut stage = Stage::set(case.on, case.one_is_down);
        for _ in 0..5 {
            stage.play(&case);
        }
        return;
    }
    let seed = seed();
    eprintln!("ZEEBE_SNAP_SEED={seed}");
    std::thread::scope(|scope| {
        for (number, (on, one_is_down)) in [
            (On::Btrfs, false),
            (On::Copy, false),
            (On::Btrfs, true),
            (On::Copy, true),
        ]
        .into_iter()
        .enumerate()
        {
            let tally = &tally;
            scope.spawn(move || {
                // So that each boundary has each victim on some cluster.
                one_cluster(
                    on,
                    one_is_down,
                    breadth,
                    number,
                    seed.wrapping_mul(number as u64 * 2 + 1),
                    tally,
                );
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    let cases: usize = tally.counts.values().sum();
    eprintln!(
        "{cases} cases at {} boundaries in {:.0?}: {:#?}",
        tally.boundaries.len(),
        begun.elapsed(),
        tally.counts
    );
    counts::add(&tally.counts);
    assert!(
        tally.failures.is_empty(),
        "ZEEBE_SNAP_SEED={seed}\n{} failed:\n{}",
        tally.failures.len(),
        tally.failures.join("\n")
    );
}

fn one_cluster(
    on: On,
    one_is_down: bool,
    breadth: Breadth,
    number: usize,
    seed: u64,
    tally: &Mutex<Tally>,
) {
    let mut random = Random(seed | 1);
    let mut stage = Stage::set(on, one_is_down);
    let mut cases = Vec::new();
    for verb in [Verb::Backup, Verb::Restore, Verb::Undo, Verb::Forget] {
        let (lines, time) = stage.measure(verb);
        cases.extend(of_verb(
            on,
            one_is_down,
            verb,
            lines,
            time,
            breadth,
            number,
            &mut random,
        ));
    }
    // So that sets and kept trees of many kinds lie about.
    for index in (1..cases.len()).rev() {
        cases.swap(index, random.below(index as u64 + 1) as usize);
    }
    for case in cases {
        match catch_unwind(AssertUnwindSafe(|| stage.play(&case))) {
            Ok(None) => {}
            Ok(Some(killed)) => {
                let mut tally = tally.lock().unwrap();
                *tally.counts.entry(case.kind()).or_default() += 1;
                if let (Some((line, _)), When::Line(_)) = (killed.at, case.when) {
                    tally.boundaries.insert((on, case.verb, line));
                }
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                let mut failed = tally.lock().unwrap();
                failed
                    .failures
                    .push(format!("ZEEBE_SNAP_CASE='{case}': {text}"));
                if failed.failures.len() > 5 {
                    return;
                }
                drop(failed);
                stage = Stage::set(on, one_is_down);
            }
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn of_verb(
    on: On,
    one_is_down: bool,
    verb: Verb,
    lines: usize,
    time: Duration,
    breadth: Breadth,
    number: usize,
    random: &mut Random,
) -> Vec<Case> {
    let mut case = |who: Who, when: When, again: Option<(Who, usize)>| {
        let then = if random.below(4) == 0 {
            Then::Backup
        } else {
            Then::Recover
        };
        Case {
            on,
            one_is_down,
            verb,
            who,
            when,
            again,
            then,
            seed: random.below(1 << 32),
        }
    };
    let mut cases = Vec::new();
    // The last line says that nothing is owed.
    for line in 1..lines {
        for (index, who) in EVERYBODY.into_iter().enumerate() {
            if (line * EVERYBODY.len() + index + number).is_multiple_of(breadth.one_of) {
                cases.push(case(who, When::Line(line), None));
            }
        }
    }
    for count in 0..breadth.random_times {
        let part = (count as u32 * 37 + number as u32 * 11) % 100;
        cases.push(case(
            EVERYBODY[count % 3],
            When::After(time * part / 100),
            None,
        ));
    }
    for count in 0..breadth.recoveries {
        let line = 1 + (count * 7 + number * 3) % (lines - 1);
        cases.push(case(
            Who::Both,
            When::Line(line),
            Some((EVERYBODY[count % 3], 1 + (count + number) % 9)),
        ));
    }
    cases
}
