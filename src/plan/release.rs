//! Planning a release: letting go of what restores and undos replaced and keep.

use std::collections::BTreeSet;

use zeebe_snap_backends::Label;

use super::configs::{self, ConfigSwap};
use super::undo::kept_by_run;
use super::{Aim, Finding, Findings, Plan, Stage, Step};
use crate::agent::protocol::Seen;
use crate::config::Cluster;
use crate::id::RunId;

/// What a person asked for.
#[derive(Debug, Clone)]
pub enum Request {
    /// All that is kept.
    All,
    /// What these runs keep.
    Runs(Vec<RunId>),
}

/// The plan of a release, or none where something speaks against it; and all that was found.
pub fn plan(cluster: &Cluster, seen: &[Seen], request: &Request) -> (Option<Plan>, Vec<Finding>) {
    let mut findings = Findings::default();
    let all = kept_by_run(seen);
    let wanted: BTreeSet<&RunId> = match request {
        Request::All => all.keys().collect(),
        Request::Runs(runs) => runs.iter().collect(),
    };
    let mut steps = Vec::new();
    for run in wanted {
        let Some((name, _)) = all.get(run) else {
            findings.refuse(
                None,
                format!("run {run} keeps nothing"),
                "there is nothing to let go of",
                "`zeebe-snap status` shows what is kept",
            );
            continue;
        };
        for seen in seen {
            let Ok(volume) = &seen.volume else { continue };
            let kept = volume.kept.iter().filter(|kept| kept.name == *name);
            for kept in kept {
                let configs = configs::replaced(kept.label.as_ref().unwrap_or(&Label::new()));
                // What is hidden is what was replaced.
                steps.extend(
                    configs
                        .iter()
                        .map(ConfigSwap::back)
                        .map(Step::DiscardConfig),
                );
                steps.push(Step::Release {
                    node: seen.node,
                    volume: volume.id.clone(),
                    kept: kept.clone(),
                });
            }
        }
    }
    if findings.refuses() {
        return (None, findings.0);
    }
    let plan = Plan {
        aim: Aim::Release,
        of: cluster.whose(),
        max_downtime: cluster.max_downtime,
        // One after another: a volume has one turn.
        stages: steps
            .into_iter()
            .map(|step| Stage::go_on(vec![step]))
            .collect(),
    };
    (Some(plan), findings.0)
}
