//! The main promise: what was there at the backup is there after the restore, all of it and nothing else.

use std::time::Instant;

use serde_json::Value;

use crate::cluster::{BROKERS, Cluster};
use crate::instances::{Instances, by_partition};
use crate::layout::Layout;
use crate::running::new_cluster;

#[test]
fn from_the_log_alone() {
    let cluster = new_cluster(Layout::Subvolumes);
    let round = Round::begin(&cluster);
    let snapshots = cluster.zeebe_snapshots();
    assert!(
        snapshots.values().all(Option::is_none),
        "this case is without Zeebe's own snapshots: {snapshots:?}"
    );
    let backup = round.back_up();
    round.lose(|broker| cluster.place().lose(broker));
    round.restore_and_prove(&backup);
}

#[test]
fn from_a_zeebe_snapshot() {
    let cluster = new_cluster(Layout::Subvolumes);
    let round = Round::begin(&cluster);
    cluster.take_snapshot();
    let backup = round.back_up();
    round.lose(|broker| cluster.place().lose_contents(broker));
    round.restore_and_prove(&backup);
}

/// One time through all of it: instances, a backup, more instances, the loss, the restore, the proof.
#[derive(Debug)]
pub struct Round<'a> {
    cluster: &'a Cluster,
    before: Instances,
    begun: Instant,
}

impl Round<'_> {
    /// Starts the instances that have to be back.
    pub fn begin(cluster: &Cluster) -> Round<'_> {
        let begun = Instant::now();
        let before = cluster.create(60);
        let counts = by_partition(&before);
        assert_eq!(counts.len(), 3, "{counts:?}");
        assert!(counts.values().all(|&count| count >= 10), "{counts:?}");
        Round {
            cluster,
            before,
            begun,
        }
    }

    /// Backs up, and gives the report.
    pub fn back_up(&self) -> Value {
        let report = self.cluster.run(&["backup", "--json"]).exits(0).json();
        self.step(&format!("backed up: {report}"));
        whole_report(&report);
        report
    }

    /// Starts instances that must not come back, kills all brokers, and does `lose` for each.
    pub fn lose(&self, lose: impl Fn(usize)) {
        let after = self.cluster.create(40);
        assert!(self.before.is_disjoint(&after));
        self.cluster.kill_all();
        for broker in BROKERS {
            lose(broker);
        }
        self.step("lost");
    }

    /// Restores the only backup. Exactly its instances have to be there and to go on, and the cluster can be backed up again.
    pub fn restore_and_prove(&self, backup: &Value) {
        let cluster = self.cluster;
        let restored = cluster
            .run(&["restore", "latest", "--yes", "--json"])
            .exits(0);
        assert_eq!(restored.json()["set"], backup["set"]);
        self.step("restored");

        let jobs = cluster.activate_all();
        assert_eq!(
            jobs.instances(),
            self.before,
            "the instances of the backup and no other"
        );
        cluster.complete(&jobs);
        assert_eq!(
            cluster.activate_all().instances(),
            Instances::new(),
            "all are completed"
        );
        self.step("completed");

        let next = self.back_up();
        assert_ne!(next["set"], backup["set"]);
        cluster.run(&["verify", "latest"]).exits(0);
        self.step("verified");
        let complete = |set: &Value| (set.as_str().unwrap().to_owned(), "complete".to_owned());
        assert_eq!(
            cluster.sets(),
            [complete(&backup["set"]), complete(&next["set"])].into()
        );
        cluster.no_stray_snapshot();
    }

    fn step(&self, what: &str) {
        eprintln!("{:6.1} s {what}", self.begun.elapsed().as_secs_f64());
    }
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
    let brokers = report["brokers"].as_array().expect("brokers");
    let stops = brokers.iter().map(|broker| figure(&broker["stop_ms"]));
    // The last was told before the first had ended, on a machine that has much else to do, too.
    let shortest = stops.fold(f64::INFINITY, f64::min);
    assert!(figure(&report["stop_spread_ms"]) < shortest, "{report}");
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
