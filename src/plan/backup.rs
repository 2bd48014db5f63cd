//! Planning a backup, and finding what speaks against it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::look::{at_folder, at_holders, at_service, learned, running};
use super::{
    Aim, Captured, Finding, Findings, Plan, Running, Stage, Step, Stuck, snapshot_name, told,
};
use crate::agent::protocol::Seen;
use crate::catalog::manifest::{Origin, OriginOf};
use crate::config::{Broker, Cluster};
use crate::id::{NodeId, RunId, SetId};
use crate::service::Instance;
use crate::zeebe::health::ailments;
use crate::zeebe::settings::Settings;

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
    told::look(cluster, seen, &mut findings);
    told::before_backup(cluster, seen, &mut findings);
    if findings.refuses() {
        return (None, findings.0);
    }
    let origin = origin(cluster, host, seen, &SetId::from(run.clone()));
    let with_config = cluster
        .brokers
        .values()
        .filter(|broker| !broker.config.is_empty());
    let config = with_config.map(|broker| (broker.node_id, broker.config.clone()));
    let plan = Plan {
        stages: stages(&config.collect(), &running(seen), &origin),
        aim: Aim::Backup {
            origin: Box::new(origin),
        },
        of: cluster.whose(),
        max_downtime: cluster.max_downtime,
    };
    (Some(plan), findings.0)
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
            "correct `data` or `backend` in cluster.toml, or move the data",
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

fn origin(cluster: &Cluster, host: &str, seen_all: &[Seen], set: &SetId) -> Origin {
    let members = seen_all
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
    let freezes = |seen: &Seen| {
        let volume = seen.volume.as_ref().ok()?;
        Some((volume.id.backend.clone(), volume.freezes.clone()))
    };
    let broker = |seen: &Seen| {
        let volume = seen.volume.as_ref().ok()?.id.clone();
        let first = seen_all
            .iter()
            .find(|other| freezes(other) == freezes(seen))?;
        let broker = cluster.brokers.get(&seen.node);
        let zeebe = broker.and_then(|broker| learned(seen, broker));
        let at = broker.map(Broker::address);
        let told = seen.settings.as_ref().ok();
        Some(OriginOf {
            node: seen.node,
            host: host.to_owned(),
            data: seen.data.clone(),
            volume,
            snapshot: snapshot.clone(),
            captured_with: first.node,
            zeebe,
            partitions: seen
                .folder
                .as_ref()
                .map(|folder| folder.partitions.clone())
                .unwrap_or_default(),
            was_up: seen.is_up(),
            own_addresses: told
                .map(Settings::own_addresses)
                .into_iter()
                .flatten()
                .chain(at)
                .collect(),
            addresses: told.map(Settings::addresses).unwrap_or_default(),
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
        brokers: seen_all.iter().filter_map(broker).collect(),
    }
}

/// The stages of a backup. `config` has the files that belong to it.
pub(crate) fn stages(
    config: &BTreeMap<NodeId, Vec<PathBuf>>,
    running: &Running,
    origin: &Origin,
) -> Vec<Stage> {
    let set = || origin.set.clone();
    let down = Step::ProveDown {
        nodes: origin.brokers.iter().map(|of| of.node).collect(),
        stopped: running.to_vec(),
    };
    let each = |step: &dyn Fn(&OriginOf) -> Step| captured(origin).map(step).collect();
    let run = |step: &dyn Fn(NodeId, Instance) -> Step| {
        let step = |(node, broker): &(NodeId, Instance)| step(*node, broker.clone());
        running.iter().map(step).collect::<Vec<_>>()
    };
    let mut prepare: Vec<Step> = each(&|of| Step::Prepare {
        node: of.node,
        volume: of.volume.clone(),
        snapshot: of.snapshot.clone(),
        label: origin.label(of.captured_with),
    });
    prepare.extend(config.iter().map(|(node, files)| Step::KeepConfig {
        node: *node,
        set: set(),
        files: files.clone(),
    }));
    let mut stages = vec![
        Stage::undo(prepare),
        Stage::undo(each(&|of| Step::Flush {
            node: of.node,
            volume: of.volume.clone(),
        })),
        Stage::undo(vec![Step::ProveSeen {
            brokers: running.to_vec(),
        }]),
        Stage::undo(run(&|node, broker| Step::Stop {
            node,
            broker,
            stuck: Stuck::Fails,
        })),
        Stage::undo(vec![down.clone()]),
        Stage::undo(snapshots(origin)),
        Stage::undo(vec![down]),
        Stage::go_on(run(&|node, broker| Step::Start {
            node,
            stopped: Some(broker),
        })),
        Stage::go_on(vec![Step::Record { set: set() }]),
        holds(origin, &BTreeSet::new()),
        Stage::go_on(vec![Step::AwaitHealthy {
            nodes: running.iter().map(|(node, _)| *node).collect(),
        }]),
    ];
    stages.extend(digesting(origin));
    stages.push(papers(origin, &BTreeSet::new()));
    Stage::with_steps(stages)
}

/// One snapshot of each volume; one call where a backend takes several in one.
fn snapshots(origin: &Origin) -> Vec<Step> {
    let mut together: BTreeMap<_, Vec<&OriginOf>> = BTreeMap::new();
    for of in captured(origin) {
        let volume = zeebe_snap_backends::open(&of.volume).ok();
        let joint = volume.as_ref().and_then(|volume| volume.joint());
        let key = joint.map(|joint| (of.volume.backend.clone(), joint.key().to_owned()));
        let alone = key.is_none().then_some(of.node);
        let key = (key, alone);
        together.entry(key).or_default().push(of);
    }
    let step = |all: Vec<&OriginOf>| {
        let (first, others) = all.split_first()?;
        let with = others.iter().map(|of| Captured {
            node: of.node,
            volume: of.volume.clone(),
            label: origin.label(of.node),
        });
        Some(Step::Snapshot {
            node: first.node,
            volume: first.volume.clone(),
            snapshot: first.snapshot.clone(),
            label: origin.label(first.node),
            with: with.collect(),
        })
    };
    together.into_values().filter_map(step).collect()
}

/// Of brokers on one volume, which share its snapshot, the first.
fn captured(origin: &Origin) -> impl Iterator<Item = &OriginOf> {
    let brokers = origin.brokers.iter();
    brokers.filter(|of| of.captured_with == of.node)
}

/// What holds the snapshots of a captured set, where the system has holds, but for those that are `held`.
pub(super) fn holds(origin: &Origin, held: &BTreeSet<NodeId>) -> Stage {
    let can_be_held = |of: &&OriginOf| {
        let volume = zeebe_snap_backends::open(&of.volume);
        volume.is_ok_and(|volume| volume.hold().is_some()) && !held.contains(&of.node)
    };
    let hold = captured(origin).filter(can_be_held).map(|of| Step::Hold {
        node: of.node,
        volume: of.volume.clone(),
        snapshot: of.snapshot.clone(),
    });
    Stage::go_on(hold.collect())
}

/// What keeps the papers of a complete set beside its snapshots, but for those that are `kept`.
pub(super) fn papers(origin: &Origin, kept: &BTreeSet<NodeId>) -> Stage {
    // Not every volume has a place for them.
    let has_a_place = |of: &OriginOf| {
        let volume = zeebe_snap_backends::open(&of.volume);
        volume.is_ok_and(|volume| volume.papers(&of.snapshot).is_some())
    };
    let first = captured(origin).filter(|of| !kept.contains(&of.node) && has_a_place(of));
    let keep = first.map(|of| Step::KeepPapers {
        node: of.node,
        set: origin.set.clone(),
        volume: of.volume.clone(),
        snapshot: of.snapshot.clone(),
    });
    Stage::leave(keep.collect())
}

/// What completes a captured set. One member after another: each digest uses all cores.
pub(super) fn digesting(origin: &Origin) -> Vec<Stage> {
    let digest = |of: &OriginOf| Step::Digest {
        node: of.node,
        set: origin.set.clone(),
        volume: of.volume.clone(),
        snapshot: of.snapshot.clone(),
    };
    let complete = Step::Complete {
        set: origin.set.clone(),
    };
    let steps = origin.brokers.iter().map(digest).chain([complete]);
    steps.map(|step| Stage::leave(vec![step])).collect()
}
