//! The processes that the program under test has started. Must not know what they do.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::MARK;

/// Processes of the test in `dir` that are no brokers, with their command lines: zeebe-snap's own and the tools it runs.
pub fn of_the_program(dir: &Path) -> Vec<(i32, String)> {
    let mark = format!("{MARK}={}", dir.display());
    let broker = std::env::current_exe().unwrap();
    let ours = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|word| word == mark.as_bytes())
    };
    let is_broker =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == broker);
    all()
        .filter(ours)
        .filter(|pid| !is_broker(pid))
        .map(|pid| (pid, command(pid)))
        .collect()
}

fn all() -> impl Iterator<Item = i32> {
    let listing = fs::read_dir("/proc").unwrap();
    listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn command(pid: i32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

/// The agents that a coordinator has started and that have not ended.
pub fn agents(coordinator: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{coordinator}/task")) else {
        return Vec::new();
    };
    let children = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let pids: Vec<i32> = children
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.into_iter()
        .filter(|pid| command(*pid).trim_end().ends_with(" agent"))
        .collect()
}

/// Sends a signal; one that has ended gets none.
pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).ok();
}
