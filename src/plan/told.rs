//! What brokers are told and what their folders say, held against cluster.toml and against each other.
//!
//! What a running process was started with is certain. What would start one that is down may not be all: a script may set
//! more. So what only would be told refuses nothing, unless it is said outright and cannot be right.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Display;

use super::look::learned;
use super::{Findings, Weight};
use crate::agent::protocol::Seen;
use crate::config::Cluster;
use crate::id::NodeId;
use crate::zeebe::settings::{Flush, Said, Settings};

/// What a backup and a restore both want to know.
pub fn look(cluster: &Cluster, seen: &[Seen], findings: &mut Findings) {
    for one in seen {
        at_reading(one, findings);
        at_node_id(one, findings);
        at_data(one, findings);
        at_conflicts(cluster, one, findings);
    }
    at_shared_data(seen, findings);
    at_differing(
        seen,
        "numbers of partitions",
        |told| text(&told.partitions),
        findings,
    );
    at_differing(
        seen,
        "replication factors",
        |told| text(&told.replication),
        findings,
    );
    at_differing(
        seen,
        "cluster names",
        |told| text(&told.cluster_name),
        findings,
    );
}

/// What a set would carry with it. (A restore replaces the folders, so what they say does not matter to it.)
pub fn before_backup(cluster: &Cluster, seen: &[Seen], findings: &mut Findings) {
    at_cluster_size(cluster, seen, findings);
    at_members(cluster, seen, findings);
    at_versions(cluster, seen, findings);
    for one in seen {
        at_lower_bound(cluster, one, findings);
        let paused = one.folder.as_ref().map_or(&[][..], |folder| &folder.paused);
        if !paused.is_empty() {
            findings.warn(
                Some(one.node),
                format!("broker {} has paused {}", one.node, paused.join(", ")),
                "a set keeps that: its brokers come back paused",
                "resume it on every broker (POST /actuator/partitions/resumeExporting or resumeProcessing) before or after the backup",
            );
        }
    }
    let late = each(seen, |told| match &told.flush {
        Flush::Immediate => None,
        Flush::Delayed { delay, by } => Some((format!("{delay} late"), by.clone())),
        Flush::Off { by } => Some(("only with a snapshot".to_owned(), by.clone())),
    });
    for (when, brokers) in late {
        findings.warn(
            None,
            format!("the log is flushed {when} on {} ({})", nodes(&brokers), by(&brokers)),
            "a broker that has to be killed, or a host that loses power, loses what was acknowledged; a clean stop loses nothing",
            "nothing, if that is meant",
        );
    }
}

/// The brokers of the set go to brokers of a cluster of the same size.
pub fn before_replacing(cluster: &Cluster, seen: &[Seen], findings: &mut Findings) {
    let size = cluster.brokers.len();
    let other = |told: &Settings| {
        let said = told.cluster_size.as_ref()?;
        (said.value as usize != size).then(|| (said.value, said.by.clone()))
    };
    for (value, brokers) in each(seen, other) {
        findings.refuse(
            None,
            format!(
                "a cluster size of {value} is said to {} ({}), and cluster.toml has {size} brokers",
                nodes(&brokers),
                by(&brokers)
            ),
            "Zeebe needs the same number of brokers with the same node ids as the data was made by",
            "correct what the brokers are told, or use the cluster.toml of that cluster",
        );
    }
}

/// What a rewind means to what the brokers feed.
pub fn before_restore(seen: &[Seen], findings: &mut Findings) {
    let mut exporters: BTreeMap<String, Vec<(NodeId, String)>> = BTreeMap::new();
    for one in seen {
        for said in one.settings.iter().flat_map(|told| &told.exporters) {
            let of = exporters.entry(said.value.clone()).or_default();
            of.push((one.node, said.by.clone()));
        }
    }
    for (name, brokers) in exporters {
        findings.warn(
            None,
            format!("the exporter {name} is configured on {} ({})", nodes(&brokers), by(&brokers)),
            "what it feeds is not brought back with the brokers: it keeps records of work that is undone, and new records come under positions it has seen already",
            "before the brokers start (--no-start leaves them down), bring what it feeds back to a snapshot of its own that is not newer than the set",
        );
    }
}

fn at_reading(one: &Seen, findings: &mut Findings) {
    // A file that is not to be read at all is said elsewhere.
    if let Err(why) = &one.settings
        && one.unreadable.is_empty()
    {
        findings.warn(
            Some(one.node),
            format!("what broker {} is told does not read: {why}", one.node),
            "whether it fits cluster.toml is not known, and it may not start again",
            "correct it",
        );
    }
}

fn at_node_id(one: &Seen, findings: &mut Findings) {
    let Ok(told) = &one.settings else { return };
    let node = one.node;
    let what = match &told.node_id {
        Some(said) if said.value != node.0 => {
            format!(
                "broker {node} is told that it is node {} ({})",
                said.value, said.by
            )
        }
        None if told.live && node.0 != told.node() => {
            format!("nobody tells broker {node} its node id, so it is node 0")
        }
        _ => return,
    };
    findings.refuse(
        Some(node),
        what,
        "a broker refuses the partitions of another",
        "correct `node_id`, `config` or `service` in cluster.toml, or what the broker is told",
    );
}

fn at_data(one: &Seen, findings: &mut Findings) {
    let said = one
        .settings
        .as_ref()
        .ok()
        .and_then(|told| told.data.as_ref());
    let Some(said) = said.filter(|said| said.value.is_absolute()) else {
        return;
    };
    // Who holds it is the proof, under whatever name: in a container the path is another.
    if said.value != one.data && one.holders.is_empty() {
        findings.warn(
            Some(one.node),
            format!(
                "broker {} is told to keep its data in {} ({}), cluster.toml says {}",
                one.node,
                said.value.display(),
                said.by,
                one.data.display()
            ),
            "what lies there would be captured or replaced, and the broker would start on something else",
            "correct `data` in cluster.toml or what the broker is told; nothing, if a script that starts it says otherwise",
        );
    }
}

fn at_conflicts(cluster: &Cluster, one: &Seen, findings: &mut Findings) {
    let broker = cluster.brokers.get(&one.node);
    let version = broker.and_then(|broker| learned(one, broker));
    let refuses = version.is_some_and(|learned| learned.version.is_since(8, 8));
    for conflict in one.settings.iter().flat_map(|told| &told.conflicts) {
        let ((old, first), (new, second)) = (&conflict.legacy, &conflict.unified);
        let what = format!(
            "broker {} is told {old} = {} ({}) and {new} = {} ({})",
            one.node, first.value, first.by, second.value, second.by
        );
        findings.push(
            if refuses {
                Weight::Refusal
            } else {
                Weight::Warning
            },
            Some(one.node),
            what,
            "both are one setting, and Zeebe 8.8 and later does not start when they differ"
                .to_owned(),
            "say it once".to_owned(),
        );
    }
}

fn at_lower_bound(cluster: &Cluster, one: &Seen, findings: &mut Findings) {
    let broker = cluster.brokers.get(&one.node);
    let bound = one
        .folder
        .as_ref()
        .ok()
        .and_then(|folder| folder.at_least.as_ref());
    let (Some(bound), Some(learned)) = (bound, broker.and_then(|broker| learned(one, broker)))
    else {
        return;
    };
    if learned.version.compare(bound) == Ordering::Less {
        // One that runs on it is a fact; what is written somewhere can be wrong.
        let runs = one.api.as_ref().is_ok_and(|api| api.version.is_some());
        findings.push(
            if runs { Weight::Warning } else { Weight::Refusal },
            Some(one.node),
            format!(
                "broker {} is Zeebe {} ({}), but Zeebe {bound} has worked on its data",
                one.node, learned.version, learned.from
            ),
            "a lower version silently deletes what it cannot read".to_owned(),
            "start it with the version its data is of, and correct `version` or `install` in cluster.toml".to_owned(),
        );
    }
}

fn at_shared_data(seen: &[Seen], findings: &mut Findings) {
    let mut by_data: BTreeMap<_, Vec<(NodeId, String)>> = BTreeMap::new();
    for one in seen {
        by_data
            .entry(&one.data)
            .or_default()
            .push((one.node, String::new()));
    }
    for (data, brokers) in by_data.iter().filter(|(_, brokers)| brokers.len() > 1) {
        findings.refuse(
            None,
            format!(
                "{} have one data directory, {}",
                nodes(brokers),
                data.display()
            ),
            "a data directory is one broker's",
            "correct `data` in cluster.toml",
        );
    }
}

/// The folders know the members of their cluster, also where no broker runs that could be asked.
fn at_members(cluster: &Cluster, seen: &[Seen], findings: &mut Findings) {
    if asked(seen) {
        return;
    }
    let known: Vec<NodeId> = cluster.brokers.keys().copied().collect();
    for one in seen {
        let members = one
            .folder
            .as_ref()
            .ok()
            .and_then(|folder| folder.members.as_ref());
        let Some(members) = members else { continue };
        let members: Vec<NodeId> = members.keys().copied().collect();
        if members != known {
            let list = |all: &[NodeId]| {
                all.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            findings.refuse(
                Some(one.node),
                format!(
                    "the data of broker {} is of a cluster with the brokers {}, cluster.toml has {}",
                    one.node,
                    list(&members),
                    list(&known)
                ),
                "a set is all brokers of a cluster at one stop, or it is no set",
                "name every broker of the cluster in cluster.toml, and no other",
            );
        }
    }
}

/// Whether a running broker says who the members are.
fn asked(seen: &[Seen]) -> bool {
    let members = |one: &Seen| one.api.as_ref().is_ok_and(|api| api.members.is_some());
    seen.iter().any(members)
}

fn at_cluster_size(cluster: &Cluster, seen: &[Seen], findings: &mut Findings) {
    let brokers = cluster.brokers.len();
    let sizes = each(seen, |told| match &told.cluster_size {
        Some(said) => Some((said.value as usize, said.by.clone())),
        None if told.live => Some((1, "nobody says another".to_owned())),
        None => None,
    });
    let stored = |one: &Seen| {
        one.folder
            .as_ref()
            .is_ok_and(|folder| folder.members.is_some())
    };
    // What is stored wins over what is told, and is compared by itself.
    let known = asked(seen) || seen.iter().any(stored);
    let live = any_live(seen);
    if known && !live {
        return;
    }
    let decides = live && !known;
    for (size, told) in sizes.into_iter().filter(|(size, _)| *size != brokers) {
        findings.push(
            if decides { Weight::Refusal } else { Weight::Warning },
            None,
            format!(
                "{} {} told that the number of brokers is {size} ({}), cluster.toml has {brokers}",
                nodes(&told),
                if told.len() == 1 { "is" } else { "are" },
                by(&told)
            ),
            "a set is all brokers of a cluster; with an empty data directory the number that is told decides".to_owned(),
            "name every broker in cluster.toml, or correct what they are told; nothing, if a script that starts them says otherwise".to_owned(),
        );
    }
}

fn at_differing(
    seen: &[Seen],
    name: &str,
    look: impl Fn(&Settings) -> Option<(String, String)>,
    findings: &mut Findings,
) {
    let values = each(seen, look);
    if values.len() > 1 {
        findings.warn(
            None,
            format!("the brokers are told different {name}: {}", list(&values)),
            "brokers of one cluster are told the same; with empty data directories they would not come together",
            "tell them the same",
        );
    }
}

fn at_versions(cluster: &Cluster, seen: &[Seen], findings: &mut Findings) {
    let mut versions: BTreeMap<String, Vec<(NodeId, String)>> = BTreeMap::new();
    for one in seen {
        let learned = cluster
            .brokers
            .get(&one.node)
            .and_then(|broker| learned(one, broker));
        if let Some(learned) = learned {
            let of = versions.entry(learned.version.to_string()).or_default();
            of.push((one.node, learned.from));
        }
    }
    if versions.len() > 1 {
        findings.warn(
            None,
            format!("the brokers are not of one Zeebe version: {}", list(&versions)),
            "a set keeps the version of each of them, and is restored onto the same or the next minor of each",
            "finish the update first, if you can",
        );
    }
}

fn text<T: Display>(said: &Option<Said<T>>) -> Option<(String, String)> {
    let said = said.as_ref()?;
    Some((said.value.to_string(), said.by.clone()))
}

fn any_live(seen: &[Seen]) -> bool {
    let live = |one: &Seen| one.settings.as_ref().is_ok_and(|told| told.live);
    seen.iter().any(live)
}

/// What each broker says to a question, with who says it where, by answer. Where some run, only these are asked: of the
/// others not all may be known.
fn each<T: Ord>(
    seen: &[Seen],
    look: impl Fn(&Settings) -> Option<(T, String)>,
) -> BTreeMap<T, Vec<(NodeId, String)>> {
    let mut found: BTreeMap<T, Vec<(NodeId, String)>> = BTreeMap::new();
    let live = any_live(seen);
    for one in seen {
        let told = one.settings.as_ref().ok().filter(|told| told.live == live);
        if let Some((value, by)) = told.and_then(&look) {
            found.entry(value).or_default().push((one.node, by));
        }
    }
    found
}

/// "8.5.8 on broker 0 (install); 8.6.0 on brokers 1, 2 (management API)".
fn list(values: &BTreeMap<String, Vec<(NodeId, String)>>) -> String {
    let one = |(value, brokers): (&String, &Vec<(NodeId, String)>)| {
        format!("{value} on {} ({})", nodes(brokers), by(brokers))
    };
    values.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// "broker 0", "brokers 0, 1".
fn nodes(brokers: &[(NodeId, String)]) -> String {
    let list: Vec<String> = brokers.iter().map(|(node, _)| node.to_string()).collect();
    let word = if list.len() == 1 { "broker" } else { "brokers" };
    format!("{word} {}", list.join(", "))
}

/// Where it was learned, each place once.
fn by(brokers: &[(NodeId, String)]) -> String {
    let mut all: Vec<&str> = brokers.iter().map(|(_, by)| by.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

#[cfg(test)]
mod tests;
