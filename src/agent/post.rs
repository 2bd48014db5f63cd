//! What an agent keeps for each broker while it serves: its locks, whose turn it is, and what it was told.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use zeebe_snap_backends::host::Host;

use super::protocol::{Locking, Opening};
use crate::config::{Broker, OnStuckStop};
use crate::id::NodeId;
use crate::lock;
use crate::service::Desk;

/// How long a settling run waits for what a dead one left: a broker being started, a tool not ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// All brokers of this host.
#[derive(Debug)]
pub struct Posts {
    posts: BTreeMap<NodeId, Post>,
    /// Runs tools that only read, and services.
    pub desk: Desk,
    /// From the cluster.toml.
    pub stop_timeout: Duration,
    /// From the cluster.toml.
    pub on_stuck_stop: OnStuckStop,
    /// The newest plan that a step was asked of.
    pub newest_plan: AtomicUsize,
    tool_dirs: Vec<PathBuf>,
    /// From the opening.
    pub locking: Locking,
}

/// One broker.
#[derive(Debug)]
pub struct Post {
    /// From the cluster.toml.
    pub broker: Broker,
    /// Its data directory, symbolic links resolved.
    pub data: PathBuf,
    /// Set to call off a wait for its end.
    pub called_off: AtomicBool,
    /// When it was told to stop, by this agent.
    pub told: Mutex<Option<Instant>>,
    service: Mutex<Option<File>>,
    volume: Turn,
    config: Turn,
    tools: Mutex<Option<Arc<Host>>>,
}

/// One at a time, and those who wait do not wait for ever.
#[derive(Debug, Default)]
struct Turn {
    taken: Mutex<bool>,
    free: Condvar,
}

/// A turn taken; given up when dropped.
#[derive(Debug)]
pub struct Taken<'a>(&'a Turn);

impl Turn {
    fn take(&self, patience: Duration) -> Option<Taken<'_>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .free
            .wait_timeout_while(taken, patience, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *taken {
            return None;
        }
        *taken = true;
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

impl Posts {
    /// Takes the brokers of `opening`, and their locks.
    pub fn open(opening: Opening) -> Result<Posts> {
        let desk = Desk {
            tools: Arc::new(Host::new(&opening.tool_dirs)),
            records: opening.state_dir.join("services"),
        };
        let mut posts = BTreeMap::new();
        for broker in opening.brokers {
            let data = resolve(&broker.data)?;
            let post = Post {
                broker,
                data,
                called_off: AtomicBool::new(false),
                told: Mutex::new(None),
                service: Mutex::new(None),
                volume: Turn::default(),
                config: Turn::default(),
                tools: Mutex::new(None),
            };
            posts.insert(post.broker.node_id, post);
        }
        let posts = Posts {
            posts,
            desk,
            stop_timeout: opening.stop_timeout,
            on_stuck_stop: opening.on_stuck_stop,
            newest_plan: AtomicUsize::new(0),
            tool_dirs: opening.tool_dirs,
            locking: opening.locking,
        };
        posts.lock_at_once()?;
        Ok(posts)
    }

    fn lock_at_once(&self) -> Result<()> {
        if self.locking == Locking::Reads {
            return Ok(());
        }
        let records = &self.desk.records;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(records)
            .with_context(|| format!("make {}", records.display()))?;
        for post in self.posts.values() {
            drop(post.service(self)?);
            // A tool left behind by a dead run may hold a volume for long; starting brokers does not wait for that.
            if self.locking == Locking::Fresh {
                post.tools(self)?;
            }
        }
        Ok(())
    }

    /// The post of `node`.
    pub fn of(&self, node: NodeId) -> Result<&Post> {
        self.posts
            .get(&node)
            .with_context(|| format!("cluster.toml has no broker {node}"))
    }

    /// All, by node id.
    pub fn all(&self) -> impl Iterator<Item = &Post> {
        self.posts.values()
    }

    fn patience(&self) -> Result<Duration> {
        match self.locking {
            Locking::Reads => bail!("this run only reads"),
            Locking::Fresh => Ok(Duration::ZERO),
            Locking::Settling => Ok(PATIENCE),
        }
    }
}

impl Post {
    /// Alone with the broker's service, and its lock.
    pub fn service(&self, posts: &Posts) -> Result<MutexGuard<'_, Option<File>>> {
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        if service.is_none() {
            *service = Some(lock::take(
                &lock::file(&self.data, "service")?,
                posts.patience()?,
            )?);
        }
        Ok(service)
    }

    /// Alone with the broker's volume: whoever else works on it is waited for.
    pub fn volume(&self, posts: &Posts) -> Result<(Taken<'_>, Arc<Host>)> {
        let taken = self
            .volume
            .take(PATIENCE)
            .context("a command that was begun on this volume has not ended")?;
        Ok((taken, self.tools(posts)?))
    }

    /// Alone with the broker's config files. They do not wait for what is done with its volume, which may take long.
    pub fn config(&self, posts: &Posts) -> Result<Taken<'_>> {
        let taken = self.config.take(PATIENCE);
        let taken = taken.context("a change of this broker's config files has not ended")?;
        self.tools(posts)?;
        Ok(taken)
    }

    /// Runs tools that hold the volume's lock.
    fn tools(&self, posts: &Posts) -> Result<Arc<Host>> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = &*tools {
            return Ok(Arc::clone(host));
        }
        let lock = lock::take(&lock::file(&self.data, "volume")?, posts.patience()?)?;
        let host = Arc::new(Host::new(&posts.tool_dirs).holding(lock));
        *tools = Some(Arc::clone(&host));
        Ok(host)
    }
}

/// `data` with symbolic links resolved as far as it exists: the last part may be missing.
pub(super) fn resolve(data: &std::path::Path) -> Result<PathBuf> {
    match std::fs::canonicalize(data) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (Some(around), Some(name)) = (data.parent(), data.file_name()) else {
                bail!("{} has no folder around it", data.display());
            };
            let around = std::fs::canonicalize(around)
                .with_context(|| format!("find {}", around.display()))?;
            match std::fs::read_link(around.join(name)) {
                // What it leads to is gone. Links that lead in a circle are another error.
                Ok(target) => resolve(&around.join(target)),
                Err(_) => Ok(around.join(name)),
            }
        }
        Err(error) => Err(error).with_context(|| format!("find {}", data.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_to_data_that_is_gone_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        std::fs::create_dir(dir.join("srv")).unwrap();
        symlink("srv/data", dir.join("near")).unwrap();
        symlink(dir.join("near"), dir.join("far")).unwrap();
        let gone = dir.join("srv/data");
        for name in ["srv/data", "near", "far"] {
            assert_eq!(resolve(&dir.join(name)).unwrap(), gone, "{name}");
        }
        std::fs::create_dir(&gone).unwrap();
        for name in ["srv/data", "near", "far"] {
            assert_eq!(resolve(&dir.join(name)).unwrap(), gone, "{name}");
        }
        symlink("circle", dir.join("circle")).unwrap();
        assert!(resolve(&dir.join("circle")).is_err());
        assert!(resolve(&dir.join("nowhere/data")).is_err());
    }
}
