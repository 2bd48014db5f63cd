//! Which of the brokers that were found are one cluster, and what speaks against writing them down.

use std::collections::{BTreeMap, BTreeSet};

use super::{Discovery, Found, MAIN_CLASSES, Noted, Runner};
use crate::id::NodeId;
use crate::plan::Findings;

/// Zeebe's name of a cluster that was given none (`ClusterCfg.java`).
pub const NAMELESS: &str = "zeebe-cluster";

/// A cluster that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundCluster {
    /// What it is called in cluster.toml.
    pub name: Noted<String>,
    /// Its brokers of this host, by node id.
    pub brokers: Vec<Found>,
    /// Its members that do not run on this host.
    pub elsewhere: BTreeSet<NodeId>,
}

/// Whether `name` may be a cluster's name in cluster.toml.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.chars().all(fits)
}

fn zeebes_name(broker: &Found) -> &str {
    broker.cluster.as_ref().map_or(NAMELESS, |name| &name.value)
}

/// The one cluster of this host, or of several the one that Zeebe knows as `wanted`; and what is to be known of it. `None`
/// where a finding refuses it.
pub fn one(found: Discovery, wanted: Option<&str>) -> (Option<FoundCluster>, Findings) {
    let mut findings = Findings::default();
    let mut clusters: BTreeMap<String, Vec<Found>> = BTreeMap::new();
    for broker in found.brokers {
        let name = zeebes_name(&broker).to_owned();
        clusters.entry(name).or_default().push(broker);
    }
    let chosen = wanted.and_then(|name| clusters.remove_entry(name));
    let is_chosen = chosen.is_some();
    let names: Vec<String> = clusters.keys().cloned().collect();
    let (name, brokers) =
        match (chosen, names.len()) {
            (Some(chosen), _) => chosen,
            (None, 0 | 1) => clusters.pop_first().unwrap_or_default(),
            (None, _) => {
                findings.refuse(
                None,
                format!("brokers of several clusters run on this host: {}", names.join(", ")),
                "a cluster.toml is of one cluster, whose brokers are stopped and started together",
                "choose one of them with --name",
            );
                return (None, findings);
            }
        };
    // What belongs to another cluster does not matter.
    let matters = |cluster: &Option<String>| {
        !is_chosen || cluster.as_ref().is_none_or(|cluster| *cluster == name)
    };
    for unclear in found
        .unclear
        .iter()
        .filter(|unclear| matters(&unclear.cluster))
    {
        findings.refuse(
            None,
            format!("pid {} runs a Zeebe broker, but {:#}", unclear.pid, unclear.why),
            "without that it cannot be stopped, captured and started again",
            "put that right and run this again, or write cluster.toml by hand; the README shows one",
        );
    }
    if brokers.is_empty() && !findings.refuses() {
        findings.refuse(
            None,
            "no Zeebe broker runs on this host",
            format!(
                "of its {} processes none is a Java program with the main class {}",
                found.processes,
                MAIN_CLASSES.join(" or ")
            ),
            "start the brokers and run this again, as root; or write cluster.toml by hand, the README shows one",
        );
    }
    doubles(&brokers, &mut findings);
    let here: BTreeSet<NodeId> = brokers.iter().map(|broker| broker.node_id.value).collect();
    let members: BTreeSet<NodeId> = brokers
        .iter()
        .flat_map(|broker| broker.members.clone())
        .collect();
    let elsewhere: BTreeSet<NodeId> = members.difference(&here).copied().collect();
    if findings.refuses() {
        return (None, findings);
    }
    for node in &elsewhere {
        findings.warn(
            Some(*node),
            format!("broker {node} of the cluster does not run on this host"),
            "a set is all brokers of a cluster at one stop, and brokers of other hosts are not built yet",
            "if it belongs to this host, start it and run this again",
        );
    }
    for broker in &brokers {
        warn(broker, &mut findings);
    }
    warn_of_secrets(&brokers, &mut findings);
    let cluster = FoundCluster {
        name: name_of(&brokers, wanted),
        brokers,
        elsewhere,
    };
    (Some(cluster), findings)
}

fn name_of(brokers: &[Found], wanted: Option<&str>) -> Noted<String> {
    let zeebes = brokers.first().and_then(|broker| broker.cluster.clone());
    match (wanted, zeebes.filter(|name| is_name(&name.value))) {
        (Some(name), _) => Noted::new(name.to_owned(), "--name"),
        (None, Some(name)) => name,
        (None, None) => Noted::new(
            "zeebe".to_owned(),
            "the cluster was given no name that can be one here",
        ),
    }
}

/// What two brokers must not share.
fn doubles(brokers: &[Found], findings: &mut Findings) {
    let unit = |broker: &Found| match &broker.runner {
        Runner::Unit { name, .. } => Some(format!("the unit {name}")),
        Runner::Container { name, .. } => Some(format!("the container {name}")),
        Runner::Plain { .. } => None,
    };
    for (index, broker) in brokers.iter().enumerate() {
        for other in &brokers[..index] {
            let same = |what: Option<String>| {
                what.map(|what| {
                    format!("pid {} and pid {} both have {what}", other.pid, broker.pid)
                })
            };
            let node = Some(format!("node id {}", broker.node_id.value))
                .filter(|_| other.node_id.value == broker.node_id.value);
            let data = Some(format!(
                "the data directory {}",
                broker.data.value.display()
            ))
            .filter(|_| other.data.value == broker.data.value);
            let unit = unit(broker).filter(|name| unit(other).as_ref() == Some(name));
            for what in [node, data, unit].into_iter().filter_map(same) {
                findings.refuse(
                    Some(broker.node_id.value),
                    what,
                    "each broker of a cluster has its own, by which it is told from the others",
                    "stop what should not run, or write cluster.toml by hand; the README shows one",
                );
            }
        }
    }
}

fn warn(broker: &Found, findings: &mut Findings) {
    let node = broker.node_id.value;
    if !broker.answers {
        findings.warn(
            Some(node),
            format!(
                "broker {node} does not answer at {}",
                broker.management.value
            ),
            "its management API says whether it is healthy, without which no backup is made",
            "wait until it is up; or put `management` right in cluster.toml",
        );
    }
    let Runner::Plain { watched_by, .. } = &broker.runner else {
        return;
    };
    if let Some(by) = watched_by {
        findings.warn(
            Some(node),
            format!("broker {node} was started by {by}"),
            "what starts a broker again by itself gets in the way of a backup, which is then given up",
            "let service.stop and service.start be the commands of that program",
        );
    }
}

/// Once for all brokers that lack the same.
fn warn_of_secrets(brokers: &[Found], findings: &mut Findings) {
    let mut lacking: BTreeMap<&BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for broker in brokers {
        if let Runner::Plain { environment, .. } = &broker.runner {
            let nodes = lacking.entry(&environment.secret).or_default();
            nodes.push(broker.node_id.value.to_string());
        }
    }
    for (names, nodes) in lacking.iter().filter(|(names, _)| !names.is_empty()) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        findings.warn(
            None,
            format!(
                "these variables of broker {} are not written, since their values look like secrets: {}",
                nodes.join(", "),
                names.join(", ")
            ),
            "zeebe-snap starts a broker with what cluster.toml says, and so without them",
            "before the first backup write those it needs under service.environment; or let service.start name a script of yours that sets them",
        );
    }
}
