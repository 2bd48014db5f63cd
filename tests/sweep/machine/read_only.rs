//! A volume that has become read-only: the state folder's, and the data's, before a run and during one.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{
    Cases, DOWN, UP, cluster_down, cluster_up, ended, mount, mount_memory, newest, settled,
    unharmed,
};
use crate::case::On;
use crate::cluster::LONG;

const SAID: [&str; 2] = ["Read-only file system", "is mounted read-only"];

#[test]
fn the_state_folder_is_read_only() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    mount_memory(&cluster.state(), 4096);
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    cluster.advance(2);
    let verbs: [&[&str]; 4] = [
        &["backup"],
        &["restore", &set, "--yes"],
        &["forget", &set, "--yes"],
        &["recover"],
    ];
    for words in verbs {
        let what = format!("{words:?} with a state folder that is read-only");
        mount(&["-o", "remount,ro"], &cluster.state());
        let outcome = cluster.run(words);
        ended(&outcome, &what, &SAID);
        assert_ne!(outcome.code, Some(0), "{what}: {outcome}");
        // What only reads goes on.
        cluster.run(&["status"]).exits(0);
        cluster.run(&["verify", &set]).exits(0);
        unharmed(&cluster, &what, UP, &[2]);
        mount(&["-o", "remount,rw"], &cluster.state());
        settled(&cluster, &what, UP, &[2]);
        cases.count("the state folder is read-only");
    }
}

/// A volume that files are open on for writing cannot be made read-only, so these brokers are down.
#[test]
fn the_volume_of_the_data_is_read_only() {
    for on in [On::Btrfs, On::Copy] {
        let cluster = cluster_down(on);
        let mut cases = Cases::default();
        cluster.run(&["backup"]).exits(0);
        let set = newest(&cluster);
        let verbs: [&[&str]; 3] = [
            &["backup"],
            &["restore", &set, "--no-start", "--yes"],
            &["forget", &set, "--yes"],
        ];
        for words in verbs {
            let what = format!("{words:?} on a read-only {on}");
            mount(&["-o", "remount,ro"], &cluster.place.root());
            let outcome = cluster.run(words);
            ended(&outcome, &what, &SAID);
            assert_ne!(outcome.code, Some(0), "{what}: {outcome}");
            unharmed(&cluster, &what, DOWN, &[1]);
            mount(&["-o", "remount,rw"], &cluster.place.root());
            settled(&cluster, &what, DOWN, &[1]);
            cases.count("the data's volume is read-only");
        }
    }
}

/// As soon as the last broker has ended, when nobody writes.
#[test]
fn the_volume_of_the_data_becomes_read_only_in_the_window() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    let mut run = cluster.begin(&["backup"]);
    let begun = Instant::now();
    let root = cluster.place.root();
    let became = loop {
        let mut remount = Command::new("mount");
        let remount = remount
            .args(["-o", "remount,ro"])
            .arg(&root)
            .output()
            .unwrap();
        if remount.status.success() || run.has_ended() {
            break remount.status.success();
        }
        assert!(begun.elapsed() < LONG);
        thread::sleep(Duration::from_millis(1));
    };
    let outcome = run.finish();
    cluster.wait_for_silence();
    mount(&["-o", "remount,rw"], &root);
    if became {
        ended(
            &outcome,
            "a backup whose volume becomes read-only",
            &["ead-only", "ended at once", "does not run"],
        );
        // These brokers cannot start on such a volume. That they are down is said, and what to do.
        if cluster.up() != UP {
            assert_eq!(outcome.code, Some(4), "{outcome}");
            assert!(outcome.stderr.contains("Hint"), "{outcome}");
        }
        cases.count("the data's volume becomes read-only in the window");
    }
    // A set that was captured leaves nothing to be done for brokers that did not start: a person does, or the next run.
    if cluster.run(&["recover"]).code == Some(0) {
        for node in (0..3).filter(|node| cluster.running(*node).is_none()) {
            cluster.start(node);
        }
    }
    settled(&cluster, "a backup whose volume was read-only", UP, &[1]);
}
