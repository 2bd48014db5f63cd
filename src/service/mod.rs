//! A broker as a service: whether it is up, how it is asked to stop, killed and started.
//!
//! Must not know volumes, snapshots or plans, and does not prove that anything is down: that is `process`.

mod command;
mod environment;
mod gate;
pub mod launch;
mod systemd;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use zeebe_snap_backends::host::Host;

use crate::config::{Broker, Service};
use crate::process::{Process, Start};

/// What a service says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Whether it runs.
    pub phase: Phase,
    /// Its main process, where the service knows it.
    pub main: Option<Process>,
    /// systemd's name for this run of it (InvocationID); a later start has another.
    pub invocation: Option<String>,
    /// Active units that systemd takes down with it.
    pub dependants: Vec<String>,
    /// Whether its gate is closed: see [`close_gate`].
    pub gated: bool,
    /// What was seen, for messages: "active (running)".
    pub seen: String,
    /// What stands in the way of controlling it.
    pub trouble: Option<String>,
}

/// Whether a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It runs, or is about to.
    Up,
    /// It was told to stop and has not ended.
    Ending,
    /// It does not run.
    Down,
}

/// One run of a broker, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its process.
    pub process: Process,
    /// See [`State::invocation`].
    pub invocation: Option<String>,
    /// Units that go down with it, and are started again with it.
    pub dependants: Vec<String>,
}

/// Where this program keeps what it needs about the services it starts.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Runs systemctl.
    pub tools: std::sync::Arc<Host>,
    /// Holds a record per broker it started.
    pub records: PathBuf,
}

impl Desk {
    /// The record of `broker`, by its data too: a state folder can serve two clusters.
    fn record(&self, broker: &Broker) -> PathBuf {
        let data = blake3::hash(broker.data.as_os_str().as_encoded_bytes()).to_hex();
        self.records
            .join(format!("node-{}-{:.16}.json", broker.node_id, data))
    }
}

/// Asks the service. One that is started by a command knows only what this program started.
pub fn state(desk: &Desk, broker: &Broker) -> Result<State> {
    match &broker.service {
        Service::Systemd { unit } => systemd::state(&*desk.tools, Path::new(gate::UNITS), unit),
        Service::Command {
            start, stop, log, ..
        } => command::state(&desk.record(broker), start, stop.as_deref(), log),
    }
}

/// Asks it to stop, and does not wait. `main` is the broker's process.
pub fn ask_to_stop(desk: &Desk, broker: &Broker, main: &Process) -> Result<()> {
    match &broker.service {
        Service::Systemd { unit } => systemd::ask_to_stop(&*desk.tools, unit),
        Service::Command {
            stop,
            environment,
            log,
            ..
        } => command::ask_to_stop(stop.as_deref(), environment, log, main),
    }
}

/// Ends what does not end by itself.
pub fn kill(desk: &Desk, broker: &Broker, main: &Process) -> Result<()> {
    match &broker.service {
        Service::Systemd { unit } => systemd::kill(&*desk.tools, unit),
        Service::Command { .. } => main.signal(rustix::process::Signal::KILL),
    }
}

/// Starts it, and units that went down with it. Nobody else starts it as long as `lock` is held; a command that starts a
/// broker is handed it, so that this stays true when the caller is killed meanwhile. (systemd sees to that by itself.)
pub fn start(
    desk: &Desk,
    broker: &Broker,
    dependants: &[String],
    lock: &std::fs::File,
) -> Result<()> {
    match &broker.service {
        Service::Systemd { unit } => systemd::start(&*desk.tools, unit, dependants),
        Service::Command {
            start,
            environment,
            log,
            ..
        } => command::start(&desk.record(broker), start, environment, log, lock),
    }
}

/// What became of a gate that was to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It was closed now.
    Closed,
    /// An earlier run has closed it.
    AlreadyClosed,
    /// This kind of service has none: nobody but this program starts it.
    None,
}

/// Keeps everybody, this program too, from starting the broker until [`open_gate`], whatever becomes of this program or
/// the host. A broker that runs is left to run. An error means that it may be open, or closed.
pub fn close_gate(desk: &Desk, broker: &Broker) -> Result<Gate> {
    match &broker.service {
        Service::Systemd { unit } => gate::close(&*desk.tools, Path::new(gate::UNITS), unit),
        Service::Command { .. } => Ok(Gate::None),
    }
}

/// Lets the broker be started again, and starts nothing. An open gate is not an error.
pub fn open_gate(desk: &Desk, broker: &Broker) -> Result<()> {
    match &broker.service {
        Service::Systemd { unit } => gate::open(&*desk.tools, Path::new(gate::UNITS), unit),
        Service::Command { .. } => Ok(()),
    }
}

/// What a dry run prints for closing the gate and for opening it.
pub fn gate_lines(broker: &Broker) -> (Vec<String>, Vec<String>) {
    match &broker.service {
        Service::Systemd { unit } => gate::lines(unit),
        Service::Command { .. } => (Vec::new(), Vec::new()),
    }
}

/// What a broker that is down would be started with: its environment and its command line.
pub fn would_start(desk: &Desk, broker: &Broker) -> Result<Start> {
    match &broker.service {
        Service::Systemd { unit } => environment::of_unit(&*desk.tools, unit),
        Service::Command {
            start, environment, ..
        } => Ok(environment::of_command(start, environment)),
    }
}

/// Where its own messages are.
pub fn where_to_look(broker: &Broker) -> String {
    match &broker.service {
        Service::Systemd { unit } => format!("journalctl -u {unit}"),
        Service::Command { log, .. } => log.display().to_string(),
    }
}

/// The command lines that stop and start it, for a dry run. Values of the environment are not shown.
pub fn lines(broker: &Broker) -> (String, String) {
    match &broker.service {
        Service::Systemd { unit } => systemd::lines(unit),
        Service::Command {
            start,
            stop,
            environment,
            log,
        } => command::lines(start, stop.as_deref(), environment, log),
    }
}

/// The file a program is, where its first word is a path.
fn program(words: &[String]) -> Option<&Path> {
    words.first().map(Path::new)
}
