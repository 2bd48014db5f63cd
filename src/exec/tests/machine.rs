//! The machine in memory: brokers and what stands at paths, the disk of the state folder, a clock, an agent. It can be
//! copied at every moment, and a copy is what is found after a crash at that moment.
//!
//! Must not know how a run is carried out, nor what is wrong or right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::json;

use super::session::Dice;
use super::state::State;
use super::tree::{Entry, Id, Thing, Things, Tree};
use super::volumes::Lies;
use crate::agent::protocol::Seen;
use crate::id::NodeId;
use crate::journal::StepNo;
use crate::plan::Step;
use crate::process::Process;
use crate::service::Instance;

/// A broker, its service and where its data is.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    pub data: PathBuf,
    pub lies: Lies,
    /// The process, while it runs.
    pub pid: Option<i32>,
    pub systemd: bool,
    /// systemd starts it at boot.
    pub enabled: bool,
    pub gated: bool,
    pub config: Option<PathBuf>,
    /// A power cut ended it and nobody starts it at boot, or somebody started it at boot: what it is then is not ours.
    pub excused: bool,
}

/// What an agent knows, and what it was asked and has not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub alive: bool,
    /// It has been there from the beginning of its run.
    pub fresh: bool,
    pub told: BTreeSet<NodeId>,
    pub flights: Vec<Flight>,
}

/// A step that was asked for and has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Flight {
    pub no: StepNo,
    pub step: Step,
    /// The how-manieth of the session.
    pub nth: usize,
}

/// Where in a run something may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    BeforeStep,
    Within,
    AfterStep,
    BeforeLine,
    HalfLine,
    UnsyncedLine,
    AfterLine,
    State,
}

impl Moment {
    pub fn word(self) -> &'static str {
        match self {
            Moment::BeforeStep => "before a step",
            Moment::Within => "within a step",
            Moment::AfterStep => "after a step",
            Moment::BeforeLine => "before a line of the journal",
            Moment::HalfLine => "half a line written",
            Moment::UnsyncedLine => "a line written and not synced",
            Moment::AfterLine => "after a line of the journal",
            Moment::State => "writing the catalog",
        }
    }
}

/// What a machine was at some of the moments of a run.
#[derive(Debug, Clone)]
pub struct Tape {
    pub kept: Vec<(usize, Moment, Machine)>,
    /// Which are kept.
    pub keeps: Keeps,
    count: usize,
}

/// Which moments a tape keeps. (To keep all is slow.)
#[derive(Debug, Clone)]
pub enum Keeps {
    All,
    /// One in so many, from a first one on.
    Some {
        first: usize,
        one_in: usize,
    },
    /// Any one, each as likely as all others.
    One(Dice),
}

impl Tape {
    pub fn new(keeps: Keeps) -> Tape {
        Tape {
            kept: Vec::new(),
            keeps,
            count: 0,
        }
    }

    fn note(&mut self, moment: Moment, machine: &Machine) {
        let number = self.count;
        self.count += 1;
        let kept = match &mut self.keeps {
            Keeps::All => true,
            Keeps::Some { first, one_in } => number % *one_in == *first,
            Keeps::One(dice) => {
                let this = dice.below(self.count) == 0;
                if this {
                    self.kept.clear();
                }
                this
            }
        };
        if kept {
            self.kept.push((number, moment, machine.clone()));
        }
    }
}

#[derive(Debug, Clone)]
pub struct Machine {
    pub things: Things,
    pub brokers: BTreeMap<NodeId, Broker>,
    pub state: State,
    pub agent: Agent,
    pub clock: i64,
    pub boot: u32,
    pub newest_id: Id,
    pub newest_pid: i32,
    /// The times of the data when the run began: one that moves has none yet.
    pub at_first: BTreeMap<NodeId, Option<u32>>,
    /// What is not ours and must be there at the end as it was.
    pub foreign: Vec<PathBuf>,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// After so many more changes the agent dies.
    pub fuse: Option<usize>,
    pub tape: Option<Tape>,
}

impl Machine {
    pub fn new() -> Machine {
        Machine {
            things: Things::default(),
            brokers: BTreeMap::new(),
            state: State::default(),
            agent: Agent::fresh(true),
            clock: 1_000_000,
            boot: 1,
            newest_id: 1000,
            newest_pid: 100,
            at_first: BTreeMap::new(),
            foreign: Vec::new(),
            violations: Vec::new(),
            fuse: None,
            tape: None,
        }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock).unwrap()
    }

    /// Another moment. An error if the agent dies before it.
    pub fn op(&mut self, moment: Moment) -> Result<()> {
        if let Some(mut tape) = self.tape.take() {
            tape.note(moment, self);
            self.tape = Some(tape);
        }
        match &mut self.fuse {
            Some(0) => bail!("the agent was killed"),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    pub fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn is_up(&self, node: NodeId) -> bool {
        self.brokers
            .get(&node)
            .is_some_and(|broker| broker.pid.is_some())
    }

    pub fn instance(&self, node: NodeId) -> Option<Instance> {
        let broker = self.brokers.get(&node)?;
        Some(Instance {
            process: Process {
                pid: broker.pid?,
                started: broker.pid? as u64,
                boot: format!("boot-{}", self.boot),
            },
            invocation: broker
                .systemd
                .then(|| format!("invocation-{}", broker.pid.unwrap_or_default())),
            dependants: Vec::new(),
        })
    }

    /// The service starts it, whoever asked.
    pub fn start(&mut self, node: NodeId) -> Result<()> {
        let Some(broker) = self.brokers.get(&node) else {
            bail!("no broker {node}")
        };
        if broker.gated {
            bail!("broker {node} is held down: its gate is closed");
        }
        let times = self.times();
        let all: BTreeSet<&Option<u32>> = times.values().collect();
        if (all.len() > 1 || all.contains(&None)) && times != self.at_first {
            self.violated(format!(
                "broker {node} was started on folders of different times: {times:?}"
            ));
        }
        self.newest_pid += 1;
        let pid = self.newest_pid;
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.pid = Some(pid);
            if let Some(tree) = self.things.tree_mut(&broker.data) {
                tree.entries
                    .iter_mut()
                    .for_each(|entry| entry.worked = true);
            }
        }
        Ok(())
    }

    /// The time that the data of each broker is of.
    pub fn times(&self) -> BTreeMap<NodeId, Option<u32>> {
        let brokers = self.brokers.iter();
        brokers
            .map(|(node, broker)| (*node, self.time_at(&broker.data)))
            .collect()
    }

    /// The time that all of the tree at `path` is of.
    pub fn time_at(&self, path: &Path) -> Option<u32> {
        Some(self.things.tree(path)?.of()?.1)
    }

    /// Everything is written anew: brokers work, and people change config files.
    pub fn time_goes_on(&mut self, time: u32, configs: bool) {
        for broker in self.brokers.values() {
            if let Some(tree) = self.things.tree_mut(&broker.data) {
                tree.entries.iter_mut().for_each(|entry| entry.time = time);
            }
            if let Some(path) = broker.config.as_ref().filter(|_| configs) {
                self.things.write(path, config_of(time));
            }
        }
    }

    pub fn make_tree(&mut self, path: &Path, node: NodeId, time: u32, subvolume: bool) {
        let id = self.newest_id + 1;
        self.newest_id += 3;
        let entry = |id| Entry {
            id,
            node: node.0,
            time,
            worked: false,
        };
        let tree = Tree {
            id,
            parent: None,
            subvolume,
            frozen: false,
            entries: [entry(id + 1), entry(id + 2)],
        };
        self.things.0.insert(path.to_owned(), Thing::Tree(tree));
    }

    /// The power goes and comes back: processes are gone, so is what was not synced (but for `torn` bytes of it), and
    /// systemd starts what it starts at boot.
    pub fn lose_power(&mut self, torn: usize) {
        self.state.lose_power(torn);
        self.boot += 1;
        self.agent = Agent::fresh(true);
        let all: Vec<NodeId> = self.brokers.keys().copied().collect();
        for node in all {
            let Some(broker) = self.brokers.get_mut(&node) else {
                continue;
            };
            let was_up = broker.pid.take().is_some();
            broker.excused |= was_up && !(broker.systemd && broker.enabled);
            if broker.systemd && broker.enabled && !broker.gated {
                broker.excused = true;
                drop(self.start(node));
            }
        }
    }

    /// What an agent would see.
    pub fn seen(&self) -> Result<Vec<Seen>> {
        self.brokers
            .iter()
            .map(|(node, broker)| self.see(*node, broker))
            .collect()
    }

    fn see(&self, node: NodeId, broker: &Broker) -> Result<Seen> {
        let id = self.volume_id(broker.lies, &broker.data);
        let process = self.instance(node).map(|instance| instance.process);
        let holders = process
            .iter()
            .map(|process| json!({ "process": process, "command": "broker", "parent": 1 }));
        let freezes = match broker.lies {
            Lies::Shared => "the shared subvolume".to_owned(),
            _ => id.title.clone(),
        };
        let members: BTreeMap<NodeId, Vec<u32>> =
            self.brokers.keys().map(|node| (*node, vec![1])).collect();
        let api = match broker.pid {
            Some(_) => json!({ "Ok": {
                "ready": true, "healthy": true, "version": "8.5.8", "members": members, "change_pending": false,
                "partitions": { "1": { "role": "LEADER" } },
            } }),
            None => json!({ "Err": "does not answer" }),
        };
        let (phase, invocation) = match self.instance(node) {
            Some(instance) => ("up", instance.invocation),
            None => ("down", None),
        };
        Ok(serde_json::from_value(json!({
            "node": node, "data": broker.data,
            "volume": { "Ok": {
                "id": id, "freezes": freezes, "cost": null, "capture": [], "bring_back": [], "take_back": [],
                "snapshots": self.snapshots_of(&id)?, "kept": self.kept_of(&id)?,
            } },
            "holders": holders.collect::<Vec<_>>(), "broker": process,
            "service": { "phase": phase, "main": process, "invocation": invocation, "dependants": [], "seen": phase, "trouble": null, "gated": broker.gated },
            "api": api, "folder": { "Ok": { "node_id": node } }, "settings": { "Ok": {} },
            "installed": "8.5.8", "unreadable": [],
        }))?)
    }
}

impl Agent {
    pub fn fresh(fresh: bool) -> Agent {
        Agent {
            alive: true,
            fresh,
            told: BTreeSet::new(),
            flights: Vec::new(),
        }
    }
}

/// A config file of that time.
pub fn config_of(time: u32) -> String {
    format!("written: {time}\n")
}
