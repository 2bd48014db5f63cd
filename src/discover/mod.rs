//! Finds the Zeebe brokers that run on this host, and drafts a cluster.toml of them.
//!
//! It reads /proc, asks systemctl, docker and podman what they know, and the brokers' management APIs what they are; it
//! changes nothing. Values of the environment that may be secrets stay in [`jvm::Jvm`]: what is drafted names them.
//!
//! Must not know the terminal, nor what is done with a cluster.toml.

pub mod cluster;
mod config_files;
pub mod draft;
mod environment;
mod jvm;
mod management;
mod place;
mod plain;
mod runner;
mod see;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use zeebe_snap_backends::System;

use crate::id::NodeId;
use crate::zeebe::api::Api;
use crate::zeebe::version::Version;

pub use environment::Environment;
pub use runner::Runner;
pub use see::{Running, running};

/// Main classes of what runs a broker: to 8.5; from 8.6; the all-in-one of 8.6, and everything from 8.8 on.
pub const MAIN_CLASSES: [&str; 3] = [
    "io.camunda.zeebe.broker.StandaloneBroker",
    "io.camunda.application.StandaloneBroker",
    "io.camunda.application.StandaloneCamunda",
];

/// What a look around needs. A test gives another one of each.
#[derive(Clone, Copy)]
pub struct Eyes<'a> {
    /// The folder of processes: `/proc`.
    pub processes: &'a Path,
    /// Runs systemctl, docker and podman, where they are.
    pub tools: &'a dyn System,
    /// Asks the management API at a base URL.
    pub ask: &'a dyn Fn(&str) -> Result<Api>,
}

impl fmt::Debug for Eyes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eyes")
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}

/// A value, and where it was learned: "environment ZEEBE_BROKER_CLUSTER_NODEID".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted<T> {
    /// The value.
    pub value: T,
    /// Where it was learned.
    pub from: String,
}

impl<T> Noted<T> {
    fn new(value: T, from: impl Into<String>) -> Noted<T> {
        Noted {
            value,
            from: from.into(),
        }
    }
}

/// A broker that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its process.
    pub pid: i32,
    /// Its node id.
    pub node_id: Noted<NodeId>,
    /// Zeebe's name of its cluster, where it has one.
    pub cluster: Option<Noted<String>>,
    /// Its data directory, as this host sees it.
    pub data: Noted<PathBuf>,
    /// Its config files, as this host sees them.
    pub config: Noted<Vec<PathBuf>>,
    /// Its install, where it is on this host.
    pub install: Option<Noted<PathBuf>>,
    /// Its version, where it says so.
    pub version: Option<Version>,
    /// The base URL of its management API.
    pub management: Noted<String>,
    /// Whether that answers.
    pub answers: bool,
    /// The members of its cluster, where it says so.
    pub members: Vec<NodeId>,
    /// What stops and starts it.
    pub runner: Runner,
}

/// A process that runs a broker of which not all is known.
#[derive(Debug)]
pub struct Unclear {
    /// Which.
    pub pid: i32,
    /// Zeebe's name of its cluster, where that is known.
    pub cluster: Option<String>,
    /// What is not known.
    pub why: anyhow::Error,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The brokers, by node id.
    pub brokers: Vec<Found>,
    /// The others.
    pub unclear: Vec<Unclear>,
    /// How many processes were looked at.
    pub processes: usize,
}

/// Looks at every process of this host.
pub fn find(eyes: Eyes<'_>) -> Result<Discovery> {
    let looked = jvm::all(eyes.processes)?;
    let mut found = Discovery {
        processes: looked.processes,
        ..Discovery::default()
    };
    found.unclear = looked
        .hidden
        .into_iter()
        .map(|pid| Unclear {
            pid,
            cluster: None,
            why: anyhow::anyhow!("its environment cannot be read; run this as root"),
        })
        .collect();
    for jvm in &looked.brokers {
        match see::broker(eyes, jvm) {
            Ok(broker) => found.brokers.push(broker),
            // It ended while it was looked at.
            Err(_) if jvm.folder.join("exe").read_link().is_err() => {}
            Err(unclear) => found.unclear.push(unclear),
        }
    }
    found
        .brokers
        .sort_by_key(|broker| (broker.node_id.value, broker.pid));
    Ok(found)
}
