//! What a backup and a restore both look at in a broker before they touch it.

use super::Findings;
use crate::agent::protocol::Seen;
use crate::config::Broker;
use crate::id::NodeId;
use crate::service::{Instance, Phase};
use crate::zeebe::version::{Learned, Version};

/// Its service can be stopped and started.
pub fn at_service(seen: &Seen, findings: &mut Findings) {
    if let Some(trouble) = &seen.service.trouble {
        findings.refuse(
            Some(seen.node),
            trouble.clone(),
            "the broker could not be stopped and started",
            "correct `service` in cluster.toml",
        );
    }
}

/// The data folder is this broker's.
pub fn at_folder(seen: &Seen, findings: &mut Findings) {
    match &seen.folder {
        Err(why) => findings.refuse(
            Some(seen.node),
            why.clone(),
            "what it holds is not clear",
            "look at it; see the README",
        ),
        Ok(folder) => {
            if let Some(other) = folder.node_id.filter(|id| *id != seen.node) {
                findings.refuse(
                    Some(seen.node),
                    format!(
                        "{} is the data of node {other}, not of node {}",
                        seen.data.display(),
                        seen.node
                    ),
                    "a broker refuses the partitions of another",
                    "correct node_id or data in cluster.toml",
                );
            }
        }
    }
}

/// The broker is seen by the scan that is to prove it down, and nobody else holds its data.
pub fn at_holders(seen: &Seen, findings: &mut Findings) {
    let node = seen.node;
    let broker = seen.broker.as_ref();
    let others: Vec<String> = seen
        .holders
        .iter()
        .filter(|holder| Some(&holder.process) != broker)
        .map(ToString::to_string)
        .collect();
    if !others.is_empty() {
        findings.refuse(
            Some(node),
            format!("the data directory of broker {node} is held by {}{}", others.join(", "), if broker.is_some() { ", which is not the broker" } else { "" }),
            "it could go on writing when the broker is down, so the broker could not be proven down",
            "end it, or find out which of them is the broker",
        );
    }
    let answers = seen.api.is_ok();
    if seen.holders.is_empty() && (seen.service.phase != Phase::Down || answers) {
        let sign = if answers {
            "its management API answers".to_owned()
        } else {
            seen.service.seen.clone()
        };
        findings.refuse(
            Some(node),
            format!("broker {node} runs ({sign}) but nobody is seen to hold {}", seen.data.display()),
            "a proof of down that cannot see the running broker proves nothing",
            "wait until it has started, correct `data` or `management` in cluster.toml, or run as root on its host",
        );
    }
}

/// A broker's version: from the running broker, else its install, else cluster.toml. A data folder gives a lower bound
/// only, which is not a version.
pub fn learned(seen: &Seen, broker: &Broker) -> Option<Learned> {
    let api = seen
        .api
        .as_ref()
        .ok()
        .and_then(|api| api.version.clone())
        .map(|version| (version, "management API"));
    let install = || seen.installed.clone().map(|version| (version, "install"));
    let said = || {
        broker
            .version
            .clone()
            .map(|version| (version, "cluster.toml"))
    };
    let (version, from) = api.or_else(install).or_else(said)?;
    Some(Learned {
        version,
        from: from.to_owned(),
    })
}

/// The brokers that run, and as what.
pub fn running(seen: &[Seen]) -> Vec<(NodeId, Instance)> {
    let up = seen.iter().filter(|seen| seen.is_up());
    up.filter_map(|seen| Some((seen.node, seen.instance()?)))
        .collect()
}

/// Which Zeebe the data of a broker is of, before it is replaced: the one that runs on it; else the newest of which there is
/// a sign, since what is installed may be older than what last ran. `known` is what former sets say of the same data.
pub fn data_is_of(seen: &Seen, broker: &Broker, known: Option<&Version>) -> Option<Version> {
    if let Some(running) = seen.api.as_ref().ok().and_then(|api| api.version.clone()) {
        return Some(running);
    }
    let folder = seen.folder.as_ref().ok();
    let signs = [
        learned(seen, broker).map(|learned| learned.version),
        folder.and_then(|folder| folder.at_least.clone()),
        known.cloned(),
    ];
    signs.into_iter().flatten().max_by(Version::compare)
}

/// Whether the Zeebe of broker `node` may start on data of `source`; `what` is that data's name. One that is not known is
/// refused: Zeebe itself accepts a downgrade and silently deletes what it cannot read.
pub fn may_start_on(
    node: NodeId,
    target: Option<Learned>,
    source: Option<&Version>,
    what: &str,
    findings: &mut Findings,
) {
    let (target, source) = match (target, source) {
        (Some(target), Some(source)) => (target, source),
        (None, Some(source)) => {
            return findings.refuse(
                Some(node),
                format!("which Zeebe broker {node} is, is not known: it does not answer, and cluster.toml names no `install` and no `version`"),
                format!("{what} is of {source}, and a lower version silently deletes what it cannot read"),
                "name its `install` or `version` in cluster.toml",
            );
        }
        (_, None) => {
            return findings.refuse(
                Some(node),
                format!("of which Zeebe the data of broker {node} in {what} is, is not known"),
                "a lower version silently deletes what it cannot read",
                "choose data that was taken of a running cluster, or of one whose `install` or `version` is in cluster.toml",
            );
        }
    };
    let (version, from) = (&target.version, &target.from);
    if let Some(why) = version.refuses(source) {
        findings.refuse(
            Some(node),
            format!("broker {node} is Zeebe {version} ({from}), {what} is of {source}"),
            why,
            "install the version that the data is of",
        );
    } else if version != source {
        findings.warn(
            Some(node),
            format!("broker {node} is Zeebe {version}, {what} is of {source}"),
            "once it has started there is no way back to the lower version with that data",
            "nothing, if that is meant",
        );
    }
}

#[cfg(test)]
mod tests;
