//! Runs the program under strace: what it asks of the system, with one answer changed, or late.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{Outcome, PROGRAM};
use crate::wait::until;

/// `tree clone` of `from` to `to` by one thread, which makes the same calls each time, under strace with `options`.
pub fn clone(options: &[&str], from: &Path, to: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq"])
        .args(options)
        .args([PROGRAM, "tree", "clone", "--threads", "1"])
        .args([from, to]);
    command
}

/// One system call of a run: the `count`th of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub count: usize,
}

/// All calls of a clone of `from` to `to` from the first on that names `from`: those before belong to the loader and to the
/// reading of the command line.
pub fn calls(from: &Path, to: &Path) -> Vec<Call> {
    let log = to.with_file_name("strace.log");
    let options = ["-e", "signal=none", "-o", log.to_str().unwrap()];
    let output = clone(&options, from, to).output().expect("strace starts");
    assert!(output.status.success(), "{}", Outcome::from(output));
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let mut counts = std::collections::HashMap::new();
    let mut calls = Vec::new();
    let mut begun = false;
    let first = text.split_once(' ').expect("pid and call").0.to_owned();
    for line in text.lines() {
        let (pid, line) = line.split_once(' ').expect("pid and call");
        assert_eq!(pid, first, "more than one thread: {line}");
        let Some((name, rest)) = line.trim_start().split_once('(') else {
            continue;
        };
        let count: &mut usize = counts.entry(name.to_owned()).or_default();
        *count += 1;
        begun |= name != "execve" && rest.contains(from.to_str().unwrap());
        if begun {
            calls.push(Call {
                name: name.to_owned(),
                count: *count,
            });
        }
    }
    calls
}

/// A clone that is held for a while at the first call of a name.
pub struct Held {
    strace: Child,
    log: PathBuf,
}

impl Held {
    /// Starts it, and comes back when it is at that call.
    pub fn at(call: &str, microseconds: u32, from: &Path, to: &Path) -> Held {
        let log = to.with_extension("log");
        let inject = format!("inject={call}:delay_enter={microseconds}:when=1");
        let options = [
            "-e",
            &format!("trace={call}"),
            "-e",
            &inject,
            "-o",
            log.to_str().unwrap(),
        ];
        let strace = clone(&options, from, to)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace starts");
        let held = Held { strace, log };
        until("the clone to be held", || {
            let text = fs::read_to_string(&held.log).unwrap_or_default();
            text.contains(&format!("{call}(")).then_some(())
        });
        held
    }

    /// Sends a signal to the program, not to strace.
    pub fn signal(&self, signal: Signal) {
        let id = self.strace.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let pid: i32 = children.trim().parse().expect("strace has one child");
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Waits for the end.
    pub fn finish(self) -> Outcome {
        let outcome = self.strace.wait_with_output().unwrap().into();
        fs::remove_file(self.log).unwrap();
        outcome
    }
}
