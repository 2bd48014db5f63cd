//! Three Zeebe brokers, three partitions, replication 3: their folders, processes and management API.
//! Must not know the program under test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::addresses::Addresses;
use crate::install::Zeebe;
use crate::layout::{Layout, Place};
use crate::rig::{MARK, Rig, tool};
use crate::wait::{seconds, until};

/// The node ids.
pub const BROKERS: [usize; 3] = [0, 1, 2];

/// A cluster in a folder of its own. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Cluster {
    rig: Rig,
    place: Place,
    addresses: Addresses,
    state: PathBuf,
    http: ureq::Agent,
}

impl Cluster {
    /// Three new brokers with empty data folders, started and ready.
    pub fn start(layout: Layout) -> Cluster {
        let cluster = Cluster::installed(layout, None);
        for broker in BROKERS {
            cluster.write_settings(broker);
        }
        cluster.start_all();
        cluster.wait_healthy();
        cluster
    }

    /// Three brokers that are to take the place of these: other folders, another file system, other addresses. They are as
    /// installed, settings and all, and never ran. What the program has written down of these is there for them.
    pub fn replacement(&self, layout: Layout) -> Cluster {
        let cluster = Cluster::installed(layout, Some(self.state()));
        for broker in BROKERS {
            let settings = "config/application.yaml";
            fs::copy(
                Zeebe::Current.home().join(settings),
                cluster.settings(broker),
            )
            .expect(settings);
        }
        cluster
    }

    fn installed(layout: Layout, state: Option<PathBuf>) -> Cluster {
        let addresses = Addresses::find();
        let rig = Rig::create(&addresses);
        let place = Place::create(&rig, layout);
        let http = ureq::Agent::config_builder()
            .timeout_global(Some(seconds(20)))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let cluster = Cluster {
            state: state.unwrap_or_else(|| rig.dir().join("state")),
            rig,
            place,
            addresses,
            http,
        };
        cluster.install(Zeebe::Current);
        for broker in BROKERS {
            cluster.write_start_script(broker);
        }
        cluster
    }

    /// Starts all brokers by hand.
    pub fn start_all(&self) {
        for broker in BROKERS {
            self.start_broker(broker);
        }
    }

    /// Ends all brokers by hand, as an admin does, and waits until they are gone.
    pub fn stop_all(&self) {
        self.end_all("-TERM");
    }

    /// Starts one broker the way `service.start` does: in a session of its own, its output to its log.
    pub fn start_broker(&self, broker: usize) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(broker))
            .unwrap();
        // --fork, so that the broker is no child of the test and leaves no zombie for it.
        let mut command = Command::new("setsid");
        command
            .arg("--fork")
            .arg(self.start_script(broker))
            .env(MARK, self.dir())
            .env("ZEEBE_BROKER_CLUSTER_NODEID", broker.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let status = command.status().expect("setsid");
        assert!(status.success(), "{command:?}: {status}");
    }

    /// The test's own folder, outside the file systems of the data.
    pub fn dir(&self) -> &Path {
        self.rig.dir()
    }

    /// Where the data directories lie.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The address of a broker.
    pub fn address(&self, broker: usize) -> String {
        self.addresses.of(broker)
    }

    /// The address of a broker, and the port it gossips on.
    pub fn internal(&self, broker: usize) -> (String, usize) {
        (self.address(broker), self.addresses.internal_port(broker))
    }

    /// The program's state.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }

    /// A broker's standard output and error.
    pub fn log(&self, broker: usize) -> PathBuf {
        self.dir().join(format!("broker-{broker}.log"))
    }

    /// Zeebe's own client, with its arguments, talking to broker 0's gateway.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Zeebe::Current.home().join("bin/zbctl"));
        command
            .args(["--insecure", "--address"])
            .arg(format!("{}:26500", self.address(0)))
            .args(arguments);
        command
    }

    /// The pids of the JVMs that run on a broker's data directory; zombies are none.
    pub fn pids(&self, broker: usize) -> Vec<i32> {
        let wanted = format!(
            "ZEEBE_BROKER_DATA_DIRECTORY={}",
            self.place.named(broker).display()
        );
        processes()
            .filter(|&pid| {
                strings(pid, "environ").any(|text| text == wanted)
                    && strings(pid, "cmdline").any(|text| text.ends_with("StandaloneBroker"))
            })
            .collect()
    }

    /// The pids of the whole cluster, sorted by node id: one each.
    pub fn one_pid_each(&self) -> [i32; 3] {
        BROKERS.map(|broker| match self.pids(broker)[..] {
            [pid] => pid,
            ref pids => panic!("broker {broker} has these processes: {pids:?}"),
        })
    }

    /// Whether a broker says it is ready, asked once; `None` where it says nothing.
    pub fn asked_ready(&self, broker: usize) -> Option<bool> {
        let answer = self.http.get(self.management(broker, "/ready")).call();
        Some(answer.ok()?.status() == 200)
    }

    /// Whether a broker says it is ready, asked once.
    pub fn ready(&self, broker: usize) -> bool {
        self.asked_ready(broker) == Some(true)
    }

    /// Waits until all are ready and the gateway knows a healthy leader of every partition.
    pub fn wait_healthy(&self) {
        for broker in BROKERS {
            let what = format!(
                "broker {broker} to be ready, see {}",
                self.log(broker).display()
            );
            until(&what, seconds(240), || self.ready(broker).then_some(()));
        }
        until("three healthy leaders", seconds(60), || {
            let output = self.client(&["status", "-o", "json"]).output().ok()?;
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            (healthy_leaders(&status) == 3).then_some(())
        });
    }

    /// The snapshot that each replica has, by broker and partition; `None` where it has none yet.
    pub fn zeebe_snapshots(&self) -> BTreeMap<(usize, String), Option<String>> {
        let mut found = BTreeMap::new();
        for broker in BROKERS {
            let mut answer = self
                .http
                .get(self.management(broker, "/actuator/partitions"))
                .call()
                .expect("the management API");
            let partitions: Value = answer.body_mut().read_json().unwrap();
            for (partition, state) in partitions.as_object().unwrap() {
                let id = state["snapshotId"].as_str().map(str::to_owned);
                found.insert((broker, partition.clone()), id);
            }
        }
        assert_eq!(
            found.len(),
            9,
            "three replicas of three partitions: {found:?}"
        );
        found
    }

    /// Posts to every broker's management API.
    pub fn post_all(&self, path: &str) {
        for broker in BROKERS {
            let answer = self.http.post(self.management(broker, path)).send_empty();
            let answer = answer.expect("the management API");
            assert!(answer.status().is_success(), "{path}: {answer:?}");
        }
    }

    /// Has every replica take a snapshot, and waits until it has one.
    pub fn take_snapshot(&self) {
        let mut asked: Option<Instant> = None;
        until("a Zeebe snapshot on every replica", seconds(180), || {
            // A partition that has just got its leader, or has processed nothing yet, takes none.
            if asked.is_none_or(|at| at.elapsed() > seconds(15)) {
                self.post_all("/actuator/partitions/takeSnapshot");
                asked = Some(Instant::now());
            }
            self.zeebe_snapshots()
                .values()
                .all(Option::is_some)
                .then_some(())
        });
    }

    /// Kills all three brokers with -9 and waits until they are gone.
    pub fn kill_all(&self) {
        self.end_all("-KILL");
    }

    fn end_all(&self, signal: &str) {
        for pid in BROKERS.iter().flat_map(|&broker| self.pids(broker)) {
            kill(pid, signal);
        }
        until("all brokers to be gone", seconds(30), || {
            self.is_down().then_some(())
        });
    }

    /// Whether no broker runs.
    pub fn is_down(&self) -> bool {
        BROKERS.iter().all(|&broker| self.pids(broker).is_empty())
    }

    fn management(&self, broker: usize, path: &str) -> String {
        format!("http://{}:9600{path}", self.address(broker))
    }
}

fn healthy_leaders(status: &Value) -> usize {
    let brokers = status["brokers"].as_array().map_or(&[][..], Vec::as_slice);
    brokers
        .iter()
        .flat_map(|broker| broker["partitions"].as_array().into_iter().flatten())
        .filter(|partition| partition["role"] == "LEADER" && partition["health"] == "HEALTHY")
        .count()
}

/// Sends a signal, such as `-KILL`, to one process that a test started or that the program started for it.
pub fn kill(pid: i32, signal: &str) {
    tool(Command::new("kill").arg(signal).arg(pid.to_string()));
}

/// All processes of this machine.
pub fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
}

/// The strings of a process's `environ` or `cmdline`; none of a process that is gone.
pub fn strings(pid: i32, file: &str) -> impl Iterator<Item = String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Writes an executable file.
pub fn write_script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
