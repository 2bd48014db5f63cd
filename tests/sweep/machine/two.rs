//! Two who want the same brokers at once: one goes on, the other is told who has them.

use std::process::Command;

use super::broken::run_to_its_end;
use super::{Cases, UP, cluster_up, newest, settled, wait_for_line};
use crate::case::On;
use crate::cluster::Outcome;
use crate::killing::lines;

#[test]
fn two_coordinators_do_not_meet() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    let first: [&[&str]; 2] = [&["backup"], &["restore", &set, "--yes"]];
    for (number, words) in first.into_iter().enumerate() {
        let now = 10 + number as u64;
        cluster.advance(now);
        cluster.slow_down(1, 3000);
        let before = lines(&cluster.state());
        let mut run = cluster.begin(words);
        assert!(
            wait_for_line(&cluster, &mut run, before, 3),
            "{words:?} ended before"
        );
        let others: [&[&str]; 4] = [
            &["backup"],
            &["restore", &set, "--yes"],
            &["forget", &set, "--yes"],
            &["recover"],
        ];
        for other in others {
            refused(
                &cluster.run(other),
                &format!("{other:?} while {words:?} is under way"),
            );
            cases.count(&format!("{} while another run is under way", other[0]));
        }
        // Another state folder, the same brokers.
        let mut command = Command::new(env!("CARGO_BIN_EXE_zeebe-snap"));
        command
            .arg("--cluster")
            .arg(cluster.dir().join("cluster.toml"));
        command
            .arg("--state-dir")
            .arg(cluster.dir().join("other-state"));
        let outcome = run_to_its_end(command.arg("backup"));
        refused(
            &outcome,
            &format!("a backup with another state folder while {words:?} is under way"),
        );
        cases.count("backup while another run with another state folder is under way");
        cluster.slow_down(1, 0);
        let outcome = run.finish();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let times: &[u64] = if number == 0 { &[now] } else { &[1] };
        settled(&cluster, &format!("{words:?} beside others"), UP, times);
    }
}

fn refused(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code, Some(3), "{what}: {outcome}");
    for said in ["another run has the lock", "taken by pid"] {
        assert!(outcome.stderr.contains(said), "{what}: {outcome}");
    }
}
