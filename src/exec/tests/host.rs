//! What several steps are made of on a machine in memory: services stopped, started and gated, data and config files swapped.
//!
//! Must not know which step it is for.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use zeebe_snap_backends::{Action, Kept, Progress, StageName, VolumeId};

use super::agent::open;
use super::machine::{Machine, Moment};
use super::tree::Tree;
use crate::agent::configs;
use crate::agent::protocol::Fact;
use crate::id::NodeId;
use crate::plan::configs::{ConfigSwap, hash};
use crate::plan::{Source, Staged, Stuck};
use crate::service::Instance;

impl Machine {
    pub fn gate(&mut self, node: NodeId, closed: bool) -> Result<()> {
        let broker = self.brokers.get(&node).context("a broker")?;
        if broker.systemd && broker.gated != closed {
            self.op(Moment::Within)?;
            self.brokers.get_mut(&node).context("a broker")?.gated = closed;
        }
        Ok(())
    }

    pub fn end(&mut self, node: NodeId) -> Result<()> {
        self.agent.told.insert(node);
        self.op(Moment::Within)?;
        self.brokers.get_mut(&node).context("a broker")?.pid = None;
        Ok(())
    }

    pub fn stop(&mut self, node: NodeId, broker: &Instance, stuck: Stuck) -> Result<Fact> {
        let asked = self.now();
        let alive = self
            .instance(node)
            .is_some_and(|now| now.process == broker.process);
        ensure!(
            alive || stuck == Stuck::IsKilled,
            "broker {node} has ended by itself"
        );
        if alive {
            self.end(node)?;
        }
        Ok(Fact::Stopped {
            asked,
            ended: asked,
            killed: false,
        })
    }

    pub fn start_after(&mut self, node: NodeId, stopped: Option<&Instance>) -> Result<Fact> {
        let commanded = self.now();
        let now = self.instance(node);
        if let Some(now) =
            now.filter(|now| stopped.is_some_and(|stopped| stopped.process == now.process))
        {
            if !self.agent.told.contains(&node) && self.agent.fresh {
                return Ok(Fact::Started { commanded });
            }
            ensure!(Some(&now) == stopped, "the same process is another");
            self.end(node)?;
        }
        if !self.is_up(node) {
            self.op(Moment::Within)?;
            self.start(node)?;
        }
        Ok(Fact::Started { commanded })
    }

    pub fn is_just(&self, source: &Source) -> Result<()> {
        let found = self.find_snapshot(&source.volume, &source.snapshot.name)?;
        let found = found.context("there is no such snapshot")?;
        ensure!(
            found.identity == source.snapshot.identity,
            "it is another snapshot of that name"
        );
        Ok(())
    }

    pub fn expect(
        &self,
        id: &VolumeId,
        of: &str,
        stage: &StageName,
        wanted: &Progress,
    ) -> Result<()> {
        let found = self.progress(id, of, stage)?;
        ensure!(found == *wanted, "it should be {wanted:?} and is {found:?}");
        Ok(())
    }

    pub fn kept_as(&self, id: &VolumeId, name: &StageName) -> Result<Option<Kept>> {
        Ok(self
            .kept_of(id)?
            .into_iter()
            .find(|kept| kept.name == *name))
    }

    pub fn swap_data(
        &mut self,
        staged: &Staged,
        actions: &[Action],
        [from, to]: [&Progress; 2],
    ) -> Result<()> {
        let progress = self.progress(&staged.volume, &staged.of, &staged.stage)?;
        if progress == *to {
            return Ok(());
        }
        ensure!(
            progress == *from || progress == Progress::Halfway,
            "it is not as it was: {progress:?}"
        );
        ensure!(
            !self.is_up(staged.node),
            "broker {} holds its data",
            staged.node
        );
        let data = open(&staged.volume)?.data().to_owned();
        let worked = |tree: &Tree| tree.entries.iter().any(|entry| entry.worked);
        if *from == Progress::Swapped && self.things.tree(&data).is_some_and(worked) {
            self.violated(format!(
                "broker {}: what was acknowledged since the commit is put away",
                staged.node
            ));
        }
        if self
            .brokers
            .get(&staged.node)
            .is_some_and(|broker| broker.systemd && !broker.gated)
        {
            self.violated(format!(
                "broker {} is swapped with its gate open",
                staged.node
            ));
        }
        self.perform_all(actions)?;
        self.expect(&staged.volume, &staged.of, &staged.stage, to)
    }

    pub fn hash_at(&self, path: &Path) -> Option<String> {
        self.things.file(path).map(hash)
    }

    pub fn swap_config(&mut self, swap: &ConfigSwap) -> Result<()> {
        let (path, other) = (&swap.path, configs::beside(swap));
        let now = (self.hash_at(path), self.hash_at(&other));
        if now == (swap.new.clone(), swap.old.clone()) {
            return Ok(());
        }
        ensure!(
            now == (swap.old.clone(), swap.new.clone()),
            "{} is not what it was",
            path.display()
        );
        self.op(Moment::Within)?;
        self.things.swap(path, &other);
        Ok(())
    }
}
