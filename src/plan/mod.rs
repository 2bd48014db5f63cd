//! Plans: what a run will do, as a value. Printed by a dry run, stored in the journal, walked by the executor.
//!
//! Planning computes from what inspecting saw. It touches no disk and asks nobody.

pub mod backup;
pub mod findings;
mod look;
pub mod recovery;
pub mod restore;
pub mod step;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeebe_snap_backends::{Label, SnapName, StageName};

use crate::catalog::manifest::Origin;
use crate::id::{NodeId, RunId, SetId};
use crate::service::Instance;

pub use findings::{Finding, Findings, Weight};
pub use step::{Step, Stuck};

/// What a run will do: its stages one after another, the steps of a stage side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What it is for.
    pub aim: Aim,
    /// The window's budget, from the first stop to the last start.
    pub max_downtime: Duration,
    /// In order.
    pub stages: Vec<Stage>,
}

/// What a plan is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Aim {
    /// To make a set.
    Backup {
        /// All that its manifest needs and no step finds out.
        origin: Box<Origin>,
    },
    /// To bring a set back in place.
    Restore {
        /// Which.
        set: SetId,
        /// Where what it replaces is kept.
        stage: StageName,
    },
    /// To settle what an earlier plan of the same journal owes.
    Recover,
}

/// Steps that are done side by side. The next stage begins when all have ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What is done if a step fails or the run is interrupted.
    pub on_failure: OnFailure,
    /// Side by side.
    pub steps: Vec<Step>,
}

impl Stage {
    /// One that ends the run if it fails, and is undone.
    pub fn undo(steps: Vec<Step>) -> Stage {
        let on_failure = OnFailure::Undo;
        Stage { on_failure, steps }
    }

    /// One whose failure is kept for the end.
    pub fn go_on(steps: Vec<Step>) -> Stage {
        let on_failure = OnFailure::GoOn;
        Stage { on_failure, steps }
    }

    /// One that a later run does if it fails.
    pub fn leave(steps: Vec<Step>) -> Stage {
        let on_failure = OnFailure::Leave;
        Stage { on_failure, steps }
    }

    /// Those of `stages` in which there is something to do.
    fn with_steps(stages: Vec<Stage>) -> Vec<Stage> {
        let something = |stage: &Stage| stage.steps.iter().any(|step| !step.is_about_nobody());
        stages.into_iter().filter(something).collect()
    }
}

/// Brokers that run, and as what.
pub type Running = [(NodeId, Instance)];

/// What is done if a step of a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The run ends and what it did is undone. These stages come first.
    Undo,
    /// The failure is kept for the end and the run goes on.
    GoOn,
    /// The run ends here; what is left is owed and done by the next run.
    Leave,
}

/// The name of a set's snapshots.
pub fn snapshot_name(set: &SetId) -> SnapName {
    checked(format!("zeebe-snap-{set}"))
}

/// The name under which a restore stages, and later keeps what it replaced.
pub fn stage_name(run: &RunId) -> StageName {
    checked(format!("restore-{run}"))
}

#[allow(clippy::expect_used)] // an id holds letters and digits only, so the name passes its check
fn checked<N: TryFrom<String, Error = zeebe_snap_backends::NameError>>(text: String) -> N {
    N::try_from(text).expect("an id is a name")
}

/// What a snapshot of `nodes` in `set` of `cluster` says of itself.
pub fn label(cluster: &str, set: &SetId, nodes: &[NodeId]) -> Label {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    BTreeMap::from([
        ("cluster".to_owned(), cluster.to_owned()),
        ("set".to_owned(), set.to_string()),
        ("node".to_owned(), nodes.join(",")),
    ])
}
