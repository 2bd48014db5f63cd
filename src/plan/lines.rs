//! What a dry run shows of a step: the lines a shell would run. Pure; values of an environment are not shown.

use zeebe_snap_backends::{Action, Label, Rollback, SnapName, Volume, VolumeId, open};

use super::{Captured, Staged, Step};
use crate::agent::configs::beside;
use crate::config::Cluster;
use crate::id::NodeId;

impl Step {
    /// The lines a dry run shows for it: what it runs, as a shell would.
    pub fn lines(&self, cluster: &Cluster) -> Vec<String> {
        let mut lines = self.all_lines(cluster);
        // What a step makes sure of in passing it may do in so many words right after.
        lines.dedup();
        lines
    }

    fn all_lines(&self, cluster: &Cluster) -> Vec<String> {
        let service = |node: &NodeId| {
            cluster
                .brokers
                .get(node)
                .map(crate::service::lines)
                .unwrap_or_default()
        };
        let gates = |node: &NodeId| {
            let broker = cluster.brokers.get(node);
            broker.map(crate::service::gate_lines).unwrap_or_default()
        };
        let of =
            |volume: &VolumeId, actions: &dyn Fn(&dyn Volume) -> Vec<Action>| match open(volume) {
                Ok(volume) => actions(&*volume).iter().map(ToString::to_string).collect(),
                Err(error) => vec![format!("# {error}")],
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
                volume,
                snapshot,
                label,
                with,
                ..
            } => of(volume, &|v| {
                let others = with.iter().flat_map(|other| open(&other.volume));
                let mut actions = vec![Action::Sync(v.data().to_owned())];
                actions.extend(others.map(|other| Action::Sync(other.data().to_owned())));
                actions.extend(take(v, volume, snapshot, label, with));
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
            Step::Hold {
                volume, snapshot, ..
            } => of(volume, &|v| {
                let hold = v.hold().map(|hold| hold.hold(snapshot, snapshot.as_str()));
                hold.unwrap_or_default()
            }),
            Step::KeepPapers {
                volume, snapshot, ..
            } => match open(volume).map(|volume| volume.papers(snapshot)) {
                Ok(Some(folder)) => vec![format!(
                    "# manifest, listing and config files, once more in {}",
                    folder.display()
                )],
                Ok(None) => Vec::new(),
                Err(error) => vec![format!("# {error}")],
            },
            Step::Verify { staged, .. } => {
                let what = staged
                    .as_ref()
                    .map_or("the snapshot", |_| "the staged copy");
                vec![format!(
                    "# BLAKE3 of every file of {what}, compared with the set"
                )]
            }
            Step::StageData {
                volume,
                source,
                stage,
                label,
                ..
            } => match open(&source.volume) {
                Ok(from) => {
                    let view = from.view(&source.snapshot.name);
                    roll(volume, &|r| r.stage(&source.snapshot, &view, stage, label))
                }
                Err(error) => vec![format!("# {error}")],
            },
            Step::TakeKept {
                volume,
                kept,
                stage,
                label,
                ..
            } => roll(volume, &|r| r.take_kept(kept, stage, label)),
            Step::StageConfig { swap, .. } => vec![format!(
                "install -m 600 /dev/stdin {}   # the set's, addresses mapped",
                beside(swap).display()
            )],
            Step::SwapConfig(swap) | Step::SwapBackConfig(swap) => vec![format!(
                "mv --exchange {} {}",
                swap.path.display(),
                beside(swap).display()
            )],
            Step::DiscardConfig(swap) => vec![format!("rm -f {}", beside(swap).display())],
            Step::CloseGate { node } => gates(node).0,
            Step::Swap(Staged { volume, stage, .. }) => roll(volume, &|r| r.swap(stage)),
            Step::Commit => vec!["# written to the journal and synced".to_owned()],
            Step::OpenGate { node } => gates(node).1,
            Step::SwapBack(Staged { volume, stage, .. }) => roll(volume, &|r| r.reverse(stage)),
            Step::Discard(Staged { volume, stage, .. }) => roll(volume, &|r| r.discard(stage)),
            Step::PutBack {
                volume,
                kept,
                stage,
                ..
            } => roll(volume, &|r| r.put_back(kept, stage)),
            Step::ForgetKept { volume, kept, .. } => roll(volume, &|r| r.forget_kept(kept)),
            Step::Release { volume, kept, .. } => roll(volume, &|r| r.discard(&kept.name)),
            Step::Unlist { set } => vec![format!("# set {set} is not listed any more")],
            Step::Destroy {
                volume, snapshot, ..
            } => of(volume, &|v| {
                let release = v
                    .hold()
                    .map(|hold| hold.release(snapshot, snapshot.as_str()));
                let mut actions = release.unwrap_or_default();
                actions.extend(v.destroy(snapshot));
                actions.extend(v.unprepare(snapshot));
                actions
            }),
            Step::Forget { set } => vec![format!("# what is written down of set {set} is removed")],
        }
    }
}

/// What takes the snapshot of `volume`, and of all those `with` it.
pub fn take(
    volume: &dyn Volume,
    id: &VolumeId,
    snapshot: &SnapName,
    label: &Label,
    with: &[Captured],
) -> Vec<Action> {
    let Some(joint) = volume.joint().filter(|_| !with.is_empty()) else {
        return volume.snapshot(snapshot, label);
    };
    let others = with
        .iter()
        .map(|other| (other.volume.clone(), other.label.clone()));
    let all: Vec<_> = [(id.clone(), label.clone())]
        .into_iter()
        .chain(others)
        .collect();
    joint.snapshot(&all, snapshot).unwrap_or_default()
}
