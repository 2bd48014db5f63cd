//! Runs that are killed at any time, coordinator and agent, and settled by `recover`: all folders are old or all are new,
//! and every broker runs.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use crate::broker::BROKERS;
use crate::cluster::Cluster;
use crate::processes::{agents, signal};
use crate::round_trip::{MIXED, started};
use crate::traces::volumes;

/// How long after its beginning a run is killed: `turn` of `of`, over about as long as it takes.
fn moment(whole: Duration, turn: u32, of: u32) -> Duration {
    whole * (2 * turn + 1) / (2 * of)
}

/// Begins a run, kills it after a while, and settles what it owes.
fn killed(cluster: &Cluster, arguments: &[&str], after: Duration, agent_too: bool) {
    let run = cluster.begin(arguments);
    sleep(after);
    let agents = agents(run.pid());
    signal(run.pid(), Signal::KILL);
    if agent_too {
        agents.iter().for_each(|agent| signal(*agent, Signal::KILL));
    }
    run.finish();
    cluster.wait_for_silence();
    let recovered = cluster.run(&["recover"]);
    // It has completed a set, or there was nothing to do.
    assert!(matches!(recovered.code, Some(0 | 1)), "{recovered}");
    cluster.run(&["recover"]).exits(0);
    cluster.wait_for_silence();
    let generations = [0, 1, 2].map(|node| cluster.running(node).expect("it runs").generation);
    assert!(
        generations.iter().all(|of| *of == generations[0]),
        "{arguments:?} killed after {after:?}: {generations:?}"
    );
    for node in 0..BROKERS {
        assert_eq!(cluster.found(node).unwrap().generation, generations[0]);
    }
    assert_eq!(cluster.offences(), "");
}

fn whole(cluster: &Cluster, arguments: &[&str]) -> Duration {
    let begun = std::time::Instant::now();
    cluster.run(arguments).exits(0);
    begun.elapsed()
}

#[test]
#[ignore = "needs a kernel with ZFS and device-mapper: scripts/test runs it through scripts/vm"]
fn runs_that_are_killed_are_settled() {
    const TIMES: u32 = 6;
    let cluster = started(MIXED);
    let before = volumes(&cluster);
    let backup = whole(&cluster, &["backup"]);
    let restore = whole(&cluster, &["restore", "latest", "--yes"]);
    for turn in 0..TIMES {
        let agent_too = turn % 2 == 0;
        killed(
            &cluster,
            &["backup"],
            moment(backup, turn, TIMES),
            agent_too,
        );
        cluster.advance(u64::from(turn) + 2);
        let arguments = ["restore", "latest", "--yes"];
        killed(
            &cluster,
            &arguments,
            moment(restore, turn, TIMES),
            agent_too,
        );
        for set in cluster.sets().keys() {
            cluster.run(&["verify", set]).exits(0);
        }
    }
    for set in cluster.sets().keys() {
        cluster.run(&["forget", set, "--yes"]).exits(0);
    }
    cluster.run(&["release", "--all", "--yes"]).exits(0);
    cluster.wait_for_silence();
    assert_eq!(volumes(&cluster), before, "nothing is left");
}
