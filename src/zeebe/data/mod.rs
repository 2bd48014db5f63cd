//! What a data folder says of itself, read offline.
//!
//! Layout up to 8.9: `raft-partition/partitions/<P>/`; from 8.10 on `default/partitions/<P>/`, and one such folder more for
//! each tenant. In it `.<group>-partition-<P>.lock` holds the node id as text
//! (`zeebe/atomix/cluster/…/raft/storage/RaftStorage.java`), and `snapshots/` what [`snapshots`] reads.
//! Of 8.10 nothing has been seen; what is here is read from its source.

pub mod checksum;
mod marks;
pub mod snapshots;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::id::NodeId;
use snapshots::ZeebeSnapshot;

pub use checksum::{Damage, verify_snapshots};

/// What a data folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataFolder {
    /// The node the folder belongs to; `None` if no partition says it (a broker that never ran).
    pub node_id: Option<NodeId>,
    /// The partitions it holds.
    pub partitions: Vec<u32>,
    /// What an admin has paused and nobody resumed: "exporting of partition 2", "processing of partition 1".
    pub paused: Vec<String>,
    /// Zeebe's own snapshots that are whole, by partition and age.
    pub snapshots: Vec<ZeebeSnapshot>,
    /// The newest version that is known to have worked on this data. It may be of a later one: Zeebe writes its version
    /// when it migrates, and a byte scan may find an older one beside it. `None` says nothing.
    pub at_least: Option<Version>,
    /// All members of the cluster and their partitions, as `.topology.meta` has them (8.4 and later); where that is not
    /// there or not of a form that is known, `None`.
    pub members: Option<BTreeMap<NodeId, Vec<u32>>>,
}

/// The folder of one partition.
#[derive(Debug)]
struct Partition {
    id: u32,
    path: PathBuf,
    /// "raft-partition".
    group: String,
}

/// Reads the folder at `data`. One that is not there or empty says nothing; one that contradicts itself is an error.
pub fn read(data: &Path) -> Result<DataFolder> {
    let mut found = DataFolder {
        members: topology::read(data)?,
        ..DataFolder::default()
    };
    let mut ids = BTreeSet::new();
    let mut newest = Vec::new();
    for partition in partitions(data)? {
        ids.insert(partition.id);
        if let Some(node) = locked_by(&partition)? {
            if found.node_id.is_some_and(|other| other != node) {
                bail!(
                    "{} holds partitions of more than one broker",
                    data.display()
                );
            }
            found.node_id = Some(node);
        }
        found.paused.extend(marks::paused(&partition)?);
        let snapshots = snapshots::list(&partition)?;
        newest.extend(snapshots.last().map(|snapshot| snapshot.path(&partition)));
        found.snapshots.extend(snapshots);
    }
    found.partitions = ids.into_iter().collect();
    let by_name = found.snapshots.iter().filter_map(ZeebeSnapshot::at_least);
    found.at_least = marks::newest_version(&newest)
        .into_iter()
        .chain(by_name)
        .max_by(Version::compare);
    Ok(found)
}

/// The folders of all partitions, sorted.
fn partitions(data: &Path) -> Result<Vec<Partition>> {
    let mut found = Vec::new();
    for (group, path) in folders(data)? {
        for (name, path) in folders(&path.join("partitions"))? {
            if let Ok(id) = name.parse() {
                let group = group.clone();
                found.push(Partition { id, path, group });
            }
        }
    }
    found.sort_by(|a, b| (a.id, &a.group).cmp(&(b.id, &b.group)));
    Ok(found)
}

/// The folders in a folder, by name; none where there is no such folder.
fn folders(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let wrong = || format!("list {}", path.display());
    let listing = match fs::read_dir(path) {
        Ok(listing) => listing,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(wrong),
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.with_context(wrong)?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.path().is_dir()
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A file's content; `None` where there is none. Brokers remove files meanwhile.
fn content(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// The node whose partition it is; `None` where the lock is not there, or empty after a crash before 8.2
/// (camunda/camunda#10681).
fn locked_by(partition: &Partition) -> Result<Option<NodeId>> {
    let lock = format!(".{}-partition-{}.lock", partition.group, partition.id);
    let text = content(&partition.path.join(lock))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    Ok(text.trim().parse().map(NodeId).ok())
}

#[cfg(test)]
mod tests;
