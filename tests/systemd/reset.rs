//! A host that goes down in the middle of a restore, and comes up with nobody there who knows of it.

use std::process::Command;

use crate::cluster::{Cluster, UNITS};
use crate::hold::Hold;
use crate::rig::tool;
use crate::running::used_cluster;

#[test]
fn a_broker_stays_down_through_a_reboot_until_the_restore_is_settled() {
    let mut cluster = used_cluster();
    cluster.saved();
    let all = cluster.create(4);

    let hold = Hold::arm(&cluster, UNITS[0]);
    let restore = cluster.begin(&["restore", "latest", "--yes"]);
    hold.wait_held();
    // By one command: neither has the time to do anything about the death of the other.
    let pids = ["agent", "restore"].map(|word| pid(&cluster, word).to_string());
    tool(Command::new("kill").arg("-KILL").args(pids));
    restore.finish();
    cluster.container().cut_power();
    drop(hold);
    cluster.container().boot();

    // Both units are enabled, and everything that starts at boot has started.
    cluster.is_down();
    assert_ne!(cluster.ask(UNITS[1]).state, "active");
    assert!(cluster.is_gated());
    let status = cluster.run(&["status"]).exits(4);
    for words in ["did not end", "zeebe-snap recover", "held down"] {
        assert!(status.stdout.contains(words), "{words:?}; {status}");
    }

    cluster.run(&["recover"]).exits(0);
    cluster.are_up(&UNITS);
    cluster.has(&all);
    assert!(!cluster.is_gated());
    assert_eq!(cluster.drop_ins(), (Vec::new(), String::new()));
    cluster.run(&["status"]).exits(0);
}

/// The pid of the one process of the program with this word in its command line.
fn pid(cluster: &Cluster, word: &str) -> i32 {
    match cluster.container().pids(word)[..] {
        [pid] => pid,
        ref pids => panic!("{word}: {pids:?}"),
    }
}
