//! Planning an undo: what a restore, or an undo, replaced and keeps becomes the data again, and what is the data now is kept
//! in its turn.

use std::collections::{BTreeMap, BTreeSet};

use zeebe_snap_backends::{Kept, Label, StageName, VolumeId};

use super::configs::{self, Present};
use super::look::{at_holders, at_service, data_is_of, learned, may_start_on, running};
use super::replace::{self, Replacement};
use super::{Aim, Finding, Findings, Known, Plan, Stage, Staged, Step, stage_name, told};
use crate::agent::protocol::Seen;
use crate::config::Cluster;
use crate::id::{NodeId, RunId};
use crate::zeebe::version::Version;

/// What a person asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What the run of this id replaced; else what the newest did.
    pub run: Option<RunId>,
    /// Brokers are left down.
    pub no_start: bool,
}

/// The plan of an undo, or none where something speaks against it; and all that was found.
pub fn plan(
    cluster: &Cluster,
    seen: &[Seen],
    known: &Known,
    present: &Present,
    run: &RunId,
    request: &Request,
) -> (Option<Plan>, Vec<Finding>) {
    let mut findings = Findings::default();
    let Some(name) = choose(seen, request.run.as_ref(), &mut findings) else {
        return (None, findings.0);
    };
    told::look(cluster, seen, &mut findings);
    told::before_replacing(cluster, seen, &mut findings);
    told::before_restore(seen, &mut findings);
    let stage = stage_name("undo", run);
    let mut take = Vec::new();
    let mut staged = Vec::new();
    let mut configs = Vec::new();
    for seen in seen {
        let Some((volume, kept)) = find_kept(seen, &name, &mut findings) else {
            continue;
        };
        // What is replaced in its turn comes back with the config files that stand now.
        let back = configs::to_undo(seen.node, &kept, present, &mut findings);
        look_at_version(cluster, seen, &kept, &mut findings);
        let broker = cluster.brokers.get(&seen.node);
        let known = known.get(&(seen.node, seen.data.clone()));
        let zeebe = broker.and_then(|broker| data_is_of(seen, broker, known));
        let mut label = super::replaced(&cluster.name, seen.node, zeebe.as_ref());
        label.insert("undo".to_owned(), run.to_string());
        label.extend(configs::label(&back).map(|text| ("config".to_owned(), text)));
        configs.extend(back);
        let (step, of) = take_kept(seen.node, (volume, kept), &stage, label);
        take.push(step);
        staged.push(of);
    }
    if findings.refuses() {
        return (None, findings.0);
    }
    let running = running(seen);
    let replacement = Replacement {
        running: &running,
        holding: &replace::holding(seen, &running),
        gated: &replace::gated(cluster),
        staged: &staged,
        configs: &configs,
        start: !request.no_start,
    };
    let plan = Plan {
        stages: stages(take, &name, &replacement),
        aim: Aim::Undo { kept: name, stage },
        of: cluster.whose(),
        max_downtime: cluster.max_downtime,
    };
    (Some(plan), findings.0)
}

/// The stages of an undo.
pub(crate) fn stages(
    take: Vec<Step>,
    kept: &StageName,
    replacement: &Replacement<'_>,
) -> Vec<Stage> {
    let tidy = |staged: &Staged| Step::ForgetKept {
        node: staged.node,
        volume: staged.volume.clone(),
        kept: kept.clone(),
    };
    let mut stages = vec![Stage::undo(take)];
    stages.extend(replacement.until_commit());
    stages.extend(replacement.after_commit());
    let tidy = replacement.staged.iter().map(tidy).collect();
    stages.push(Stage::go_on(tidy));
    Stage::with_steps(stages)
}

/// The run whose name what is kept has: `restore-20261124T120000Z`.
pub(crate) fn run_of(name: &StageName) -> Option<RunId> {
    name.as_str().rsplit('-').next()?.parse().ok()
}

/// What each run keeps, the newest last, and for which brokers.
pub(super) fn kept_by_run(seen: &[Seen]) -> BTreeMap<RunId, (StageName, BTreeSet<NodeId>)> {
    let mut found: BTreeMap<RunId, (StageName, BTreeSet<NodeId>)> = BTreeMap::new();
    for seen in seen {
        for kept in seen.volume.iter().flat_map(|volume| &volume.kept) {
            let Some(run) = run_of(&kept.name) else {
                continue;
            };
            let entry = found.entry(run);
            let (_, nodes) = entry.or_insert_with(|| (kept.name.clone(), BTreeSet::new()));
            nodes.insert(seen.node);
        }
    }
    found
}

fn choose(seen: &[Seen], run: Option<&RunId>, findings: &mut Findings) -> Option<StageName> {
    let all = kept_by_run(seen);
    let runs: Vec<String> = all.keys().map(ToString::to_string).collect();
    let found = match run {
        Some(run) => all.get(run),
        None => all.values().next_back(),
    };
    match (found, run) {
        (Some((name, _)), _) => Some(name.clone()),
        (None, None) => {
            findings.refuse(
                None,
                "there is nothing to undo: no restore keeps what it replaced",
                "only what a restore or an undo replaced can be brought back",
                "restore a set; `zeebe-snap list` shows them",
            );
            None
        }
        (None, Some(run)) => {
            let kept = match runs.is_empty() {
                true => "nothing is kept".to_owned(),
                false => format!("kept is what these replaced: {}", runs.join(", ")),
            };
            findings.refuse(
                None,
                format!("what run {run} replaced is not kept; {kept}"),
                "only what a restore or an undo replaced can be brought back",
                "`zeebe-snap status` shows what is kept",
            );
            None
        }
    }
}

/// What this broker keeps under that name, if it can be brought back.
fn find_kept(seen: &Seen, name: &StageName, findings: &mut Findings) -> Option<(VolumeId, Kept)> {
    let node = seen.node;
    at_service(seen, findings);
    at_holders(seen, findings);
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
    for obstacle in &volume.take_back {
        findings.refuse(Some(node), &obstacle.what, &obstacle.why, &obstacle.todo);
    }
    let found = volume.kept.iter().find(|kept| kept.name == *name);
    if found.is_none() {
        findings.refuse(
            Some(node),
            format!("{} keeps nothing of {name}", volume.id),
            "its data directory did not exist when that run began, or it was released; and a cluster never runs on folders of different times",
            "restore a set",
        );
    }
    Some((volume.id.clone(), found?.clone()))
}

fn take_kept(
    node: NodeId,
    (volume, kept): (VolumeId, Kept),
    stage: &StageName,
    label: Label,
) -> (Step, Staged) {
    let staged = Staged {
        node,
        volume: volume.clone(),
        of: kept.identity.clone(),
        stage: stage.clone(),
    };
    let step = Step::TakeKept {
        node,
        volume,
        kept,
        stage: stage.clone(),
        label,
    };
    (step, staged)
}

fn look_at_version(cluster: &Cluster, seen: &Seen, kept: &Kept, findings: &mut Findings) {
    let said = kept.label.as_ref().and_then(|label| label.get("zeebe"));
    let source: Option<Version> = said.and_then(|text| text.parse().ok());
    let target = cluster
        .brokers
        .get(&seen.node)
        .and_then(|broker| learned(seen, broker));
    let what = format!("what {} keeps", kept.name);
    may_start_on(seen.node, target, source.as_ref(), &what, findings);
}

#[cfg(test)]
mod tests;
