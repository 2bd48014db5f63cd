//! A clock that is set: back by an hour or forward by one, between two runs and in the middle of one.

use std::fs;
use std::path::Path;

use super::broken::{command, shim};
use super::{Cases, UP, cluster_up, newest, settled};
use crate::case::On;
use crate::cluster::LONG;
use crate::killing::lines;
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
        // Brokers take their time, so that the clock is set before they have ended.
        cluster.slow_down(1, 300);
        fs::write(&clock, before.to_string()).unwrap();
        let begun = lines(&cluster.state());
        let output = tempfile::NamedTempFile::new().unwrap();
        let mut child = command(&cluster, &environment, &["backup"])
            .stdout(std::process::Stdio::null())
            .stderr(output.reopen().unwrap())
            .spawn()
            .unwrap();
        until("the brokers to be told", LONG, || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || lines(&cluster.state()) >= begun + 8).then_some(())
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
