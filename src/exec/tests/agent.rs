//! What an agent does of a step in memory. Each asks what is there before and after it, as the real one does.
//!
//! Must not know what was planned, or what goes wrong.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use zeebe_snap_backends::{Progress, Rollback, Volume, VolumeId, papers};

use super::machine::{Machine, Moment};
use crate::agent::configs;
use crate::agent::protocol::{Fact, KeptFile};
use crate::catalog::manifest::Manifest;
use crate::id::NodeId;
use crate::journal::Entry;
use crate::plan::Step;
use crate::plan::configs::hash;
use crate::zeebe::settings::map_addresses;

impl Machine {
    /// What the coordinator does itself; `None` is for an agent.
    pub fn act_here(&mut self, step: &Step, history: &[Entry]) -> Option<Result<Fact>> {
        let manifest = || Manifest::of_run(history).context("the set is not captured");
        if !matches!(
            step,
            Step::Record { .. }
                | Step::Complete { .. }
                | Step::Unlist { .. }
                | Step::Forget { .. }
                | Step::Commit
        ) {
            return None;
        }
        let mut act = || -> Result<Fact> {
            self.op(Moment::State)?;
            match step {
                Step::Record { .. } => self.state.record(manifest()?),
                Step::Complete { .. } => self.state.complete(manifest()?)?,
                Step::Unlist { set } => self.state.unlist(set)?,
                Step::Forget { set } => self.state.forget(set)?,
                _ => {}
            }
            Ok(Fact::None)
        };
        Some(act())
    }

    pub fn act(&mut self, step: &Step) -> Result<Fact> {
        match step {
            Step::ProveSeen { brokers } => {
                for (node, broker) in brokers {
                    ensure!(
                        self.instance(*node).as_ref() == Some(broker),
                        "broker {node} is not seen"
                    );
                }
            }
            Step::Stop {
                node,
                broker,
                stuck,
            } => return self.stop(*node, broker, *stuck),
            Step::ProveDown { nodes, .. } => {
                for node in nodes {
                    ensure!(!self.is_up(*node), "broker {node} is up");
                }
            }
            Step::Start { node, stopped } => return self.start_after(*node, stopped.as_ref()),
            Step::AwaitHealthy { nodes } => {
                for node in nodes {
                    ensure!(self.is_up(*node), "broker {node} does not run");
                }
            }
            Step::KeepConfig { node, set, files } => {
                let mut kept = Vec::new();
                for (number, path) in files.iter().enumerate() {
                    let content = self
                        .things
                        .file(path)
                        .context("read a config file")?
                        .to_vec();
                    let kept_as = format!("node-{node}-config-{number}");
                    kept.push(KeptFile {
                        path: path.clone(),
                        kept_as: kept_as.clone(),
                        blake3: hash(&content),
                    });
                    self.op(Moment::State)?;
                    let set = self.state.sets.entry(set.clone()).or_default();
                    set.configs.insert(kept_as, Rc::new(content));
                }
                return Ok(Fact::Config(kept));
            }
            Step::Flush { .. } => {}
            Step::Prepare {
                volume,
                snapshot,
                label,
                ..
            } => {
                ensure!(
                    self.find_snapshot(volume, snapshot)?.is_none(),
                    "there is a snapshot {snapshot} already"
                );
                self.perform_all(&open(volume)?.prepare(snapshot, label))?;
            }
            Step::Snapshot {
                volume,
                snapshot,
                label,
                ..
            } => {
                let captured = self.brokers.iter().filter(|(_, broker)| {
                    Some(broker.data.as_path()) == open(volume).ok().as_ref().map(|it| it.data())
                });
                let up: Vec<NodeId> = captured
                    .filter(|(_, broker)| broker.pid.is_some())
                    .map(|(node, _)| *node)
                    .collect();
                if !up.is_empty() {
                    self.violated(format!("a snapshot of brokers that are up: {up:?}"));
                }
                self.perform_all(&open(volume)?.snapshot(snapshot, label))?;
                let found = self
                    .find_snapshot(volume, snapshot)?
                    .context("no snapshot")?;
                ensure!(
                    found.label.is_some(),
                    "the snapshot does not carry our label"
                );
                return Ok(Fact::Snapshot {
                    identity: found.identity,
                    with: BTreeMap::new(),
                    sync: Duration::ZERO,
                    snapshot: Duration::ZERO,
                });
            }
            Step::Destroy {
                volume,
                snapshot,
                label,
                ..
            } => {
                let real = open(volume)?;
                if let Some(found) = self.find_snapshot(volume, snapshot)? {
                    ensure!(
                        found.label.as_ref() == Some(label),
                        "snapshot {snapshot} is not ours"
                    );
                    self.perform_all(&real.destroy(snapshot))?;
                    ensure!(
                        self.find_snapshot(volume, snapshot)?.is_none(),
                        "{snapshot} is still there"
                    );
                }
                self.perform_all(&real.unprepare(snapshot))?;
            }
            Step::Digest {
                volume, snapshot, ..
            } => {
                self.find_snapshot(volume, snapshot)?
                    .context("there is no such snapshot")?;
                return Ok(digest());
            }
            Step::Hold { volume, .. } => bail!("{volume} has no holds"),
            Step::KeepPapers {
                set,
                volume,
                snapshot,
                ..
            } => {
                let real = open(volume)?;
                let listed = self.state.sets.get(set).is_some_and(|set| !set.forgotten);
                let folder = real.papers(snapshot).filter(|_| listed);
                self.find_snapshot(volume, snapshot)?
                    .context("there is no such snapshot")?;
                if let Some(folder) = folder {
                    let paper = ("manifest.json".to_owned(), b"{}".to_vec());
                    self.perform_all(&papers::write(&folder, vec![paper])?)?;
                }
            }
            Step::Verify { source, staged, .. } => {
                self.is_just(source)?;
                if let Some((id, stage)) = staged {
                    let volume = open(id)?;
                    let path = rollback(&*volume)?
                        .staged(stage)
                        .context("nothing to be read")?;
                    ensure!(self.things.tree(&path).is_some(), "nothing is staged");
                }
                return Ok(digest());
            }
            Step::StageData {
                volume,
                source,
                stage,
                label,
                ..
            } => {
                self.is_just(source)?;
                let of = &source.snapshot.identity;
                match self.progress(volume, of, stage)? {
                    Progress::Staged => return Ok(Fact::None),
                    Progress::Untouched => {
                        let view = open(&source.volume)?.view(&source.snapshot.name);
                        let real = open(volume)?;
                        let actions =
                            rollback(&*real)?.stage(&source.snapshot, &view, stage, label);
                        self.perform_all(&actions)?;
                    }
                    other => bail!("it is not as it was: {other:?}"),
                }
                self.expect(volume, of, stage, &Progress::Staged)?;
            }
            Step::TakeKept {
                volume,
                kept,
                stage,
                label,
                ..
            } => {
                let found = self
                    .kept_as(volume, &kept.name)?
                    .context("it keeps nothing")?;
                ensure!(
                    found.identity == kept.identity,
                    "what is kept is not what it was"
                );
                let actions = rollback(&*open(volume)?)?.take_kept(kept, stage, label);
                self.perform_all(&actions)?;
                self.expect(volume, &kept.identity, stage, &Progress::Staged)?;
            }
            Step::PutBack {
                volume,
                kept,
                stage,
                ..
            } => {
                let actions = rollback(&*open(volume)?)?.put_back(kept, stage);
                self.perform_all(&actions)?;
                self.kept_as(volume, kept)?
                    .context("it should keep it again")?;
            }
            Step::ForgetKept { volume, kept, .. } => {
                ensure!(
                    self.kept_as(volume, kept)?.is_none(),
                    "it still keeps {kept}"
                );
                let actions = rollback(&*open(volume)?)?.forget_kept(kept);
                self.perform_all(&actions)?;
            }
            Step::Release { volume, kept, .. } => {
                let real = open(volume)?;
                match self.kept_as(volume, &kept.name)? {
                    None => self.perform_all(&rollback(&*real)?.clear(&kept.name))?,
                    Some(found) => {
                        ensure!(
                            found.identity == kept.identity,
                            "what is kept is not what it was"
                        );
                        self.perform_all(&rollback(&*real)?.discard(&kept.name))?;
                        ensure!(
                            self.kept_as(volume, &kept.name)?.is_none(),
                            "it is still kept"
                        );
                    }
                }
            }
            Step::Swap(staged) => {
                let actions = rollback(&*open(&staged.volume)?)?.swap(&staged.stage);
                self.swap_data(staged, &actions, [&Progress::Staged, &Progress::Swapped])?;
            }
            Step::SwapBack(staged) => {
                if self.progress(&staged.volume, &staged.of, &staged.stage)? == Progress::Untouched
                {
                    return Ok(Fact::None);
                }
                let actions = rollback(&*open(&staged.volume)?)?.reverse(&staged.stage);
                self.swap_data(staged, &actions, [&Progress::Swapped, &Progress::Staged])?;
            }
            Step::Discard(staged) => {
                let real = open(&staged.volume)?;
                let actions = match self.progress(&staged.volume, &staged.of, &staged.stage)? {
                    Progress::Untouched => rollback(&*real)?.clear(&staged.stage),
                    Progress::Staged => rollback(&*real)?.discard(&staged.stage),
                    other => bail!("what is staged cannot be removed: {other:?}"),
                };
                self.perform_all(&actions)?;
                self.expect(
                    &staged.volume,
                    &staged.of,
                    &staged.stage,
                    &Progress::Untouched,
                )?;
            }
            Step::StageConfig {
                set,
                file,
                map,
                swap,
            } => {
                let kept = self
                    .state
                    .sets
                    .get(set)
                    .and_then(|set| set.configs.get(file));
                let kept = kept.context("the set has no such config file")?;
                let new = map_addresses(&String::from_utf8_lossy(kept), map).into_bytes();
                ensure!(
                    swap.new.as_ref() == Some(&hash(&new)),
                    "it is not what was planned"
                );
                ensure!(self.hash_at(&swap.path) == swap.old, "it was changed since");
                self.op(Moment::Within)?;
                self.things.write(&configs::beside(swap), new);
            }
            Step::SwapConfig(swap) => self.swap_config(swap)?,
            Step::SwapBackConfig(swap) => {
                if self.hash_at(&swap.path) != swap.old {
                    self.swap_config(&swap.back())?;
                }
            }
            Step::DiscardConfig(swap) => {
                let other = configs::beside(swap);
                match self.hash_at(&other) {
                    None => {}
                    found if found == swap.new => {
                        self.op(Moment::Within)?;
                        self.things.0.remove(&other);
                    }
                    Some(_) => bail!("{} is not what was put there", other.display()),
                }
            }
            Step::CloseGate { node } => self.gate(*node, true)?,
            Step::OpenGate { node } => self.gate(*node, false)?,
            Step::Record { .. }
            | Step::Complete { .. }
            | Step::Unlist { .. }
            | Step::Forget { .. }
            | Step::Commit => {
                bail!("that is the coordinator's to do")
            }
        }
        Ok(Fact::None)
    }
}

fn digest() -> Fact {
    let text = || "digest".to_owned();
    Fact::Digest {
        content: text(),
        metadata: text(),
        entries: 1,
        bytes: 1,
    }
}

pub fn open(id: &VolumeId) -> Result<Box<dyn Volume>> {
    Ok(zeebe_snap_backends::open(id)?)
}

fn rollback(volume: &dyn Volume) -> Result<&dyn Rollback> {
    volume.rollback().context("it cannot be brought back")
}
