//! One life of a coordinator: its agent and its journal on a [`Machine`], and what goes wrong meanwhile.
//!
//! Steps are only taken down when they begin and are done when the executor waits, so that those of a stage can end in
//! either order. Must not know what is right.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::machine::{Agent, Flight, Machine, Moment};
use crate::agent::protocol::{Fact, Fault, FaultKind, Outcome, Performed};
use crate::exec::{Cause, Sink, Wake, World};
use crate::id::RunId;
use crate::journal::{Durability, Entry, Log, StepNo};
use crate::plan::{Stage, Step};

/// A small generator of numbers, so that a case is told by its seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    pub fn toss(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What goes wrong in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// The step of this number does nothing and fails.
    Fails(usize),
    /// It is done, and the agent dies with the answer.
    AnswerLost(usize),
    /// The agent dies in the middle of it, after so many changes.
    AgentDies(usize, usize),
    /// A signal comes while it goes on.
    Interrupted(usize),
    /// It takes longer than anybody waits.
    Hangs(usize),
    /// The disk is full from this line of the journal on.
    Full(usize),
    /// This line of the journal is written and cannot be synced.
    SyncFails(usize),
}

#[derive(Debug)]
pub struct Session {
    pub machine: Rc<RefCell<Machine>>,
    pub trouble: Trouble,
    pub dice: Dice,
    /// Steps of a stage end in the order they began in, or the other way round.
    pub forward: bool,
    /// Steps so far.
    pub count: usize,
    events: VecDeque<Wake>,
    told: bool,
}

impl Session {
    pub fn new(
        machine: Rc<RefCell<Machine>>,
        trouble: Trouble,
        seed: u64,
        forward: bool,
    ) -> Session {
        Session {
            machine,
            trouble,
            forward,
            dice: Dice(seed),
            count: 0,
            events: VecDeque::new(),
            told: false,
        }
    }

    fn lost() -> Fault {
        Fault {
            kind: FaultKind::LinkLost,
            text: "the agent has ended".to_owned(),
        }
    }

    /// Of a step that nobody waits for the end of: all, nothing or a part is done.
    fn leave(machine: &mut Machine, dice: &mut Dice, step: &Step) -> Result<Fact> {
        machine.fuse = match dice.below(3) {
            0 => Some(0),
            1 => Some(1 + dice.below(3)),
            _ => None,
        };
        let result = if machine.fuse == Some(0) {
            bail_out()
        } else {
            machine.act(step)
        };
        machine.fuse = None;
        result
    }

    fn agent_dies(&mut self) {
        let mut machine = self.machine.borrow_mut();
        machine.agent.alive = false;
        for flight in std::mem::take(&mut machine.agent.flights) {
            drop(Session::leave(&mut machine, &mut self.dice, &flight.step));
            self.events
                .push_back(Wake::Ended(flight.no, Err(Session::lost())));
        }
    }

    /// A later plan has come: what has not begun of an earlier one is not begun any more, the rest ends first.
    fn call_off(&mut self, plan: usize) {
        let mut machine = self.machine.borrow_mut();
        let (old, new) = std::mem::take(&mut machine.agent.flights)
            .into_iter()
            .partition(|flight| flight.no.plan < plan);
        machine.agent.flights = new;
        let old: Vec<Flight> = old;
        for flight in old {
            let result = match self.dice.below(3) {
                0 => Err(Fault {
                    kind: FaultKind::CalledOff,
                    text: "it was called off".to_owned(),
                }),
                _ => performed(&machine.clone(), machine.act(&flight.step)),
            };
            self.events.push_back(Wake::Ended(flight.no, result));
        }
    }

    /// The coordinator says goodbye, and what still goes on ends or does not.
    pub fn close(mut self) {
        let mut machine = self.machine.borrow_mut();
        for flight in std::mem::take(&mut machine.agent.flights) {
            drop(Session::leave(&mut machine, &mut self.dice, &flight.step));
        }
    }
}

/// Ends what a dead coordinator's agent still does: all, nothing or a part of it.
pub fn end_flights(machine: &mut Machine, seed: u64) {
    let mut dice = Dice(seed);
    for flight in std::mem::take(&mut machine.agent.flights) {
        drop(Session::leave(machine, &mut dice, &flight.step));
    }
    machine.agent = Agent::fresh(false);
}

fn bail_out() -> Result<Fact> {
    bail!("it was not begun")
}

fn performed(machine: &Machine, fact: Result<Fact>) -> Result<Performed, Fault> {
    Ok(Performed {
        outcome: Outcome::Done,
        begun: machine.now(),
        ended: machine.now(),
        fact: fact.map_err(Fault::from)?,
    })
}

impl World for Session {
    fn now(&self) -> Timestamp {
        self.machine.borrow().now()
    }

    fn begin(&mut self, no: StepNo, step: &Step, history: &[Entry]) {
        self.count += 1;
        self.call_off(no.plan);
        let mut machine = self.machine.borrow_mut();
        machine.clock += 1;
        if let Some(fact) = match self.trouble {
            Trouble::Fails(nth) if nth == self.count => None,
            _ => machine.act_here(step, history),
        } {
            drop(machine.op(Moment::AfterStep));
            let ended = Wake::Ended(no, performed(&machine, fact));
            return self.events.push_back(ended);
        }
        if !machine.agent.alive {
            return self.events.push_back(Wake::Ended(no, Err(Session::lost())));
        }
        machine.agent.flights.push(Flight {
            no,
            step: step.clone(),
            nth: self.count,
        });
    }

    fn next(&mut self, patience: Option<Duration>) -> Wake {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        let mut machine = self.machine.borrow_mut();
        let hangs = |flight: &Flight| self.trouble == Trouble::Hangs(flight.nth);
        let mut waiting = machine.agent.flights.iter().enumerate();
        let index = match self.forward {
            true => waiting.find(|(_, flight)| !hangs(flight)),
            false => waiting.rfind(|(_, flight)| !hangs(flight)),
        };
        let Some((index, _)) = index else {
            assert!(
                !machine.agent.flights.is_empty(),
                "the executor waits for what nobody does"
            );
            if let Some(patience) = patience {
                machine.clock += patience.as_secs() as i64 + 1;
                return Wake::Nothing;
            }
            self.trouble = Trouble::None;
            drop(machine);
            return self.next(patience);
        };
        let nth = machine.agent.flights[index].nth;
        if self.trouble == Trouble::Interrupted(nth) && !self.told {
            self.told = true;
            return Wake::Interrupted;
        }
        drop(machine.op(Moment::BeforeStep));
        let Flight { no, step, .. } = machine.agent.flights.remove(index);
        let result = match self.trouble {
            Trouble::Fails(at) if at == nth => {
                return Wake::Ended(no, Err(Fault::other("it failed")));
            }
            Trouble::AgentDies(at, after) if at == nth => {
                machine.fuse = Some(after);
                drop(machine.act(&step));
                machine.fuse = None;
                None
            }
            Trouble::AnswerLost(at) if at == nth => {
                drop(machine.act(&step));
                None
            }
            _ => Some(machine.act(&step)),
        };
        drop(machine.op(Moment::AfterStep));
        match result {
            Some(fact) => Wake::Ended(no, performed(&machine, fact)),
            None => {
                drop(machine);
                self.agent_dies();
                Wake::Ended(no, Err(Session::lost()))
            }
        }
    }

    fn renew(&mut self) -> Result<()> {
        let mut machine = self.machine.borrow_mut();
        if !machine.agent.alive {
            machine.agent = Agent::fresh(false);
        }
        Ok(())
    }
}

/// The journal of one run on the disk of the machine.
#[derive(Debug)]
pub struct Pen {
    pub machine: Rc<RefCell<Machine>>,
    pub run: RunId,
    pub trouble: Trouble,
    pub lines: usize,
}

impl Log for Pen {
    fn append(&mut self, entry: &Entry, durability: Durability) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut machine = self.machine.borrow_mut();
        machine.op(Moment::BeforeLine)?;
        if matches!(self.trouble, Trouble::Full(from) if self.lines >= from) {
            bail!("no space left on device");
        }
        self.lines += 1;
        let (half, rest) = line.split_at(line.len() / 2);
        for (part, moment) in [(half, Moment::HalfLine), (rest, Moment::UnsyncedLine)] {
            let paper = machine.state.journals.entry(self.run.clone()).or_default();
            paper.bytes.extend(part);
            machine.op(moment)?;
        }
        if durability == Durability::Synced {
            if self.trouble == Trouble::SyncFails(self.lines) {
                let paper = machine.state.journals.entry(self.run.clone()).or_default();
                paper.bytes.truncate(paper.bytes.len() - line.len());
                bail!("input/output error");
            }
            let paper = machine.state.journals.entry(self.run.clone()).or_default();
            paper.synced = paper.bytes.len();
            machine.op(Moment::AfterLine)?;
        }
        Ok(())
    }
}

/// Says nothing.
pub struct Silent;

impl Sink for Silent {
    fn stage(&mut self, _stage: &Stage) {}
    fn failed(&mut self, _step: &Step, _fault: &Fault) {}
    fn unwinding(&mut self, _why: &Cause) {}
}
