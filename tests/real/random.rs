//! A sample of the sweep (tests/sweep) on real brokers: a run is killed at some time, and `recover` comes after it.
//!
//! `ZEEBE_SNAP_SEED`, printed with each case, gives the same cases again, as far as times do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cluster::{BROKERS, Cluster, kill, processes, strings};
use crate::instances::Instances;
use crate::layout::Layout;
use crate::program::{LONG, agent_of};
use crate::rig::MARK;
use crate::running::{Turn, used_cluster};
use crate::wait::until;

const CASES: usize = 5;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Who {
    Coordinator,
    Agent,
    Both,
}

/// What a test draws by.
fn dice() -> fastrand::Rng {
    let seed = std::env::var("ZEEBE_SNAP_SEED").map(|seed| seed.parse().expect("a number"));
    let seed = seed.unwrap_or_else(|_| fastrand::u64(..1_000_000));
    println!("ZEEBE_SNAP_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[test]
fn backup() {
    let cluster = used_cluster(Layout::Subvolumes);
    let begun = Instant::now();
    cluster.run(&["backup"]).exits(0);
    let whole = begun.elapsed();
    let mut dice = dice();
    for _ in 0..CASES {
        let before = cluster.sets();
        cut_short(&cluster, &["backup"], whole, &mut dice);
        healthy_and_tidy(&cluster);
        let sets = cluster.sets();
        let new: Vec<_> = sets.difference(&before).collect();
        assert!(before.is_subset(&sets) && new.len() <= 1, "{sets:?}");
        assert!(
            new.iter().all(|(_, state)| state == "complete"),
            "{new:?} after a recovery"
        );
        assert_eq!(&cluster.activate_all().instances(), cluster.open());
    }
    count("backup", CASES);
}

#[test]
fn restore() {
    let cluster = used_cluster(Layout::Subvolumes);
    cluster.run(&["backup"]).exits(0);
    let old = cluster.open().clone();
    let begun = Instant::now();
    cluster.run(&["restore", "latest", "--yes"]).exits(0);
    let whole = begun.elapsed();
    let sets = cluster.sets();
    let (mut all, mut dice) = (old.clone(), dice());
    let mut ends = BTreeSet::new();
    for _ in 0..CASES {
        if all == old {
            all.extend(cluster.create(5));
        }
        cut_short(&cluster, &["restore", "latest", "--yes"], whole, &mut dice);
        healthy_and_tidy(&cluster);
        assert_eq!(cluster.sets(), sets);
        let found = cluster.activate_all().instances();
        assert!(found == old || found == all, "between: {found:?}");
        ends.insert(found == old);
        all = found;
    }
    println!("restored, or not: {ends:?}");
    // The next test finds what it expects.
    if all != old {
        cluster.run(&["restore", "latest", "--yes"]).exits(0);
    }
    cluster.run(&["release", "--all", "--yes"]).exits(0);
    assert_eq!(cluster.activate_all().instances(), Instances::clone(&old));
    count("restore", CASES);
}

/// Runs the program, kills it some time before `whole` is over (sooner rather than later: at the end it waits for brokers to
/// be healthy), and lets `recover` come after it.
fn cut_short(cluster: &Turn, arguments: &[&str], whole: Duration, dice: &mut fastrand::Rng) {
    let after = whole.mul_f64(dice.f64().powi(2));
    let who = dice
        .choice([Who::Coordinator, Who::Agent, Who::Both])
        .unwrap();
    println!("{arguments:?}: {who:?} killed after {after:?}");
    let begun = Instant::now();
    let mut run = cluster.begin(arguments);
    while begun.elapsed() < after && !run.has_ended() {
        std::thread::sleep(Duration::from_millis(1));
    }
    if !run.has_ended() {
        // Frozen first, so that neither sees the other die.
        kill(run.pid(), "-STOP");
        let agent = agent_of(run.pid()).filter(|_| !matches!(who, Who::Coordinator));
        if let Some(agent) = agent {
            kill(agent, "-KILL");
        }
        kill(
            run.pid(),
            match who {
                Who::Agent => "-CONT",
                Who::Coordinator | Who::Both => "-KILL",
            },
        );
    }
    run.wait();
    until("whoever is left to have put things right", LONG, || {
        programs(cluster).next().is_none().then_some(())
    });
    cluster.run(&["recover"]).exits(0);
    let again = cluster.run(&["recover"]).exits(0);
    assert_eq!(again.stdout, "Nothing is owed.\n", "{again}");
}

#[track_caller]
fn healthy_and_tidy(cluster: &Turn) {
    let ready = BROKERS.map(|broker| cluster.ready(broker));
    assert_eq!(ready, [true; 3], "ready after a recovery");
    cluster.one_pid_each();
    cluster.wait_healthy();
    cluster.no_stray_snapshot();
}

/// The processes of the program that are about this cluster.
fn programs(cluster: &Cluster) -> impl Iterator<Item = i32> {
    let mark = format!("{MARK}={}", cluster.dir().display());
    processes().filter(move |pid| {
        let program = fs::read_link(format!("/proc/{pid}/exe"));
        program.is_ok_and(|program| program == Path::new(env!("CARGO_BIN_EXE_zeebe-snap")))
            && strings(*pid, "environ").any(|text| text == mark)
    })
}

/// For scripts/test, which adds up what was swept.
fn count(verb: &str, cases: usize) {
    use std::io::Write;
    let Some(path) = std::env::var_os("ZEEBE_SNAP_CASES") else {
        return;
    };
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path);
    let line = format!("real Zeebe\t{verb} killed at some time\t{cases}\n");
    let file = file.as_mut().unwrap();
    file.write_all(line.as_bytes()).unwrap();
}
