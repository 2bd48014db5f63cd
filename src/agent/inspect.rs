//! What an agent sees. Reads only.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use zeebe_snap_backends::copy::Copy;
use zeebe_snap_backends::{DRIVERS, Driver, Purpose, System, driver};

use super::identity::{self, Identified};
use super::post::{Post, Posts, resolve};
use super::protocol::{Receiving, Seen, VolumeSeen};
use crate::config::Broker;
use crate::id::NodeId;
use crate::plan::Source;
use crate::plan::configs::PresentFiles;
use crate::process::{self, Holder, holders};
use crate::service::{self, Instance, Phase};
use crate::zeebe::settings::{self, Settings, Sources};
use crate::zeebe::{api, data, version};

/// Looks at all brokers of this host.
pub fn inspect(posts: &Posts) -> Result<Vec<Seen>> {
    let all: Vec<&Post> = posts.all().collect();
    let held = held(&all)?;
    all.into_iter()
        .zip(held)
        .map(|(post, holders)| see(posts, post, holders))
        .collect()
}

/// Who holds the data of each. One that is ending lets go of it by itself, and is waited for.
fn held(posts: &[&Post]) -> Result<Vec<Vec<Holder>>> {
    let folders: Vec<PathBuf> = posts.iter().map(|post| post.data.clone()).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let held = holders(&folders)?;
        let mut waiting = false;
        for holder in held.iter().flatten() {
            waiting |= holder.process.is_ending()?;
        }
        if !waiting || Instant::now() > deadline {
            return Ok(held);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn see(posts: &Posts, post: &Post, holders: Vec<Holder>) -> Result<Seen> {
    let broker = &post.broker;
    let said = |error: anyhow::Error| format!("{error:#}");
    let Identified { service, process } = identity::of(&posts.desk, post, &holders)?;
    let mut seen = Seen {
        node: broker.node_id,
        volume: volume(&*posts.desk.tools, &post.data, &broker.backend).map_err(said),
        broker: process,
        service,
        api: api::ask(&broker.management).map_err(said),
        folder: data::read(&post.data).map_err(said),
        installed: broker.install.as_deref().and_then(version::installed),
        unreadable: broker
            .config
            .iter()
            .filter_map(|path| unreadable(path))
            .collect(),
        data: post.data.clone(),
        holders,
        settings: Err(String::new()),
    };
    seen.settings = settings(posts, broker, &seen).map_err(said);
    Ok(seen)
}

/// What the broker is told: what the process that runs was started with, or what it would be started with.
fn settings(posts: &Posts, broker: &Broker, seen: &Seen) -> Result<Settings> {
    let runs = seen.broker.as_ref().map(process::start_of).transpose()?;
    let (live, start) = match runs.flatten() {
        Some(start) => (true, start),
        None => (false, service::would_start(&posts.desk, broker)?),
    };
    // One that is not there says nothing, and what the environment says counts all the same: a restore may write it.
    let content = |path: &PathBuf| match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some(Err(error).with_context(|| format!("read {}", path.display()))),
        Ok(content) => Some(Ok((path.clone(), content))),
    };
    let mut told = settings::read(&Sources {
        live,
        files: broker
            .config
            .iter()
            .filter_map(content)
            .collect::<Result<_>>()?,
        environment: start.environment,
        arguments: start.arguments,
        base: broker.install.clone(),
    })?;
    // So that it can be compared with what cluster.toml names.
    if let Some(said) = &mut told.data
        && said.value.is_absolute()
        && let Ok(data) = resolve(&said.value)
    {
        said.value = data;
    }
    Ok(told)
}

fn unreadable(path: &Path) -> Option<String> {
    std::fs::File::open(path)
        .err()
        .map(|error| format!("{}: {error}", path.display()))
}

fn volume(tools: &dyn System, data: &Path, backend: &str) -> Result<VolumeSeen> {
    anyhow::ensure!(
        data.to_str().is_some(),
        "the path {data:?} is not UTF-8, which is not built"
    );
    let candidates = DRIVERS
        .iter()
        .copied()
        .filter(|driver| backend == "auto" || backend == driver.name());
    for driver in candidates {
        let Some(volume) = driver.detect(tools, data)? else {
            continue;
        };
        let rollback = volume.rollback();
        return Ok(VolumeSeen {
            id: volume.id(),
            freezes: volume.freezes(),
            cost: volume.cost().ok(),
            capture: volume.obstacles(tools, Purpose::Capture)?,
            bring_back: rollback
                .map(|_| volume.obstacles(tools, Purpose::BringBack))
                .transpose()?,
            take_back: match rollback {
                Some(_) => volume.obstacles(tools, Purpose::TakeBack)?,
                None => Vec::new(),
            },
            snapshots: volume.list(tools)?,
            prepared: volume.prepared()?,
            kept: rollback
                .map(|rollback| rollback.kept(tools))
                .transpose()?
                .unwrap_or_default(),
        });
    }
    match driver(backend) {
        Some(_) => anyhow::bail!("{} is not on {backend}", data.display()),
        None => anyhow::bail!("{} has no folder around it", data.display()),
    }
}

/// The config files of all brokers, as they stand.
pub fn configs(posts: &Posts) -> Result<Vec<(NodeId, PresentFiles)>> {
    let of = |post: &Post| {
        let files = post.broker.config.iter();
        let read = |path: &PathBuf| Ok((path.clone(), super::configs::content(path)?));
        Ok((post.broker.node_id, files.map(read).collect::<Result<_>>()?))
    };
    posts.all().map(of).collect()
}

/// How brokers could receive snapshots of other volumes.
pub fn receive(posts: &Posts, sources: &[(NodeId, Source)]) -> Vec<Result<Receiving, String>> {
    let one = |(node, source): &(NodeId, Source)| {
        let received = receive_one(posts, *node, source);
        received.map_err(|error| format!("{error:#}"))
    };
    sources.iter().map(one).collect()
}

fn receive_one(posts: &Posts, node: NodeId, source: &Source) -> Result<Receiving> {
    let tools = &*posts.desk.tools;
    let name = &source.snapshot.name;
    let from = zeebe_snap_backends::open(&source.volume)?;
    let snapshot = from.find(tools, name)?;
    let data = &posts.of(node)?.data;
    let at = Copy
        .detect(tools, data)?
        .with_context(|| format!("{} has no folder around it", data.display()))?;
    let volume = zeebe_snap_backends::receiving(&at.id(), &source.volume, name)?;
    // What is not there cannot be weighed.
    let obstacles = match snapshot {
        Some(_) => zeebe_snap_backends::open(&volume)?.obstacles(tools, Purpose::BringBack)?,
        None => Vec::new(),
    };
    Ok(Receiving {
        snapshot,
        volume,
        obstacles,
    })
}

impl Seen {
    /// What it runs as, if it does.
    pub fn instance(&self) -> Option<Instance> {
        Some(Instance {
            process: self.broker.clone()?,
            invocation: self.service.invocation.clone(),
            dependants: self.service.dependants.clone(),
        })
    }

    /// It runs, by any sign.
    pub fn is_up(&self) -> bool {
        self.service.phase != Phase::Down || self.broker.is_some()
    }
}
