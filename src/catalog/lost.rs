//! What a catalog has lost and the hosts still have: found by what snapshots say of themselves, judged by the papers beside
//! them, taken in again.
//!
//! Must not know how hosts are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use zeebe_snap_backends::action::{sync_dir, write_durably};
use zeebe_snap_backends::{Label, SnapName, Snapshot, VolumeId};

use super::manifest::{Manifest, Origin, OriginOf, SetState};
use super::{COMPLETE, Catalog, FORGOTTEN, papers};
use crate::agent::protocol::Seen;
use crate::id::{NodeId, SetId};
use crate::plan::{Source, snapshot_name};

/// The paper that is written last: the manifest.
pub const MANIFEST: &str = COMPLETE;

/// What stands on the hosts of a set: the snapshot that each broker's volume has of it.
pub type Standing = BTreeMap<NodeId, Source>;

/// The sets of `cluster` that stand on the hosts, as their snapshots say of themselves. One for which things were only made
/// ready stands with no snapshot.
pub fn standing(cluster: &str, seen: &[Seen]) -> BTreeMap<SetId, Standing> {
    let mut sets: BTreeMap<SetId, Standing> = BTreeMap::new();
    for seen in seen {
        let Ok(volume) = &seen.volume else { continue };
        for snapshot in &volume.snapshots {
            let label = snapshot.label.as_ref();
            if let Some(set) = label.and_then(|label| set_of(cluster, &snapshot.name, label)) {
                let source = Source {
                    volume: volume.id.clone(),
                    snapshot: snapshot.clone(),
                };
                sets.entry(set).or_default().insert(seen.node, source);
            }
        }
        let prepared = volume.prepared.iter();
        for set in prepared.filter_map(|(name, label)| set_of(cluster, name, label)) {
            sets.entry(set).or_default();
        }
    }
    sets
}

fn set_of(cluster: &str, name: &SnapName, label: &Label) -> Option<SetId> {
    let set = label.get("set")?.parse().ok()?;
    let ours = label.get("cluster").map(String::as_str) == Some(cluster);
    (ours && *name == snapshot_name(&set)).then_some(set)
}

/// The brokers that a snapshot says are in it.
pub fn nodes(snapshot: &Snapshot) -> Vec<NodeId> {
    let label = snapshot.label.as_ref();
    let nodes = label.and_then(|label| label.get("node"));
    let nodes = nodes.map_or("", String::as_str).split(',');
    nodes
        .filter_map(|node| Some(NodeId(node.parse().ok()?)))
        .collect()
}

/// One broker of each snapshot that stands: who share a volume share its snapshot.
pub fn each_once(standing: &Standing) -> impl Iterator<Item = (NodeId, &VolumeId, &Snapshot)> {
    let mut seen = Vec::new();
    standing.iter().filter_map(move |(node, source)| {
        let snapshot = &source.snapshot;
        let new = !seen.contains(&&snapshot.identity);
        seen.push(&snapshot.identity);
        new.then_some((*node, &source.volume, snapshot))
    })
}

/// What there is to destroy of a set of which only its snapshots tell, if one stands. What is written of a snapshot that is
/// gone may be left on any other broker's volume.
pub fn origin(cluster: &str, set: &SetId, seen: &[Seen]) -> Origin {
    let standing = standing(cluster, seen).remove(set).unwrap_or_default();
    let mut brokers: Vec<OriginOf> = Vec::new();
    for (_, volume, snapshot) in each_once(&standing) {
        let nodes = nodes(snapshot);
        if let Some(first) = nodes.first() {
            brokers.extend(nodes.iter().map(|node| bare(*node, *first, volume, set)));
        }
    }
    for seen in seen {
        let is_new = brokers.iter().all(|of| of.node != seen.node);
        if let (Ok(volume), true) = (&seen.volume, is_new) {
            brokers.push(bare(seen.node, seen.node, &volume.id, set));
        }
    }
    Origin {
        set: set.clone(),
        cluster: cluster.to_owned(),
        capture: String::new(),
        tool: String::new(),
        partitions: None,
        replication: None,
        brokers,
    }
}

fn bare(node: NodeId, captured_with: NodeId, volume: &VolumeId, set: &SetId) -> OriginOf {
    OriginOf {
        node,
        host: String::new(),
        data: PathBuf::new(),
        volume: volume.clone(),
        snapshot: snapshot_name(set),
        captured_with,
        zeebe: None,
        partitions: Vec::new(),
        was_up: false,
        own_addresses: BTreeSet::new(),
        addresses: BTreeSet::new(),
    }
}

/// How a catalog knows a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knows {
    /// Well.
    Well,
    /// Not at all: nothing says what it is.
    Nothing,
    /// What is written of it does not read.
    Damaged(String),
}

/// The manifest of the set that stands so, if it can be taken in, or why not. `copies` are the manifests beside its snapshots, by
/// the brokers they were asked of.
pub fn judge(
    cluster: &str,
    set: &SetId,
    standing: &Standing,
    copies: &BTreeMap<NodeId, Option<Vec<u8>>>,
) -> Result<Manifest> {
    let mut agreed: Option<(NodeId, &Vec<u8>)> = None;
    for (node, copy) in copies {
        let Some(copy) = copy else {
            bail!(
                "beside the snapshot of broker {node} is no copy of its manifest: it was never complete, or it is half forgotten"
            );
        };
        if let Some((other, agreed)) = agreed {
            ensure!(
                agreed == copy,
                "the copies of its manifest beside the snapshots of broker {other} and broker {node} differ"
            );
        }
        agreed = Some((*node, copy));
    }
    let (node, copy) = agreed.context("no snapshot of it stands")?;
    let manifest = Manifest::parse(copy).with_context(|| {
        format!("the copy of its manifest beside the snapshot of broker {node}")
    })?;
    ensure!(
        manifest.origin.set == *set && manifest.origin.cluster == cluster,
        "the copy of the manifest beside its snapshots is of set {} of {}",
        manifest.origin.set,
        manifest.origin.cluster
    );
    ensure!(
        manifest.state() == SetState::Complete,
        "the copy of its manifest lacks a digest"
    );
    for of in &manifest.origin.brokers {
        let stands = standing.get(&of.node).map(|source| &source.snapshot);
        ensure!(
            stands.is_some(),
            "broker {} has no snapshot of it any more, or is not in cluster.toml",
            of.node
        );
        ensure!(
            stands == manifest.snapshot(of.node).as_ref(),
            "the snapshot of broker {} is not the one its manifest means: another was put in its place",
            of.node
        );
    }
    Ok(manifest)
}

/// The other papers of a set: the broker that each is about, and its name.
pub fn papers_of(manifest: &Manifest) -> Vec<(NodeId, String)> {
    let brokers = manifest.origin.brokers.iter();
    let of = |node: NodeId| {
        papers::names(manifest, node)
            .into_iter()
            .map(move |name| (node, name))
    };
    brokers.flat_map(|broker| of(broker.node)).collect()
}

impl Catalog {
    /// How it knows `set`; `all` looks at everything that is written of it, not only at the manifest.
    pub fn knows(&self, set: &SetId, all: bool) -> Knows {
        let damaged = |error: anyhow::Error| Knows::Damaged(format!("{error:#}"));
        // What is to be destroyed is not brought back, whatever is written of it.
        if self.dir(set).join(FORGOTTEN).exists() {
            return Knows::Well;
        }
        match self.read(set) {
            Err(error) => damaged(error),
            Ok(None) => Knows::Nothing,
            Ok(Some(manifest)) if all => {
                self.check(&manifest).map_or_else(damaged, |()| Knows::Well)
            }
            Ok(Some(_)) => Knows::Well,
        }
    }

    /// The sets that are written of and do not read.
    pub fn damaged(&self, all: bool) -> Result<BTreeMap<SetId, String>> {
        let ids = self.ids()?.into_iter();
        let damaged = |set: SetId| match self.knows(&set, all) {
            Knows::Damaged(why) => Some((set, why)),
            Knows::Well | Knows::Nothing => None,
        };
        Ok(ids.filter_map(damaged).collect())
    }

    /// Takes in a set that stands on the hosts: the copy of its manifest, and its other papers. What was written of it before
    /// is moved aside; where to is given.
    pub fn take_in(
        &self,
        manifest: &Manifest,
        copy: &[u8],
        content: &BTreeMap<(NodeId, String), Vec<u8>>,
    ) -> Result<Option<PathBuf>> {
        for (node, name) in papers_of(manifest) {
            let found = content.get(&(node, name.clone()));
            let found = found.with_context(|| {
                format!("{name} is not beside the snapshot of broker {node} any more")
            })?;
            papers::check(manifest, node, &name, found)
                .with_context(|| format!("{name} beside the snapshot of broker {node}"))?;
        }
        let set = &manifest.origin.set;
        let aside = match self.knows(set, true) {
            Knows::Damaged(_) => Some(self.move_aside(set)?),
            Knows::Well | Knows::Nothing => None,
        };
        let dir = self.make(set)?;
        for ((_, name), content) in content {
            write_durably(&dir.join(name), content)?;
        }
        // The folder itself, before what makes the set complete.
        sync_dir(&self.sets)?;
        write_durably(&dir.join(COMPLETE), copy)?;
        Ok(aside)
    }

    fn move_aside(&self, set: &SetId) -> Result<PathBuf> {
        let from = self.dir(set);
        for number in 1.. {
            let to = self.sets.join(format!("{set}.damaged-{number}"));
            match fs::symlink_metadata(&to) {
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("look at {}", to.display()));
                }
            }
            fs::rename(&from, &to)
                .with_context(|| format!("rename {} to {}", from.display(), to.display()))?;
            sync_dir(&self.sets)?;
            return Ok(to);
        }
        bail!("{} cannot be moved aside", from.display())
    }
}
