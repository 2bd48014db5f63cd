//! What is written down of a set: all that a restore must know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeebe_snap_backends::{Label, SnapName, Snapshot, VolumeId};

use crate::agent::protocol::{Fact, KeptFile};
use crate::id::{NodeId, SetId};
use crate::journal::Entry;
use crate::plan::{Aim, Source, Step};
use crate::zeebe::version::Learned;

/// Goes up when fields change their meaning; a reader refuses a higher one.
pub const FORMAT: u32 = 1;

/// What is known of a set before any step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The set.
    pub set: SetId,
    /// The cluster's name in cluster.toml.
    pub cluster: String,
    /// How the brokers were made to hold still: "stop".
    pub capture: String,
    /// The version of this program.
    pub tool: String,
    /// How many partitions, where the brokers said so.
    pub partitions: Option<u32>,
    /// How many brokers have a copy of each partition, where the brokers said so.
    pub replication: Option<u32>,
    /// One for each broker.
    pub brokers: Vec<OriginOf>,
}

/// What is known of a member before any step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginOf {
    /// The broker's node id.
    pub node: NodeId,
    /// The name of its host.
    pub host: String,
    /// Its data directory.
    pub data: PathBuf,
    /// The volume that holds it.
    pub volume: VolumeId,
    /// The snapshot's name.
    pub snapshot: SnapName,
    /// The broker whose snapshot this one is in: itself, or the first of those that share its volume.
    pub captured_with: NodeId,
    /// Zeebe's version, if it could be learned.
    pub zeebe: Option<Learned>,
    /// The partitions in its data folder.
    pub partitions: Vec<u32>,
    /// Whether it ran.
    pub was_up: bool,
    /// The addresses it was reached at and listened on.
    #[serde(default)]
    pub own_addresses: BTreeSet<String>,
    /// All addresses it was told of itself and of others.
    #[serde(default)]
    pub addresses: BTreeSet<String>,
}

/// A set, as written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What was known before.
    #[serde(flatten)]
    pub origin: Origin,
    /// From the first stop asked for to the last start commanded, in milliseconds; `None` where no broker ran.
    pub window_ms: Option<f64>,
    /// One for each broker, by node id.
    pub members: Vec<Member>,
}

/// One broker's part of a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The broker's node id.
    pub node: NodeId,
    /// What the system knows its snapshot by.
    pub identity: String,
    /// How long each phase took, in milliseconds.
    pub phases: BTreeMap<String, f64>,
    /// Config files kept with the set.
    pub config: Vec<KeptFile>,
    /// Of its tree, once it is in.
    pub digest: Option<Digest>,
}

/// The digest of a member's tree; the listing has each file's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Over names, types and contents (BLAKE3).
    pub content: String,
    /// Over owners, modes, times and extended attributes (BLAKE3).
    pub metadata: String,
    /// How many entries.
    pub entries: u64,
    /// How many bytes the files have.
    pub bytes: u64,
}

/// How far a set has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetState {
    /// All snapshots are taken; digests are missing.
    Captured,
    /// The digests are in.
    Complete,
}

impl Origin {
    /// What the plan of a backup says of its set; `None` if the run is no backup.
    pub fn of_run(entries: &[Entry]) -> Option<&Origin> {
        entries.iter().find_map(|entry| match entry {
            Entry::Plan { plan, .. } => match &plan.aim {
                Aim::Backup { origin } => Some(&**origin),
                _ => None,
            },
            _ => None,
        })
    }

    /// The brokers that are captured in the snapshot of `first`: itself, and all that share its volume.
    pub fn captured_with(&self, first: NodeId) -> impl Iterator<Item = NodeId> {
        let sharing = self.brokers.iter();
        sharing
            .filter(move |of| of.captured_with == first)
            .map(|of| of.node)
    }

    /// The label of that snapshot.
    pub fn label(&self, first: NodeId) -> Label {
        let nodes: Vec<NodeId> = self.captured_with(first).collect();
        crate::plan::label(&self.cluster, &self.set, &nodes)
    }
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(text).context("it is not a manifest")?;
        ensure!(
            head.format <= FORMAT,
            "its format is {}, this zeebe-snap reads up to {FORMAT}: use a newer one",
            head.format
        );
        let manifest: Manifest = serde_json::from_slice(text).context("it is not a manifest")?;
        let nodes =
            |of: &mut dyn Iterator<Item = NodeId>| of.collect::<std::collections::BTreeSet<_>>();
        let (brokers, members) = (
            nodes(&mut manifest.origin.brokers.iter().map(|b| b.node)),
            nodes(&mut manifest.members.iter().map(|m| m.node)),
        );
        ensure!(
            brokers == members && members.len() == manifest.members.len(),
            "its members are not its brokers"
        );
        Ok(manifest)
    }

    /// As it is written.
    pub fn print(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// How far it has come.
    pub fn state(&self) -> SetState {
        if self.members.iter().all(|member| member.digest.is_some()) {
            SetState::Complete
        } else {
            SetState::Captured
        }
    }

    /// The member of `node`.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// The snapshot of `node`, with the label it was given.
    pub fn snapshot(&self, node: NodeId) -> Option<Snapshot> {
        let origin = self
            .origin
            .brokers
            .iter()
            .find(|broker| broker.node == node)?;
        Some(Snapshot {
            name: origin.snapshot.clone(),
            identity: self.member(node)?.identity.clone(),
            label: Some(self.origin.label(origin.captured_with)),
        })
    }

    /// The snapshot of `node`, and the volume it was taken of.
    pub fn source(&self, node: NodeId) -> Option<Source> {
        let origin = self.origin.brokers.iter().find(|of| of.node == node)?;
        Some(Source {
            volume: origin.volume.clone(),
            snapshot: self.snapshot(node)?,
        })
    }

    /// How many bytes the files of all members have, once known.
    pub fn bytes(&self) -> Option<u64> {
        self.members
            .iter()
            .map(|member| member.digest.as_ref().map(|digest| digest.bytes))
            .sum()
    }

    /// What a backup's journal says of its set so far; `None` if it is not captured.
    pub fn of_run(entries: &[Entry]) -> Option<Manifest> {
        let origin = Origin::of_run(entries)?.clone();
        let times = crate::report::times::Times::of_run(entries);
        let mut members = Vec::new();
        for broker in &origin.brokers {
            let mut member = Member {
                node: broker.node,
                identity: String::new(),
                phases: times.phases(broker.node),
                config: Vec::new(),
                digest: None,
            };
            for (step, performed) in crate::journal::done(entries) {
                let of = |node: NodeId| step.node() == Some(node);
                match (step, &performed.fact) {
                    (_, Fact::Snapshot { identity, .. }) if of(broker.captured_with) => {
                        member.identity.clone_from(identity);
                    }
                    (_, Fact::Snapshot { with, .. })
                        if with.contains_key(&broker.captured_with) =>
                    {
                        member.identity.clone_from(&with[&broker.captured_with]);
                    }
                    (_, Fact::Config(files)) if of(broker.node) => member.config.clone_from(files),
                    (
                        Step::Digest { .. },
                        Fact::Digest {
                            content,
                            metadata,
                            entries,
                            bytes,
                        },
                    ) if of(broker.node) => {
                        member.digest = Some(Digest {
                            content: content.clone(),
                            metadata: metadata.clone(),
                            entries: *entries,
                            bytes: *bytes,
                        });
                    }
                    _ => {}
                }
            }
            if member.identity.is_empty() {
                return None;
            }
            members.push(member);
        }
        Some(Manifest {
            format: FORMAT,
            origin,
            window_ms: times.window().map(milliseconds),
            members,
        })
    }
}

/// For JSON and reports.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// The time between two moments; none if the clock went back.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}
