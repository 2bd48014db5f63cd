//! The main promise: what was there at the backup is there after the restore, all of it and nothing else.

use std::fs;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::cluster::{BROKERS, Cluster};
use crate::instances::{Instances, by_partition};
use crate::running::new_cluster;
use crate::volume::tool;

/// How a cluster is lost.
#[derive(Debug)]
enum Loss {
    /// What is in the data directories is deleted; they themselves stay.
    Contents,
    /// The data directories, which are subvolumes, are deleted.
    Subvolumes,
}

#[test]
fn from_the_log_alone() {
    let cluster = new_cluster();
    let before = some_instances(&cluster);
    let snapshots = cluster.zeebe_snapshots();
    assert!(
        snapshots.values().all(Option::is_none),
        "this case is without Zeebe's own snapshots: {snapshots:?}"
    );
    back_up_lose_and_restore(&cluster, &before, Loss::Subvolumes);
}

#[test]
fn from_a_zeebe_snapshot() {
    let cluster = new_cluster();
    let before = some_instances(&cluster);
    cluster.take_snapshot();
    back_up_lose_and_restore(&cluster, &before, Loss::Contents);
}

fn some_instances(cluster: &Cluster) -> Instances {
    let instances = cluster.create(60);
    let counts = by_partition(&instances);
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert!(counts.values().all(|&count| count >= 10), "{counts:?}");
    instances
}

fn back_up_lose_and_restore(cluster: &Cluster, before: &Instances, loss: Loss) {
    let begun = Instant::now();
    let step = |what: &str| eprintln!("{:6.1} s {what}", begun.elapsed().as_secs_f64());

    let report = cluster.run(&["backup", "--json"]).exits(0).json();
    step(&format!("backed up: {report}"));
    whole_report(&report);
    let after = cluster.create(40);
    assert!(before.is_disjoint(&after));

    cluster.kill_all();
    lose(cluster, loss);
    step("lost");
    let restored = cluster
        .run(&["restore", "latest", "--yes", "--json"])
        .exits(0);
    assert_eq!(restored.json()["set"], report["set"]);
    step("restored");

    let jobs = cluster.activate_all();
    assert_eq!(
        &jobs.instances(),
        before,
        "the instances of the backup and no other"
    );
    cluster.complete(&jobs);
    assert_eq!(
        cluster.activate_all().instances(),
        Instances::new(),
        "all are completed"
    );
    step("completed");

    let next = cluster.run(&["backup", "--json"]).exits(0).json();
    step(&format!("backed up again: {next}"));
    whole_report(&next);
    assert_ne!(next["set"], report["set"]);
    cluster.run(&["verify", "latest"]).exits(0);
    step("verified");
    let complete = |set: &Value| (set.as_str().unwrap().to_owned(), "complete".to_owned());
    assert_eq!(
        cluster.sets(),
        [complete(&report["set"]), complete(&next["set"])].into()
    );
    cluster.no_stray_snapshot();
}

/// A backup's report has a figure for every phase of every broker, and the stops were asked for together.
#[track_caller]
fn whole_report(report: &Value) {
    assert_eq!(report["result"], "complete", "{report}");
    assert_eq!(report["cluster"], "orders", "{report}");
    let figure = |value: &Value| {
        let figure = value
            .as_f64()
            .unwrap_or_else(|| panic!("{value} is no figure: {report}"));
        assert!(figure >= 0.0, "{report}");
        figure
    };
    assert!(figure(&report["stop_spread_ms"]) < 100.0, "{report}");
    let brokers = report["brokers"].as_array().expect("brokers");
    let ids: Vec<_> = brokers
        .iter()
        .map(|broker| broker["node_id"].as_u64())
        .collect();
    assert_eq!(ids, BROKERS.map(|id| Some(id as u64)), "{report}");
    for broker in brokers {
        for phase in ["stop_ms", "sync_ms", "snapshot_ms", "start_ms", "ready_ms"] {
            figure(&broker[phase]);
        }
        // A JVM neither ends nor begins in no time: a figure that is made up would.
        assert!(figure(&broker["stop_ms"]) > 100.0, "{report}");
        assert!(figure(&broker["ready_ms"]) > 1000.0, "{report}");
        assert!(
            figure(&report["window_ms"]) >= figure(&broker["stop_ms"]),
            "{report}"
        );
    }
    assert!(figure(&report["exit_to_start_ms"]) > 0.0, "{report}");
    assert!(
        figure(&report["window_ms"]) > figure(&report["exit_to_start_ms"]),
        "{report}"
    );
}

fn lose(cluster: &Cluster, loss: Loss) {
    for broker in BROKERS {
        let data = cluster.data(broker);
        match loss {
            Loss::Contents => {
                for entry in fs::read_dir(&data).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        fs::remove_dir_all(path).unwrap();
                    } else {
                        fs::remove_file(path).unwrap();
                    }
                }
                assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
            }
            Loss::Subvolumes => {
                tool(
                    Command::new("btrfs")
                        .args(["subvolume", "delete"])
                        .arg(&data),
                );
                assert!(!data.exists());
            }
        }
    }
}
