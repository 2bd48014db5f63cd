//! Zeebe's own snapshots of a partition's state, by their names.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Partition, folders};
use crate::zeebe::version::Version;
use std::path::PathBuf;

/// One whole snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZeebeSnapshot {
    /// Of which partition.
    pub partition: u32,
    /// The name of its folder.
    pub name: String,
    /// Of the log's entry it goes up to.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// What was processed.
    pub processed: u64,
    /// What was exported; the highest number there is where nothing is to be exported.
    pub exported: u64,
}

impl ZeebeSnapshot {
    /// What the form of the name says of the Zeebe that took it: 8.6.0 was seen to write five parts, 8.5.8 four.
    pub(super) fn at_least(&self) -> Option<Version> {
        let parts = self.name.split('-').count();
        (parts > 4).then(|| "8.6.0".parse().ok()).flatten()
    }

    pub(super) fn path(&self, partition: &Partition) -> PathBuf {
        partition.path.join("snapshots").join(&self.name)
    }
}

/// The parts of a snapshot's name: four up to 8.5, from 8.6 on the broker as well, from 8.8 on a checksum too
/// (`FileBasedSnapshotId.java`). What comes after the fourth is not looked at.
fn parse(partition: u32, name: &str) -> Option<ZeebeSnapshot> {
    let parts: Vec<&str> = name.split('-').collect();
    let [index, term, processed, exported, rest @ ..] = parts.as_slice() else {
        return None;
    };
    if rest.len() > 2 || rest.iter().any(|part| part.is_empty()) {
        return None;
    }
    Some(ZeebeSnapshot {
        partition,
        name: name.to_owned(),
        index: index.parse().ok()?,
        term: term.parse().ok()?,
        processed: processed.parse().ok()?,
        exported: exported.parse().ok()?,
    })
}

/// The whole snapshots of a partition, the newest last. One without its `.checksum` was not finished: Zeebe deletes it.
pub(super) fn list(partition: &Partition) -> Result<Vec<ZeebeSnapshot>> {
    let store = partition.path.join("snapshots");
    let mut found: Vec<ZeebeSnapshot> = folders(&store)?
        .into_iter()
        .filter(|(name, _)| store.join(format!("{name}.checksum")).is_file())
        .filter_map(|(name, _)| parse(partition.id, &name))
        .collect();
    found.sort_by_key(|one| (one.index, one.term, one.processed, one.exported));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_four_parts_or_five_or_six() {
        for name in [
            "25-1-156-9223372036854775807",
            "25-1-156-9223372036854775807-2",
            "25-1-156-9223372036854775807-2-6f1ab",
        ] {
            let parsed = parse(3, name).unwrap();
            assert_eq!((parsed.partition, parsed.index, parsed.term), (3, 25, 1));
            assert_eq!((parsed.processed, parsed.exported), (156, i64::MAX as u64));
        }
        for name in ["", "25-1-156", "a-1-2-3", "1-1-1-1-", "1-1-1-1-1-1-1"] {
            assert_eq!(parse(1, name), None, "{name}");
        }
    }
}
