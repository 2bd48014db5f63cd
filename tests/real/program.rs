//! The program under test as a child process: its output, its exit code, its agent.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{BROKERS, Cluster, processes, strings};
use crate::rig::MARK;
use crate::wait::{seconds, until};

/// Longer than any run takes, on a machine that has much else to do.
pub const LONG: Duration = seconds(400);

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error; in a terminal, everything.
    pub stderr: String,
}

impl Outcome {
    /// Insists on an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, code, "exit code; {self}");
        self
    }

    /// Insists on words in what was said to the user, whatever their case.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Outcome {
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "{word:?} is not said; {self}"
            );
        }
        self
    }

    /// Standard output as the one JSON document it has to be.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not a JSON document: {error}; {self}"));
        assert_eq!(document["format"], 1, "{self}");
        document
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome {
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit code {code}\n-- stdout\n{stdout}\n-- stderr\n{stderr}\n--"
        )
    }
}

/// A run that is under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Cluster {
    /// The program's command line for this cluster.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zeebe-snap"));
        command
            .arg("--cluster")
            .arg(self.config())
            .arg("--state-dir")
            .arg(self.state())
            .args(arguments)
            .env(MARK, self.dir());
        command
    }

    /// Starts the program with its output to pipes.
    pub fn begin(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Running {
            child,
            stdout,
            stderr,
        }
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.begin(arguments).finish()
    }

    /// The sets that `list` shows, each with its state.
    pub fn sets(&self) -> BTreeSet<(String, String)> {
        let list = self.run(&["list", "--json"]).exits(0).json();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        list["sets"]
            .as_array()
            .expect("sets")
            .iter()
            .map(|set| (text(&set["set"]), text(&set["state"])))
            .collect()
    }

    /// Insists that what the program has on disk is the snapshots of the listed sets, what restores keep, and their labels.
    #[track_caller]
    pub fn no_stray_snapshot(&self) {
        let sets = self.sets();
        let snapshots = sets
            .iter()
            .flat_map(|(set, _)| BROKERS.map(|id| self.place().snapshot(id, set)));
        let wanted: BTreeSet<PathBuf> = snapshots.chain(self.kept()).collect();
        for path in &wanted {
            assert!(path.is_dir(), "{} is not there", path.display());
        }
        for store in self.place().stores() {
            no_stray(&store, &wanted);
        }
    }

    /// What was said, with all that is another the next time made plain.
    pub fn plain(&self, outcome: &Outcome) -> String {
        let Outcome { stdout, stderr, .. } = outcome;
        let said = format!("{stdout}---\n{stderr}");
        let mut said = said.replace(self.dir().to_str().unwrap(), "/srv");
        for broker in BROKERS {
            said = said.replace(&self.address(broker), &format!("10.0.0.{broker}"));
        }
        let pids = BROKERS.map(|broker| self.pids(broker));
        let plain = |word: &str| {
            let id = word.len() == 16 && word.starts_with("20") && word.ends_with('Z');
            let of = |pids: &Vec<i32>| pids.iter().any(|pid| pid.to_string() == word);
            match (id, pids.iter().position(of)) {
                (true, _) => "ID".to_owned(),
                (false, Some(broker)) => format!("PID-{broker}"),
                (false, None) => word.to_owned(),
            }
        };
        let between = |c: char| !c.is_ascii_alphanumeric();
        let words = said.split_inclusive(between).map(|piece| {
            let word = piece.trim_end_matches(between);
            plain(word) + &piece[word.len()..]
        });
        words.collect()
    }

    /// What `status` says that restores and undos keep.
    pub fn kept(&self) -> Vec<PathBuf> {
        let status = self.run(&["status", "--json"]).exits(0).json();
        let brokers = status["brokers"].as_array().expect("brokers").iter();
        brokers
            .flat_map(|broker| broker["kept"].as_array().expect("what is kept"))
            .map(|kept| kept["path"].as_str().expect("a path").into())
            .collect()
    }
}

/// Insists that in one of the program's folders there is something, and nothing but these snapshots and kept trees, and what is
/// written of one of them beside it.
#[track_caller]
fn no_stray(folder: &Path, wanted: &BTreeSet<PathBuf>) {
    let entries: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert!(!entries.is_empty(), "{} is left", folder.display());
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if wanted.contains(&path) {
            continue;
        }
        if name == "data" {
            no_stray(&path, wanted);
            continue;
        }
        let (stem, end) = name.rsplit_once('.').unwrap_or_default();
        let of = path.with_file_name(stem.trim_start_matches('.'));
        // A restore that had nothing to replace leaves the seal of its staged tree.
        let seal = stem.starts_with("restore-") && end == "seal";
        let known = end != "partial" && wanted.contains(&of) || seal;
        assert!(known, "{} is left", path.display());
    }
}

impl Running {
    /// The coordinator's pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, whatever it is.
    pub fn wait(mut self) {
        until("the program to end", LONG, || {
            self.child.try_wait().unwrap()
        });
    }

    /// Waits for the end of a coordinator that was killed. Its output may be open still: the agent may have it.
    pub fn wait_killed(mut self) {
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}");
    }

    /// Waits for the end. Output has to end with it: a broker that inherited it would hang every pipeline of the user.
    pub fn finish(mut self) -> Outcome {
        let status = until("the program to end", LONG, || {
            self.child.try_wait().unwrap()
        });
        let rest = |stream: &Receiver<String>| {
            stream
                .recv_timeout(seconds(10))
                .expect("the output ends with the program")
        };
        Outcome {
            code: status
                .code()
                .unwrap_or_else(|| panic!("the program died: {status}")),
            stdout: rest(&self.stdout),
            stderr: rest(&self.stderr),
        }
    }
}

/// The pid of the agent that a coordinator has started, if it has one.
pub fn agent_of(coordinator: i32) -> Option<i32> {
    processes().find(|&pid| {
        parent(pid) == Some(coordinator) && strings(pid, "cmdline").any(|word| word == "agent")
    })
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

fn collect(mut stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe can be read");
        sender
            .send(String::from_utf8_lossy(&bytes).into_owned())
            .ok();
    });
    receiver
}
