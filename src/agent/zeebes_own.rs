//! Zeebe's own checksums, verified in a snapshot of a volume.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use zeebe_snap_backends::{SnapName, VolumeId};

use super::post::Posts;
use crate::zeebe::data::{Damage, verify_snapshots};

/// What of Zeebe's own snapshots in the snapshot `name` is not what Zeebe wrote.
pub fn damage(
    posts: &Posts,
    id: &VolumeId,
    name: &SnapName,
    quitting: &AtomicBool,
) -> Result<Vec<Damage>> {
    let tools = &*posts.desk.tools;
    let view = zeebe_snap_backends::open(id)?.view(name);
    let damage = view.read(tools, |path| {
        verify_snapshots(path, &|| quitting.load(Ordering::SeqCst))
    });
    damage?.with_context(|| format!("verify Zeebe's snapshots in {view}"))
}
