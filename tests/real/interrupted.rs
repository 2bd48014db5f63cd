//! Ctrl-C in a real terminal, at the points where the faults are: it unwinds, and leaves what a fault leaves.

use std::fs;

use crate::cluster::{BROKERS, Cluster};
use crate::faults::{Before, WILL_NOT_STOP, all_down, gated};
use crate::gate::Then;
use crate::layout::Layout;
use crate::running::used_cluster;
use crate::setup::Setup;
use crate::wait::{seconds, until};

#[test]
fn between_stop_and_snapshot() {
    at_the_snapshot_of(0);
}

#[test]
#[ignore = "long: a later moment of the same signal"]
fn at_the_snapshot_of_broker_2() {
    at_the_snapshot_of(2);
}

fn at_the_snapshot_of(broker: usize) {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    let gate = gated(&cluster);
    gate.hold(broker);
    let mut terminal = cluster.begin_in_terminal(&["backup"]);
    let held = gate.wait_held();
    all_down(&cluster);
    terminal.ctrl_c();
    // Seen first, then released: a set whose last snapshot is taken may go on to be complete.
    terminal.wait_for("interrupt");
    held.release(Then::Go);
    terminal.finish().exits(1);
    before.is_as_it_was(&cluster);
}

#[test]
#[ignore = "long: a broker that does not stop is among the faults"]
fn while_a_broker_does_not_stop() {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    cluster.configure(&Setup {
        stop: [None, Some(WILL_NOT_STOP.to_owned()), None],
        stop_timeout: Some("10s"),
        ..Setup::default()
    });
    let mut terminal = cluster.begin_in_terminal(&["backup"]);
    until("brokers 0 and 2 to be down", seconds(60), || {
        BROKERS
            .iter()
            .all(|&id| cluster.pids(id).is_empty() != (id == 1))
            .then_some(())
    });
    assert!(frozen(&cluster, 1), "broker 1 does not stop");
    terminal.ctrl_c();
    let outcome = terminal.finish().exits(1);
    before.is_as_it_was(&cluster);
    outcome.says(&["interrupt", "broker 1"]);
}

fn frozen(cluster: &Cluster, broker: usize) -> bool {
    cluster.pids(broker).iter().all(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.contains("State:\tT")
    })
}
