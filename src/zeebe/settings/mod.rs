//! What a broker is told: its config files, environment and command line, read as Spring Boot reads them.
//!
//! Only what is said is here. A default of Zeebe's is in the field's documentation and never in the value, so that a reader
//! can tell "nobody says it" from "it is said". Must not look at the system: whoever inspects a host gathers [`Sources`].
//!
//! A text of a config file is shown only through [`masked`] or [`diff`].

mod addresses;
mod diff;
mod names;
mod options;
mod placeholder;
mod properties;
mod said;
mod secrets;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use addresses::{addresses_left, host_of, map_addresses};
pub use diff::diff;
pub use secrets::masked;

use said::Layers;

/// A value, and where it was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// "/opt/zeebe/config/application.yaml:12", "environment ZEEBE_BROKER_CLUSTER_NODEID",
    /// "argument -Dzeebe.broker.cluster.nodeId".
    pub by: String,
}

/// What a broker is told. It has no secrets in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Environment and command line are those of the process that runs. Otherwise they are what would start it, and a
    /// script that does may say more.
    pub live: bool,
    /// Zeebe takes 0 where nobody says it; see [`Settings::node`].
    pub node_id: Option<Said<u32>>,
    /// How many brokers the cluster has; 1.
    pub cluster_size: Option<Said<u32>>,
    /// How many partitions the cluster has; 1.
    pub partitions: Option<Said<u32>>,
    /// On how many brokers each partition is; 1.
    pub replication: Option<Said<u32>>,
    /// "zeebe-cluster".
    pub cluster_name: Option<Said<String>>,
    /// The data directory: `data` below the install. Relative only where the folder it is relative to is not known.
    pub data: Option<Said<PathBuf>>,
    /// Where `runtime` is instead of in the data directory.
    pub runtime: Option<Said<PathBuf>>,
    /// What the broker binds to; 0.0.0.0.
    pub host: Option<Said<String>>,
    /// What it tells others to reach it at; the host it binds to.
    pub advertised_host: Option<Said<String>>,
    /// Every further host the broker is told of itself, by the name of the property: of the command and internal API, the
    /// gateway, the servers.
    pub other_hosts: BTreeMap<String, Said<String>>,
    /// 26501. The port offset is in it already, as it is in the next two.
    pub command_port: Option<Said<u16>>,
    /// Raft and gossip; 26502.
    pub internal_port: Option<Said<u16>>,
    /// gRPC; 26500.
    pub gateway_port: Option<Said<u16>>,
    /// `server.port`: REST, 8080; up to 8.4 the management API, 9600.
    pub server_port: Option<Said<u16>>,
    /// `management.server.port`, since 8.5; 9600.
    pub management_port: Option<Said<u16>>,
    /// Each is "host:port".
    pub contact_points: Option<Said<Vec<String>>>,
    /// The names of the exporters; none.
    pub exporters: Vec<Said<String>>,
    /// When what is written to the log is flushed.
    pub flush: Flush,
    /// Whether Zeebe refuses data of a version it cannot take (8.5 and later); it does.
    pub version_check: Option<Said<bool>>,
    /// Values that are said under their name of before 8.8 and under that of 8.8 and later, and differ. Zeebe 8.8 does not
    /// start with these; what is above is the value of the former.
    pub conflicts: Vec<Conflict>,
}

/// When what is written to the log is flushed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flush {
    /// Before it is acknowledged, which is also the default.
    #[default]
    Immediate,
    /// Some time after.
    Delayed {
        /// How long, as it is written: "30s".
        delay: String,
        /// Who says so.
        by: String,
    },
    /// When a snapshot is taken.
    Off {
        /// Who says so.
        by: String,
    },
}

/// One thing said under two names that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The name of before 8.8, and what is said.
    pub legacy: (String, Said<String>),
    /// The name of 8.8 and later, and what is said.
    pub unified: (String, Said<String>),
}

/// All that a broker is told, in the order of its weight from the least.
#[derive(Clone, Default)]
pub struct Sources {
    /// See [`Settings::live`].
    pub live: bool,
    /// Config files; a later one wins over an earlier one. What is neither YAML nor properties by its name is passed over.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// The environment. JVM options in it are read, too.
    pub environment: BTreeMap<String, String>,
    /// The words of the command line: `-Dname=value` and `--name=value` are what counts.
    pub arguments: Vec<String>,
    /// What a relative data directory is relative to, where the command line has no `-Dbasedir`: the install.
    pub base: Option<PathBuf>,
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files: Vec<&PathBuf> = self.files.iter().map(|(path, _)| path).collect();
        f.debug_struct("Sources")
            .field("files", &files)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Reads what a broker is told. A file that does not parse, or a value that is not what it has to be, is an error that
/// names its place and not its value.
pub fn read(sources: &Sources) -> Result<Settings> {
    let layers = Layers::of(sources)?;
    let mut conflicts = Vec::new();
    let mut one = |pair: &names::Pair| layers.either(pair, &mut conflicts);
    let number = |said: Option<Said<String>>, name: &str| -> Result<Option<Said<u32>>> {
        said.map(|said| said.parsed(name, "a number", number))
            .transpose()
    };
    let base = layers
        .text("basedir")
        .map(|said| PathBuf::from(said.value))
        .or_else(|| sources.base.clone());
    let offset = number(one(&names::PORT_OFFSET), "port offset")?;
    let mut port = |pair: &names::Pair, default: Option<u16>| -> Result<Option<Said<u16>>> {
        let said = one(pair);
        let port = said
            .map(|said| said.parsed(pair.legacy, "a port", |text| text.parse().ok()))
            .transpose()?;
        match (default, &offset) {
            (Some(default), Some(offset)) => shifted(port, default, offset).map(Some),
            _ => Ok(port),
        }
    };
    let command_port = port(&names::COMMAND_PORT, Some(26501))?;
    let internal_port = port(&names::INTERNAL_PORT, Some(26502))?;
    let gateway_port = port(&names::GATEWAY_PORT, Some(26500))?;
    let server_port = port(&names::SERVER_PORT, None)?;
    let management_port = port(&names::MANAGEMENT_PORT, None)?;
    let path = |said: Option<Said<String>>| {
        said.map(|said| Said {
            value: below(base.as_deref(), Path::new(&said.value)),
            by: said.by,
        })
    };
    let settings = Settings {
        live: sources.live,
        node_id: number(one(&names::NODE_ID), names::NODE_ID.legacy)?,
        cluster_size: number(one(&names::CLUSTER_SIZE), names::CLUSTER_SIZE.legacy)?,
        partitions: number(one(&names::PARTITIONS), names::PARTITIONS.legacy)?,
        replication: number(one(&names::REPLICATION), names::REPLICATION.legacy)?,
        cluster_name: one(&names::CLUSTER_NAME),
        data: path(one(&names::DATA)),
        runtime: path(one(&names::RUNTIME)),
        host: one(&names::HOST),
        advertised_host: one(&names::ADVERTISED_HOST),
        other_hosts: names::OTHER_HOSTS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), layers.text(name)?)))
            .collect(),
        command_port,
        internal_port,
        gateway_port,
        server_port,
        management_port,
        contact_points: layers.list_of_either(&names::CONTACT_POINTS, &mut conflicts),
        exporters: layers.names_below(&names::EXPORTERS),
        flush: flush(&layers, &mut conflicts)?,
        version_check: layers
            .either(&names::VERSION_CHECK, &mut conflicts)
            .map(|said| said.parsed(names::VERSION_CHECK.legacy, "true or false", boolean))
            .transpose()?,
        conflicts,
    };
    Ok(settings)
}

fn flush(layers: &Layers, conflicts: &mut Vec<Conflict>) -> Result<Flush> {
    // Of 8.0 to 8.2; it says the opposite.
    if let Some(off) = layers.text(names::FLUSH_DISABLED) {
        let off = off.parsed(names::FLUSH_DISABLED, "true or false", boolean)?;
        if off.value {
            return Ok(Flush::Off { by: off.by });
        }
    }
    let enabled = layers
        .either(&names::FLUSH_ENABLED, conflicts)
        .map(|said| said.parsed(names::FLUSH_ENABLED.legacy, "true or false", boolean))
        .transpose()?;
    if let Some(off) = enabled.filter(|said| !said.value) {
        return Ok(Flush::Off { by: off.by });
    }
    let delay = layers.either(&names::FLUSH_DELAY, conflicts);
    // "0s", "PT0S" and "0" are none, in whatever unit.
    let some = |text: &str| {
        !text.trim().starts_with('-') && text.chars().any(|c| ('1'..='9').contains(&c))
    };
    Ok(match delay.filter(|said| some(&said.value)) {
        Some(delay) => Flush::Delayed {
            delay: delay.value,
            by: delay.by,
        },
        None => Flush::Immediate,
    })
}

/// Zeebe adds ten times the offset to a port, be it said or its default (`SocketBindingCfg.java`).
fn shifted(port: Option<Said<u16>>, default: u16, offset: &Said<u32>) -> Result<Said<u16>> {
    let (value, by) = match port {
        Some(port) => (
            port.value,
            format!("{}, {} with the offset", port.by, offset.by),
        ),
        None => (default, offset.by.clone()),
    };
    let value = (u32::from(value))
        .checked_add(offset.value.saturating_mul(10))
        .and_then(|sum| u16::try_from(sum).ok())
        .with_context(|| {
            format!(
                "the port offset ({}) makes a port that is too high",
                offset.by
            )
        })?;
    Ok(Said { value, by })
}

fn below(base: Option<&Path>, path: &Path) -> PathBuf {
    base.map_or_else(|| path.to_owned(), |base| base.join(path))
}

/// As Spring reads one: decimal, or hexadecimal with 0x or #.
fn number(text: &str) -> Option<u32> {
    let hex = text
        .strip_prefix("0x")
        .or(text.strip_prefix("0X"))
        .or(text.strip_prefix('#'));
    match hex {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// As Spring reads one (`StringToBooleanConverter.java`).
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

impl Said<String> {
    fn parsed<T>(
        self,
        name: &str,
        kind: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Said<T>> {
        match parse(self.value.trim()) {
            Some(value) => Ok(Said { value, by: self.by }),
            None => anyhow::bail!("{name} is not {kind} ({})", self.by),
        }
    }
}

impl Settings {
    /// The node id the broker has: the one that is said, else 0.
    pub fn node(&self) -> u32 {
        self.node_id.as_ref().map_or(0, |said| said.value)
    }

    /// Every host that the broker is told of itself; not those that mean "all" or "this very host by name".
    pub fn own_addresses(&self) -> BTreeSet<String> {
        let own = [&self.host, &self.advertised_host];
        let own = own.into_iter().flatten().chain(self.other_hosts.values());
        hosts(own.map(|said| said.value.as_str()))
    }

    /// Every host that the broker is told of itself and of others.
    pub fn addresses(&self) -> BTreeSet<String> {
        let points = self.contact_points.iter().flat_map(|said| &said.value);
        let mut all = hosts(points.map(|point| addresses::host_of(point)));
        all.extend(self.own_addresses());
        all
    }
}

fn hosts<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names
        .map(|host| host.trim_matches(['[', ']']).to_ascii_lowercase())
        .filter(|host| !["", "0.0.0.0", "::", "localhost"].contains(&host.as_str()))
        .collect()
}

#[cfg(test)]
mod tests;
