//! What a restore and an undo share: the data of all brokers is replaced by what is staged beside it.
//!
//! Until the commit all is undone on failure; from it on nothing is, since brokers acknowledge work again.

use super::configs::ConfigSwap;
use super::{Running, Stage, Staged, Step, Stuck};
use crate::agent::protocol::Seen;
use crate::config::{Cluster, Service};
use crate::id::NodeId;
use crate::service::Instance;

/// What is replaced, and among whom.
#[derive(Debug)]
pub(crate) struct Replacement<'a> {
    /// Brokers that run.
    pub running: &'a Running,
    /// Those of them that can be seen to hold their data.
    pub holding: &'a Running,
    /// Brokers whose service has a gate.
    pub gated: &'a [NodeId],
    /// One for each broker.
    pub staged: &'a [Staged],
    /// Config files that change with the data.
    pub configs: &'a [ConfigSwap],
    /// Whether brokers are started at the end.
    pub start: bool,
}

impl Replacement<'_> {
    /// The stages from the first stop to the commit.
    pub fn until_commit(&self) -> Vec<Stage> {
        let down = Step::ProveDown {
            nodes: self.nodes(),
            stopped: self.running.to_vec(),
        };
        // A cluster that has to be restored is often one that does not end by itself.
        let stop = |(node, broker): &(NodeId, Instance)| Step::Stop {
            node: *node,
            broker: broker.clone(),
            stuck: Stuck::IsKilled,
        };
        let swap = self.staged.iter().cloned().map(Step::Swap);
        let configs = self.configs.iter().cloned().map(Step::SwapConfig);
        let close = |node: &NodeId| Step::CloseGate { node: *node };
        vec![
            Stage::undo(vec![Step::ProveSeen {
                brokers: self.holding.to_vec(),
            }]),
            Stage::undo(self.gated.iter().map(close).collect()),
            Stage::undo(self.running.iter().map(stop).collect()),
            Stage::undo(vec![down.clone()]),
            Stage::undo(swap.chain(configs).collect()),
            Stage::undo(vec![down]),
            Stage::undo(vec![Step::Commit]),
        ]
    }

    /// The stages after it.
    pub fn after_commit(&self) -> Vec<Stage> {
        let stopped = |node: NodeId| {
            let found = self.running.iter().find(|(other, _)| *other == node);
            found.map(|(_, broker)| broker.clone())
        };
        let start = |node: NodeId| Step::Start {
            node,
            stopped: stopped(node),
        };
        let open = |node: &NodeId| Step::OpenGate { node: *node };
        let nodes = match self.start {
            true => self.nodes(),
            false => Vec::new(),
        };
        vec![
            Stage::go_on(self.gated.iter().map(open).collect()),
            Stage::go_on(nodes.iter().copied().map(start).collect()),
            Stage::go_on(vec![Step::AwaitHealthy { nodes }]),
        ]
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.staged.iter().map(|staged| staged.node).collect()
    }
}

/// Those of `running` that can be seen to hold their data.
pub(super) fn holding(seen: &[Seen], running: &Running) -> Vec<(NodeId, Instance)> {
    let holds = |node: &NodeId| {
        let mut seen = seen.iter();
        seen.any(|seen| seen.node == *node && !seen.holders.is_empty())
    };
    let holding = running.iter().filter(|(node, _)| holds(node));
    holding.cloned().collect()
}

/// The brokers whose service has a gate.
pub(super) fn gated(cluster: &Cluster) -> Vec<NodeId> {
    let brokers = cluster.brokers.values();
    let by_systemd = brokers.filter(|broker| matches!(broker.service, Service::Systemd { .. }));
    by_systemd.map(|broker| broker.node_id).collect()
}
