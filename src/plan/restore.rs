//! Planning a restore, in place or onto other volumes, and finding what speaks against it.

use std::collections::{BTreeMap, BTreeSet};

use zeebe_snap_backends::{Rollback, StageName, VolumeId};

use super::configs::{self, Configs, Files, When};
use super::look::{at_holders, at_service, data_is_of, learned, may_start_on, running};
use super::replace::{self, Replacement};
use super::{Aim, Finding, Findings, Known, Plan, Source, Stage, Staged, Step, stage_name, told};
use crate::agent::protocol::{Receiving, Seen};
use crate::catalog::manifest::{Manifest, SetState};
use crate::config::Cluster;
use crate::id::{NodeId, RunId};
use crate::zeebe::version::Version;

/// What a person asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// A set whose digests are not in is restored all the same.
    pub allow_unverified: bool,
    /// Brokers are left down.
    pub no_start: bool,
    /// When config files are written.
    pub config: When,
    /// Addresses that become others in them.
    pub map: Vec<(String, String)>,
}

/// How each broker whose own volume does not have the set's snapshot could receive it, or why it could not.
pub type Received = BTreeMap<NodeId, Result<Receiving, String>>;

/// All that was looked at for a restore.
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// The brokers.
    pub seen: &'a [Seen],
    /// See there.
    pub received: &'a Received,
    /// Config files.
    pub files: &'a Files,
    /// See there.
    pub known: &'a Known,
}

/// The brokers whose own volume does not have the set's snapshot, and who has it.
pub fn to_receive(seen: &[Seen], manifest: &Manifest) -> Vec<(NodeId, Source)> {
    let missing = |seen: &&Seen| {
        let wanted = manifest.snapshot(seen.node);
        let mut own = seen.volume.iter().flat_map(|volume| &volume.snapshots);
        !own.any(|snapshot| Some(&snapshot.name) == wanted.as_ref().map(|wanted| &wanted.name))
    };
    let source = |seen: &Seen| Some((seen.node, manifest.source(seen.node)?));
    seen.iter().filter(missing).filter_map(source).collect()
}

/// The plan of a restore of `manifest`, or none where something speaks against it; and all that was found.
pub fn plan(
    cluster: &Cluster,
    looked: &Looked<'_>,
    manifest: &Manifest,
    run: &RunId,
    request: &Request,
) -> (Option<Plan>, Vec<Finding>, String) {
    let Looked {
        seen,
        received,
        files,
        known,
    } = *looked;
    let mut findings = Findings::default();
    look_at_set(cluster, manifest, request, &mut findings);
    look_at_versions(cluster, seen, manifest, &mut findings);
    let stage = stage_name("restore", run);
    let writes = |seen: &&Seen| match request.config {
        When::Auto => received.contains_key(&seen.node) && !is_at_home(seen, manifest),
        When::Write => true,
        When::Leave => false,
    };
    let (written, left): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(writes);
    let left: Vec<Seen> = left.into_iter().cloned().collect();
    told::look(cluster, &left, &mut findings);
    told::before_replacing(cluster, &left, &mut findings);
    told::before_restore(seen, &mut findings);
    let mut configs = Configs::default();
    if !written.is_empty() {
        let map = configs::mapping(cluster, manifest, &request.map, &mut findings);
        for seen in written {
            configs::look_at_broker(
                cluster,
                seen,
                manifest,
                files,
                &map,
                &stage,
                &mut configs,
                &mut findings,
            );
        }
    }
    let mut parts = Vec::new();
    for seen in seen {
        parts.extend(look_at_broker(
            cluster,
            seen,
            received,
            known,
            manifest,
            &mut findings,
        ));
    }
    if findings.refuses() {
        return (None, findings.0, configs.diff);
    }
    let running = running(seen);
    let replacement = Replacement {
        running: &running,
        holding: &replace::holding(seen, &running),
        gated: &replace::gated(cluster),
        staged: &staged(&parts, run),
        configs: &configs.swaps,
        start: !request.no_start,
    };
    let plan = Plan {
        aim: Aim::Restore {
            set: manifest.origin.set.clone(),
            stage,
        },
        of: cluster.whose(),
        max_downtime: cluster.max_downtime,
        stages: stages(manifest, run, &parts, &configs, &replacement),
    };
    (Some(plan), findings.0, configs.diff)
}

/// The broker's data is where the set was taken of it.
fn is_at_home(seen: &Seen, manifest: &Manifest) -> bool {
    let mut origins = manifest.origin.brokers.iter();
    origins.any(|of| of.node == seen.node && of.data == seen.data)
}

fn look_at_set(cluster: &Cluster, manifest: &Manifest, request: &Request, findings: &mut Findings) {
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
    /// Where the data is, or is to be.
    pub volume: VolumeId,
    pub source: Source,
    /// Which Zeebe the data that is replaced is of.
    pub replaced: Option<Version>,
}

impl Part {
    /// Whether there is no data that would be replaced and kept.
    fn replaces_nothing(&self) -> bool {
        zeebe_snap_backends::open(&self.volume)
            .is_ok_and(|volume| volume.rollback().is_some_and(Rollback::keeps_nothing))
    }

    /// Whether what is staged has to be compared with what was captured.
    fn stages_a_clone(&self, stage: &StageName) -> bool {
        zeebe_snap_backends::open(&self.volume).is_ok_and(|volume| {
            volume
                .rollback()
                .is_some_and(|rollback| rollback.staged(stage).is_some())
        })
    }
}

fn look_at_broker(
    cluster: &Cluster,
    seen: &Seen,
    received: &Received,
    known: &Known,
    manifest: &Manifest,
    findings: &mut Findings,
) -> Option<Part> {
    let node = seen.node;
    at_service(seen, findings);
    // A broker whose data was deleted holds nothing any more; its service still knows its process.
    if !seen.holders.is_empty() || seen.instance().is_none() {
        at_holders(seen, findings);
    }
    let (volume, source) = match received.get(&node) {
        None => look_at_own(seen, manifest, findings)?,
        Some(receiving) => look_at_foreign(node, receiving, manifest, findings)?,
    };
    let broker = cluster.brokers.get(&node)?;
    Some(Part {
        node,
        volume,
        source,
        replaced: data_is_of(seen, broker, known.get(&(node, seen.data.clone()))),
    })
}

/// The broker's own volume has a snapshot of that name.
fn look_at_own(
    seen: &Seen,
    manifest: &Manifest,
    findings: &mut Findings,
) -> Option<(VolumeId, Source)> {
    let (node, set) = (seen.node, &manifest.origin.set);
    let wanted = manifest.snapshot(node)?;
    let volume = seen.volume.as_ref().ok()?;
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
    let mut own = volume.snapshots.iter();
    let found = own.find(|snapshot| snapshot.name == wanted.name)?;
    if *found != wanted {
        findings.refuse(
            Some(node),
            format!(
                "snapshot {} of {} is {}, set {set} has {}",
                wanted.name, volume.id, found.identity, wanted.identity
            ),
            "it is another snapshot of the same name",
            "find out who made it; the set cannot be restored",
        );
        return None;
    }
    let source = Source {
        volume: volume.id.clone(),
        snapshot: wanted,
    };
    Some((volume.id.clone(), source))
}

/// The snapshot is on the volume it was taken of, if anywhere, and is received from there.
fn look_at_foreign(
    node: NodeId,
    receiving: &Result<Receiving, String>,
    manifest: &Manifest,
    findings: &mut Findings,
) -> Option<(VolumeId, Source)> {
    let set = &manifest.origin.set;
    let source = manifest.source(node)?;
    let receiving = match receiving {
        Ok(receiving) => receiving,
        Err(why) => {
            findings.refuse(
                Some(node),
                format!("broker {node} cannot receive its part of set {set}: {why}"),
                "its data would come from there",
                "see to what is said, or correct `data` in cluster.toml",
            );
            return None;
        }
    };
    for obstacle in &receiving.obstacles {
        findings.refuse(Some(node), &obstacle.what, &obstacle.why, &obstacle.todo);
    }
    match &receiving.snapshot {
        Some(found) if *found == source.snapshot => Some((receiving.volume.clone(), source)),
        Some(found) => {
            findings.refuse(
                Some(node),
                format!(
                    "snapshot {} of {} is {}, set {set} has {}",
                    found.name, source.volume, found.identity, source.snapshot.identity
                ),
                "it is another snapshot of the same name",
                "find out who made it; the set cannot be restored",
            );
            None
        }
        None => {
            findings.refuse(
                Some(node),
                format!("{} has no snapshot {}", source.volume, source.snapshot.name),
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
    let what = format!("set {}", manifest.origin.set);
    for seen in seen {
        let node = seen.node;
        let origin = manifest.origin.brokers.iter().find(|of| of.node == node);
        let source = origin.and_then(|broker| broker.zeebe.as_ref());
        let broker = cluster.brokers.get(&node);
        let target = broker.and_then(|broker| learned(seen, broker));
        let source = source.map(|learned| &learned.version);
        may_start_on(node, target, source, &what, findings);
    }
}

/// What the restore of `run` stages.
pub(crate) fn staged(parts: &[Part], run: &RunId) -> Vec<Staged> {
    let staged = |part: &Part| Staged {
        node: part.node,
        volume: part.volume.clone(),
        of: part.source.snapshot.identity.clone(),
        stage: stage_name("restore", run),
    };
    parts.iter().map(staged).collect()
}

/// The stages of a restore.
pub(crate) fn stages(
    manifest: &Manifest,
    run: &RunId,
    parts: &[Part],
    configs: &Configs,
    replacement: &Replacement<'_>,
) -> Vec<Stage> {
    let origin = &manifest.origin;
    let stage = stage_name("restore", run);
    // A snapshot is digested before it is staged, and what the system makes of it is the same; a clone is digested itself.
    let verify = |clones: bool| -> Vec<Stage> {
        let complete = manifest.state() == SetState::Complete;
        let these = parts
            .iter()
            .filter(|part| complete && part.stages_a_clone(&stage) == clones);
        let step = |part: &Part| Step::Verify {
            node: part.node,
            set: origin.set.clone(),
            source: part.source.clone(),
            staged: clones.then(|| (part.volume.clone(), stage.clone())),
        };
        // One after another: each digest uses all cores.
        these.map(|part| Stage::undo(vec![step(part)])).collect()
    };
    let stage_data = |part: &Part| {
        let mut label = super::replaced(&origin.cluster, part.node, part.replaced.as_ref());
        label.insert("set".to_owned(), origin.set.to_string());
        label.insert("restore".to_owned(), run.to_string());
        let swaps = configs.swaps.iter().filter(|swap| swap.node == part.node);
        label.extend(configs::label(swaps).map(|text| ("config".to_owned(), text)));
        Step::StageData {
            node: part.node,
            volume: part.volume.clone(),
            source: part.source.clone(),
            stage: stage.clone(),
            label,
        }
    };
    let mut stages = verify(false);
    let data = parts.iter().map(stage_data);
    stages.push(Stage::undo(
        data.chain(configs.stage.iter().cloned()).collect(),
    ));
    stages.extend(verify(true));
    stages.extend(replacement.until_commit());
    stages.extend(replacement.after_commit());
    // Of these nothing is kept that what is written of the stage could tell of.
    let nothing_kept = parts.iter().filter(|part| part.replaces_nothing());
    let tidy = nothing_kept.map(|part| Step::ForgetKept {
        node: part.node,
        volume: part.volume.clone(),
        kept: stage.clone(),
    });
    stages.push(Stage::go_on(tidy.collect()));
    Stage::with_steps(stages)
}
