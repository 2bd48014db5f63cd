//! cluster.toml as it is written, and the checks that make it a [`Cluster`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Broker, Cluster, OnStuckStop, Service};
use crate::id::NodeId;

/// Every key of a cluster.toml.
pub const KEYS: &[&str] = &[
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
    "address",
    "backend",
    "service",
    "systemd",
    "start",
    "stop",
    "environment",
    "log",
];

/// The key that `word` most likely was meant to be.
pub fn likely(word: &str) -> Option<&'static str> {
    let scored = KEYS
        .iter()
        .map(|key| (strsim::jaro_winkler(word, key), *key));
    scored
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

/// What the value of a key is, in plain words; a key that is none of ours names an environment variable.
pub fn kind(key: &str) -> &'static str {
    match key {
        "node_id" => "a whole number, such as 1",
        "tool_dirs" | "config" => "a list of paths, such as [\"/etc/zeebe/application.yaml\"]",
        "start" | "stop" => "a list of a program and its arguments, such as [\"/bin/sh\", \"run\"]",
        "max_downtime" | "stop_timeout" | "ready_timeout" => {
            "a duration with its unit, such as \"60s\" or \"3m\""
        }
        "environment" => "a table of texts, such as { NAME = \"text\" }",
        "service" => "a table, such as { systemd = \"zeebe.service\" }",
        "broker" => "a list; or begin each broker with [[broker]]",
        "broker_defaults" => "a table; or begin it with [broker_defaults]",
        _ => "a text in quotes",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCluster {
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
pub struct RawBroker {
    node_id: Option<u32>,
    host: Option<String>,
    data: Option<PathBuf>,
    config: Option<Vec<PathBuf>>,
    install: Option<PathBuf>,
    version: Option<String>,
    management: Option<String>,
    address: Option<String>,
    backend: Option<String>,
    #[serde(default)]
    service: RawService,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields)]
pub struct RawService {
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
pub struct RawDuration(Duration);

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

pub fn check(file: &Path, raw: RawCluster) -> Result<Cluster, String> {
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
        file: file.to_owned(),
        name: raw.name,
        tool_dirs: raw.tool_dirs,
        max_downtime: or(raw.max_downtime, 180),
        stop_timeout: or(raw.stop_timeout, 60),
        ready_timeout: or(raw.ready_timeout, 300),
        on_stuck_stop: raw.on_stuck_stop,
        brokers,
    })
}

pub fn check_broker(own: RawBroker, defaults: &RawBroker) -> Result<Broker, String> {
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
    let plain = data
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
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
        address: own.address,
        backend: check_backend(own.backend.or(defaults.backend.clone()))
            .map_err(|why| both(&why))?,
        service: check_service(own.service, &defaults.service).map_err(|why| both(&why))?,
    })
}

pub fn check_backend(backend: Option<String>) -> Result<String, String> {
    let name = backend.unwrap_or_else(|| "auto".to_owned());
    if name == "auto" || zeebe_snap_backends::driver(&name).is_some() {
        return Ok(name);
    }
    let known = zeebe_snap_backends::DRIVERS.iter();
    let known: Vec<String> = known.map(|driver| format!("{:?}", driver.name())).collect();
    Err(format!(
        "backend = {name:?}: it is \"auto\", or one of {}",
        known.join(", ")
    ))
}

pub fn check_service(own: RawService, defaults: &RawService) -> Result<Service, String> {
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
