//! What is left in a partition's folder by the way: what was paused, and which version was there.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::Result;
use regex::bytes::Regex;

use super::{Partition, content};
use crate::zeebe::version::Version;

/// The exporters' marker has a word in it since they can be paused softly: `PAUSED`, `SOFT_PAUSED`
/// (`PartitionProcessingState.java`; both markers were seen on 8.5.8).
pub fn paused(partition: &Partition) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let marker = |name: &str| content(&partition.path.join(name));
    if let Some(word) = marker(".exporterPaused")?
        && word != b"EXPORTING"
    {
        found.push(format!("exporting of partition {}", partition.id));
    }
    if marker(".processorPaused")?.is_some() {
        found.push(format!("processing of partition {}", partition.id));
    }
    Ok(found)
}

/// How much of a data folder is read to find a version: it is read each time somebody looks.
const BUDGET: u64 = 32 << 20;

/// A row of the state (`DbMigrationState.java`, 8.5.0 and later): the end of its key, RocksDB's trailer of 8 bytes, and
/// the value, which is a length of 4 bytes and a text. Seen on 8.5.8, where the block is not compressed.
static ROW: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?s-u)migrated-by-version.{8}\x00\x00\x00[\x05-\x40]([0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.\-]*)").ok()
});

/// The newest version in any of these snapshots, as far as [`BUDGET`] reaches. The smallest files come first: what is
/// looked for is a handful of rows, which Zeebe keeps in a file of their own.
pub fn newest_version(snapshots: &[PathBuf]) -> Option<Version> {
    let pattern = ROW.as_ref()?;
    let mut files: Vec<(u64, PathBuf)> = snapshots
        .iter()
        .filter_map(|snapshot| fs::read_dir(snapshot).ok())
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.as_ref().ok()?.metadata().ok()?.len(),
                entry.ok()?.path(),
            ))
        })
        .filter(|(_, path)| path.extension().is_some_and(|end| end == "sst"))
        .collect();
    files.sort();
    let mut left = BUDGET;
    let mut newest: Option<Version> = None;
    for (length, path) in files {
        let mut bytes = Vec::new();
        // One that is gone, or not to be read, says nothing.
        let read = fs::File::open(&path).and_then(|file| file.take(left).read_to_end(&mut bytes));
        if read.is_ok() {
            let found = pattern
                .captures_iter(&bytes)
                .filter_map(|row| version(&bytes, &row));
            newest = newest.into_iter().chain(found).max_by(|a, b| a.compare(b));
        }
        left = left.saturating_sub(length);
        if left == 0 {
            break;
        }
    }
    newest
}

/// The version of a row: as many bytes as its length says.
fn version(bytes: &[u8], row: &regex::bytes::Captures<'_>) -> Option<Version> {
    let text = row.get(1)?;
    let length = usize::from(*bytes.get(text.start().checked_sub(1)?)?);
    let text = bytes.get(text.start()..text.start() + length)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
