//! Plans: what a run will do, as a value. Printed by a dry run, stored in the journal, walked by the executor.
//!
//! Planning computes from what inspecting saw. It touches no disk and asks nobody.

pub mod backup;
pub mod configs;
pub mod findings;
pub mod forget;
mod lines;
mod look;
pub mod recovery;
pub mod release;
pub(crate) mod replace;
pub mod restore;
pub mod step;
pub mod told;
pub mod undo;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeebe_snap_backends::{Label, SnapName, StageName};

use crate::catalog::manifest::Origin;
use crate::id::{NodeId, RunId, SetId};
use crate::service::Instance;
use crate::zeebe::version::Version;

pub use findings::{Finding, Findings, Weight};
pub use step::{Captured, Source, Staged, Step, Stuck};

/// What a run will do: its stages one after another, the steps of a stage side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What it is for.
    pub aim: Aim,
    /// Whose brokers it is about.
    pub of: Whose,
    /// The window's budget, from the first stop to the last start.
    pub max_downtime: Duration,
    /// In order.
    pub stages: Vec<Stage>,
}

/// Which brokers a plan is about, so that it is not carried out on others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// The cluster.toml.
    pub file: PathBuf,
    /// The data directory of each broker, by node id.
    pub data: Vec<(NodeId, PathBuf)>,
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
    /// To bring a set back.
    Restore {
        /// Which.
        set: SetId,
        /// Where what it replaces is kept.
        stage: StageName,
    },
    /// To bring back what a restore or an undo replaced.
    Undo {
        /// Where that is kept.
        kept: StageName,
        /// Where what this replaces is kept.
        stage: StageName,
    },
    /// To let go of what restores and undos keep.
    Release,
    /// To destroy sets.
    Forget {
        /// Which.
        sets: Vec<SetId>,
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

/// The name under which a restore or an undo stages, and later keeps what it replaced.
pub fn stage_name(verb: &str, run: &RunId) -> StageName {
    checked(format!("{verb}-{run}"))
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

/// Of which Zeebe the sets that are known say the data of each broker was, by node id and data directory.
pub type Known = BTreeMap<(NodeId, PathBuf), Version>;

/// What is said of the data of `node` that a restore or an undo replaces: which Zeebe it is of, as far as that is known.
fn replaced(cluster: &str, node: NodeId, zeebe: Option<&Version>) -> Label {
    let mut label = BTreeMap::from([
        ("cluster".to_owned(), cluster.to_owned()),
        ("node".to_owned(), node.to_string()),
    ]);
    label.extend(zeebe.map(|version| ("zeebe".to_owned(), version.to_string())));
    label
}
