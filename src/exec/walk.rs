//! The way through a plan: stage after stage, each told to the journal first.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::{Cause, Ending, Failure, Sink, Wake, World};
use crate::agent::protocol::{Fault, FaultKind, Performed};
use crate::journal::{self, Durability, Entry, FORMAT, Journal, StepNo};
use crate::plan::recovery::{self, Point};
use crate::plan::{OnFailure, Plan, Stage, Step};

/// How often in one run another agent is started in place of one that died.
const AGENTS: usize = 3;

/// A run on its way.
pub(super) struct Walk<'a, 'j> {
    journal: &'a mut Journal<'j>,
    world: &'a mut dyn World,
    sink: &'a mut dyn Sink,
    failures: Vec<Failure>,
    interrupted: bool,
    /// Nothing interrupts an unwinding, and no budget ends it.
    unwinding: bool,
    /// The first line that could not be written when that was no reason to stop.
    unwritten: Option<anyhow::Error>,
}

impl<'a, 'j> Walk<'a, 'j> {
    pub(super) fn new(
        journal: &'a mut Journal<'j>,
        world: &'a mut dyn World,
        sink: &'a mut dyn Sink,
    ) -> Walk<'a, 'j> {
        Walk {
            journal,
            world,
            sink,
            failures: Vec::new(),
            interrupted: false,
            unwinding: false,
            unwritten: None,
        }
    }

    /// Carries out a plan; what failed before its point is unwound.
    pub(super) fn run(mut self, plan: Plan) -> Result<Ending> {
        let cause = self.plan(plan)?;
        let before = recovery::point(self.journal.entries()) == Point::Before;
        if let Some(cause) = cause.as_ref().filter(|_| before) {
            self.sink.unwinding(cause);
            self.settle()?;
        }
        self.settle_what_a_lost_agent_left()?;
        self.end(cause)
    }

    /// Settles what a dead run owes.
    pub(super) fn recover(mut self) -> Result<Ending> {
        let cause = self.settle()?;
        self.settle_what_a_lost_agent_left()?;
        self.end(cause)
    }

    /// Writes a line. Brokers are not left down because a disk is full: when they are to be started a line that cannot be
    /// written is kept in memory only, and said at the end. The next run finds the journal open and asks the system.
    fn write(&mut self, entry: Entry, durability: Durability, must: bool) -> Result<()> {
        match self.journal.add(entry, durability) {
            Err((entry, error)) if !must || self.unwinding => {
                self.journal.remember(*entry);
                self.unwritten.get_or_insert(error);
                Ok(())
            }
            Err((_, error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    fn end(mut self, cause: Option<Cause>) -> Result<Ending> {
        let point = recovery::point(self.journal.entries());
        let owed = recovery::plan(self.journal.entries());
        if owed.is_none() && self.unwritten.is_none() {
            let closed = Entry::Closed {
                at: self.world.now(),
            };
            self.write(closed, Durability::Synced, false)?;
        }
        if let Some(error) = self.unwritten.take() {
            return Err(
                error.context("the brokers were seen to, but the journal could not be written")
            );
        }
        let failures = self.not_made_good();
        let is_left = |step: &str| {
            failures
                .iter()
                .any(|failure| failure.step.to_string() == step)
        };
        let cause = cause.filter(|cause| match cause {
            Cause::Failed { step, fault } => fault.kind != FaultKind::LinkLost || is_left(step),
            _ => true,
        });
        Ok(Ending {
            point,
            cause,
            failures,
            owed,
        })
    }

    /// The failures but for those of an agent that died, where another has done the step.
    fn not_made_good(&self) -> Vec<Failure> {
        let entries = self.journal.entries();
        let plans = journal::plans(entries);
        let by_another = |failure: &Failure| {
            entries.iter().any(|entry| match entry {
                Entry::Done { no, .. } if no.plan > failure.no.plan => {
                    journal::step(&plans, *no) == Some(&failure.step)
                }
                _ => false,
            })
        };
        let is_left =
            |failure: &&Failure| failure.fault.kind != FaultKind::LinkLost || !by_another(failure);
        self.failures.iter().filter(is_left).cloned().collect()
    }

    /// An agent that died does not leave brokers down: another does what it did not.
    fn settle_what_a_lost_agent_left(&mut self) -> Result<()> {
        for _ in 0..AGENTS {
            let newest = journal::plans(self.journal.entries()).len() - 1;
            let lost = |failure: &Failure| {
                failure.no.plan == newest && failure.fault.kind == FaultKind::LinkLost
            };
            if !self.failures.iter().any(lost) {
                break;
            }
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<Option<Cause>> {
        let Some(owed) = recovery::plan(self.journal.entries()) else {
            return Ok(None);
        };
        self.unwinding = recovery::point(self.journal.entries()) == Point::Before;
        self.world.renew()?;
        self.plan(owed)
    }

    /// Walks one plan. The journal is told first and what cannot be journalled is not begun.
    fn plan(&mut self, plan: Plan) -> Result<Option<Cause>> {
        let number = journal::plans(self.journal.entries()).len();
        let entry = Entry::Plan {
            format: FORMAT,
            at: self.world.now(),
            plan: plan.clone(),
        };
        self.write(entry, Durability::Synced, true)?;
        let mut window = Window {
            opened: None,
            budget: plan.max_downtime,
        };
        for (index, stage) in plan.stages.iter().enumerate() {
            let cause = match self.stage(number, index, stage, &mut window) {
                Ok(cause) => cause,
                // A journal that cannot be written ends a run like a failed step, not the unwinding of one.
                Err(error) if stage.on_failure == OnFailure::Undo => Some(Cause::Failed {
                    step: "journal".to_owned(),
                    fault: error.into(),
                }),
                Err(error) => return Err(error),
            };
            if let Some(cause) = cause.filter(|_| stage.on_failure != OnFailure::GoOn) {
                return Ok(Some(cause));
            }
        }
        Ok(None)
    }

    fn stage(
        &mut self,
        plan: usize,
        number: usize,
        stage: &Stage,
        window: &mut Window,
    ) -> Result<Option<Cause>> {
        let stoppable = !self.unwinding && stage.on_failure != OnFailure::GoOn;
        if stoppable && self.interrupted {
            let during = String::new();
            return Ok(Some(Cause::Interrupted { during }));
        }
        self.sink.stage(stage);
        let sure = stage.steps.iter().any(Step::is_begun_durably);
        let durability = if sure {
            Durability::Synced
        } else {
            Durability::Written
        };
        let must = stage.on_failure != OnFailure::GoOn;
        let begun = Entry::Begun {
            plan,
            stage: number,
            at: self.world.now(),
        };
        match self.write(begun, durability, must || sure) {
            // What has to be known of after a power cut is not begun if it would not be; the brokers are seen to.
            Err(error) if !must => {
                self.unwritten.get_or_insert(error);
                return Ok(None);
            }
            written => written?,
        }
        if stage
            .steps
            .iter()
            .any(|step| matches!(step, Step::Stop { .. }))
        {
            window.opened.get_or_insert(self.world.passed());
        }
        let mut pending = BTreeSet::new();
        for (index, step) in stage.steps.iter().enumerate() {
            let no = StepNo {
                plan,
                stage: number,
                step: index,
            };
            pending.insert(no);
            self.world.begin(no, step, self.journal.entries());
        }
        let during = |pending: &BTreeSet<StepNo>| {
            let steps = pending.iter().filter_map(|no| stage.steps.get(no.step));
            steps
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut first = None;
        while !pending.is_empty() {
            let patience = window
                .left(self.world.passed())
                .filter(|_| stage.on_failure == OnFailure::Undo && !self.unwinding);
            match self.world.next(patience) {
                Wake::Ended(no, result) => {
                    let ours = pending.remove(&no);
                    if let Some(cause) = self.ended(no, result, ours, must)? {
                        first.get_or_insert(cause);
                    }
                }
                Wake::Interrupted => {
                    self.interrupted = true;
                    if stoppable {
                        first.get_or_insert_with(|| Cause::Interrupted {
                            during: during(&pending),
                        });
                    }
                }
                Wake::Nothing => {
                    if patience.is_some()
                        && window
                            .left(self.world.passed())
                            .is_some_and(|left| left.is_zero())
                    {
                        first.get_or_insert_with(|| Cause::TooLong {
                            budget: window.budget,
                            during: during(&pending),
                        });
                    }
                }
            }
            // What is still going on is left to end by itself: brokers are not kept waiting for it.
            if first.is_some() && stage.on_failure == OnFailure::Undo {
                break;
            }
            if matches!(first, Some(Cause::Interrupted { .. })) {
                break;
            }
        }
        Ok(first)
    }

    fn ended(
        &mut self,
        no: StepNo,
        result: Result<Performed, Fault>,
        ours: bool,
        must: bool,
    ) -> Result<Option<Cause>> {
        let step = journal::step(&journal::plans(self.journal.entries()), no).cloned();
        match (result, step) {
            (Ok(performed), step) => {
                let durability = match step {
                    Some(step) if step.is_done_durably() => Durability::Synced,
                    _ => Durability::Written,
                };
                self.write(
                    Entry::Done {
                        no,
                        performed: Box::new(performed),
                    },
                    durability,
                    must,
                )?;
                Ok(None)
            }
            (Err(fault), Some(step)) => {
                self.write(
                    Entry::Failed {
                        no,
                        fault: fault.clone(),
                    },
                    Durability::Written,
                    must,
                )?;
                // Of a step that was left to end by itself only a real failure is worth a word.
                if ours || fault.kind == FaultKind::Other {
                    self.sink.failed(&step, &fault);
                    self.failures.push(Failure {
                        no,
                        step: step.clone(),
                        fault: fault.clone(),
                    });
                }
                Ok(ours.then(|| Cause::Failed {
                    step: step.to_string(),
                    fault,
                }))
            }
            (Err(_), None) => Ok(None),
        }
    }
}

/// How long the brokers are down.
struct Window {
    /// When, as [`World::passed`] has it: a clock that is set makes it neither longer nor shorter.
    opened: Option<Duration>,
    budget: Duration,
}

impl Window {
    /// What is left of the budget, once it is open.
    fn left(&self, passed: Duration) -> Option<Duration> {
        let since = passed.saturating_sub(self.opened?);
        Some(self.budget.saturating_sub(since))
    }
}
