//! Papers kept beside snapshots, and read again when a catalog is lost.
//!
//! Must not know what they say.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use zeebe_snap_backends::tree::ByteString;
use zeebe_snap_backends::{SnapName, Volume, VolumeId, papers};

use super::Job;
use super::protocol::Paper;
use super::volumes::{ALREADY, DONE, Done, Work};
use crate::id::NodeId;

/// Keeps `content` beside the snapshot. What was kept there before is written over. Nothing is kept of a set that is no more.
pub fn keep(
    job: &Job<'_>,
    node: NodeId,
    id: &VolumeId,
    name: &SnapName,
    content: &[Paper],
) -> Done {
    if content.is_empty() {
        return Ok(ALREADY);
    }
    let work = Work::begin(job, node, id)?;
    let found = work.volume.find(&*work.tools, name)?;
    let found = found.with_context(|| format!("{id} has no snapshot {name}"))?;
    ensure!(
        found.label.is_some(),
        "snapshot {name} of {id} is not ours; nothing was kept beside it"
    );
    let content = content
        .iter()
        .map(|paper| (paper.name.clone(), paper.content.to_vec()));
    let folder = folder(&*work.volume, name)?;
    work.do_all(&papers::write(&folder, content.collect())?)?;
    Ok(DONE)
}

/// A paper of the snapshot, if it is there.
pub fn read(id: &VolumeId, snapshot: &SnapName, name: &str) -> Result<Option<ByteString>> {
    let folder = zeebe_snap_backends::open(id)?.papers(snapshot);
    let read = folder
        .map(|folder| papers::read(&folder, name))
        .transpose()?;
    Ok(read.flatten().map(Into::into))
}

fn folder(volume: &dyn Volume, name: &SnapName) -> Result<PathBuf> {
    volume
        .papers(name)
        .with_context(|| format!("{} has no place for papers", volume.id()))
}
