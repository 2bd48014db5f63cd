//! What a data folder says of itself, read offline.
//!
//! Layout: `raft-partition/partitions/<P>/.raft-partition-partition-<P>.lock` holds the node id as text
//! (`zeebe/atomix/cluster/…/raft/storage/RaftStorage.java`).

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// What a data folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFolder {
    /// The node the folder belongs to; `None` if no partition says it (a broker that never ran).
    pub node_id: Option<NodeId>,
    /// The partitions it holds.
    pub partitions: Vec<u32>,
}

/// Reads the folder at `data`. One that is not there or empty says nothing; one that contradicts itself is an error.
pub fn read(data: &Path) -> Result<DataFolder> {
    let partitions = data.join("raft-partition/partitions");
    let listing = match fs::read_dir(&partitions) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DataFolder::default()),
        Err(error) => return Err(error).with_context(|| format!("list {}", partitions.display())),
    };
    let mut found = DataFolder::default();
    for entry in listing {
        let entry = entry.with_context(|| format!("list {}", partitions.display()))?;
        let Some(partition) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        found.partitions.push(partition);
        let lock = entry
            .path()
            .join(format!(".raft-partition-partition-{partition}.lock"));
        let text = match fs::read_to_string(&lock) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", lock.display())),
        };
        // Empty after a crash before 8.2 (camunda/camunda#10681).
        let Ok(node) = text.trim().parse().map(NodeId) else {
            continue;
        };
        if found.node_id.is_some_and(|other| other != node) {
            bail!(
                "{} holds partitions of more than one broker",
                data.display()
            );
        }
        found.node_id = Some(node);
    }
    found.partitions.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(locks: &[(u32, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (partition, text) in locks {
            let at = dir
                .path()
                .join(format!("raft-partition/partitions/{partition}"));
            fs::create_dir_all(&at).unwrap();
            fs::write(
                at.join(format!(".raft-partition-partition-{partition}.lock")),
                text,
            )
            .unwrap();
        }
        dir
    }

    #[test]
    fn the_lock_names_the_node() {
        let read = read(folder(&[(1, "2"), (3, "2")]).path()).unwrap();
        assert_eq!(
            (read.node_id, read.partitions),
            (Some(NodeId(2)), vec![1, 3])
        );
    }

    #[test]
    fn two_names_are_an_error_and_none_is_none() {
        assert!(read(folder(&[(1, "2"), (2, "0")]).path()).is_err());
        assert_eq!(read(folder(&[]).path()).unwrap(), DataFolder::default());
        assert_eq!(read(folder(&[(1, "")]).path()).unwrap().node_id, None);
    }
}
