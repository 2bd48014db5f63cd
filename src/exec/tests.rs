//! Runs in a small world in memory: each step of a backup, a restore, an undo, a release and a forget fails once, in each way, and is the last one a
//! coordinator does. Whatever happens, brokers that were up are up again, on folders of one time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use zeebe_snap_backends::{Kept, VolumeId};

use super::{Cause, Ending, Sink, Wake, World, run, settle};
use crate::agent::protocol::{Fact, Fault, FaultKind, Outcome, Performed};
use crate::catalog::manifest::{Manifest, Origin, OriginOf};
use crate::exit::Exit;
use crate::id::{NodeId, RunId, SetId};
use crate::journal::{Durability, Entry, Journal, Log, StepNo, is_closed};
use crate::plan::configs::Configs;
use crate::plan::recovery::Point;
use crate::plan::replace::Replacement;
use crate::plan::restore::Part;
use crate::plan::{Aim, Plan, Source, Stage, Staged, Step, Whose, snapshot_name, stage_name};
use crate::process::Process;
use crate::report::ending::exit;
use crate::service::Instance;

const NODES: [NodeId; 3] = [NodeId(0), NodeId(1), NodeId(2)];

/// One broker: whether it is up, the time its folder is of, its snapshot, what is staged (and after a swap kept) beside the
/// folder, and what an earlier run keeps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Broker {
    up: bool,
    folder: u32,
    snapshot: Option<u32>,
    beside: Option<u32>,
    swapped: bool,
    kept: Option<u32>,
    gated: bool,
}

/// What goes wrong at one step, counted over the whole run.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    None,
    /// The step fails and does nothing.
    Fails(usize),
    /// The step is done, but the agent dies with its answer.
    AnswerLost(usize),
    /// The agent dies before the step.
    AgentDies(usize),
    /// A signal comes while the step goes on; it ends later.
    Interrupted(usize),
    /// The coordinator dies before the step.
    DiesBefore(usize),
    /// The coordinator dies after the step, before it is told.
    DiesAfter(usize),
}

#[derive(Debug)]
struct Memory {
    brokers: BTreeMap<NodeId, Broker>,
    recorded: bool,
    complete: bool,
    written: bool,
    happened: VecDeque<Wake>,
    count: usize,
    trouble: Trouble,
    agent: bool,
    clock: i64,
}

impl Memory {
    fn new(trouble: Trouble) -> Memory {
        let broker = Broker {
            up: true,
            folder: 1,
            ..Broker::default()
        };
        Memory {
            brokers: NODES.map(|node| (node, broker.clone())).into(),
            recorded: false,
            complete: false,
            written: false,
            happened: VecDeque::new(),
            count: 0,
            trouble,
            agent: true,
            clock: 0,
        }
    }

    /// What an agent does, checked as it does.
    fn act(&mut self, step: &Step) -> Result<Fact> {
        let all = self.brokers.clone();
        let one_time = all
            .values()
            .map(|broker| broker.folder)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
            == 1;
        let broker = step.node().and_then(|node| self.brokers.get_mut(&node));
        let now = Timestamp::from_second(self.clock)?;
        match (step, broker) {
            (Step::Stop { .. }, Some(broker)) => {
                broker.up = false;
                return Ok(Fact::Stopped {
                    asked: now,
                    ended: now,
                    killed: false,
                });
            }
            (Step::ProveDown { .. }, _) => {
                ensure!(all.values().all(|broker| !broker.up), "a broker is up")
            }
            (Step::Snapshot { .. }, Some(broker)) => {
                assert!(!broker.up, "a snapshot of a broker that is up");
                broker.snapshot = Some(broker.folder);
                let identity = "uuid".to_owned();
                return Ok(Fact::Snapshot {
                    identity,
                    sync: Duration::ZERO,
                    snapshot: Duration::ZERO,
                });
            }
            (Step::Start { .. }, Some(broker)) => {
                assert!(one_time, "a start on folders of different times: {all:?}");
                assert!(!broker.gated, "a start behind a closed gate");
                broker.up = true;
                return Ok(Fact::Started { commanded: now });
            }
            (Step::AwaitHealthy { nodes }, _) => {
                // A broker that is asked alone has partitions whose leaders are elsewhere.
                assert_eq!(nodes.len(), NODES.len(), "only {nodes:?} are asked");
                ensure!(all.values().all(|broker| broker.up), "a broker is down");
            }
            (Step::Destroy { .. }, Some(broker)) => broker.snapshot = None,
            (Step::StageData { .. }, Some(broker)) => broker.beside = broker.snapshot,
            (Step::TakeKept { .. }, Some(broker)) => broker.beside = broker.kept.take(),
            (Step::PutBack { .. }, Some(broker)) => {
                assert!(
                    !broker.swapped,
                    "what was replaced is put back as what was kept"
                );
                broker.kept = broker.kept.or(broker.beside.take());
            }
            (Step::Release { .. }, Some(broker)) => broker.kept = None,
            (Step::CloseGate { .. }, Some(broker)) => broker.gated = true,
            (Step::OpenGate { .. }, Some(broker)) => broker.gated = false,
            (Step::Swap { .. }, Some(broker)) if !broker.swapped => {
                assert!(!broker.up, "a swap under a broker that is up");
                assert!(broker.gated, "a swap with the gate open");
                let Some(beside) = broker.beside.replace(broker.folder) else {
                    bail!("nothing is staged")
                };
                (broker.folder, broker.swapped) = (beside, true);
            }
            (Step::SwapBack { .. }, Some(broker)) if broker.swapped => {
                assert!(!broker.up, "a swap under a broker that is up");
                let Some(beside) = broker.beside.replace(broker.folder) else {
                    bail!("nothing is beside")
                };
                (broker.folder, broker.swapped) = (beside, false);
            }
            (Step::Discard { .. }, Some(broker)) => {
                assert!(!broker.swapped, "what was replaced is discarded");
                broker.beside = None;
            }
            (Step::Digest { .. }, _) => {
                let text = || "digest".to_owned();
                return Ok(Fact::Digest {
                    content: text(),
                    metadata: text(),
                    entries: 1,
                    bytes: 1,
                });
            }
            (Step::Record { .. }, _) => (self.recorded, self.written) = (true, true),
            (Step::Complete { .. }, _) => self.complete = true,
            (Step::Unlist { .. }, _) => self.complete = false,
            (Step::Forget { .. }, _) => {
                assert!(!self.complete, "a complete set is forgotten");
                assert!(
                    all.values().all(|broker| broker.snapshot.is_none()),
                    "what is written of a set goes before its snapshots"
                );
                (self.recorded, self.written) = (false, false);
            }
            _ => {}
        }
        Ok(Fact::None)
    }
}

impl World for Memory {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock).unwrap()
    }

    fn begin(&mut self, no: StepNo, step: &Step, _history: &[Entry]) {
        self.clock += 1;
        self.count += 1;
        let this = |trouble: fn(usize) -> Trouble| self.trouble == trouble(self.count);
        let lost = || {
            Err(Fault {
                kind: FaultKind::LinkLost,
                text: "the agent has ended".to_owned(),
            })
        };
        let by_agent = !matches!(
            step,
            Step::Record { .. }
                | Step::Complete { .. }
                | Step::Unlist { .. }
                | Step::Forget { .. }
                | Step::Commit
        );
        if this(Trouble::DiesBefore) {
            panic!("the coordinator dies");
        }
        if this(Trouble::Fails) {
            return self
                .happened
                .push_back(Wake::Ended(no, Err(Fault::other("it failed"))));
        }
        if this(Trouble::AgentDies) {
            self.agent = false;
        }
        if by_agent && !self.agent {
            return self.happened.push_back(Wake::Ended(no, lost()));
        }
        if this(Trouble::Interrupted) {
            self.happened.push_back(Wake::Interrupted);
        }
        let begun = self.now();
        let result = self.act(step).map_err(Fault::from);
        if self.trouble == Trouble::DiesAfter(self.count) {
            panic!("the coordinator dies");
        }
        if self.trouble == Trouble::AnswerLost(self.count) && by_agent {
            self.agent = false;
            return self.happened.push_back(Wake::Ended(no, lost()));
        }
        let performed = |fact| Performed {
            outcome: Outcome::Done,
            begun,
            ended: begun,
            fact,
        };
        self.happened
            .push_back(Wake::Ended(no, result.map(performed)));
    }

    fn next(&mut self, _patience: Option<Duration>) -> Wake {
        self.happened
            .pop_front()
            .expect("the executor waits for something that was begun")
    }

    fn renew(&mut self) -> Result<()> {
        self.agent = true;
        Ok(())
    }
}

/// A journal on a disk that outlives the coordinator.
#[derive(Debug, Clone, Default)]
struct Disk(Rc<RefCell<Vec<Entry>>>);

impl Log for Disk {
    fn append(&mut self, entry: &Entry, _durability: Durability) -> Result<()> {
        // Through text and back, as a real one.
        let line = serde_json::to_string(entry)?;
        self.0.borrow_mut().push(serde_json::from_str(&line)?);
        Ok(())
    }
}

struct Silent;

impl Sink for Silent {
    fn stage(&mut self, _stage: &Stage) {}
    fn failed(&mut self, _step: &Step, _fault: &Fault) {}
    fn unwinding(&mut self, _why: &Cause) {}
}

fn instance(node: NodeId) -> Instance {
    let process = Process {
        pid: 100 + node.0 as i32,
        started: 1,
        boot: "boot".to_owned(),
    };
    Instance {
        process,
        invocation: None,
        dependants: Vec::new(),
    }
}

fn id() -> RunId {
    "20261123T014500Z".parse().unwrap()
}

fn origin() -> Origin {
    let set = SetId::from(id());
    let of = |node: NodeId| OriginOf {
        node,
        host: "h".to_owned(),
        data: format!("/srv/{node}/data").into(),
        volume: volume(node),
        snapshot: snapshot_name(&set),
        captured_with: node,
        zeebe: None,
        partitions: vec![1],
        was_up: true,
        own_addresses: BTreeSet::new(),
        addresses: BTreeSet::new(),
    };
    Origin {
        brokers: NODES.map(of).to_vec(),
        set,
        cluster: "c".to_owned(),
        capture: "stop".to_owned(),
        tool: "0".to_owned(),
        partitions: None,
        replication: None,
    }
}

fn volume(node: NodeId) -> VolumeId {
    VolumeId {
        backend: "memory".to_owned(),
        title: format!("volume {node}"),
        detail: serde_json::Value::Null,
    }
}

fn plan(aim: Aim, stages: Vec<Stage>) -> Plan {
    Plan {
        aim,
        of: Whose {
            file: "c.toml".into(),
            data: NODES.map(|node| (node, "/srv/data".into())).to_vec(),
        },
        max_downtime: Duration::from_secs(100),
        stages,
    }
}

fn backup() -> Plan {
    let running = NODES.map(|node| (node, instance(node)));
    let origin = origin();
    let stages = crate::plan::backup::stages(&BTreeMap::new(), &running, &origin);
    let origin = Box::new(origin);
    plan(Aim::Backup { origin }, stages)
}

/// A manifest, and the world it was made in, changed since.
fn captured() -> (Manifest, Memory) {
    let (ending, mut world, disk) = go(backup(), Memory::new(Trouble::None));
    assert_eq!(exit(&ending), Exit::Done);
    world
        .brokers
        .values_mut()
        .for_each(|broker| broker.folder = 2);
    world.count = 0;
    let manifest = Manifest::of_run(&disk.0.borrow()).unwrap();
    (manifest, world)
}

fn restore(manifest: &Manifest, start: bool) -> Plan {
    let running = NODES.map(|node| (node, instance(node)));
    let part = |node| Part {
        node,
        volume: volume(node),
        source: Source {
            volume: volume(node),
            snapshot: manifest.snapshot(node).unwrap(),
        },
        replaced: None,
    };
    let parts = NODES.map(part);
    let run = later();
    let replacement = Replacement {
        running: &running,
        holding: &running,
        gated: &NODES,
        configs: &[],
        staged: &crate::plan::restore::staged(&parts, &run),
        start,
    };
    let stages =
        crate::plan::restore::stages(manifest, &run, &parts, &Configs::default(), &replacement);
    let set = manifest.origin.set.clone();
    let stage = stage_name("restore", &run);
    plan(Aim::Restore { set, stage }, stages)
}

fn later() -> RunId {
    "20261124T014500Z".parse().unwrap()
}

/// After a restore: the folders are of the time 1, and 2 is kept.
fn restored(trouble: Trouble) -> Memory {
    let (_, mut world) = captured();
    for broker in world.brokers.values_mut() {
        (broker.folder, broker.kept) = (1, Some(2));
    }
    world.trouble = trouble;
    world
}

fn kept(node: NodeId) -> Kept {
    let name = stage_name("restore", &later());
    Kept {
        path: format!("/srv/{node}/.zeebe-snap/data/{name}").into(),
        name,
        label: None,
        identity: "kept".to_owned(),
    }
}

fn undo() -> Plan {
    let running = NODES.map(|node| (node, instance(node)));
    let stage = stage_name("undo", &later());
    let take = |node| Step::TakeKept {
        node,
        volume: volume(node),
        kept: kept(node),
        stage: stage.clone(),
        label: BTreeMap::new(),
    };
    let staged = |node| Staged {
        node,
        volume: volume(node),
        of: "kept".to_owned(),
        stage: stage.clone(),
    };
    let replacement = Replacement {
        running: &running,
        holding: &running,
        gated: &NODES,
        configs: &[],
        staged: &NODES.map(staged),
        start: true,
    };
    let kept = kept(NodeId(0)).name;
    let stages = crate::plan::undo::stages(NODES.map(take).to_vec(), &kept, &replacement);
    plan(Aim::Undo { kept, stage }, stages)
}

fn go(plan: Plan, mut world: Memory) -> (Ending, Memory, Disk) {
    let disk = Disk::default();
    let mut log = disk.clone();
    let died = catch_unwind(AssertUnwindSafe(|| {
        run(
            plan,
            &mut Journal::new(&mut log, Vec::new()),
            &mut world,
            &mut Silent,
        )
    }));
    let ending = match died {
        Ok(ending) => ending.unwrap(),
        Err(_) => {
            world.trouble = Trouble::None;
            world.happened.clear();
            let entries = disk.0.borrow().clone();
            settle(
                &mut Journal::new(&mut log, entries),
                &mut world,
                &mut Silent,
            )
            .unwrap()
        }
    };
    (ending, world, disk)
}

/// Every trouble at every step, until the run has fewer steps than that.
fn every_trouble(mut case: impl FnMut(Trouble) -> Memory) -> usize {
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<&str>() != Some(&"the coordinator dies") {
            eprintln!("{info}");
        }
    }));
    let troubles: [fn(usize) -> Trouble; 6] = [
        Trouble::Fails,
        Trouble::AnswerLost,
        Trouble::AgentDies,
        Trouble::Interrupted,
        Trouble::DiesBefore,
        Trouble::DiesAfter,
    ];
    let mut cases = 0;
    for trouble in troubles {
        for at in 1.. {
            let world = case(trouble(at));
            cases += 1;
            if world.count < at {
                break;
            }
        }
    }
    cases
}

#[test]
fn whatever_happens_to_a_backup_brokers_are_up_and_a_set_is_whole_or_gone() {
    let cases = every_trouble(|trouble| {
        let (ending, world, disk) = go(backup(), Memory::new(trouble));
        // A start that failed is for a person, and is said; whatever died is made good.
        let told = exit(&ending) == Exit::Person && matches!(trouble, Trouble::Fails(_));
        for (node, broker) in &world.brokers {
            assert!(
                broker.up || told,
                "{trouble:?}: broker {node} is down, {ending:?}"
            );
            assert_eq!(broker.folder, 1, "{trouble:?}");
            let whole = ending.point == Point::Past;
            assert_eq!(broker.snapshot.is_some(), whole, "{trouble:?}: {ending:?}");
        }
        assert_eq!(
            is_closed(&disk.0.borrow()),
            ending.owed.is_none(),
            "{trouble:?}"
        );
        assert!(
            !world.complete || ending.point == Point::Past,
            "{trouble:?}"
        );
        // What is owed still, the next run settles.
        let entries = disk.0.borrow().clone();
        let (mut log, mut world) = (disk.clone(), world);
        world.trouble = Trouble::None;
        if ending.owed.is_some() {
            settle(
                &mut Journal::new(&mut log, entries),
                &mut world,
                &mut Silent,
            )
            .unwrap();
            assert!(is_closed(&disk.0.borrow()), "{trouble:?}");
            assert!(
                world.brokers.values().all(|broker| broker.up),
                "{trouble:?}"
            );
        }
        world
    });
    assert!(cases > 100, "only {cases} cases");
}

#[test]
fn whatever_happens_to_a_restore_all_folders_are_old_or_all_are_new() {
    let cases = every_trouble(|trouble| {
        let (manifest, mut world) = captured();
        world.trouble = trouble;
        let (ending, mut world, disk) = go(restore(&manifest, true), world);
        world.trouble = Trouble::None;
        if ending.owed.is_some() {
            let entries = disk.0.borrow().clone();
            settle(
                &mut Journal::new(&mut disk.clone(), entries),
                &mut world,
                &mut Silent,
            )
            .unwrap();
        }
        let wanted = if ending.point == Point::Past { 1 } else { 2 };
        for (node, broker) in &world.brokers {
            assert!(broker.up, "{trouble:?}: broker {node} is down, {ending:?}");
            assert_eq!(broker.folder, wanted, "{trouble:?}: broker {node}");
            assert_eq!(broker.snapshot, Some(1), "{trouble:?}: the set was touched");
            // What was replaced is kept, what was not needed is gone.
            assert_eq!(
                broker.beside,
                (ending.point == Point::Past).then_some(2),
                "{trouble:?}: broker {node}"
            );
        }
        world
    });
    assert!(cases > 100, "only {cases} cases");
}

/// Goes on after whatever happened, until nothing is owed.
fn settled(ending: &Ending, mut world: Memory, disk: &Disk) -> Memory {
    world.trouble = Trouble::None;
    if ending.owed.is_some() {
        let entries = disk.0.borrow().clone();
        settle(
            &mut Journal::new(&mut disk.clone(), entries),
            &mut world,
            &mut Silent,
        )
        .unwrap();
    }
    assert!(is_closed(&disk.0.borrow()), "{ending:?}");
    world
}

#[test]
fn whatever_happens_to_an_undo_all_folders_are_old_or_all_are_new_and_nothing_is_lost() {
    let cases = every_trouble(|trouble| {
        let (ending, world, disk) = go(undo(), restored(trouble));
        let world = settled(&ending, world, &disk);
        let done = ending.point == Point::Past;
        for (node, broker) in &world.brokers {
            assert!(broker.up, "{trouble:?}: broker {node} is down, {ending:?}");
            assert!(!broker.gated, "{trouble:?}: the gate of {node} is closed");
            let (folder, beside, kept) = match done {
                true => (2, Some(1), None),
                false => (1, None, Some(2)),
            };
            let found = (broker.folder, broker.beside, broker.kept);
            assert_eq!(found, (folder, beside, kept), "{trouble:?}: broker {node}");
        }
        world
    });
    assert!(cases > 100, "only {cases} cases");
}

#[test]
fn a_restore_that_starts_nobody_leaves_all_down_once_it_is_committed() {
    let cases = every_trouble(|trouble| {
        let (manifest, mut world) = captured();
        world.trouble = trouble;
        let (ending, world, disk) = go(restore(&manifest, false), world);
        let world = settled(&ending, world, &disk);
        let done = ending.point == Point::Past;
        for (node, broker) in &world.brokers {
            assert_eq!(broker.up, !done, "{trouble:?}: broker {node}, {ending:?}");
            assert_eq!(broker.folder, if done { 1 } else { 2 }, "{trouble:?}");
            assert!(!broker.gated, "{trouble:?}: the gate of {node} is closed");
        }
        world
    });
    assert!(cases > 80, "only {cases} cases");
}

#[test]
fn whatever_happens_to_a_release_or_a_forget_no_half_is_taken_for_a_whole() {
    let cases = every_trouble(|trouble| {
        let release = |node| {
            Stage::go_on(vec![Step::Release {
                node,
                volume: volume(node),
                kept: kept(node),
            }])
        };
        let (ending, world, disk) = go(
            plan(Aim::Release, NODES.map(release).to_vec()),
            restored(trouble),
        );
        let world = settled(&ending, world, &disk);
        let all = world.brokers.values().all(|broker| broker.kept.is_none());
        assert!(
            all || exit(&ending) == Exit::Failed,
            "{trouble:?}: {ending:?}"
        );
        world
    });
    let more = every_trouble(|trouble| {
        let sets = vec![SetId::from(id())];
        let stages = crate::plan::forget::stages(&origin());
        let (ending, world, disk) = go(plan(Aim::Forget { sets }, stages), restored(trouble));
        let world = settled(&ending, world, &disk);
        let gone = |broker: &Broker| broker.snapshot.is_none();
        let all = world.brokers.values().all(gone);
        assert!(!world.complete || !world.brokers.values().any(gone));
        // What is written of it goes last, so that the rest can be forgotten by a second attempt.
        assert!(world.written || all, "{trouble:?}: {ending:?}");
        let left = world.written || !all;
        assert!(
            !left || exit(&ending) == Exit::Failed,
            "{trouble:?}: {ending:?}"
        );
        world
    });
    assert!(cases + more > 40, "only {cases} and {more} cases");
}

#[test]
fn a_window_that_grows_too_long_is_given_up() {
    let mut plan = backup();
    plan.max_downtime = Duration::from_secs(2);
    struct Slow(Memory);
    impl World for Slow {
        fn now(&self) -> Timestamp {
            self.0.now()
        }
        fn begin(&mut self, no: StepNo, step: &Step, history: &[Entry]) {
            self.0.begin(no, step, history);
            // The snapshot of broker 2 hangs.
            if matches!(
                step,
                Step::Snapshot {
                    node: NodeId(2),
                    ..
                }
            ) {
                self.0.happened.pop_back();
            }
        }
        fn next(&mut self, patience: Option<Duration>) -> Wake {
            if self.0.happened.is_empty() {
                self.0.clock +=
                    patience.expect("in the window there is a limit").as_secs() as i64 + 1;
                return Wake::Nothing;
            }
            self.0.next(patience)
        }
        fn renew(&mut self) -> Result<()> {
            self.0.renew()
        }
    }
    let (mut disk, mut world) = (Disk::default(), Slow(Memory::new(Trouble::None)));
    let ending = run(
        plan,
        &mut Journal::new(&mut disk, Vec::new()),
        &mut world,
        &mut Silent,
    )
    .unwrap();
    assert!(
        matches!(ending.cause, Some(Cause::TooLong { .. })),
        "{ending:?}"
    );
    assert!(
        world
            .0
            .brokers
            .values()
            .all(|broker| broker.up && broker.snapshot.is_none())
    );
    assert_eq!(exit(&ending), Exit::Failed);
}

#[test]
fn a_disk_that_is_full_leaves_no_broker_down() {
    #[derive(Debug)]
    struct Full(usize);
    impl Log for Full {
        fn append(&mut self, _entry: &Entry, _durability: Durability) -> Result<()> {
            self.0 = self
                .0
                .checked_sub(1)
                .ok_or_else(|| anyhow::anyhow!("no space left on device"))?;
            Ok(())
        }
    }
    for room in 0..80 {
        let mut world = Memory::new(Trouble::None);
        let result = run(
            backup(),
            &mut Journal::new(&mut Full(room), Vec::new()),
            &mut world,
            &mut Silent,
        );
        assert!(
            world.brokers.values().all(|broker| broker.up),
            "room for {room} lines: {result:?}"
        );
    }
}
