//! A clock that is set: back by an hour or forward by one, between two runs and in the middle of one.

use std::fs;
use std::path::Path;

use super::broken::{command, shim};
use super::{Cases, UP, cluster_up, newest, settled};
use crate::case::On;
use crate::cluster::LONG;
use crate::wait::until;

#[test]
fn the_clock_is_set() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    let (shim, clock) = (shim(&cluster), cluster.dir().join("clock"));
    let environment: [(&str, &Path); 2] = [("LD_PRELOAD", &shim), ("SHIM_CLOCK", &clock)];
    fs::write(&clock, "0").unwrap();
    let mut taken: Vec<String> = Vec::new();
    // What the clock is off by at the beginning, and what it is set to when brokers are down.
    let settings = [
        (0, 0),
        (-3600, -3600),
        (-3600, -7200),
        (0, 3600),
        (0, -3600),
    ];
    for (number, (before, during)) in settings.into_iter().enumerate() {
        let now = 10 + number as u64;
        cluster.advance(now);
        // One takes its time, so that the clock is set when the others are down.
        cluster.slow_down(1, 600);
        fs::write(&clock, before.to_string()).unwrap();
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut child = command(&cluster, &environment, &["backup"])
            .stdout(std::process::Stdio::null())
            .stderr(output.reopen().unwrap())
            .spawn()
            .unwrap();
        until("a broker to be down", LONG, || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || cluster.running(0).is_none()).then_some(())
        });
        fs::write(&clock, during.to_string()).unwrap();
        let status = until("the backup to end", LONG, || child.try_wait().unwrap());
        let said = fs::read_to_string(output.path()).unwrap();
        let what = format!("the clock was off by {before} s, and then by {during} s");
        assert_eq!(status.code(), Some(0), "{what}: {said}");
        settled(&cluster, &what, UP, &[now]);
        let set = newest(&cluster);
        assert!(
            taken.iter().all(|other| *other < set),
            "{what}: {set} after {taken:?}"
        );
        let latest = cluster.run(&["show", "latest", "--json"]).exits(0).json();
        assert_eq!(latest["set"], set.as_str(), "{what}");
        assert_eq!(cluster.set_is_whole(&set), now, "{what}");
        taken.push(set);
        cases.count("backup: the clock is set");
    }
    let newest = 10 + settings.len() as u64 - 1;
    cluster.advance(99);
    fs::write(&clock, "-10000").unwrap();
    let done = command(&cluster, &environment, &["restore", "latest", "--yes"])
        .output()
        .unwrap();
    assert_eq!(
        done.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    settled(
        &cluster,
        "a restore under a clock that is set back",
        UP,
        &[newest],
    );
    cases.count("restore: the clock is set");
}

/// However far the clock is set back, brokers do not wait longer than `max_downtime`.
#[test]
fn the_window_is_bounded_by_no_clock() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    cluster.configure("max_downtime = \"2s\"");
    let (shim, clock) = (shim(&cluster), cluster.dir().join("clock"));
    let environment: [(&str, &Path); 2] = [("LD_PRELOAD", &shim), ("SHIM_CLOCK", &clock)];
    fs::write(&clock, "0").unwrap();
    cluster.slow_down(1, 8000);
    let output = tempfile::NamedTempFile::new().unwrap();
    let mut child = command(&cluster, &environment, &["backup"])
        .stdout(std::process::Stdio::null())
        .stderr(output.reopen().unwrap())
        .spawn()
        .unwrap();
    until("a broker to be down", LONG, || {
        cluster.running(0).is_none().then_some(())
    });
    fs::write(&clock, "-3600").unwrap();
    let status = until("the backup to end", LONG, || child.try_wait().unwrap());
    let said = fs::read_to_string(output.path()).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("max_downtime"), "{said}");
    settled(&cluster, "a window that grew too long", UP, &[1]);
    assert!(cluster.sets().is_empty());
    cases.count("backup: the clock is set, and the window grows too long");
}
