//! Planning a backup, and finding what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use super::look::{at_folder, at_holders, at_service, learned};
use super::{Aim, Finding, Findings, OnFailure, Plan, Stage, Step, Stuck, label, snapshot_name};
use crate::agent::protocol::Seen;
use crate::catalog::manifest::{Origin, OriginOf};
use crate::config::Cluster;
use crate::id::{NodeId, RunId, SetId};
use crate::zeebe::health::ailments;

/// What a person asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {
    /// A cluster that is up but not healthy is backed up all the same.
    pub allow_unhealthy: bool,
}

/// The plan of a backup, or none where something speaks against it; and all that was found.
pub fn plan(
    cluster: &Cluster,
    host: &str,
    seen: &[Seen],
    run: &RunId,
    request: Request,
) -> (Option<Plan>, Vec<Finding>) {
    let mut findings = Findings::default();
    look_at_cluster(cluster, seen, request, &mut findings);
    for seen in seen {
        look_at_broker(seen, &mut findings);
    }
    if findings.refuses() {
        return (None, findings.0);
    }
    let set = SetId::from(run.clone());
    let origin = origin(cluster, host, seen, &set);
    (
        Some(Plan {
            stages: stages(cluster, seen, &origin),
            aim: Aim::Backup {
                origin: Box::new(origin),
            },
            max_downtime: cluster.max_downtime,
        }),
        findings.0,
    )
}

fn look_at_cluster(cluster: &Cluster, seen: &[Seen], request: Request, findings: &mut Findings) {
    let up = seen.iter().filter(|seen| seen.is_up()).count();
    if up == 0 {
        findings.warn(
            None,
            "no broker runs",
            "the folders are captured as they are",
            "nothing, if that is meant",
        );
    } else if !request.allow_unhealthy {
        let brokers: BTreeMap<NodeId, _> = seen
            .iter()
            .map(|seen| (seen.node, seen.api.clone()))
            .collect();
        for (node, what) in ailments(&brokers) {
            findings.refuse(
                Some(node),
                format!("the cluster is not healthy: broker {node} {what}"),
                "a broker that was told to stop cannot be called back, and one with a broken partition never ends by itself",
                "make it healthy first, or say --allow-unhealthy",
            );
        }
    }
    let members: BTreeSet<NodeId> = seen
        .iter()
        .filter_map(|seen| seen.api.as_ref().ok()?.members.as_ref())
        .flatten()
        .map(|(node, _)| *node)
        .collect();
    let known: BTreeSet<NodeId> = cluster.brokers.keys().copied().collect();
    if !members.is_empty() && members != known {
        let list = |nodes: &BTreeSet<NodeId>| {
            nodes
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        findings.refuse(
            None,
            format!(
                "the cluster has the brokers {}, cluster.toml has {}",
                list(&members),
                list(&known)
            ),
            "a set is all brokers of a cluster at one stop, or it is no set",
            "name every broker of the cluster in cluster.toml, and no other",
        );
    }
    if seen
        .iter()
        .any(|seen| seen.api.as_ref().is_ok_and(|api| api.change_pending))
    {
        findings.refuse(
            None,
            "a change of the cluster's members or partitions is under way",
            "it would be captured half done",
            "wait until it is done",
        );
    }
}

fn look_at_broker(seen: &Seen, findings: &mut Findings) {
    let node = Some(seen.node);
    at_service(seen, findings);
    match &seen.volume {
        Err(why) => findings.refuse(
            node,
            why.clone(),
            "without a volume there is no snapshot",
            "move the data, or see the README for what is built",
        ),
        Ok(volume) => {
            for obstacle in &volume.capture {
                findings.refuse(node, &obstacle.what, &obstacle.why, &obstacle.todo);
            }
            for obstacle in volume
                .bring_back
                .iter()
                .flatten()
                .filter(|obstacle| !volume.capture.contains(obstacle))
            {
                findings.warn(
                    node,
                    &obstacle.what,
                    format!("a set could not be brought back in place: {}", obstacle.why),
                    &obstacle.todo,
                );
            }
        }
    }
    at_folder(seen, findings);
    at_holders(seen, findings);
    for file in &seen.unreadable {
        findings.refuse(
            node,
            format!("a config file cannot be read: {file}"),
            "it belongs to the set",
            "correct `config` in cluster.toml",
        );
    }
}

fn origin(cluster: &Cluster, host: &str, seen: &[Seen], set: &SetId) -> Origin {
    let members = seen
        .iter()
        .find_map(|seen| seen.api.as_ref().ok()?.members.as_ref());
    let copies = |partition: u32| {
        members.map(|members| {
            members
                .values()
                .filter(|of| of.contains(&partition))
                .count() as u32
        })
    };
    let partitions: BTreeSet<u32> = members
        .into_iter()
        .flatten()
        .flat_map(|(_, partitions)| partitions)
        .copied()
        .collect();
    let snapshot = snapshot_name(set);
    let broker = |seen: &Seen| {
        let volume = seen.volume.as_ref().ok()?.id.clone();
        let zeebe = cluster
            .brokers
            .get(&seen.node)
            .and_then(|broker| learned(seen, broker));
        Some(OriginOf {
            node: seen.node,
            host: host.to_owned(),
            data: seen.data.clone(),
            volume,
            snapshot: snapshot.clone(),
            zeebe,
            partitions: seen
                .folder
                .as_ref()
                .map(|folder| folder.partitions.clone())
                .unwrap_or_default(),
            was_up: seen.is_up(),
        })
    };
    Origin {
        set: set.clone(),
        cluster: cluster.name.clone(),
        capture: "stop".to_owned(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        partitions: members.map(|_| partitions.len() as u32),
        replication: partitions
            .iter()
            .filter_map(|partition| copies(*partition))
            .min(),
        brokers: seen.iter().filter_map(broker).collect(),
    }
}

fn stages(cluster: &Cluster, seen: &[Seen], origin: &Origin) -> Vec<Stage> {
    let stage = |on_failure, steps: Vec<Step>| Stage { on_failure, steps };
    let nodes: Vec<NodeId> = seen.iter().map(|seen| seen.node).collect();
    let running: Vec<_> = seen
        .iter()
        .filter(|seen| seen.is_up())
        .filter_map(|seen| Some((seen.node, seen.process()?.clone())))
        .collect();
    let set = &origin.set;
    let each =
        |make: &dyn Fn(&OriginOf) -> Step| origin.brokers.iter().map(make).collect::<Vec<_>>();

    let mut prepare = each(&|b| Step::Prepare {
        node: b.node,
        volume: b.volume.clone(),
        snapshot: b.snapshot.clone(),
        label: label(&cluster.name, set, b.node),
    });
    let with_config = cluster
        .brokers
        .values()
        .filter(|broker| !broker.config.is_empty());
    prepare.extend(with_config.map(|broker| Step::KeepConfig {
        node: broker.node_id,
        set: set.clone(),
        files: broker.config.clone(),
    }));

    let mut stages = vec![
        stage(OnFailure::Undo, prepare),
        stage(
            OnFailure::Undo,
            each(&|b| Step::Flush {
                node: b.node,
                volume: b.volume.clone(),
            }),
        ),
        stage(
            OnFailure::Undo,
            vec![Step::ProveSeen {
                brokers: running.clone(),
            }],
        ),
        stage(
            OnFailure::Undo,
            running
                .iter()
                .map(|(node, broker)| Step::Stop {
                    node: *node,
                    broker: broker.clone(),
                    stuck: Stuck::Fails,
                })
                .collect(),
        ),
        stage(
            OnFailure::Undo,
            vec![Step::ProveDown {
                nodes: nodes.clone(),
            }],
        ),
        stage(
            OnFailure::Undo,
            each(&|b| Step::Snapshot {
                node: b.node,
                volume: b.volume.clone(),
                snapshot: b.snapshot.clone(),
            }),
        ),
        stage(OnFailure::Undo, vec![Step::ProveDown { nodes }]),
        stage(
            OnFailure::GoOn,
            running
                .iter()
                .map(|(node, broker)| Step::Start {
                    node: *node,
                    stopped: Some(broker.clone()),
                })
                .collect(),
        ),
        stage(OnFailure::GoOn, vec![Step::Record { set: set.clone() }]),
        stage(
            OnFailure::GoOn,
            vec![Step::AwaitHealthy {
                nodes: running.iter().map(|(node, _)| *node).collect(),
            }],
        ),
    ];
    stages.extend(digesting(origin));
    stages.retain(|stage| stage.steps.iter().any(|step| !step.is_about_nobody()));
    stages
}

/// What completes a captured set. One member after another: each digest uses all cores.
pub(super) fn digesting(origin: &Origin) -> Vec<Stage> {
    let set = &origin.set;
    let digest = |b: &OriginOf| Step::Digest {
        node: b.node,
        set: set.clone(),
        volume: b.volume.clone(),
        snapshot: b.snapshot.clone(),
    };
    let steps = origin
        .brokers
        .iter()
        .map(digest)
        .chain([Step::Complete { set: set.clone() }]);
    steps
        .map(|step| Stage {
            on_failure: OnFailure::Leave,
            steps: vec![step],
        })
        .collect()
}
