//! Locks that keep two runs from meeting: on one state folder, on one broker or volume of a host, on one place where streams
//! land.
//!
//! They are advisory locks (flock(2)). Those of brokers and volumes are files in /run, named by the folder that holds the
//! data directory, so that two cluster.toml with other state folders meet, too. A lock goes on as long as any process has the open file: a tool or a
//! starting broker that was handed it keeps it when the agent is killed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use zeebe_snap_backends::VolumeId;

use crate::agent::protocol::{Fault, FaultKind};

/// Cleared at boot, as are the processes that could hold a lock.
const FOLDER: &str = "/run/zeebe-snap";

/// The file of the lock called `what` for the data directory `data`.
pub fn file(data: &Path, what: &str) -> Result<PathBuf> {
    // By the folder around it, since a swap exchanges the data directory itself.
    let around = data.parent().unwrap_or(data);
    let meta = fs::metadata(around).with_context(|| format!("look at {}", around.display()))?;
    let name = data
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('/', "_");
    Ok(Path::new(FOLDER).join(format!("{}-{}-{name}.{what}", meta.dev(), meta.ino())))
}

/// The file of the lock for a place where streams land.
pub fn of_place(place: &VolumeId) -> PathBuf {
    Path::new(FOLDER).join(format!("{}-{}.place", place.backend, place.short(16)))
}

/// Takes the lock in `path`, waiting up to `patience` for whoever has it.
pub fn take(path: &Path, patience: Duration) -> Result<File> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("make {}", folder.display()))?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    let deadline = Instant::now() + patience;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut who = String::new();
                file.read_to_string(&mut who)
                    .with_context(|| format!("read {}", path.display()))?;
                let text = format!(
                    "another run has the lock {} (taken by {})",
                    path.display(),
                    who.trim()
                );
                return Err(Fault {
                    kind: FaultKind::Locked,
                    text,
                }
                .into());
            }
            Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .with_context(|| format!("write {}", path.display()))?;
    writeln!(file, "pid {}", std::process::id())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_lasts_as_long_as_anybody_has_its_file() {
        let data = tempfile::tempdir().unwrap();
        let path = file(&data.path().join("data"), "test").unwrap();
        let lock = take(&path, Duration::ZERO).unwrap();
        let handed_on = lock.try_clone().unwrap();
        drop(lock);
        let error = take(&path, Duration::from_millis(50)).unwrap_err();
        assert_eq!(
            error.downcast_ref::<Fault>().unwrap().kind,
            FaultKind::Locked
        );
        assert!(
            error
                .to_string()
                .contains(&format!("pid {}", std::process::id()))
        );
        drop(handed_on);
        take(&path, Duration::ZERO).unwrap();
        fs::remove_file(path).unwrap();
    }
}
