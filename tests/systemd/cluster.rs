//! One Zeebe broker with two partitions, as a unit of the container, and a unit that requires it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::container::{Container, variable};
use crate::program::{Outcome, PROGRAM, run};
use crate::rig::tool;
use crate::wait::{seconds, until};

/// The broker's unit, and the one that requires it.
pub const UNITS: [&str; 2] = ["zeebe.service", "dependant.service"];

/// Zeebe writes its log below its home, so that has to be a folder of its own, of links to the one unpacked.
const HOME: &str = "/opt/broker";

/// The first compiler only: on two cores it halves the time to ready.
const UNIT: &str = "[Unit]
Description=Zeebe
[Service]
Environment=JAVA_HOME=/opt/java
Environment='JAVA_OPTS=-Xms64m -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC'
Environment=ZEEBE_BROKER_CLUSTER_NODEID=0 ZEEBE_BROKER_CLUSTER_CLUSTERSIZE=1
Environment=ZEEBE_BROKER_CLUSTER_PARTITIONSCOUNT=2 ZEEBE_BROKER_CLUSTER_REPLICATIONFACTOR=1
Environment=ZEEBE_BROKER_NETWORK_HOST=127.0.0.1 ZEEBE_BROKER_NETWORK_ADVERTISEDHOST=127.0.0.1
Environment=ZEEBE_BROKER_GATEWAY_NETWORK_HOST=127.0.0.1 SERVER_ADDRESS=127.0.0.1 MANAGEMENT_SERVER_ADDRESS=127.0.0.1
Environment=ZEEBE_BROKER_DATA_DIRECTORY=/srv/zeebe/data
Environment=ZEEBE_BROKER_DATA_LOGSEGMENTSIZE=8MB ZEEBE_BROKER_DATA_SNAPSHOTPERIOD=1h
Environment=ZEEBE_BROKER_DATA_DISK_FREESPACE_PROCESSING=200MB ZEEBE_BROKER_DATA_DISK_FREESPACE_REPLICATION=100MB
Environment=ZEEBE_BROKER_THREADS_CPUTHREADCOUNT=1 ZEEBE_BROKER_THREADS_IOTHREADCOUNT=1
Environment=ZEEBE_BROKER_EXPERIMENTAL_ROCKSDB_MEMORYLIMIT=32MB
Environment=ZEEBE_BROKER_EXPERIMENTAL_ENGINE_JOBS_TIMEOUTCHECKERPOLLINGINTERVAL=200ms
Environment=ZEEBE_BROKER_GATEWAY_LONGPOLLING_ENABLED=false
ExecStart=/opt/broker/bin/broker
Restart=always
RestartSec=100ms
SuccessExitStatus=143
[Install]
WantedBy=multi-user.target
";

const DEPENDANT: &str = "[Unit]
Requires=zeebe.service
After=zeebe.service
[Service]
ExecStart=sleep infinity
[Install]
WantedBy=multi-user.target
";

/// What `systemctl show` says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `ActiveState`.
    pub state: String,
    /// `MainPID`, inside; 0 where there is none.
    pub pid: i32,
    /// `NRestarts`: how often systemd started it by itself.
    pub restarts: u32,
}

/// A run that is under way.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Waits for the end.
    pub fn finish(self) -> Outcome {
        self.0.wait_with_output().unwrap().into()
    }
}

/// The broker and what is around it. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Cluster {
    container: Container,
}

impl Cluster {
    /// A new broker with an empty data directory, started at boot and healthy.
    pub fn start() -> Cluster {
        let canonical = |path: String| fs::canonicalize(&path).expect("it is there");
        let mut binds = vec![
            (canonical(variable("ZEEBE_HOME")), "/opt/zeebe".into()),
            (canonical(variable("JAVA_HOME")), "/opt/java".into()),
            (PROGRAM.into(), "/usr/local/bin/zeebe-snap".into()),
        ];
        binds.extend(java_settings().map(|path| (path.clone(), path)));
        let container = Container::create(binds);
        tool(
            Command::new("btrfs")
                .args(["subvolume", "create"])
                .arg(container.inside("/srv/zeebe/data")),
        );
        let broker = fs::read_to_string(Path::new(&variable("ZEEBE_HOME")).join("bin/broker"))
            .expect("ZEEBE_HOME has bin/broker");
        container.write(&format!("{HOME}/bin/broker"), &broker);
        for name in ["lib", "config"] {
            let link = container.inside(&format!("{HOME}/{name}"));
            std::os::unix::fs::symlink(format!("/opt/zeebe/{name}"), link).unwrap();
        }
        tool(
            Command::new("chmod")
                .arg("755")
                .arg(container.inside(&format!("{HOME}/bin/broker"))),
        );
        let cluster = Cluster { container };
        cluster.unit(UNITS[0], UNIT);
        cluster.unit(UNITS[1], DEPENDANT);
        cluster.configure(UNITS[0], None);
        tool(
            Command::new("systemctl")
                .arg("--quiet")
                .arg(format!("--root={}", cluster.container.inside("").display()))
                .arg("enable")
                .args(UNITS),
        );
        cluster.container.boot();
        cluster.wait_healthy();
        cluster
    }

    /// The container.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The test's folder, on this machine.
    pub fn dir(&self) -> &Path {
        self.container.dir()
    }

    /// Writes a unit, or a drop-in of one.
    pub fn unit(&self, name: &str, text: &str) {
        self.container
            .write(&format!("/etc/systemd/system/{name}"), text);
    }

    /// Removes it again, with the folder of a last drop-in.
    pub fn remove_unit(&self, name: &str) {
        let path = self
            .container
            .inside(&format!("/etc/systemd/system/{name}"));
        fs::remove_file(&path).unwrap();
        if name.contains('/') {
            fs::remove_dir(path.parent().unwrap()).unwrap();
        }
    }

    /// Writes cluster.toml: the name of the broker's unit in it, and a folder that is searched for tools before all others.
    pub fn configure(&self, unit: &str, tools: Option<&str>) {
        let tools = tools.map(|folder| format!("tool_dirs = [{folder:?}]\n"));
        self.container.write(
            "/etc/zeebe-snap/cluster.toml",
            &format!(
                "name = \"orders\"\n\
                 {}\
                 [[broker]]\n\
                 node_id = 0\n\
                 data = \"/srv/zeebe/data\"\n\
                 config = [\"/opt/zeebe/config/application.yaml\"]\n\
                 management = \"http://127.0.0.1:9600\"\n\
                 service.systemd = {unit:?}\n",
                tools.unwrap_or_default()
            ),
        );
    }

    /// Zeebe's own client, with its arguments.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let zbctl = Path::new(&variable("ZEEBE_HOME")).join("bin/zbctl");
        let mut command = self.container.on_its_network(&zbctl);
        command
            .args(["--insecure", "--address", "127.0.0.1:26500"])
            .args(arguments);
        command
    }

    /// The program's command line.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut words = vec!["zeebe-snap"];
        words.extend(arguments);
        self.container.command(&words)
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        run(&mut self.program(arguments))
    }

    /// Starts the program.
    pub fn begin(&self, arguments: &[&str]) -> Running {
        let mut command = self.program(arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Running(child.unwrap())
    }

    /// Waits until the gateway knows a healthy leader of both partitions.
    pub fn wait_healthy(&self) {
        until("two healthy leaders", seconds(120), || {
            let output = self.client(&["status", "-o", "json"]).output().ok()?;
            let status: Value = serde_json::from_slice(&output.stdout).ok()?;
            (healthy_leaders(&status) == 2).then_some(())
        });
    }

    /// What systemd says of a unit now.
    pub fn ask(&self, unit: &str) -> Unit {
        let shown = self.container.tool(&["systemctl", "show", unit]);
        let fields: BTreeMap<&str, &str> = shown
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let number = |name: &str| fields.get(name).map_or(0, |value| value.parse().unwrap());
        Unit {
            state: fields["ActiveState"].to_owned(),
            pid: number("MainPID"),
            restarts: number("NRestarts").unsigned_abs(),
        }
    }

    /// Insists that all these units are up at this moment.
    #[track_caller]
    pub fn are_up(&self, units: &[&str]) {
        for unit in units {
            assert_eq!(self.ask(unit).state, "active", "{unit}");
        }
    }

    /// Insists that the broker does not run.
    #[track_caller]
    pub fn is_down(&self) {
        assert_eq!(self.ask(UNITS[0]).state, "inactive");
        let jvms = self
            .container
            .pids("io.camunda.zeebe.broker.StandaloneBroker");
        assert_eq!(jvms, [0; 0], "the broker's processes");
    }

    /// Whether `status` says that the broker is kept from starting.
    pub fn is_gated(&self) -> bool {
        let status = self.run(&["status", "--json"]).json();
        let gated = status["brokers"][0]["gated"].as_bool();
        gated.unwrap_or_else(|| panic!("{status}"))
    }

    /// The drop-ins of the broker's unit: those on the disk, and those that systemd has read.
    pub fn drop_ins(&self) -> (Vec<String>, String) {
        let folder = self.container.inside("/etc/systemd/system/zeebe.service.d");
        let mut names: Vec<String> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let line = "systemctl show --value --property=DropInPaths zeebe.service";
        let words: Vec<&str> = line.split(' ').collect();
        (names, self.container.tool(&words).trim().to_owned())
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

/// A JDK of Debian has its settings here, and links to them.
fn java_settings() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/etc")
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("java-"))
        .map(|entry| entry.path())
}
