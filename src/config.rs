//! cluster.toml: read, checked, and made into a [`Cluster`] in which nothing is left to doubt.
//!
//! Must not look at the system: what is true of the brokers is found by inspecting.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::zeebe::version::Version;

/// A checked cluster.toml.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
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
    /// "auto" or a driver's name.
    pub backend: String,
    /// How it is stopped and started.
    pub service: Service,
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
    let raw: RawCluster = toml::from_str(text).map_err(|error| {
        let word = error
            .span()
            .and_then(|span| text.get(span))
            .unwrap_or_default()
            .trim();
        let hint = error
            .message()
            .starts_with("unknown field")
            .then(|| likely(word))
            .flatten();
        ConfigError {
            file: path.to_owned(),
            at: error
                .span()
                .map(|span: Range<usize>| position(text, span.start)),
            text: error.message().to_owned(),
            hint: hint.map(|key| format!("did you mean `{key}`?")),
        }
    })?;
    check(raw).map_err(|text| ConfigError {
        file: path.to_owned(),
        at: None,
        text,
        hint: None,
    })
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Every key of a cluster.toml.
const KEYS: &[&str] = &[
    "name",
    "capture",
    "tool_dirs",
    "max_downtime",
    "stop_timeout",
    "ready_timeout",
    "on_stuck_stop",
    "broker_defaults",
    "broker",
    "node_id",
    "host",
    "data",
    "config",
    "install",
    "version",
    "management",
    "backend",
    "service",
    "systemd",
    "start",
    "stop",
    "environment",
    "log",
];

fn likely(word: &str) -> Option<&'static str> {
    let scored = KEYS
        .iter()
        .map(|key| (strsim::jaro_winkler(word, key), *key));
    scored
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    name: String,
    capture: Option<String>,
    #[serde(default)]
    tool_dirs: Vec<PathBuf>,
    max_downtime: Option<RawDuration>,
    stop_timeout: Option<RawDuration>,
    ready_timeout: Option<RawDuration>,
    #[serde(default)]
    on_stuck_stop: OnStuckStop,
    #[serde(default)]
    broker_defaults: RawBroker,
    #[serde(default)]
    broker: Vec<RawBroker>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
struct RawBroker {
    node_id: Option<u32>,
    host: Option<String>,
    data: Option<PathBuf>,
    config: Option<Vec<PathBuf>>,
    install: Option<PathBuf>,
    version: Option<String>,
    management: Option<String>,
    backend: Option<String>,
    #[serde(default)]
    service: RawService,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
struct RawService {
    systemd: Option<String>,
    start: Option<Vec<String>>,
    stop: Option<Vec<String>>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    log: Option<PathBuf>,
}

/// "3m", "90s", "1h 30m".
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct RawDuration(Duration);

impl TryFrom<String> for RawDuration {
    type Error = String;
    fn try_from(text: String) -> Result<RawDuration, String> {
        let wrong = || format!("{text:?} is not a duration with a unit, such as \"60s\" or \"3m\"");
        let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
        match Duration::try_from(signed) {
            Ok(duration) if !duration.is_zero() => Ok(RawDuration(duration)),
            _ => Err(wrong()),
        }
    }
}

fn check(raw: RawCluster) -> Result<Cluster, String> {
    let named = !raw.name.is_empty()
        && raw
            .name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if !named {
        return Err(format!(
            "name {:?} has other characters than letters, digits, '.', '_' and '-'",
            raw.name
        ));
    }
    match raw.capture.as_deref() {
        None | Some("stop") => {}
        Some("freeze") => {
            return Err(
                "capture = \"freeze\" is not built yet; leave it out, or say \"stop\"".to_owned(),
            );
        }
        Some(other) => return Err(format!("capture = {other:?}: it is \"stop\"")),
    }
    let mut brokers = BTreeMap::new();
    let mut folders = BTreeSet::new();
    for (index, own) in raw.broker.into_iter().enumerate() {
        let broker = check_broker(own, &raw.broker_defaults)
            .map_err(|why| format!("[[broker]] number {}: {why}", index + 1))?;
        if !folders.insert(broker.data.clone()) {
            return Err(format!(
                "two brokers have the data directory {}",
                broker.data.display()
            ));
        }
        let id = broker.node_id;
        if brokers.insert(id, broker).is_some() {
            return Err(format!("two brokers have node_id {id}"));
        }
    }
    if brokers.is_empty() {
        return Err("it names no [[broker]]".to_owned());
    }
    let or = |given: Option<RawDuration>, seconds| {
        given.map_or(Duration::from_secs(seconds), |duration| duration.0)
    };
    Ok(Cluster {
        name: raw.name,
        tool_dirs: raw.tool_dirs,
        max_downtime: or(raw.max_downtime, 180),
        stop_timeout: or(raw.stop_timeout, 60),
        ready_timeout: or(raw.ready_timeout, 300),
        on_stuck_stop: raw.on_stuck_stop,
        brokers,
    })
}

fn check_broker(own: RawBroker, defaults: &RawBroker) -> Result<Broker, String> {
    let missing = |key: &str| format!("`{key}` is missing");
    let node_id = NodeId(own.node_id.ok_or_else(|| missing("node_id"))?);
    let both = |what: &str| format!("of node {node_id}: {what}");
    match own
        .host
        .as_ref()
        .or(defaults.host.as_ref())
        .map(String::as_str)
    {
        None | Some("local") => {}
        Some(host) => {
            return Err(both(&format!(
                "host = {host:?}: other hosts than \"local\" are not built yet"
            )));
        }
    }
    let data = own.data.ok_or_else(|| both(&missing("data")))?;
    // Two spellings of one folder would be two folders below.
    let plain = data.components().all(|part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::Normal(_)
        )
    });
    if !plain || data.parent().is_none() {
        return Err(both(&format!(
            "data = {data:?} is not an absolute path without `..`"
        )));
    }
    let management = own
        .management
        .or(defaults.management.clone())
        .ok_or_else(|| both(&missing("management")))?;
    if !management.starts_with("http://") {
        return Err(both(&format!(
            "management = {management:?}: only http:// is built yet"
        )));
    }
    let version = match own.version.or(defaults.version.clone()) {
        Some(text) => Some(
            text.parse()
                .map_err(|error| both(&format!("version: {error}")))?,
        ),
        None => None,
    };
    Ok(Broker {
        node_id,
        data: data.components().collect(),
        config: own.config.or(defaults.config.clone()).unwrap_or_default(),
        install: own.install.or(defaults.install.clone()),
        version,
        management: management.trim_end_matches('/').to_owned(),
        backend: check_backend(own.backend.or(defaults.backend.clone()))
            .map_err(|why| both(&why))?,
        service: check_service(own.service, &defaults.service).map_err(|why| both(&why))?,
    })
}

fn check_backend(backend: Option<String>) -> Result<String, String> {
    let name = backend.unwrap_or_else(|| "auto".to_owned());
    if name == "auto" || zeebe_snap_backends::driver(&name).is_some() {
        return Ok(name);
    }
    match name.as_str() {
        "zfs" | "lvm" | "copy" => Err(format!("backend = {name:?} is not built yet")),
        _ => Err(format!("backend = {name:?}: it is \"auto\" or \"btrfs\"")),
    }
}

fn check_service(own: RawService, defaults: &RawService) -> Result<Service, String> {
    if let Some(unit) = own.systemd.or(defaults.systemd.clone()) {
        if own.start.is_some()
            || own.stop.is_some()
            || own.log.is_some()
            || !own.environment.is_empty()
        {
            return Err("service.systemd goes with no other key of service".to_owned());
        }
        if unit.is_empty() || unit.starts_with('-') || unit.contains('/') {
            return Err(format!("service.systemd = {unit:?} is not a unit's name"));
        }
        let unit = if unit.contains('.') {
            unit
        } else {
            format!("{unit}.service")
        };
        return Ok(Service::Systemd { unit });
    }
    let filled = |list: Vec<String>, key: &str| match list.first() {
        Some(program) if program.starts_with('/') => Ok(list),
        _ => Err(format!(
            "service.{key} = {list:?}: it begins with a program's absolute path"
        )),
    };
    let start = own
        .start
        .or(defaults.start.clone())
        .ok_or("`service.systemd` or `service.start` is missing")?;
    let stop = own.stop.or(defaults.stop.clone());
    let mut environment = defaults.environment.clone();
    environment.extend(own.environment);
    Ok(Service::Command {
        start: filled(start, "start")?,
        stop: stop.map(|stop| filled(stop, "stop")).transpose()?,
        environment,
        log: own
            .log
            .or(defaults.log.clone())
            .ok_or("`service.log` is missing")?,
    })
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
        insta::assert_snapshot!(message("\"2m\"", "\"2\""), @"");
        insta::assert_snapshot!(message("node_id = 1", "node_id = 0"), @"");
        insta::assert_snapshot!(message("node_id = 1", "host = \"h1\"\nnode_id = 1"), @"");
        insta::assert_snapshot!(message("/srv/1/data/", "/srv/../srv/0/data"), @"");
        insta::assert_snapshot!(message("max_downtime = \"2m\"", "capture = \"freeze\""), @"");
        insta::assert_snapshot!(message("[\"/opt/other\"]", "[\"other\"]"), @"");
        insta::assert_snapshot!(message("node_id = 1", "backend = \"zfs\"\nnode_id = 1"), @"");
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
                assert!(KEYS.contains(&key), "{key}");
            }
        }
    }
}
