//! One set over three backends: taken, brought back, undone, done again, let go of and destroyed.

use std::fs;
use std::process::Command;

use crate::broker::BROKERS;
use crate::cluster::Cluster;
use crate::folder::Generation;
use crate::layout::{Held, Layout};
use crate::rig::tool;
use crate::traces::volumes;

/// All brokers that run are of this generation, and so is what is in their folders.
#[track_caller]
pub fn all_are_of(cluster: &Cluster, generation: Generation) {
    for node in 0..BROKERS {
        let running = cluster.running(node);
        assert_eq!(running.expect("it runs").generation, generation, "{node}");
        assert_eq!(cluster.found(node).unwrap().generation, generation);
    }
    assert_eq!(cluster.offences(), "");
}

/// Three backends.
pub const MIXED: [Held; 3] = [Held::Dataset, Held::Thin, Held::Folder];

/// A cluster that runs on generation 1.
pub fn started(held: [Held; 3]) -> Cluster {
    let cluster = Cluster::create(Layout::Volumes(held));
    for node in 0..BROKERS {
        cluster.start(node);
    }
    cluster
}

#[test]
#[ignore = "needs a kernel with ZFS and device-mapper: scripts/test runs it through scripts/vm"]
fn a_set_over_three_backends_comes_back_and_is_undone() {
    let cluster = started(MIXED);
    let mounts = || {
        let of = |node| tool(Command::new("findmnt").arg(cluster.place.data(node)));
        [0, 1].map(of)
    };
    let (before, mounted) = (volumes(&cluster), mounts());
    let check = cluster.run(&["check"]).exits(0);
    assert!(
        check.stdout.contains("zfs dataset") && check.stdout.contains("thin volume"),
        "{check}"
    );

    let backup = cluster.run(&["backup", "--json"]).exits(0).json();
    let set = backup["set"].as_str().expect("a set").to_owned();
    assert_eq!(cluster.sets()[&set], "complete");
    cluster.run(&["verify", &set]).exits(0);
    all_are_of(&cluster, 1);

    cluster.advance(2);
    all_are_of(&cluster, 2);
    cluster.run(&["restore", &set, "--yes"]).exits(0);
    all_are_of(&cluster, 1);
    assert_eq!(mounts(), mounted, "what is mounted");
    let status = cluster.run(&["status", "--json"]).exits(0).json();
    assert_eq!(Cluster::kept(&status).len(), BROKERS);
    cluster.run(&["verify", &set]).exits(0);

    // It is a cluster like any other: work goes on, and a set is taken of it.
    cluster.advance(3);
    cluster.run(&["backup"]).exits(0);
    cluster.run(&["undo", "--yes"]).exits(0);
    all_are_of(&cluster, 2);
    assert_eq!(mounts(), mounted, "what is mounted");
    cluster.run(&["undo", "--yes"]).exits(0);
    all_are_of(&cluster, 3);
    for set in cluster.sets().keys() {
        cluster.run(&["verify", set]).exits(0);
    }
    cluster.run(&["restore", &set, "--yes"]).exits(0);
    all_are_of(&cluster, 1);

    // All is lost, and comes back.
    for node in 0..BROKERS {
        let pid = cluster.running(node).unwrap().pid;
        tool(Command::new("kill").arg("-9").arg(pid.to_string()));
        crate::wait::until("a broker to end", crate::cluster::LONG, || {
            cluster.running(node).is_none().then_some(())
        });
        cluster.place.lose_contents(node);
        assert_eq!(fs::read_dir(cluster.place.data(node)).unwrap().count(), 0);
    }
    cluster.run(&["restore", &set, "--yes"]).exits(0);
    all_are_of(&cluster, 1);

    // What is kept holds a snapshot that was taken of it: that goes with its set.
    let refused = cluster.run(&["release", "--all", "--yes"]).exits(1);
    assert!(
        refused.stderr.contains("there are snapshots in it"),
        "{refused}"
    );
    for set in cluster.sets().keys() {
        cluster.run(&["forget", set, "--yes"]).exits(0);
    }
    cluster.run(&["release", "--all", "--yes"]).exits(0);
    cluster.wait_for_silence();
    assert_eq!(volumes(&cluster), before, "nothing is left");
    assert_eq!(mounts(), mounted, "what is mounted");
    all_are_of(&cluster, 1);
}
