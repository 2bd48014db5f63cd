//! Backup, restore, undo: both units are up again after each, and the instances are those that have to be there.

use crate::cluster::UNITS;
use crate::running::used_cluster;

#[test]
fn backup_restore_undo() {
    let mut cluster = used_cluster();
    let check = cluster.run(&["check", "--json"]).exits(0).json();
    assert_eq!(check["findings"].as_array().unwrap().len(), 0, "{check}");

    let before = cluster.open().clone();
    let first = cluster.ask("zeebe.service");
    // As a timer does it: in a unit of its own.
    let line = "systemd-run --wait --pipe --collect --quiet zeebe-snap backup --json";
    let words: Vec<&str> = line.split(' ').collect();
    cluster.back_up(cluster.container().command(&words));
    let second = cluster.ask("zeebe.service");
    assert_ne!(second.pid, first.pid, "it was stopped and started");
    assert_eq!(second.restarts, 0, "systemd did not start it by itself");
    cluster.are_up(&UNITS);

    let all = cluster.create(8);
    assert!(all.len() > before.len());
    cluster.run(&["restore", "latest", "--yes"]).exits(0);
    cluster.are_up(&UNITS);
    let third = cluster.ask("zeebe.service");
    assert_ne!(third.pid, second.pid);
    assert_eq!(third.restarts, 0);
    cluster.has(&before);

    cluster.run(&["undo", "--yes"]).exits(0);
    cluster.are_up(&UNITS);
    assert_eq!(cluster.ask("zeebe.service").restarts, 0);
    cluster.has(&all);
}
