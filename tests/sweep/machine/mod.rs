//! Faults of the machine: a disk that is full, read-only or broken, a clock that is set, two who want the same, files that
//! are damaged. After each: brokers that were up are up, while the fault is still there; all folders are of one time; and
//! once it is mended `recover` leaves nothing behind.

mod broken;
mod clock;
mod full;
mod read_only;
mod spoilt;
mod strangers;
mod two;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::BROKERS;
use crate::case::On;
use crate::cluster::{Cluster, LONG, Outcome, Run};
use crate::folder::Generation;
use crate::killing::lines;
use crate::layout::Layout;
use crate::rig::{Kind, tool};

/// All run, or none does.
const UP: [bool; BROKERS] = [true; BROKERS];
const DOWN: [bool; BROKERS] = [false; BROKERS];

/// How many cases were run, by kind; written down when it is dropped by a test that did not fail.
#[derive(Debug, Default)]
struct Cases(BTreeMap<String, usize>);

impl Cases {
    fn count(&mut self, kind: &str) {
        *self.0.entry(kind.to_owned()).or_default() += 1;
    }
}

impl Drop for Cases {
    fn drop(&mut self) {
        let Some(file) = std::env::var_os("ZEEBE_SNAP_CASES").filter(|_| !thread::panicking())
        else {
            return;
        };
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        for (kind, count) in &self.0 {
            let line = format!("faults of the machine\t{kind}\t{count}\n");
            file.write_all(line.as_bytes()).unwrap();
        }
    }
}

/// A cluster that is down, on folders of generation 1.
fn cluster_down(on: On) -> Cluster {
    let cluster = Cluster::create(match on {
        On::Btrfs => Layout::Subvolumes,
        On::Copy => Layout::Folders(Kind::Ext4),
    });
    cluster.invite_strangers();
    cluster
}

/// The same, and it runs.
fn cluster_up(on: On) -> Cluster {
    let cluster = cluster_down(on);
    start_all(&cluster);
    cluster
}

fn start_all(cluster: &Cluster) {
    for node in 0..BROKERS {
        cluster.start(node);
    }
}

/// A file system in memory of so many KiB at `at`, which the sweeper of the rig removes.
fn mount_memory(at: &Path, kib: usize) {
    fs::create_dir_all(at).unwrap();
    let size = format!("size={kib}k");
    tool(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(at),
    );
}

/// What is on one.
fn mount(words: &[&str], at: &Path) {
    tool(Command::new("mount").args(words).arg(at));
}

/// How the program ended while the fault was there. It says what is wrong, and where, if it did not do all that it should.
fn ended(outcome: &Outcome, what: &str, said: &[&str]) {
    let code = outcome.code;
    assert!(matches!(code, Some(0 | 1 | 3 | 4)), "{what}: {outcome}");
    if code != Some(0) {
        let tells = said.iter().any(|text| outcome.stderr.contains(text));
        assert!(tells, "{what}: it does not say what is wrong: {outcome}");
    }
}

/// That the fault, which is still there, did nothing to brokers and folders: those that were up are, on folders of one of
/// these times.
fn unharmed(cluster: &Cluster, what: &str, up: [bool; BROKERS], times: &[Generation]) {
    cluster.wait_for_silence();
    assert_eq!(cluster.up(), up, "{what}: which brokers run");
    let of = cluster.one_generation(up);
    assert!(times.contains(&of), "{what}: folders of generation {of}");
}

/// That once the fault is mended, `recover` leaves nothing behind; what the folders are of.
fn settled(cluster: &Cluster, what: &str, up: [bool; BROKERS], times: &[Generation]) -> Generation {
    cluster.wait_for_silence();
    let outcome = cluster.run(&["recover"]);
    assert_eq!(outcome.code, Some(0), "{what}: recover: {outcome}");
    let of = cluster.one_generation(up);
    assert!(times.contains(&of), "{what}: folders of generation {of}");
    // A person who wanted it asks again, as the status says.
    let status = cluster.run(&["status", "--json"]).exits(0).json();
    for set in status["half_forgotten"].as_array().unwrap() {
        let set = set.as_str().unwrap();
        cluster.run(&["forget", set, "--yes"]).exits(0);
    }
    let sets = cluster.sets();
    for (set, state) in &sets {
        assert_eq!(state, "complete", "{what}: set {set}");
        cluster.set_is_whole(set);
    }
    cluster.nothing_is_left(&sets);
    let again = cluster.run(&["recover"]).exits(0);
    assert_eq!(again.stdout, "Nothing is owed.\n", "{what}: {again}");
    of
}

/// Waits until the run has written so many lines more than `before`; whether it did before it ended.
fn wait_for_line(cluster: &Cluster, run: &mut Run, before: usize, line: usize) -> bool {
    let what = format!("line {line} to be written");
    wait_while_it_runs(run, &what, || lines(&cluster.state()) >= before + line)
}

/// Waits until it is `so`; whether it was before the run ended.
fn wait_while_it_runs(run: &mut Run, what: &str, so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if so() {
            return true;
        }
        if run.has_ended() {
            return false;
        }
        assert!(begun.elapsed() < LONG, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The newest set.
fn newest(cluster: &Cluster) -> String {
    cluster.sets().into_keys().next_back().expect("a set")
}
