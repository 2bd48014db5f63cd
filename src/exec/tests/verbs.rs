//! Verbs on a machine in memory, as the program carries them out: looked at, planned by the real planners, executed with a
//! journal, and settled from what is read of that journal.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context, Result};
use zeebe_snap_backends::StageName;

use super::layout::Layout;
use super::machine::{Agent, Machine};
use super::session::{Pen, Session, Silent, Trouble};
use super::tree::Thing;
use super::volumes::Lies;
use crate::agent::protocol::{Receiving, Seen};
use crate::catalog::manifest::Manifest;
use crate::config::Cluster;
use crate::exec::{Ending, run, settle};
use crate::exit::Exit;
use crate::id::{NodeId, RunId, SetId};
use crate::journal::{self, Entry, Journal};
use crate::plan::configs::{Files, KeptFiles, Present, When};
use crate::plan::forget::Doomed;
use crate::plan::recovery::Point;
use crate::plan::restore::{Looked, Received};
use crate::plan::{Finding, Known, Plan, backup, forget, release, restore, stage_name, undo};
use crate::report::ending::exit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Backup,
    Restore { start: bool },
    Undo { start: bool },
    Release,
    Forget,
}

impl Verb {
    pub const ALL: [Verb; 7] = [
        Verb::Backup,
        Verb::Restore { start: true },
        Verb::Restore { start: false },
        Verb::Undo { start: true },
        Verb::Undo { start: false },
        Verb::Release,
        Verb::Forget,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Verb::Backup => "backup",
            Verb::Restore { start: true } => "restore",
            Verb::Restore { start: false } => "restore --no-start",
            Verb::Undo { start: true } => "undo",
            Verb::Undo { start: false } => "undo --no-start",
            Verb::Release => "release",
            Verb::Forget => "forget",
        }
    }
}

/// A verb that is about to begin.
#[derive(Debug)]
pub struct Prepared {
    pub verb: Verb,
    pub before: Machine,
    pub plan: Plan,
    pub run: RunId,
    /// The sets that are forgotten.
    pub sets: Vec<SetId>,
}

impl Prepared {
    /// Where a restore or an undo stages.
    pub fn stage(&self) -> Option<StageName> {
        match self.verb {
            Verb::Restore { .. } => Some(stage_name("restore", &self.run)),
            Verb::Undo { .. } => Some(stage_name("undo", &self.run)),
            Verb::Backup | Verb::Release | Verb::Forget => None,
        }
    }
}

/// Brings a machine to where the verb has something to do, and plans it.
pub fn prepare(layout: &Layout, verb: Verb) -> Prepared {
    let mut cluster = layout.cluster(false);
    let backed_up = |machine| done(machine, |machine, id| plan_backup(&cluster, machine, id));
    let mut machine = backed_up(layout.machine());
    machine.time_goes_on(2, true);
    let first: SetId = machine.state.sets.keys().next().unwrap().clone();
    let mut sets = Vec::new();
    match verb {
        Verb::Backup => {}
        Verb::Restore { .. } => {
            machine = layout.moved(machine);
            cluster = layout.cluster(true);
        }
        Verb::Undo { .. } | Verb::Release => {
            machine = done(machine, |machine, id| {
                plan_restore(&cluster, machine, id, &first, true)
            });
            machine.time_goes_on(3, layout.seed.is_multiple_of(2));
        }
        Verb::Forget => {
            machine = backed_up(machine);
            machine.time_goes_on(3, true);
            let count = 1 + layout.seed as usize % 2;
            sets = machine.state.sets.keys().take(count).cloned().collect();
        }
    }
    let plan = |machine: &Machine, id: &RunId| match verb {
        Verb::Backup => plan_backup(&cluster, machine, id),
        Verb::Restore { start } => plan_restore(&cluster, machine, id, &first, start),
        Verb::Undo { start } => plan_undo(&cluster, machine, id, start),
        Verb::Release => planned(release::plan(
            &cluster,
            &seen(machine),
            &release::Request::All,
        )),
        Verb::Forget => {
            let doomed = sets.iter().map(|set| Doomed {
                origin: machine.state.manifest(set).unwrap().origin.clone(),
                listed: true,
            });
            let doomed: Vec<Doomed> = doomed.collect();
            planned(forget::plan(&cluster, &doomed))
        }
    };
    let machine = begin(machine);
    let run = id(&machine);
    let plan = plan(&machine, &run);
    Prepared {
        before: machine,
        plan,
        verb,
        run,
        sets,
    }
}

fn id(machine: &Machine) -> RunId {
    RunId::after(machine.now(), None)
}

/// What a new run finds.
fn begin(mut machine: Machine) -> Machine {
    machine.clock += 1000;
    machine.agent = Agent::fresh(true);
    machine.state.journals.clear();
    machine.at_first = machine.times();
    for broker in machine.brokers.values_mut() {
        broker.enabled = broker.pid.is_some();
    }
    for thing in machine.things.0.values_mut() {
        if let Thing::Tree(tree) = thing {
            tree.entries
                .iter_mut()
                .for_each(|entry| entry.worked = false);
        }
    }
    machine
}

/// A run in which nothing goes wrong.
fn done(machine: Machine, plan: impl Fn(&Machine, &RunId) -> Plan) -> Machine {
    let machine = begin(machine);
    let run = id(&machine);
    let plan = plan(&machine, &run);
    let carried = carry_out(machine, &run, plan, Trouble::None, 0, true);
    assert_eq!(exit(&carried.ending.unwrap()), Exit::Done);
    carried.machine
}

/// What a session came to.
#[derive(Debug)]
pub struct Carried {
    pub machine: Machine,
    pub ending: Result<Ending>,
    /// Steps and lines there were.
    pub steps: usize,
    pub lines: usize,
}

pub fn carry_out(
    machine: Machine,
    id: &RunId,
    plan: Plan,
    trouble: Trouble,
    seed: u64,
    forward: bool,
) -> Carried {
    in_session(machine, id, trouble, seed, forward, |pen, session| {
        run(
            plan,
            &mut Journal::new(pen, Vec::new()),
            session,
            &mut Silent,
        )
    })
}

fn in_session(
    mut machine: Machine,
    id: &RunId,
    trouble: Trouble,
    seed: u64,
    forward: bool,
    walk: impl FnOnce(&mut Pen, &mut Session) -> Result<Ending>,
) -> Carried {
    machine.state.journals.entry(id.clone()).or_default();
    let machine = Rc::new(RefCell::new(machine));
    let mut session = Session::new(Rc::clone(&machine), trouble, seed, forward);
    let mut pen = Pen {
        machine: Rc::clone(&machine),
        run: id.clone(),
        trouble,
        lines: 0,
    };
    let ending = walk(&mut pen, &mut session);
    let (steps, lines) = (session.count, pen.lines);
    session.close();
    drop(pen);
    Carried {
        machine: Rc::into_inner(machine).unwrap().into_inner(),
        ending,
        steps,
        lines,
    }
}

thread_local! {
    /// What lines say. Most are the same in many cases, and to read them is slow.
    static SAYS: RefCell<BTreeMap<String, Vec<Entry>>> = RefCell::default();
}

/// Reads a journal, each line that was not read before by [`journal::parse`].
fn read(text: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    // The last line may be cut anywhere.
    for line in String::from_utf8_lossy(text).split_inclusive('\n') {
        let known = SAYS.with_borrow(|says| says.get(line).cloned());
        entries.extend(match known {
            Some(known) => known,
            None => {
                let read = journal::parse(line.as_bytes())?;
                SAYS.with_borrow_mut(|says| says.insert(line.to_owned(), read.clone()));
                read
            }
        });
    }
    Ok(entries)
}

/// Settles every dead run, as `recover` does. `None` if there is none.
pub fn recover(
    mut machine: Machine,
    trouble: Trouble,
    seed: u64,
    forward: bool,
) -> (Machine, Option<Result<Exit>>) {
    let mut last = None;
    let runs: Vec<RunId> = machine.state.journals.keys().cloned().collect();
    for id in runs {
        let Some(paper) = machine.state.journals.get_mut(&id) else {
            continue;
        };
        let entries = match read(&paper.bytes) {
            Ok(entries) => entries,
            Err(error) => return (machine, Some(Err(error))),
        };
        if entries.is_empty() || journal::is_closed(&entries) {
            continue;
        }
        let whole = paper
            .bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        paper.bytes.truncate(whole);
        paper.synced = paper.synced.min(whole);
        machine.agent = Agent::fresh(false);
        let carried = in_session(machine, &id, trouble, seed, forward, |pen, session| {
            settle(&mut Journal::new(pen, entries), session, &mut Silent)
        });
        machine = carried.machine;
        let ending = match carried.ending {
            Ok(ending) => ending,
            Err(error) => return (machine, Some(Err(error))),
        };
        let code = exit(&ending);
        last = Some(Ok(code));
        if code != Exit::Done && !(code == Exit::Failed && ending.point == Point::Past) {
            break;
        }
    }
    (machine, last)
}

fn seen(machine: &Machine) -> Vec<Seen> {
    machine.seen().unwrap()
}

fn planned((plan, findings): (Option<Plan>, Vec<Finding>)) -> Plan {
    plan.unwrap_or_else(|| panic!("refused: {findings:#?}"))
}

fn plan_backup(cluster: &Cluster, machine: &Machine, id: &RunId) -> Plan {
    let request = backup::Request {
        allow_unhealthy: true,
    };
    planned(backup::plan(cluster, "host", &seen(machine), id, request))
}

fn present(machine: &Machine) -> Present {
    let of =
        |path: &std::path::PathBuf| (path.clone(), machine.things.file(path).map(<[u8]>::to_vec));
    let brokers = machine.brokers.iter();
    brokers
        .map(|(node, broker)| (*node, broker.config.iter().map(of).collect()))
        .collect()
}

fn plan_restore(
    cluster: &Cluster,
    machine: &Machine,
    id: &RunId,
    set: &SetId,
    start: bool,
) -> Plan {
    let manifest = machine.state.manifest(set).unwrap();
    let seen = seen(machine);
    let sources = restore::to_receive(&seen, manifest);
    let receive = |(node, source): (NodeId, crate::plan::Source)| -> Result<(NodeId, Receiving)> {
        let data = &machine.brokers.get(&node).context("a broker")?.data;
        let at = machine.volume_id(Lies::Folder, data);
        let receiving = Receiving {
            snapshot: machine.find_snapshot(&source.volume, &source.snapshot.name)?,
            volume: zeebe_snap_backends::receiving(&at, &source.volume, &source.snapshot.name)?,
            obstacles: Vec::new(),
        };
        Ok((node, receiving))
    };
    let received: Received = sources
        .into_iter()
        .map(|source| receive(source).map(|(node, it)| (node, Ok(it))))
        .collect::<Result<_>>()
        .unwrap();
    let of_set = &machine.state.sets[set].configs;
    let kept = |manifest: &Manifest| -> BTreeMap<NodeId, KeptFiles> {
        let of = |file: &crate::agent::protocol::KeptFile| {
            (file.clone(), of_set[&file.kept_as].to_vec())
        };
        let members = manifest.members.iter();
        members
            .map(|member| (member.node, member.config.iter().map(of).collect()))
            .collect()
    };
    let files = Files {
        kept: kept(manifest),
        present: present(machine),
    };
    let looked = Looked {
        seen: &seen,
        received: &received,
        files: &files,
        known: &Known::new(),
    };
    let request = restore::Request {
        no_start: !start,
        config: When::Write,
        ..restore::Request::default()
    };
    let (plan, findings, _) = restore::plan(cluster, &looked, manifest, id, &request);
    planned((plan, findings))
}

fn plan_undo(cluster: &Cluster, machine: &Machine, id: &RunId, start: bool) -> Plan {
    let request = undo::Request {
        run: None,
        no_start: !start,
    };
    planned(undo::plan(
        cluster,
        &seen(machine),
        &Known::new(),
        &present(machine),
        id,
        &request,
    ))
}
