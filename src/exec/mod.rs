//! The executor: walks a plan, writes the journal, and unwinds when something goes wrong. It decides nothing: what a
//! failure means stands in the plan, and what is owed after one is computed by `plan::recovery`.

mod walk;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use self::walk::Walk;
use crate::agent::protocol::{Fault, Performed};
use crate::journal::{Entry, Journal, StepNo};
use crate::plan::recovery::Point;
use crate::plan::{Plan, Stage, Step};

/// What the executor acts on: agents and the catalog, or a world in memory.
pub trait World {
    /// The time.
    fn now(&self) -> Timestamp;
    /// Time that passed since some moment before the run, whatever becomes of the clock.
    fn passed(&self) -> Duration {
        Duration::try_from(self.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }
    /// Sets a step going. It ends with one [`Wake::Ended`]. `history` is the journal so far.
    fn begin(&mut self, no: StepNo, step: &Step, history: &[Entry]);
    /// Waits for the next thing to happen, no longer than `patience`.
    fn next(&mut self, patience: Option<Duration>) -> Wake;
    /// Makes every agent reachable again, as far as it can be.
    fn renew(&mut self) -> Result<()>;
}

/// What the executor waits for.
#[derive(Debug)]
pub enum Wake {
    /// A step has ended.
    Ended(StepNo, Result<Performed, Fault>),
    /// Somebody wants the run to end.
    Interrupted,
    /// Nothing happened for as long as was said.
    Nothing,
}

/// Is told what happens.
pub trait Sink {
    /// A stage begins.
    fn stage(&mut self, stage: &Stage);
    /// A step failed; it is told again at the end.
    fn failed(&mut self, step: &Step, fault: &Fault);
    /// What was done is being undone.
    fn unwinding(&mut self, why: &Cause);
}

/// Why a run did not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A step failed.
    Failed {
        /// "snapshot broker 2".
        step: String,
        /// Why.
        fault: Fault,
    },
    /// A signal came.
    Interrupted {
        /// The steps that had not ended.
        during: String,
    },
    /// The window grew longer than `max_downtime`.
    TooLong {
        /// `max_downtime`.
        budget: Duration,
        /// The steps that had not ended.
        during: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Failed { fault, .. } => fault.fmt(f),
            Cause::Interrupted { during } if during.is_empty() => f.write_str("it was interrupted"),
            Cause::Interrupted { during } => write!(f, "it was interrupted during: {during}"),
            Cause::TooLong { budget, during } => {
                write!(
                    f,
                    "the brokers were down longer than max_downtime ({budget:?}); not ended: {during}"
                )
            }
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ending {
    /// Whether it came past the point from which nothing is undone.
    pub point: Point,
    /// Why it did not do all of its plan; `None` if it did.
    pub cause: Option<Cause>,
    /// Every step that failed, those of unwinding, too.
    pub failures: Vec<Failure>,
    /// What is owed still; `None` is nothing.
    pub owed: Option<Plan>,
}

/// A step that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Its place in the journal; steps of unwinding are of a later plan than the first.
    pub no: StepNo,
    /// What was to be done.
    pub step: Step,
    /// Why it was not.
    pub fault: Fault,
}

/// Carries out `plan`, unwinds if it fails before its point, and closes the journal if nothing is owed.
pub fn run(
    plan: Plan,
    journal: &mut Journal<'_>,
    world: &mut dyn World,
    sink: &mut dyn Sink,
) -> Result<Ending> {
    Walk::new(journal, world, sink).run(plan)
}

/// Settles what the dead run of `journal` owes.
pub fn settle(
    journal: &mut Journal<'_>,
    world: &mut dyn World,
    sink: &mut dyn Sink,
) -> Result<Ending> {
    Walk::new(journal, world, sink).recover()
}

#[cfg(test)]
mod tests;
