//! The actions of a plan.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeebe_snap_backends::{Kept, Label, SnapName, Snapshot, StageName, VolumeId};

use super::configs::ConfigSwap;
use crate::id::{NodeId, SetId};
use crate::service::Instance;

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub enum Step {
    /// Makes folder and label for a snapshot.
    Prepare {
        node: NodeId,
        volume: VolumeId,
        snapshot: SnapName,
        label: Label,
    },
    /// Copies the broker's config files into the set.
    KeepConfig {
        node: NodeId,
        set: SetId,
        files: Vec<PathBuf>,
    },
    /// Syncs the volume while its broker runs, so that little is left to sync in the window.
    Flush { node: NodeId, volume: VolumeId },
    /// Every broker is seen by the scan that is to prove it down, and nobody else holds its data.
    ProveSeen { brokers: Vec<(NodeId, Instance)> },
    /// Asks the broker to stop and waits until that process has ended.
    Stop {
        node: NodeId,
        broker: Instance,
        stuck: Stuck,
    },
    /// Proves, in one pass, that nobody holds a file of these brokers' data, and that none of those stopped was started
    /// since.
    ProveDown {
        nodes: Vec<NodeId>,
        stopped: Vec<(NodeId, Instance)>,
    },
    /// Syncs the volume again and takes the snapshot; of all those `with` it in one call.
    Snapshot {
        node: NodeId,
        volume: VolumeId,
        snapshot: SnapName,
        label: Label,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<Captured>,
    },
    /// Starts the broker. `stopped` is the process that was told to stop and so must end first.
    Start {
        node: NodeId,
        stopped: Option<Instance>,
    },
    /// Waits until every broker is ready and every partition healthy.
    AwaitHealthy { nodes: Vec<NodeId> },
    /// Writes down that the set is captured.
    Record { set: SetId },
    /// Digests a member from its snapshot.
    Digest {
        node: NodeId,
        set: SetId,
        volume: VolumeId,
        snapshot: SnapName,
    },
    /// Writes the manifest, which makes the set complete.
    Complete { set: SetId },
    /// Keeps anything else from destroying a snapshot of the set.
    Hold {
        node: NodeId,
        volume: VolumeId,
        snapshot: SnapName,
    },
    /// Keeps what a restore needs of the members that are in a snapshot beside that snapshot, too, so that a lost catalog
    /// can be rebuilt.
    KeepPapers {
        node: NodeId,
        set: SetId,
        volume: VolumeId,
        snapshot: SnapName,
    },
    /// Digests a member's snapshot, or the copy that is staged of it, and compares with the set.
    Verify {
        node: NodeId,
        set: SetId,
        source: Source,
        staged: Option<(VolumeId, StageName)>,
    },
    /// Makes the new data beside the old.
    StageData {
        node: NodeId,
        volume: VolumeId,
        source: Source,
        stage: StageName,
        label: Label,
    },
    /// Stages what a former run replaced and keeps, as it is.
    TakeKept {
        node: NodeId,
        volume: VolumeId,
        kept: Kept,
        stage: StageName,
        label: Label,
    },
    /// Writes a config file of the set, with addresses mapped, hidden beside the one it is to replace.
    StageConfig {
        set: SetId,
        file: String,
        map: BTreeMap<String, String>,
        swap: ConfigSwap,
    },
    /// Puts it in place of the present one, which is kept in its turn.
    SwapConfig(ConfigSwap),
    /// Puts the former one back.
    SwapBackConfig(ConfigSwap),
    /// Removes what is hidden beside a config file.
    DiscardConfig(ConfigSwap),
    /// Nothing else starts the broker from here on.
    CloseGate { node: NodeId },
    /// Puts the new data in place of the old.
    Swap(Staged),
    /// From here on the new data stands.
    Commit,
    /// The broker may be started by anybody again.
    OpenGate { node: NodeId },
    /// Puts the old data back.
    SwapBack(Staged),
    /// Removes new data that was not put in place.
    Discard(Staged),
    /// The reverse of taking what is kept.
    PutBack {
        node: NodeId,
        volume: VolumeId,
        kept: StageName,
        stage: StageName,
    },
    /// Removes what is written of a kept tree that has become the data.
    ForgetKept {
        node: NodeId,
        volume: VolumeId,
        kept: StageName,
    },
    /// Lets go of what a run replaced and keeps.
    Release {
        node: NodeId,
        volume: VolumeId,
        kept: Kept,
    },
    /// Takes a set off the list: it is not good any more.
    Unlist { set: SetId },
    /// Removes a snapshot and its label.
    Destroy {
        node: NodeId,
        volume: VolumeId,
        snapshot: SnapName,
        label: Label,
    },
    /// Removes what is written down of a set that did not come to be, or is no more.
    Forget { set: SetId },
}

/// A volume that is captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// The first broker that lies in it.
    pub node: NodeId,
    /// The volume.
    pub volume: VolumeId,
    /// What its snapshot says of itself.
    pub label: Label,
}

/// A snapshot, and the volume that has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The volume.
    pub volume: VolumeId,
    /// Its snapshot.
    pub snapshot: Snapshot,
}

/// What is staged beside a broker's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// The broker.
    pub node: NodeId,
    /// The volume of its data.
    pub volume: VolumeId,
    /// What it was made of: the identity of a snapshot or of a kept tree.
    pub of: String,
    /// Its name; what it replaces takes it over.
    pub stage: StageName,
}

/// What becomes of a broker that does not stop in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stuck {
    /// The step fails.
    Fails,
    /// It is killed; the data has been kept.
    IsKilled,
}

impl Step {
    /// The broker it is about, if it is one.
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Step::Prepare { node, .. }
            | Step::KeepConfig { node, .. }
            | Step::Flush { node, .. }
            | Step::Stop { node, .. }
            | Step::Snapshot { node, .. }
            | Step::Start { node, .. }
            | Step::Digest { node, .. }
            | Step::Hold { node, .. }
            | Step::KeepPapers { node, .. }
            | Step::Verify { node, .. }
            | Step::StageData { node, .. }
            | Step::TakeKept { node, .. }
            | Step::StageConfig {
                swap: ConfigSwap { node, .. },
                ..
            }
            | Step::SwapConfig(ConfigSwap { node, .. })
            | Step::SwapBackConfig(ConfigSwap { node, .. })
            | Step::DiscardConfig(ConfigSwap { node, .. })
            | Step::CloseGate { node }
            | Step::Swap(Staged { node, .. })
            | Step::OpenGate { node }
            | Step::SwapBack(Staged { node, .. })
            | Step::Discard(Staged { node, .. })
            | Step::PutBack { node, .. }
            | Step::ForgetKept { node, .. }
            | Step::Release { node, .. }
            | Step::Destroy { node, .. } => Some(*node),
            Step::ProveSeen { .. }
            | Step::ProveDown { .. }
            | Step::AwaitHealthy { .. }
            | Step::Record { .. }
            | Step::Complete { .. }
            | Step::Commit
            | Step::Unlist { .. }
            | Step::Forget { .. } => None,
        }
    }

    /// It names no broker and no set, so there is nothing to do.
    pub fn is_about_nobody(&self) -> bool {
        match self {
            Step::ProveSeen { brokers } => brokers.is_empty(),
            Step::ProveDown { nodes, .. } | Step::AwaitHealthy { nodes } => nodes.is_empty(),
            _ => false,
        }
    }

    /// One word for reports.
    pub fn word(&self) -> &'static str {
        match self {
            Step::Prepare { .. } => "prepare",
            Step::KeepConfig { .. } => "config",
            Step::Flush { .. } => "flush",
            Step::Stop { .. } => "stop",
            Step::ProveSeen { .. } => "prove seen",
            Step::ProveDown { .. } => "prove down",
            Step::Snapshot { .. } => "snapshot",
            Step::Start { .. } => "start",
            Step::AwaitHealthy { .. } => "healthy",
            Step::Record { .. } => "record",
            Step::Digest { .. } => "digest",
            Step::Complete { .. } => "complete",
            Step::Hold { .. } => "hold the snapshot",
            Step::KeepPapers { .. } => "keep papers",
            Step::Verify { .. } => "verify",
            Step::StageData { .. } => "stage",
            Step::TakeKept { .. } => "take what is kept",
            Step::StageConfig { .. } => "stage config",
            Step::SwapConfig(_) => "swap config",
            Step::SwapBackConfig(_) => "swap back config",
            Step::DiscardConfig(_) => "discard config",
            Step::CloseGate { .. } => "close the gate",
            Step::Swap(_) => "swap",
            Step::Commit => "commit",
            Step::OpenGate { .. } => "open the gate",
            Step::SwapBack(_) => "swap back",
            Step::Discard(_) => "discard",
            Step::PutBack { .. } => "put back what is kept",
            Step::ForgetKept { .. } => "tidy",
            Step::Release { .. } => "release",
            Step::Unlist { .. } => "unlist",
            Step::Destroy { .. } => "destroy",
            Step::Forget { .. } => "forget",
        }
    }

    /// Whether its beginning must be on disk before it begins: what it makes or ends is durable at once, so after a power
    /// cut the journal must not know less than the disk. What only undoes, finishes or reads can be done again.
    pub fn is_begun_durably(&self) -> bool {
        matches!(
            self,
            Step::Prepare { .. }
                | Step::Stop { .. }
                | Step::StageData { .. }
                | Step::TakeKept { .. }
                | Step::StageConfig { .. }
                | Step::CloseGate { .. }
                | Step::Swap(_)
                | Step::SwapConfig(_)
                | Step::Commit
                // A set that is listed is past the point from which it is not undone.
                | Step::Record { .. }
                | Step::Unlist { .. }
                | Step::Release { .. }
                | Step::DiscardConfig(_)
        )
    }

    /// Whether it leaves anything to be settled on its host.
    pub fn changes(&self) -> bool {
        !matches!(
            self,
            Step::KeepConfig { .. }
                | Step::Flush { .. }
                | Step::ProveSeen { .. }
                | Step::ProveDown { .. }
                | Step::AwaitHealthy { .. }
                | Step::Digest { .. }
                | Step::Verify { .. }
        )
    }

    /// Whether its end must be on disk before anything else is done.
    pub fn is_done_durably(&self) -> bool {
        matches!(self, Step::Commit)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.node(), self) {
            (
                Some(node),
                Step::CloseGate { .. }
                | Step::OpenGate { .. }
                | Step::StageConfig { .. }
                | Step::SwapConfig(_)
                | Step::SwapBackConfig(_)
                | Step::DiscardConfig(_),
            ) => {
                write!(f, "{} of broker {node}", self.word())
            }
            (
                Some(node),
                Step::TakeKept { .. }
                | Step::PutBack { .. }
                | Step::Hold { .. }
                | Step::KeepPapers { .. },
            ) => {
                write!(f, "{} of broker {node}", self.word())
            }
            (Some(node), _) => write!(f, "{} broker {node}", self.word()),
            (None, Step::ProveSeen { .. }) => f.write_str("prove all brokers seen"),
            (None, Step::ProveDown { .. }) => f.write_str("prove all brokers down"),
            (None, Step::AwaitHealthy { .. }) => f.write_str("wait until the cluster is healthy"),
            (
                None,
                Step::Record { set }
                | Step::Complete { set }
                | Step::Unlist { set }
                | Step::Forget { set },
            ) => {
                write!(f, "{} set {set}", self.word())
            }
            (None, _) => f.write_str(self.word()),
        }
    }
}
