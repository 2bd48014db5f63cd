//! What a run still owes: a pure function of its journal. Unwinding a run that failed and `recover` after a crash are this.
//!
//! Whatever was begun and is not known to be done may have been done: its reverse is planned, and asks the system first.
//! What was never begun owes nothing, so that only what the run did is undone.

use std::collections::{BTreeMap, BTreeSet};

use zeebe_snap_backends::{Label, SnapName, StageName, VolumeId};

use super::backup::{digesting, holds, papers};
use super::configs::ConfigSwap;
use super::{Aim, OnFailure, Plan, Stage, Staged, Step};
use crate::agent::protocol::FaultKind;
use crate::id::{NodeId, SetId};
use crate::journal::{Entry, StepNo, plans, step, steps};
use crate::service::Instance;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// All can be undone.
    Before,
    /// A backup is captured, a restore committed: it is not undone any more.
    Past,
}

/// What a journal says was begun and is not settled.
#[derive(Debug, Default)]
struct Debts {
    /// Brokers that were told to stop, and by what process.
    stopped: BTreeMap<NodeId, Instance>,
    /// Brokers that were told to stop, or are to be started all the same, and were not started yet.
    to_start: BTreeSet<NodeId>,
    started: BTreeSet<NodeId>,
    /// Whether they are healthy was to be seen, and nobody has said either way.
    awaited: bool,
    snapshots: BTreeMap<NodeId, (VolumeId, SnapName, Label)>,
    staged: BTreeMap<NodeId, Staged>,
    /// What was kept and is staged again: its volume, its name and the one it has now.
    taken: BTreeMap<NodeId, (VolumeId, StageName, StageName)>,
    swapped: BTreeMap<NodeId, Staged>,
    gates: BTreeSet<NodeId>,
    /// Brokers whose gate was closed and that were not started since: if they ended meanwhile nobody could start them.
    held: BTreeSet<NodeId>,
    staged_configs: Vec<ConfigSwap>,
    swapped_configs: Vec<ConfigSwap>,
    recorded: bool,
    completed: bool,
    /// Whose snapshots are held.
    holds: BTreeSet<NodeId>,
    /// Beside whose snapshots the set's papers are.
    papers: BTreeSet<NodeId>,
    forgotten: bool,
}

/// Whether the run of `entries` is past the point from which it is not undone: every step of its first plan that would be
/// undone on failure was done before any recovery was planned. (What ends after that ends in vain.)
pub fn point(entries: &[Entry]) -> Point {
    let plans = plans(entries);
    let Some(first) = plans.first() else {
        return Point::Before;
    };
    let is_plan = |entry: &Entry| matches!(entry, Entry::Plan { .. });
    let second = entries
        .iter()
        .skip(1)
        .position(is_plan)
        .map_or(entries.len(), |index| index + 1);
    let done: BTreeSet<StepNo> = entries[..second]
        .iter()
        .filter_map(|entry| match entry {
            Entry::Done { no, .. } => Some(*no),
            _ => None,
        })
        .collect();
    let to_undo = first
        .stages
        .iter()
        .enumerate()
        .filter(|(_, stage)| stage.on_failure == OnFailure::Undo);
    let mut numbers = to_undo.flat_map(|(stage, of)| {
        (0..of.steps.len()).map(move |step| StepNo {
            plan: 0,
            stage,
            step,
        })
    });
    if numbers.all(|no| done.contains(&no)) {
        Point::Past
    } else {
        Point::Before
    }
}

/// The plan that settles what the run of `entries` owes; `None` if it owes nothing.
pub fn plan(entries: &[Entry]) -> Option<Plan> {
    let plans = plans(entries);
    let first = *plans.first()?;
    let point = point(entries);
    let mut debts = debts(entries, &plans);
    let planned = |wanted: fn(&Step) -> bool| -> Vec<NodeId> {
        let all = first.stages.iter().flat_map(|stage| &stage.steps);
        all.filter(|step| wanted(step))
            .filter_map(Step::node)
            .collect()
    };
    // What replaces the data starts all brokers once it is committed, if it starts any; else those that ran are to run again.
    let up = match (&first.aim, point) {
        (Aim::Restore { .. } | Aim::Undo { .. }, Point::Past) => {
            let all = planned(|step| matches!(step, Step::Start { .. }));
            debts.to_start = all
                .iter()
                .copied()
                .filter(|node| !debts.started.contains(node))
                .collect();
            all
        }
        _ => {
            let running = planned(|step| matches!(step, Step::Stop { .. }));
            let held = running.iter().filter(|node| debts.held.contains(node));
            debts.to_start.extend(held);
            running
        }
    };
    let healthy = Stage::go_on(vec![Step::AwaitHealthy {
        // Partitions of a broker that was started have their leaders on others.
        nodes: if debts.to_start.is_empty() && !debts.awaited {
            Vec::new()
        } else {
            up
        },
    }]);
    let stages = match (&first.aim, point) {
        (Aim::Backup { origin }, Point::Before) => undo_backup(&debts, &origin.set, healthy),
        (Aim::Backup { origin }, Point::Past) => {
            let record = Step::Record {
                set: origin.set.clone(),
            };
            let record = if debts.recorded {
                Vec::new()
            } else {
                vec![record]
            };
            let mut stages = vec![
                starts(&debts),
                Stage::go_on(record),
                holds(origin, &debts.holds),
                healthy,
            ];
            if !debts.completed {
                stages.extend(digesting(origin));
            }
            stages.push(papers(origin, &debts.papers));
            stages
        }
        (Aim::Restore { .. } | Aim::Undo { .. }, Point::Before) => put_back(&debts, healthy),
        (Aim::Restore { .. } | Aim::Undo { .. }, Point::Past) => {
            let mut stages = vec![open_gates(&debts), starts(&debts), healthy];
            stages.extend(unfinished(entries, &plans, |step| {
                matches!(step, Step::ForgetKept { .. })
            }));
            stages
        }
        (Aim::Release | Aim::Forget { .. }, _) => unfinished(entries, &plans, |_| true),
        (Aim::Recover, _) => Vec::new(),
    };
    let stages = Stage::with_steps(stages);
    (!stages.is_empty()).then(|| Plan {
        aim: Aim::Recover,
        of: first.of.clone(),
        max_downtime: first.max_downtime,
        stages,
    })
}

fn starts(debts: &Debts) -> Stage {
    let start = |node: &NodeId| Step::Start {
        node: *node,
        stopped: debts.stopped.get(node).cloned(),
    };
    Stage::go_on(debts.to_start.iter().map(start).collect())
}

/// Brokers first.
fn undo_backup(debts: &Debts, set: &SetId, healthy: Stage) -> Vec<Stage> {
    let destroy = |(node, (volume, snapshot, label)): (&NodeId, &(VolumeId, SnapName, Label))| {
        Step::Destroy {
            node: *node,
            volume: volume.clone(),
            snapshot: snapshot.clone(),
            label: label.clone(),
        }
    };
    let forget = if debts.forgotten {
        Vec::new()
    } else {
        vec![Step::Forget { set: set.clone() }]
    };
    vec![
        starts(debts),
        Stage::go_on(debts.snapshots.iter().map(destroy).collect()),
        Stage::go_on(forget),
        healthy,
    ]
}

/// The swap is settled before any start.
fn put_back(debts: &Debts, healthy: Stage) -> Vec<Stage> {
    let back = |(node, (volume, kept, stage)): (&NodeId, &(VolumeId, StageName, StageName))| {
        Step::PutBack {
            node: *node,
            volume: volume.clone(),
            kept: kept.clone(),
            stage: stage.clone(),
        }
    };
    // A folder that could not be put back keeps every broker down: no cluster runs on folders of different times.
    let swap_back = debts.swapped.values().cloned().map(Step::SwapBack);
    let configs = debts.swapped_configs.iter().cloned();
    let swap_back = swap_back.chain(configs.map(Step::SwapBackConfig));
    let discard = debts.staged.values().cloned().map(Step::Discard);
    let configs = debts.staged_configs.iter().cloned();
    let discard = discard.chain(configs.map(Step::DiscardConfig));
    vec![
        Stage::leave(swap_back.collect()),
        open_gates(debts),
        starts(debts),
        Stage::go_on(discard.chain(debts.taken.iter().map(back)).collect()),
        healthy,
    ]
}

fn open_gates(debts: &Debts) -> Stage {
    let open = |node: &NodeId| Step::OpenGate { node: *node };
    Stage::go_on(debts.gates.iter().map(open).collect())
}

/// The `wanted` steps of a run's first plan that have not ended. A run that only lets go of things and failed is asked for
/// again by the person who wants it, but not because an agent died: of one that failed only what was going on elsewhere
/// meanwhile is brought to its end, by as many recoveries as that takes, so that no half of it is left. One that did not
/// begin owes nothing.
fn unfinished(entries: &[Entry], plans: &[&Plan], wanted: fn(&Step) -> bool) -> Vec<Stage> {
    let mut begun: Vec<&Step> = Vec::new();
    let mut done: Vec<&Step> = Vec::new();
    let mut failed: Vec<&Step> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Begun { plan, stage, .. } => begun.extend(steps(plans, *plan, *stage)),
            Entry::Done { no, .. } => done.extend(step(plans, *no)),
            Entry::Failed { no, fault } if no.plan == 0 && fault.kind != FaultKind::LinkLost => {
                failed.extend(step(plans, *no).filter(|step| wanted(step)));
            }
            _ => {}
        }
    }
    let is_owed = |step: &Step| {
        let goes_on = failed.is_empty() || begun.contains(&step) && !failed.contains(&step);
        wanted(step) && goes_on && !done.contains(&step)
    };
    let left = |stage: &Stage| Stage {
        on_failure: stage.on_failure,
        steps: stage
            .steps
            .iter()
            .filter(|step| is_owed(step))
            .cloned()
            .collect(),
    };
    let first = plans.first().filter(|_| !begun.is_empty());
    first
        .into_iter()
        .flat_map(|plan| &plan.stages)
        .map(left)
        .filter(|stage| !stage.steps.is_empty())
        .collect()
}

fn debts(entries: &[Entry], plans: &[&Plan]) -> Debts {
    let mut debts = Debts::default();
    for entry in entries {
        match entry {
            Entry::Begun { plan, stage, .. } => {
                steps(plans, *plan, *stage)
                    .iter()
                    .for_each(|step| debts.begin(step));
            }
            Entry::Done { no, .. } => {
                if let Some(step) = step(plans, *no) {
                    debts.settle(step);
                }
            }
            Entry::Failed { no, fault } => {
                let step = step(plans, *no);
                if fault.kind != FaultKind::LinkLost
                    && matches!(step, Some(Step::AwaitHealthy { .. }))
                {
                    debts.awaited = false;
                }
            }
            Entry::Plan { .. } | Entry::Closed { .. } => {}
        }
    }
    debts
}

impl Debts {
    fn begin(&mut self, step: &Step) {
        match step {
            Step::Stop { node, broker, .. } => {
                self.stopped.insert(*node, broker.clone());
                self.to_start.insert(*node);
            }
            Step::Prepare {
                node,
                volume,
                snapshot,
                label,
            } => {
                self.snapshots
                    .insert(*node, (volume.clone(), snapshot.clone(), label.clone()));
            }
            Step::StageData {
                node,
                volume,
                source,
                stage,
                ..
            } => {
                let staged = Staged {
                    node: *node,
                    volume: volume.clone(),
                    of: source.snapshot.identity.clone(),
                    stage: stage.clone(),
                };
                self.staged.insert(*node, staged);
            }
            Step::TakeKept {
                node,
                volume,
                kept,
                stage,
                ..
            } => {
                self.taken
                    .insert(*node, (volume.clone(), kept.name.clone(), stage.clone()));
            }
            Step::StageConfig { swap, .. } => self.staged_configs.push(swap.clone()),
            Step::SwapConfig(swap) => self.swapped_configs.push(swap.clone()),
            Step::CloseGate { node } => {
                self.gates.insert(*node);
                self.held.insert(*node);
            }
            Step::AwaitHealthy { .. } => self.awaited = true,
            Step::Swap(staged) => {
                self.swapped.insert(staged.node, staged.clone());
            }
            _ => {}
        }
    }

    fn settle(&mut self, step: &Step) {
        match step {
            Step::Start { node, .. } => {
                self.to_start.remove(node);
                self.held.remove(node);
                self.started.insert(*node);
            }
            Step::AwaitHealthy { .. } => self.awaited = false,
            Step::Destroy { node, .. } => {
                self.snapshots.remove(node);
            }
            Step::SwapBackConfig(swap) => self.swapped_configs.retain(|other| other != swap),
            Step::DiscardConfig(swap) => self.staged_configs.retain(|other| other != swap),
            Step::OpenGate { node } => {
                self.gates.remove(node);
            }
            Step::SwapBack(staged) => {
                self.swapped.remove(&staged.node);
            }
            Step::Discard(staged) => {
                self.staged.remove(&staged.node);
            }
            Step::PutBack { node, .. } => {
                self.taken.remove(node);
            }
            Step::Record { .. } => self.recorded = true,
            Step::Complete { .. } => self.completed = true,
            Step::Hold { node, .. } => {
                self.holds.insert(*node);
            }
            Step::KeepPapers { node, .. } => {
                self.papers.insert(*node);
            }
            Step::Forget { .. } => self.forgotten = true,
            _ => {}
        }
    }
}
