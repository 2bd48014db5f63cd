//! cluster.toml: read, checked, and made into a [`Cluster`] in which nothing is left to doubt.
//!
//! Must not look at the system: what is true of the brokers is found by inspecting.

mod raw;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::plan::Whose;
use crate::zeebe::version::Version;

/// A checked cluster.toml.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Where it was read.
    pub file: PathBuf,
    /// Part of every set's label.
    pub name: String,
    /// Folders searched for tools before the usual ones.
    pub tool_dirs: Vec<PathBuf>,
    /// The window's budget: past it a backup gives up and starts the brokers.
    pub max_downtime: Duration,
    /// How long a broker may take to end.
    pub stop_timeout: Duration,
    /// How long, after a start, until every partition is healthy.
    pub ready_timeout: Duration,
    /// What becomes of a broker that does not end.
    pub on_stuck_stop: OnStuckStop,
    /// At least one, by node id, each once.
    pub brokers: BTreeMap<NodeId, Broker>,
}

/// What becomes of a broker that was told to stop and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStuckStop {
    /// It is killed and started: it cannot be called back.
    #[default]
    Kill,
    /// It is left for a person to look at.
    Leave,
}

/// One broker of cluster.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// Its node id.
    pub node_id: NodeId,
    /// The data directory, absolute.
    pub data: PathBuf,
    /// Config files that belong to a backup.
    pub config: Vec<PathBuf>,
    /// Where its version can be read when it does not run.
    pub install: Option<PathBuf>,
    /// Its version, said by hand.
    pub version: Option<Version>,
    /// Base URL of its management API.
    pub management: String,
    /// The address at which other brokers reach it, where that is not the host of `management`.
    pub address: Option<String>,
    /// "auto" or a driver's name.
    pub backend: String,
    /// How it is stopped and started.
    pub service: Service,
}

impl Broker {
    /// The address at which others reach it.
    pub fn address(&self) -> String {
        let url = self.management.split("://").last().unwrap_or_default();
        let host = url.split('/').next().unwrap_or_default();
        let own = || crate::zeebe::settings::host_of(host).trim_matches(['[', ']']);
        let address = self.address.as_deref().unwrap_or_else(own);
        address.to_ascii_lowercase()
    }
}

/// How a broker is stopped and started.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// A systemd unit.
    Systemd {
        /// "zeebe.service".
        unit: String,
    },
    /// Commands.
    Command {
        /// Stays in the foreground.
        start: Vec<String>,
        /// Ends the broker; without it SIGTERM does.
        stop: Option<Vec<String>>,
        /// Added to this program's own environment. Values are secrets: never printed, journalled or kept.
        environment: BTreeMap<String, String>,
        /// Where the broker's output goes.
        log: PathBuf,
    },
}

/// Values of the environment are not shown.
impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Service::Systemd { unit } => f.debug_struct("Systemd").field("unit", unit).finish(),
            Service::Command {
                start,
                stop,
                environment,
                log,
            } => f
                .debug_struct("Command")
                .field("start", start)
                .field("stop", stop)
                .field("environment", &environment.keys().collect::<Vec<_>>())
                .field("log", log)
                .finish(),
        }
    }
}

impl Cluster {
    /// The brokers of this file.
    pub fn whose(&self) -> Whose {
        let data = |(node, broker): (&NodeId, &Broker)| (*node, broker.data.clone());
        Whose {
            file: self.file.clone(),
            data: self.brokers.iter().map(data).collect(),
        }
    }
}

/// What is wrong with a cluster.toml, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    file: PathBuf,
    /// Line and column, from 1.
    at: Option<(usize, usize)>,
    text: String,
    hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\nHint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<Cluster, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError {
        file: path.to_owned(),
        at: None,
        text: format!("cannot be read: {error}"),
        hint: Some("name your cluster.toml with --cluster; the README shows one".to_owned()),
    })?;
    parse(path, &text)
}

/// Checks the text of a cluster.toml; `path` is for messages.
pub fn parse(path: &Path, text: &str) -> Result<Cluster, ConfigError> {
    let raw: raw::RawCluster = toml::from_str(text).map_err(|error| {
        let word = error
            .span()
            .and_then(|span| text.get(span))
            .unwrap_or_default()
            .trim();
        let message = error.message();
        let hint = message
            .starts_with("unknown field")
            .then(|| raw::likely(word))
            .flatten();
        let kind = message
            .starts_with("invalid type")
            .then(|| error.span().and_then(|span| key_before(text, span.start)))
            .flatten()
            .map(|key| (key, raw::kind(key)));
        ConfigError {
            file: path.to_owned(),
            at: error
                .span()
                .map(|span: Range<usize>| position(text, span.start)),
            text: kind.map_or_else(
                || message.to_owned(),
                |(key, kind)| format!("`{key}` has to be {kind}"),
            ),
            hint: hint.map(|key| format!("did you mean `{key}`?")),
        }
    })?;
    raw::check(path, raw).map_err(|text| ConfigError {
        file: path.to_owned(),
        at: None,
        text,
        hint: None,
    })
}

/// The key whose value begins at `offset`. The value is not said: it may be that of an environment variable.
fn key_before(text: &str, offset: usize) -> Option<&str> {
    let before = text.get(..offset)?.trim_end().strip_suffix('=')?.trim_end();
    let of_key = |c: char| c.is_ascii_alphanumeric() || "_-\"'".contains(c);
    let key = &before[before.trim_end_matches(of_key).len()..];
    Some(key.trim_matches(['"', '\'']))
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "orders"
max_downtime = "2m"
[broker_defaults]
management = "http://127.0.0.1:9600/"
service.start = ["/opt/zeebe/bin/broker"]
service.log = "/var/log/zeebe.log"
service.environment = { COMMON = "1" }
[[broker]]
node_id = 1
data = "/srv/1/data/"
service.environment = { TOKEN = "hunter2" }
[[broker]]
node_id = 0
data = "/srv/0/data"
service = { start = ["/opt/other"] }
"#;

    fn parsed(text: &str) -> Result<Cluster, String> {
        parse(Path::new("c.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_reach_every_broker_and_its_own_keys_win() {
        let cluster = parsed(GOOD).unwrap();
        let one = &cluster.brokers[&NodeId(1)];
        assert_eq!(one.data, Path::new("/srv/1/data"));
        assert_eq!(one.management, "http://127.0.0.1:9600");
        let Service::Command { environment, .. } = &one.service else {
            panic!()
        };
        assert_eq!(environment.len(), 2);
        let Service::Command { start, .. } = &cluster.brokers[&NodeId(0)].service else {
            panic!()
        };
        assert_eq!(start, &["/opt/other"]);
        assert_eq!(cluster.max_downtime, Duration::from_secs(120));
    }

    #[test]
    fn values_of_the_environment_are_never_shown() {
        assert!(!format!("{:?}", parsed(GOOD).unwrap()).contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let message = |from: &str, to: &str| parsed(&GOOD.replace(from, to)).unwrap_err();
        insta::assert_snapshot!(message("max_downtime", "max_downtme"), @r"
        c.toml:3:1: unknown field `max_downtme`, expected one of `name`, `capture`, `tool_dirs`, `max_downtime`, `stop_timeout`, `ready_timeout`, `on_stuck_stop`, `broker_defaults`, `broker`
        Hint: did you mean `max_downtime`?
        ");
        insta::assert_snapshot!(message("\"2m\"", "\"2\""), @r#"c.toml:3:16: "2" is not a duration with a unit, such as "60s" or "3m""#);
        insta::assert_snapshot!(message("node_id = 1", "node_id = 0"), @r#"c.toml: two brokers have node_id 0"#);
        insta::assert_snapshot!(message("node_id = 1", "host = \"h1\"\nnode_id = 1"), @r#"c.toml: [[broker]] number 1: of node 1: host = "h1": other hosts than "local" are not built yet"#);
        insta::assert_snapshot!(message("/srv/1/data/", "/srv/../srv/0/data"), @r#"c.toml: [[broker]] number 1: of node 1: data = "/srv/../srv/0/data" is not an absolute path without `..`"#);
        insta::assert_snapshot!(message("max_downtime = \"2m\"", "capture = \"freeze\""), @r#"c.toml: capture = "freeze" is not built yet; leave it out, or say "stop""#);
        insta::assert_snapshot!(message("[\"/opt/other\"]", "[\"other\"]"), @r#"c.toml: [[broker]] number 2: of node 0: service.start = ["other"]: it begins with a program's absolute path"#);
        insta::assert_snapshot!(message("node_id = 1", "backend = \"zsf\"\nnode_id = 1"), @r#"c.toml: [[broker]] number 1: of node 1: backend = "zsf": it is "auto", or one of "btrfs", "zfs", "lvm", "copy""#);
    }

    #[test]
    fn every_key_has_a_place_in_the_list_of_likely_ones() {
        let unknown = |text: String| parsed(&text).unwrap_err();
        for text in [
            format!("zz = 1{GOOD}"),
            format!("{GOOD}\nzz = 1"),
            GOOD.replace("COMMON = \"1\" }", "C = \"1\" }\nservice.zz = 1"),
        ] {
            let message = unknown(text);
            let keys: Vec<&str> = message
                .split('`')
                .skip(3)
                .step_by(2)
                .filter(|key| !key.is_empty())
                .collect();
            assert!(keys.len() > 4, "{message}");
            for key in keys {
                assert!(raw::KEYS.contains(&key), "{key}");
            }
        }
    }
}
