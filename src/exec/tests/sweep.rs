//! The sweep: whatever is ended, fails or is lost, at every moment of every verb, on any layout; and the recovery from that
//! is ended in its turn. After each case [`judge`] looks at what stands.

use std::collections::BTreeMap;

use super::invariants::judge;
use super::layout::{Layout, Spec};
use super::machine::{Keeps, Machine, Moment, Tape};
use super::session::{Dice, Trouble, end_flights};
use super::verbs::{Carried, Prepared, Verb, carry_out, prepare, recover};
use crate::exit::Exit;
use crate::plan::recovery::Point;
use crate::report::ending::exit;

/// Of the moments of a recovery, one in so many is the last of it in each case.
const ONE_OF_RECOVERY: usize = 40;

/// Where nothing else is left out, of so many recoveries one is ended at each of its moments.
const WHOLE_RECOVERIES: usize = 25;

/// How many cases there were of each kind.
pub type Counts = BTreeMap<String, usize>;

/// The sweep of one verb on one layout.
pub struct Sweep<'a> {
    pub prepared: &'a Prepared,
    pub dice: Dice,
    pub counts: Counts,
    /// Of the moments and troubles one in so many is a case.
    pub one_in: usize,
}

impl<'a> Sweep<'a> {
    pub fn new(prepared: &'a Prepared, seed: u64, one_in: usize) -> Sweep<'a> {
        Sweep {
            prepared,
            dice: Dice(seed),
            counts: Counts::new(),
            one_in,
        }
    }

    /// Whether this one is left out.
    fn skips(&mut self) -> bool {
        self.dice.below(self.one_in) != 0
    }

    fn count(&mut self, what: &str) {
        let kind = format!("{}: {what}", self.prepared.verb.word());
        *self.counts.entry(kind).or_default() += 1;
    }

    fn seed(&mut self) -> u64 {
        self.dice.below(usize::MAX) as u64
    }

    pub fn run(&mut self, trouble: Trouble, forward: bool, keeps: Option<Keeps>) -> Carried {
        let mut machine = self.prepared.before.clone();
        machine.tape = keeps.map(Tape::new);
        let seed = self.seed();
        let (plan, run) = (self.prepared.plan.clone(), &self.prepared.run);
        carry_out(machine, run, plan, trouble, seed, forward)
    }

    /// Recovers with no more trouble, and looks.
    fn settled(&mut self, machine: Machine, failed: bool, what: &str) -> Result<bool, String> {
        let (seed, forward) = (self.seed(), self.dice.toss());
        let (machine, result) = recover(machine, Trouble::None, seed, forward);
        if let Some(Err(error)) = &result {
            return Err(format!("{what}: the recovery failed: {error:#}"));
        }
        let done =
            judge(self.prepared, &machine, failed).map_err(|wrong| format!("{what}: {wrong}"))?;
        match recover(machine, Trouble::None, seed, forward) {
            (_, None) => Ok(done),
            _ => Err(format!("{what}: a second recovery finds something to do")),
        }
    }

    /// What is found after a crash at a moment.
    pub fn crashed(&mut self, machine: &Machine, power: bool) -> Machine {
        let mut machine = machine.clone();
        machine.fuse = None;
        let seed = self.seed();
        end_flights(&mut machine, seed);
        if power {
            let torn = [0, 0, 40][self.dice.below(3)];
            machine.lose_power(torn);
        }
        machine
    }

    /// Ended at each moment of a run, and the recoveries ended too.
    fn crashes(&mut self, forward: bool) -> Result<(), String> {
        let mut carried = self.run(Trouble::None, forward, Some(Keeps::All));
        let tape = kept(&mut carried.machine);
        let ending = carried
            .ending
            .map_err(|error| format!("with no trouble: {error:#}"))?;
        if exit(&ending) != Exit::Done {
            return Err(format!("with no trouble it ends with {ending:?}"));
        }
        let done = judge(self.prepared, &carried.machine, false)
            .map_err(|wrong| format!("with no trouble: {wrong}"))?;
        if !done {
            return Err("with no trouble it is not done".to_owned());
        }
        for (number, moment, machine) in &tape {
            for power in [false, true] {
                if self.skips() {
                    continue;
                }
                let how = if power { "the power goes" } else { "it dies" };
                let what = format!("{how} at moment {number}, {}", moment.word());
                let machine = self.crashed(machine, power);
                self.settled(machine.clone(), false, &what)?;
                self.count(&format!("{how} {}", moment.word()));
                if self.one_in == 1 && self.dice.below(WHOLE_RECOVERIES) == 0 {
                    self.recoveries(machine, &what, Keeps::All)?;
                } else if self.dice.below(4) == 0 {
                    let first = self.dice.below(ONE_OF_RECOVERY);
                    let one_in = ONE_OF_RECOVERY;
                    self.recoveries(machine, &what, Keeps::Some { first, one_in })?;
                }
            }
        }
        Ok(())
    }

    /// The recovery is ended at these of its moments, and the recovery from that as well.
    fn recoveries(&mut self, machine: Machine, what: &str, at: Keeps) -> Result<(), String> {
        for (number, moment, machine) in self.tape_of_recovery(machine, at) {
            let power = self.dice.below(4) == 0;
            let what = format!(
                "{what}; its recovery dies at moment {number}, {}",
                moment.word()
            );
            let machine = self.crashed(&machine, power);
            self.settled(machine.clone(), false, &what)?;
            self.count("its recovery dies, too");
            let any = Keeps::One(self.dice.clone());
            for (number, moment, machine) in self.tape_of_recovery(machine, any) {
                let what = format!("{what}; and the next at moment {number}, {}", moment.word());
                let machine = self.crashed(&machine, false);
                self.settled(machine, false, &what)?;
                self.count("its recovery dies twice in a row");
            }
        }
        Ok(())
    }

    fn tape_of_recovery(&mut self, mut machine: Machine, keeps: Keeps) -> Vec<Kept> {
        machine.tape = Some(Tape::new(keeps));
        let (seed, forward) = (self.seed(), self.dice.toss());
        kept(&mut recover(machine, Trouble::None, seed, forward).0)
    }

    /// Each step and each line has its trouble.
    fn troubles(&mut self) -> Result<(), String> {
        let carried = self.run(Trouble::None, true, None);
        let (steps, lines) = (carried.steps, carried.lines);
        for nth in 1..=steps {
            let after = self.dice.below(4);
            self.trouble(Trouble::Fails(nth), "a step fails")?;
            self.trouble(Trouble::AnswerLost(nth), "an answer is lost")?;
            self.trouble(Trouble::AgentDies(nth, after), "the agent dies in a step")?;
            self.trouble(Trouble::Interrupted(nth), "it is interrupted")?;
            self.trouble(Trouble::Hangs(nth), "a step hangs")?;
        }
        for nth in 0..=lines {
            self.trouble(Trouble::Full(nth), "the disk is full from a line on")?;
            self.trouble(Trouble::SyncFails(nth + 1), "a line cannot be synced")?;
        }
        Ok(())
    }

    fn trouble(&mut self, trouble: Trouble, kind: &str) -> Result<(), String> {
        if self.skips() {
            return Ok(());
        }
        let forward = self.dice.toss();
        let any = Keeps::One(self.dice.clone());
        let mut carried = self.run(trouble, forward, Some(any));
        let tape = kept(&mut carried.machine);
        let failed = fails(trouble);
        let what = format!("{trouble:?}");
        self.promised(&carried, trouble, failed)?;
        self.settled(carried.machine, failed, &what)?;
        self.count(kind);
        // And then it dies.
        let Some((number, moment, machine)) = tape.first() else {
            return Ok(());
        };
        let power = self.dice.below(4) == 0;
        let machine = self.crashed(machine, power);
        let what = format!("{what}; then it dies at moment {number}, {}", moment.word());
        self.settled(machine.clone(), failed, &what)?;
        self.count(&format!("{kind}, and it dies"));
        // And the recovery has the same.
        let nth = 1 + self.dice.below(8);
        let trouble = match trouble {
            Trouble::Fails(_) => Trouble::Fails(nth),
            Trouble::AnswerLost(_) => Trouble::AnswerLost(nth),
            Trouble::AgentDies(_, after) => Trouble::AgentDies(nth, after),
            Trouble::Full(_) => Trouble::Full(nth),
            Trouble::SyncFails(_) => Trouble::SyncFails(nth),
            _ => return Ok(()),
        };
        let seed = self.seed();
        let (machine, _) = recover(machine, trouble, seed, forward);
        self.settled(
            machine,
            fails(trouble),
            &format!("{what}; its recovery has {trouble:?}"),
        )?;
        self.count(&format!("{kind}, in a recovery too"));
        Ok(())
    }

    /// Each step or line has the trouble, in either order of those beside it, and the run is ended at each moment, by a kill
    /// or a power cut. Then the first of its recovery has it, too.
    pub fn then_dies(&mut self, of: fn(usize) -> Trouble, power: bool) -> Result<(), String> {
        let carried = self.run(Trouble::None, true, None);
        for nth in 1..=carried.steps.max(carried.lines) {
            for forward in [false, true] {
                let trouble = of(nth);
                let mut carried = self.run(trouble, forward, Some(Keeps::All));
                for (number, moment, machine) in kept(&mut carried.machine) {
                    let what = format!(
                        "{trouble:?}; then it ends at moment {number}, {}",
                        moment.word()
                    );
                    let machine = self.crashed(&machine, power);
                    self.settled(machine.clone(), fails(trouble), &what)?;
                    self.count("something goes wrong, and it ends at each moment");
                    let (machine, _) = recover(machine, of(1), self.seed(), forward);
                    let what = format!("{what}; its recovery has {:?}", of(1));
                    self.settled(machine, fails(trouble), &what)?;
                    self.count("something goes wrong, it ends, and its recovery fails");
                }
            }
        }
        Ok(())
    }

    /// What the exit code says is so, with no recovery.
    fn promised(&self, carried: &Carried, trouble: Trouble, failed: bool) -> Result<(), String> {
        let Ok(ending) = &carried.ending else {
            return Ok(());
        };
        let code = exit(ending);
        let changes = !matches!(self.prepared.verb, Verb::Release | Verb::Forget);
        let judged = judge(self.prepared, &carried.machine, failed);
        let wrong = |wrong: String| format!("{trouble:?} ends with {code:?}, and {wrong}");
        match code {
            Exit::Done => match judged.map_err(wrong)? {
                true => Ok(()),
                false => Err(format!(
                    "{trouble:?} ends with {code:?}, and nothing is done"
                )),
            },
            Exit::Failed if changes && ending.point == Point::Before => {
                match judged.map_err(wrong)? {
                    false => Ok(()),
                    true => Err(format!("{trouble:?} ends with {code:?}, and all is done")),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Whether it makes a step fail.
fn fails(trouble: Trouble) -> bool {
    matches!(
        trouble,
        Trouble::Fails(_) | Trouble::AnswerLost(_) | Trouble::AgentDies(..)
    )
}

/// A moment of a tape.
type Kept = (usize, Moment, Machine);

/// What the tape of a run has kept.
pub fn kept(machine: &mut Machine) -> Vec<Kept> {
    machine
        .tape
        .take()
        .map(|tape| tape.kept)
        .unwrap_or_default()
}

/// All that can happen to a verb on a layout.
pub fn sweep(
    verb: Verb,
    layout: &Layout,
    one_in: usize,
    counts: &mut Counts,
) -> Result<(), String> {
    // What is kept of one that replaced nothing is nothing.
    let layout = &Layout {
        brokers: layout
            .brokers
            .iter()
            .map(|spec| Spec {
                moves: spec.moves && matches!(verb, Verb::Restore { .. }),
                ..*spec
            })
            .collect(),
        ..layout.clone()
    };
    let prepared = prepare(layout, verb);
    let mut sweep = Sweep::new(&prepared, layout.seed, one_in);
    let forward = sweep.dice.toss();
    sweep.crashes(forward)?;
    sweep.troubles()?;
    for (kind, count) in sweep.counts {
        *counts.entry(kind).or_default() += count;
    }
    Ok(())
}
