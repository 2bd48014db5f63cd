//! How long each phase of a run took: read off its journal.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::agent::protocol::Fact;
use crate::catalog::manifest::{Origin, between, milliseconds};
use crate::id::NodeId;
use crate::journal::{self, Entry};
use crate::plan::Step;

/// Moments and durations of one run, as the hosts saw them.
#[derive(Debug, Default)]
pub struct Times {
    /// Per broker: when it was told to stop, when it had ended.
    stopped: BTreeMap<NodeId, (Timestamp, Timestamp)>,
    /// Per broker: when its start was commanded.
    started: BTreeMap<NodeId, Timestamp>,
    phases: BTreeMap<NodeId, BTreeMap<String, f64>>,
}

impl Times {
    /// The times of a run.
    pub fn of_run(entries: &[Entry]) -> Times {
        let mut times = Times::default();
        let origin = Origin::of_run(entries);
        let sharing = |first| {
            origin
                .into_iter()
                .flat_map(move |origin| origin.captured_with(first))
        };
        for (step, performed) in journal::done(entries) {
            match (step.node(), &performed.fact) {
                (Some(node), Fact::Stopped { asked, ended, .. }) => {
                    times.stopped.insert(node, (*asked, *ended));
                    times.phase(node, "stop", between(*asked, *ended));
                }
                (
                    Some(node),
                    Fact::Snapshot {
                        with,
                        sync,
                        snapshot,
                        ..
                    },
                ) => {
                    let all = [node].into_iter().chain(with.keys().copied());
                    for node in all.flat_map(sharing) {
                        times.phase(node, "sync", *sync);
                        times.phase(node, "snapshot", *snapshot);
                    }
                }
                (Some(node), Fact::Started { commanded }) => {
                    times.started.insert(node, *commanded);
                    times.phase(node, "start", between(*commanded, performed.ended));
                }
                (None, Fact::Ready(ready)) => {
                    for (node, at) in ready {
                        let commanded = times.started.get(node).copied();
                        times.phase(
                            *node,
                            "ready",
                            between(commanded.unwrap_or(performed.begun), *at),
                        );
                    }
                }
                (Some(node), _) if matches!(step, Step::Flush { .. }) => {
                    for node in sharing(node) {
                        times.phase(node, "flush", between(performed.begun, performed.ended));
                    }
                }
                _ => {}
            }
        }
        times
    }

    fn phase(&mut self, node: NodeId, name: &str, took: Duration) {
        self.phases
            .entry(node)
            .or_default()
            .insert(name.to_owned(), milliseconds(took));
    }

    /// The phases of one broker, in milliseconds.
    pub fn phases(&self, node: NodeId) -> BTreeMap<String, f64> {
        self.phases.get(&node).cloned().unwrap_or_default()
    }

    fn first_asked(&self) -> Option<Timestamp> {
        self.stopped.values().map(|(asked, _)| *asked).min()
    }

    fn last_started(&self) -> Option<Timestamp> {
        self.started.values().copied().max()
    }

    /// From the first stop asked for to the last start commanded.
    pub fn window(&self) -> Option<Duration> {
        Some(between(self.first_asked()?, self.last_started()?))
    }

    /// From the last broker's end to the last start commanded: what this program adds to a stop and a start.
    pub fn exit_to_start(&self) -> Option<Duration> {
        let last_ended = self.stopped.values().map(|(_, ended)| *ended).max()?;
        Some(between(last_ended, self.last_started()?))
    }

    /// Between the first and the last stop asked for.
    pub fn stop_spread(&self) -> Option<Duration> {
        let last = self.stopped.values().map(|(asked, _)| *asked).max()?;
        Some(between(self.first_asked()?, last))
    }
}
