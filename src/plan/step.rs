//! The actions of a plan.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeebe_snap_backends::{
    Action, Label, Rollback, SnapName, Snapshot, StageName, Volume, VolumeId,
};

use crate::config::Cluster;
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
    /// Syncs the volume again and takes the snapshot.
    Snapshot {
        node: NodeId,
        volume: VolumeId,
        snapshot: SnapName,
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
    /// Digests a member's snapshot, or the copy that is staged of it, and compares with the set.
    Verify {
        node: NodeId,
        set: SetId,
        volume: VolumeId,
        snapshot: Snapshot,
        stage: Option<StageName>,
    },
    /// Makes the new data beside the old.
    StageData {
        node: NodeId,
        volume: VolumeId,
        snapshot: Snapshot,
        stage: StageName,
        label: Label,
    },
    /// Puts the new data in place of the old.
    Swap {
        node: NodeId,
        volume: VolumeId,
        snapshot: Snapshot,
        stage: StageName,
    },
    /// From here on the new data stands.
    Commit { set: SetId },
    /// Puts the old data back.
    SwapBack {
        node: NodeId,
        volume: VolumeId,
        snapshot: Snapshot,
        stage: StageName,
    },
    /// Removes new data that was not put in place.
    Discard {
        node: NodeId,
        volume: VolumeId,
        snapshot: Snapshot,
        stage: StageName,
    },
    /// Removes a snapshot and its label.
    Destroy {
        node: NodeId,
        volume: VolumeId,
        snapshot: SnapName,
        label: Label,
    },
    /// Removes what is written down of a set that did not come to be.
    Forget { set: SetId },
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
            | Step::Verify { node, .. }
            | Step::StageData { node, .. }
            | Step::Swap { node, .. }
            | Step::SwapBack { node, .. }
            | Step::Discard { node, .. }
            | Step::Destroy { node, .. } => Some(*node),
            Step::ProveSeen { .. }
            | Step::ProveDown { .. }
            | Step::AwaitHealthy { .. }
            | Step::Record { .. }
            | Step::Complete { .. }
            | Step::Commit { .. }
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
            Step::Verify { .. } => "verify",
            Step::StageData { .. } => "stage",
            Step::Swap { .. } => "swap",
            Step::Commit { .. } => "commit",
            Step::SwapBack { .. } => "swap back",
            Step::Discard { .. } => "discard",
            Step::Destroy { .. } => "destroy",
            Step::Forget { .. } => "forget",
        }
    }

    /// Whether its beginning must be on disk before it begins: what it did to a process cannot be asked of the system
    /// later. Whatever has a name of the plan's own can.
    pub fn is_begun_durably(&self) -> bool {
        matches!(
            self,
            Step::Stop { .. } | Step::Swap { .. } | Step::Commit { .. }
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
        matches!(self, Step::Commit { .. })
    }

    /// The lines a dry run shows for it: what it runs, as a shell would.
    pub fn lines(&self, cluster: &Cluster) -> Vec<String> {
        let service = |node: &NodeId| {
            cluster
                .brokers
                .get(node)
                .map(crate::service::lines)
                .unwrap_or_default()
        };
        let of = |volume: &VolumeId, actions: &dyn Fn(&dyn Volume) -> Vec<Action>| {
            match zeebe_snap_backends::open(volume) {
                Ok(volume) => actions(&*volume).iter().map(ToString::to_string).collect(),
                Err(error) => vec![format!("# {error}")],
            }
        };
        let roll = |volume: &VolumeId, actions: &dyn Fn(&dyn Rollback) -> Vec<Action>| {
            of(volume, &|volume| {
                volume.rollback().map(actions).unwrap_or_default()
            })
        };
        match self {
            Step::Prepare {
                volume,
                snapshot,
                label,
                ..
            } => of(volume, &|v| v.prepare(snapshot, label)),
            Step::KeepConfig { files, .. } => files
                .iter()
                .map(|file| format!("# keep {}", file.display()))
                .collect(),
            Step::Flush { volume, .. } => of(volume, &|v| vec![Action::Sync(v.data().to_owned())]),
            Step::Stop { node, broker, .. } => {
                vec![
                    service(node)
                        .0
                        .replace("<broker>", &broker.process.pid.to_string()),
                ]
            }
            Step::ProveSeen { brokers } => {
                let pids = brokers
                    .iter()
                    .map(|(node, broker)| format!("{node} is pid {}", broker.process.pid));
                vec![format!(
                    "# broker {}, and nobody else holds the data directories",
                    pids.collect::<Vec<_>>().join(", ")
                )]
            }
            Step::ProveDown { .. } => {
                vec!["# no process has a file of the data directories open or mapped".to_owned()]
            }
            Step::Snapshot {
                volume, snapshot, ..
            } => of(volume, &|v| {
                let mut actions = vec![Action::Sync(v.data().to_owned())];
                actions.extend(v.snapshot(snapshot));
                actions
            }),
            Step::Start { node, .. } => vec![service(node).1],
            Step::AwaitHealthy { nodes } => {
                let urls = nodes
                    .iter()
                    .filter_map(|node| cluster.brokers.get(node))
                    .map(|broker| &broker.management);
                urls.map(|url| format!("curl -L {url}/ready")).collect()
            }
            Step::Record { set } => vec![format!("# set {set} is captured")],
            Step::Digest { .. } => vec!["# BLAKE3 of every file of the snapshot".to_owned()],
            Step::Complete { set } => vec![format!("# set {set} is complete")],
            Step::Verify { stage, .. } => {
                let what = stage.as_ref().map_or("the snapshot", |_| "the staged copy");
                vec![format!(
                    "# BLAKE3 of every file of {what}, compared with the set"
                )]
            }
            Step::StageData {
                volume,
                snapshot,
                stage,
                label,
                ..
            } => roll(volume, &|r| r.stage(snapshot, stage, label)),
            Step::Swap { volume, stage, .. } => roll(volume, &|r| r.swap(stage)),
            Step::Commit { .. } => vec!["# written to the journal and synced".to_owned()],
            Step::SwapBack { volume, stage, .. } => roll(volume, &|r| r.reverse(stage)),
            Step::Discard { volume, stage, .. } => roll(volume, &|r| r.discard(stage)),
            Step::Destroy {
                volume, snapshot, ..
            } => of(volume, &|v| {
                let mut actions = v.destroy(snapshot);
                actions.extend(v.unprepare(snapshot));
                actions
            }),
            Step::Forget { set } => vec![format!("# what is written down of set {set} is removed")],
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.node(), self) {
            (Some(node), _) => write!(f, "{} broker {node}", self.word()),
            (None, Step::ProveSeen { .. }) => f.write_str("prove all brokers seen"),
            (None, Step::ProveDown { .. }) => f.write_str("prove all brokers down"),
            (None, Step::AwaitHealthy { .. }) => f.write_str("wait until the cluster is healthy"),
            (
                None,
                Step::Record { set }
                | Step::Complete { set }
                | Step::Forget { set }
                | Step::Commit { set },
            ) => {
                write!(f, "{} set {set}", self.word())
            }
            (None, _) => f.write_str(self.word()),
        }
    }
}
