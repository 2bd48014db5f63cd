//! Faults in the window. Whatever happens: no broker stays down, no snapshot stays behind, and the user learns who and why.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::cluster::{BROKERS, Cluster, kill, processes};
use crate::gate::{COMPLAINT, Gate, Then};
use crate::layout::Layout;
use crate::program::{LONG, Outcome, agent_of};
use crate::running::{Turn, used_cluster};
use crate::setup::Setup;
use crate::wait::{seconds, until};

/// What a run that fails has to leave as it found it.
#[derive(Debug)]
pub struct Before {
    sets: BTreeSet<(String, String)>,
    pids: [i32; 3],
}

impl Before {
    /// Notes how things are.
    pub fn note(cluster: &Turn) -> Before {
        Before {
            sets: cluster.sets(),
            pids: cluster.one_pid_each(),
        }
    }

    /// Insists that a failed run left three healthy brokers, no snapshot and all instances.
    #[track_caller]
    pub fn is_as_it_was(&self, cluster: &Turn) {
        // Asked once: exit code 1 says that the brokers are healthy now, not soon.
        let ready = BROKERS.map(|broker| cluster.ready(broker));
        assert_eq!(ready, [true; 3], "ready at the end of the run");
        cluster.one_pid_each();
        assert_eq!(cluster.sets(), self.sets, "sets");
        cluster.no_stray_snapshot();
        cluster.wait_healthy();
        assert_eq!(&cluster.activate_all().instances(), cluster.open());
    }

    /// Insists that the run has touched no broker.
    #[track_caller]
    pub fn is_untouched(&self, cluster: &Turn) {
        assert_eq!(cluster.one_pid_each(), self.pids, "the brokers' pids");
        self.is_as_it_was(cluster);
    }
}

/// A cluster whose snapshot of one broker is going to be held.
pub fn gated(cluster: &Cluster) -> Gate {
    let gate = Gate::before_btrfs(cluster);
    cluster.configure(&Setup {
        tools: Some(gate.dir().to_owned()),
        ..Setup::default()
    });
    gate
}

/// Insists on the point between the stops and the snapshots.
#[track_caller]
pub fn all_down(cluster: &Cluster) {
    for broker in BROKERS {
        assert_eq!(cluster.pids(broker), [0; 0], "broker {broker} is down");
    }
}

/// `service.stop` of a broker that will not stop: frozen, it cannot act on its SIGTERM.
pub const WILL_NOT_STOP: &str = "kill -STOP $pid; kill -TERM $pid";

/// Insists on a failed run's JSON report: this broker, at this step.
#[track_caller]
fn blames(outcome: &Outcome, broker: usize, step: &str) {
    let report = outcome.json();
    assert_eq!(report["result"], "failed", "{report}");
    let failures = report["failures"].as_array().expect("failures");
    let of_this = |failure: &&Value| failure["broker"] == broker && failure["step"] == step;
    let failure = failures.iter().find(of_this);
    let failure = failure.unwrap_or_else(|| panic!("no {step} of broker {broker}: {report}"));
    assert_ne!(
        failure["message"].as_str().expect("a message"),
        "",
        "{report}"
    );
}

#[test]
#[ignore = "long: one of two ends of the same fault"]
fn killed_agent_whose_snapshot_is_made_all_the_same() {
    killed_agent(Then::Go);
}

#[test]
fn killed_agent_whose_snapshot_fails() {
    killed_agent(Then::Fail);
}

/// The agent dies with all brokers down and a snapshot command on its way.
fn killed_agent(then: Then) {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    let gate = gated(&cluster);
    gate.hold(0);
    let run = cluster.begin(&["backup"]);
    let held = gate.wait_held();
    all_down(&cluster);
    kill(agent_of(run.pid()).expect("an agent"), "-KILL");
    held.release(then);
    let outcome = run.finish().exits(1);
    before.is_as_it_was(&cluster);
    // Broker 0, or another whose snapshot was on its way at that moment.
    outcome.says(&["agent", "snapshot broker "]);
}

#[test]
#[ignore = "long: tests/sweep has it on processes that are quicker"]
fn snapshot_that_fails_at_broker_2() {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    let gate = Gate::before_btrfs(&cluster);
    gate.fail(2);
    // The stop scripts note when they were called: what the program says of the stops is not to be believed.
    let note = |broker: usize| cluster.dir().join(format!("stopped-{broker}"));
    cluster.configure(&Setup {
        tools: Some(gate.dir().to_owned()),
        stop: BROKERS
            .map(|broker| Some(format!("date +%s%N >{:?}; kill -TERM $pid", note(broker)))),
        ..Setup::default()
    });
    let outcome = cluster.run(&["backup", "--json"]).exits(1);
    before.is_as_it_was(&cluster);
    blames(&outcome, 2, "snapshot");
    outcome.says(&["broker 2", COMPLAINT]);
    let asked = BROKERS.map(|broker| {
        let nanoseconds = fs::read_to_string(note(broker)).unwrap();
        nanoseconds.trim().parse::<u64>().unwrap()
    });
    let spread = asked.iter().max().unwrap() - asked.iter().min().unwrap();
    assert!(
        spread < 100_000_000,
        "the stops were asked for within {spread} ns"
    );
}

#[test]
fn broker_that_will_not_stop() {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    cluster.configure(&Setup {
        stop: [None, Some(WILL_NOT_STOP.to_owned()), None],
        stop_timeout: Some("10s"),
        ..Setup::default()
    });
    let outcome = cluster.run(&["backup", "--json"]).exits(1);
    before.is_as_it_was(&cluster);
    blames(&outcome, 1, "stop");
    outcome.says(&["broker 1", "10"]);
}

/// Without its coordinator an agent puts everything right by itself.
#[test]
fn killed_coordinator() {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    let gate = gated(&cluster);
    gate.hold(0);
    let run = cluster.begin(&["backup"]);
    let held = gate.wait_held();
    all_down(&cluster);
    let agent = agent_of(run.pid()).expect("an agent");
    kill(run.pid(), "-KILL");
    held.release(Then::Go);
    run.wait_killed();
    until("the agent to have put things right", LONG, || {
        (!processes().any(|pid| pid == agent)).then_some(())
    });
    before.is_as_it_was(&cluster);
}

/// With both gone nobody is left to start the brokers; the next run does it first.
#[test]
fn killed_coordinator_and_agent() {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    let gate = gated(&cluster);
    gate.hold(0);
    let run = cluster.begin(&["backup"]);
    let held = gate.wait_held();
    all_down(&cluster);
    // Frozen first, so that neither sees the other die.
    kill(run.pid(), "-STOP");
    kill(agent_of(run.pid()).expect("an agent"), "-KILL");
    kill(run.pid(), "-KILL");
    held.release(Then::Go);
    run.wait_killed();
    let dead = newest_run(&cluster);
    until("the orphaned snapshot", seconds(30), || {
        cluster.place().snapshot(0, &dead).is_dir().then_some(())
    });
    gate.pass();
    all_down(&cluster);

    let status = cluster.run(&["status"]);
    assert!(
        status.stdout.contains(&dead),
        "the dead run {dead} is named; {status}"
    );

    let next = cluster.run(&["backup", "--json"]).exits(0);
    assert_eq!(next.json()["result"], "complete", "{next}");
    let set = next.json()["set"].as_str().unwrap().to_owned();
    let mut sets = before.sets.clone();
    sets.insert((set, "complete".to_owned()));
    assert_eq!(cluster.sets(), sets);
    cluster.no_stray_snapshot();
    let status = cluster.run(&["status"]).exits(0);
    assert!(
        !status.stdout.contains(&dead),
        "the dead run {dead} is settled; {status}"
    );
    cluster.wait_healthy();
    assert_eq!(&cluster.activate_all().instances(), cluster.open());
    next.says(&[&dead]);
}

/// A run's id is the name of its journal, and ids are times.
fn newest_run(cluster: &Cluster) -> String {
    let journals = fs::read_dir(cluster.state().join("runs")).unwrap();
    journals
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let journal = path.extension().is_some_and(|end| end == "jsonl");
            journal.then(|| path.file_stem().unwrap().to_str().unwrap().to_owned())
        })
        .max()
        .expect("a journal")
}
