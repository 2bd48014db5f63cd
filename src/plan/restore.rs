//! Planning a restore in place, and finding what speaks against it.

use std::collections::BTreeSet;

use zeebe_snap_backends::{Snapshot, StageName, VolumeId};

use super::look::{at_holders, at_service, learned, running};
use super::{Aim, Finding, Findings, Plan, Running, Stage, Step, Stuck, label, stage_name};
use crate::agent::protocol::Seen;
use crate::catalog::manifest::{Manifest, SetState};
use crate::config::Cluster;
use crate::id::{NodeId, RunId};

/// What a person asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {
    /// A set whose digests are not in is restored all the same.
    pub allow_unverified: bool,
}

/// The plan of a restore of `manifest`, or none where something speaks against it; and all that was found.
pub fn plan(
    cluster: &Cluster,
    seen: &[Seen],
    manifest: &Manifest,
    run: &RunId,
    request: Request,
) -> (Option<Plan>, Vec<Finding>) {
    let mut findings = Findings::default();
    look_at_set(cluster, manifest, request, &mut findings);
    look_at_versions(cluster, seen, manifest, &mut findings);
    let mut parts = Vec::new();
    for seen in seen {
        parts.extend(look_at_broker(seen, manifest, &mut findings));
    }
    if findings.refuses() {
        return (None, findings.0);
    }
    let running = running(seen);
    let holds = |node: &NodeId| {
        seen.iter()
            .any(|seen| seen.node == *node && !seen.holders.is_empty())
    };
    let holding: Vec<_> = running
        .iter()
        .filter(|(node, _)| holds(node))
        .cloned()
        .collect();
    let plan = Plan {
        aim: Aim::Restore {
            set: manifest.origin.set.clone(),
            stage: stage_name(run),
        },
        max_downtime: cluster.max_downtime,
        stages: stages(&running, &holding, manifest, run, &parts),
    };
    (Some(plan), findings.0)
}

fn look_at_set(cluster: &Cluster, manifest: &Manifest, request: Request, findings: &mut Findings) {
    let set = &manifest.origin.set;
    if manifest.origin.cluster != cluster.name {
        findings.refuse(
            None,
            format!(
                "set {set} is of the cluster {}, cluster.toml is of {}",
                manifest.origin.cluster, cluster.name
            ),
            "a set goes back to the cluster it came from",
            "use the other cluster.toml",
        );
    }
    let (of_set, of_cluster): (BTreeSet<NodeId>, BTreeSet<NodeId>) = (
        manifest.members.iter().map(|member| member.node).collect(),
        cluster.brokers.keys().copied().collect(),
    );
    if of_set != of_cluster {
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
                "set {set} has the brokers {}, cluster.toml has {}",
                list(&of_set),
                list(&of_cluster)
            ),
            "Zeebe needs the same number of brokers with the same node ids",
            "correct cluster.toml, or choose another set",
        );
    }
    if manifest.state() != SetState::Complete && !request.allow_unverified {
        findings.refuse(
            None,
            format!("set {set} is captured, but its digests are not in"),
            "what would come back could not be proven to be what was captured",
            "run `zeebe-snap recover`, which completes it, or say --allow-unverified",
        );
    }
}

/// One broker's part in the restore.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub node: NodeId,
    pub volume: VolumeId,
    pub snapshot: Snapshot,
}

impl Part {
    /// Whether what is staged has to be compared with what was captured.
    fn stages_a_clone(&self, stage: &StageName) -> bool {
        zeebe_snap_backends::open(&self.volume).is_ok_and(|volume| {
            volume
                .rollback()
                .is_some_and(|rollback| rollback.staged(stage).is_some())
        })
    }
}

fn look_at_broker(seen: &Seen, manifest: &Manifest, findings: &mut Findings) -> Option<Part> {
    let node = seen.node;
    let set = &manifest.origin.set;
    at_service(seen, findings);
    // A broker whose data was deleted holds nothing any more; its service still knows its process.
    if !seen.holders.is_empty() || seen.instance().is_none() {
        at_holders(seen, findings);
    }
    let wanted = manifest.snapshot(node)?;
    let volume = match &seen.volume {
        Ok(volume) => volume,
        Err(why) => {
            findings.refuse(
                Some(node),
                why.clone(),
                "there is nothing to bring back from",
                "correct `data` or `backend` in cluster.toml",
            );
            return None;
        }
    };
    match &volume.bring_back {
        None => findings.refuse(
            Some(node),
            format!("{} cannot be brought back in place", volume.id),
            "its backend has no rollback",
            "see the README",
        ),
        Some(obstacles) => {
            for obstacle in obstacles {
                findings.refuse(Some(node), &obstacle.what, &obstacle.why, &obstacle.todo);
            }
        }
    }
    match volume
        .snapshots
        .iter()
        .find(|snapshot| snapshot.name == wanted.name)
    {
        Some(found) if *found == wanted => Some(Part {
            node,
            volume: volume.id.clone(),
            snapshot: wanted,
        }),
        Some(found) => {
            findings.refuse(
                Some(node),
                format!(
                    "snapshot {} of {} is {}, set {set} has {}",
                    wanted.name, volume.id, found.identity, wanted.identity
                ),
                "it is another snapshot of the same name",
                "find out who made it; the set cannot be restored",
            );
            None
        }
        None => {
            findings.refuse(
                Some(node),
                format!("{} has no snapshot {}", volume.id, wanted.name),
                format!(
                    "set {set} has lost a member, and members are restored together or not at all"
                ),
                "choose another set",
            );
            None
        }
    }
}

/// Which Zeebe will start on the data of which. A downgrade is refused: Zeebe accepts it and deletes what it cannot read.
fn look_at_versions(
    cluster: &Cluster,
    seen: &[Seen],
    manifest: &Manifest,
    findings: &mut Findings,
) {
    let mut unseen = Vec::new();
    for seen in seen {
        let node = seen.node;
        let origin = manifest.origin.brokers.iter().find(|of| of.node == node);
        let source = origin.and_then(|broker| broker.zeebe.as_ref());
        let broker = cluster.brokers.get(&node);
        let target = broker.and_then(|broker| learned(seen, broker));
        match (source, target) {
            (Some(source), Some(target)) => {
                let (source, set) = (&source.version, &manifest.origin.set);
                if let Some(why) = target.version.refuses(source) {
                    findings.refuse(
                        Some(node),
                        format!(
                            "broker {node} is Zeebe {} ({}), set {set} is of {source}",
                            target.version, target.from
                        ),
                        why,
                        "install the set's version",
                    );
                } else if target.version != *source {
                    findings.warn(
                        Some(node),
                        format!("broker {node} is Zeebe {}, set {set} is of {source}", target.version),
                        "once it has started there is no way back to the lower version with that data",
                        "nothing, if that is meant",
                    );
                }
            }
            (Some(_), None) => unseen.push(node.to_string()),
            (None, _) => findings.refuse(
                Some(node),
                format!("of which Zeebe the data of broker {node} in the set is, is not known"),
                "a lower version silently deletes what it cannot read",
                "choose a set that was taken of a running cluster",
            ),
        }
    }
    if !unseen.is_empty() {
        findings.warn(
            None,
            format!("which Zeebe broker {} is cannot be seen while it is down", unseen.join(", ")),
            "a version lower than the set's silently deletes what it cannot read",
            "see to it that it is the set's version or the next minor; with `install` or `version` in cluster.toml it is checked",
        );
    }
}

/// The stages of a restore. Of those that run, `holding` can be seen to hold their data.
pub(crate) fn stages(
    running: &Running,
    holding: &Running,
    manifest: &Manifest,
    run: &RunId,
    parts: &[Part],
) -> Vec<Stage> {
    let origin = &manifest.origin;
    let stage = stage_name(run);
    let nodes: Vec<NodeId> = parts.iter().map(|part| part.node).collect();
    let each = |step: &dyn Fn(&Part) -> Step| parts.iter().map(step).collect::<Vec<_>>();
    let stopped = |node: NodeId| {
        let found = running.iter().find(|(other, _)| *other == node);
        found.map(|(_, broker)| broker.clone())
    };
    let down = Step::ProveDown {
        nodes: nodes.clone(),
        stopped: running.to_vec(),
    };
    // A snapshot is digested before it is staged, and what the system makes of it is the same; a clone is digested itself.
    let verify = |clones: bool| -> Vec<Stage> {
        let complete = manifest.state() == SetState::Complete;
        let these = parts
            .iter()
            .filter(|part| complete && part.stages_a_clone(&stage) == clones);
        let step = |part: &Part| Step::Verify {
            node: part.node,
            set: origin.set.clone(),
            volume: part.volume.clone(),
            snapshot: part.snapshot.clone(),
            stage: clones.then(|| stage.clone()),
        };
        // One after another: each digest uses all cores.
        these.map(|part| Stage::undo(vec![step(part)])).collect()
    };
    let mut stages = verify(false);
    stages.push(Stage::undo(each(&|part| {
        let mut label = label(&origin.cluster, &origin.set, &[part.node]);
        label.insert("restore".to_owned(), run.to_string());
        Step::StageData {
            node: part.node,
            volume: part.volume.clone(),
            snapshot: part.snapshot.clone(),
            stage: stage.clone(),
            label,
        }
    })));
    stages.extend(verify(true));
    stages.extend([
        Stage::undo(vec![Step::ProveSeen {
            brokers: holding.to_vec(),
        }]),
        // A cluster that has to be restored is often one that does not end by itself.
        Stage::undo(
            running
                .iter()
                .map(|(node, broker)| Step::Stop {
                    node: *node,
                    broker: broker.clone(),
                    stuck: Stuck::IsKilled,
                })
                .collect(),
        ),
        Stage::undo(vec![down.clone()]),
        Stage::undo(each(&|part| Step::Swap {
            node: part.node,
            volume: part.volume.clone(),
            snapshot: part.snapshot.clone(),
            stage: stage.clone(),
        })),
        Stage::undo(vec![down.clone()]),
        Stage::undo(vec![Step::Commit {
            set: origin.set.clone(),
        }]),
        Stage::go_on(each(&|part| Step::Start {
            node: part.node,
            stopped: stopped(part.node),
        })),
        Stage::go_on(vec![Step::AwaitHealthy { nodes }]),
    ]);
    Stage::with_steps(stages)
}
