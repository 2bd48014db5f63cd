//! A cluster of three such brokers on volumes of its own, and the program that is run on it.
//! Knows the form of a cluster.toml and where the program puts snapshots; uses none of its code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::addresses::Addresses;
use crate::broker::{self, BROKERS, Running, running};
use crate::folder::{self, Found, Generation};
use crate::layout::{Layout, Place};
use crate::processes;
use crate::rig::{MARK, Rig};
use crate::wait::{seconds, until};

/// Longer than any run takes, on a machine that is emulated and has much else to do.
pub const LONG: Duration = seconds(600);

/// See above.
#[derive(Debug)]
pub struct Cluster {
    /// Where the data is.
    pub place: Place,
    layout: Layout,
    addresses: Addresses,
    /// Dropped last.
    rig: Rig,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` if it was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
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
            "exit code {code:?}\n-- stdout\n{stdout}\n-- stderr\n{stderr}\n--"
        )
    }
}

impl Outcome {
    /// Insists on an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "exit code; {self}");
        self
    }

    /// Standard output as the one JSON document it has to be.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not a JSON document: {error}; {self}"))
    }
}

/// A run that is under way.
#[derive(Debug)]
pub struct Run {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Run {
    /// The coordinator's pid.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Outcome {
        let status = until("the program to end", LONG, || {
            self.child.try_wait().unwrap()
        });
        let text = |file: &mut File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Outcome {
            code: status.code(),
            stdout: text(&mut self.stdout),
            stderr: text(&mut self.stderr),
        }
    }
}

impl Cluster {
    /// Three brokers that are down, with folders of generation 1.
    pub fn create(layout: Layout) -> Cluster {
        let addresses = Addresses::find();
        let rig = Rig::create(&addresses);
        let place = Place::create(&rig, layout);
        let cluster = Cluster {
            place,
            layout,
            addresses,
            rig,
        };
        fs::create_dir(cluster.shared()).unwrap();
        for node in 0..BROKERS {
            folder::make(&cluster.place.data(node), node, 1).unwrap();
            fs::write(
                cluster.settings(node),
                "zeebe.broker:\n  cluster:\n    clusterSize: 3\n",
            )
            .unwrap();
        }
        cluster.configure("");
        cluster
    }

    /// How the data lies.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The test's folder.
    pub fn dir(&self) -> &Path {
        self.rig.dir()
    }

    /// What brokers share with the test.
    pub fn shared(&self) -> PathBuf {
        self.dir().join("shared")
    }

    /// The program's state folder.
    pub fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// A broker's config file.
    pub fn settings(&self, node: usize) -> PathBuf {
        self.dir().join(format!("application-{node}.yaml"))
    }

    fn environment(&self, node: usize) -> BTreeMap<&'static str, String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        BTreeMap::from([
            (broker::NODE, node.to_string()),
            (broker::DATA, text(self.place.named(node))),
            (broker::SHARED, text(self.shared())),
            (broker::ADDRESS, self.addresses.of(node)),
        ])
    }

    /// Writes cluster.toml; `head` are lines that come first.
    pub fn configure(&self, head: &str) {
        let mut text =
            format!("name = \"orders\"\nstop_timeout = \"30s\"\nready_timeout = \"30s\"\n{head}\n");
        for node in 0..BROKERS {
            let environment: Vec<String> = self
                .environment(node)
                .iter()
                .map(|(name, value)| format!("{name} = {value:?}"))
                .collect();
            text += &format!(
                "[[broker]]\nnode_id = {node}\ndata = {:?}\nconfig = [{:?}]\nversion = \"8.5.8\"\n\
                 management = \"http://{}:9600\"\nservice.start = {:?}\nservice.environment = {{ {} }}\nservice.log = {:?}\n",
                self.place.named(node),
                self.settings(node),
                self.addresses.of(node),
                broker::words(),
                environment.join(", "),
                self.dir().join(format!("broker-{node}.log")),
            );
        }
        fs::write(self.dir().join("cluster.toml"), text).unwrap();
    }

    /// Starts a broker as a person would, and waits until it runs.
    pub fn start(&self, node: usize) {
        let words = broker::words();
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(self.dir().join(format!("broker-{node}.log")))
                .unwrap()
        };
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(self.environment(node))
            .env(MARK, self.dir())
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        // A broker that has ended is not to stay a zombie.
        thread::spawn(move || child.wait());
        until("a broker to run", LONG, || self.answers(node).then_some(()));
    }

    /// Whether its management API is there.
    pub fn answers(&self, node: usize) -> bool {
        self.ask(node, "/ready")
            .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    fn ask(&self, node: usize, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((self.addresses.of(node), 9600)).ok()?;
        stream.set_read_timeout(Some(LONG)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: broker\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The broker, if it runs.
    pub fn running(&self, node: usize) -> Option<Running> {
        running(&self.shared(), node)
    }

    /// Which brokers run.
    pub fn up(&self) -> [bool; BROKERS] {
        std::array::from_fn(|node| self.running(node).is_some())
    }

    /// Makes all folders those of a later time: by its broker where it runs.
    pub fn advance(&self, generation: Generation) {
        for node in 0..BROKERS {
            if self.running(node).is_some() {
                self.ask(node, &format!("/generation/{generation}"))
                    .expect("an answer");
            } else {
                self.place.lose_contents(node);
                folder::make(&self.place.data(node), node, generation).unwrap();
            }
        }
    }

    /// For how long a broker goes on when it is told to stop.
    pub fn slow_down(&self, node: usize, milliseconds: u64) {
        fs::write(
            broker::slowness_file(&self.shared(), node),
            milliseconds.to_string(),
        )
        .unwrap();
    }

    /// What is in a broker's data directory.
    pub fn found(&self, node: usize) -> Result<Found, String> {
        folder::look(&self.place.data(node), node, &[".zeebe-snap", "lost+found"])
    }

    /// What a set has of a broker.
    pub fn captured(&self, node: usize, set: &str) -> Result<Found, String> {
        let snapshot = self.place.snapshot(node, set);
        let part = match self.layout {
            // It is of all that lies in the subvolume.
            Layout::SharedSubvolume => snapshot.join(format!("broker-{node}/data")),
            _ => snapshot,
        };
        folder::look(&part, node, &[".zeebe-snap", "lost+found"])
    }

    /// What brokers found that they should never have: see [`broker`].
    pub fn offences(&self) -> String {
        fs::read_to_string(self.shared().join("offences")).unwrap_or_default()
    }

    /// Starts the program.
    pub fn begin(&self, arguments: &[&str]) -> Run {
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_zeebe-snap"))
            .arg("--cluster")
            .arg(self.dir().join("cluster.toml"))
            .arg("--state-dir")
            .arg(self.state())
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs([("TZ", "UTC"), ("COLUMNS", "100")])
            .env(MARK, self.dir())
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .expect("the program starts");
        Run {
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
    #[track_caller]
    pub fn sets(&self) -> BTreeMap<String, String> {
        let list = self.run(&["list", "--json"]).exits(0).json();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let sets = list["sets"].as_array().expect("sets").iter();
        sets.map(|set| (text(&set["set"]), text(&set["state"])))
            .collect()
    }

    /// What `status` says that restores and undos keep.
    pub fn kept(status: &Value) -> BTreeSet<PathBuf> {
        let brokers = status["brokers"].as_array().expect("brokers").iter();
        brokers
            .flat_map(|broker| broker["kept"].as_array().expect("what is kept"))
            .map(|kept| kept["path"].as_str().expect("a path").into())
            .collect()
    }

    /// Waits until nothing of the program runs, and nothing has its locks: a process that is being killed may have them
    /// when it is not seen any more, and for as long as one of its threads waits for a disk.
    pub fn wait_for_silence(&self) {
        let begun = std::time::Instant::now();
        let mut silent = 0;
        // One look may miss a process that begins, or that is just becoming another program and has no environment.
        while silent < 4 {
            let left = processes::of_the_program(self.dir());
            silent = if left.is_empty() { silent + 1 } else { 0 };
            // Not before: to look at a lock is to take it for a moment.
            let held = match silent {
                4 => self.held_locks(),
                _ => BTreeSet::new(),
            };
            silent = if held.is_empty() { silent } else { 0 };
            assert!(
                begun.elapsed() < LONG,
                "these do not end: {left:?}, {held:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}
