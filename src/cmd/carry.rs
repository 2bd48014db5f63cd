//! What the verbs that carry out a plan share: how a run begins, its journal, what an error in the middle of it means.

use std::fs::File;

use anyhow::{Context, Result};

use super::lock_state;
use super::recover::settle_dead_runs;
use crate::agent::protocol::{Locking, Seen};
use crate::config::Cluster;
use crate::exec::{self, Ending};
use crate::exit::{Exit, InDoubt};
use crate::id::RunId;
use crate::journal::{Entry, Journal, Runs};
use crate::plan::Plan;
use crate::report::progress::Progress;
use crate::world::{Places, Real};

/// A run for which nothing was planned yet.
#[derive(Debug)]
pub struct Begun {
    /// Agents, and locks unless it is a dry run.
    pub world: Real,
    /// What they see.
    pub seen: Vec<Seen>,
    /// The run's id.
    pub run: RunId,
    _lock: Option<File>,
}

/// Settles what is dead, takes the locks and looks at the brokers; a dry run only looks. What could not be settled is
/// given back as the exit code.
pub fn begin(
    places: &Places,
    cluster: &Cluster,
    dry_run: bool,
    progress: &mut Progress,
) -> Result<Result<Begun, Exit>> {
    let (lock, locking) = match dry_run {
        true => (None, Locking::Reads),
        false => (Some(lock_state(places)?), Locking::Fresh),
    };
    if !dry_run {
        let settled = settle_dead_runs(places, cluster, progress)?;
        if settled != Exit::Done {
            return Ok(Err(settled));
        }
    }
    let world = Real::open(places, cluster, locking, progress.clone())?;
    progress.say("looking at the brokers".to_owned());
    let seen = world.inspect()?;
    progress.clear();
    let runs = Runs::new(&places.state_dir).list()?;
    let run = RunId::after(jiff::Timestamp::now(), runs.last());
    Ok(Ok(Begun {
        world,
        seen,
        run,
        _lock: lock,
    }))
}

/// Carries out `plan`. An error after the first step means that a person has to look.
pub fn carry_out(
    places: &Places,
    begun: &mut Begun,
    plan: Plan,
    progress: &mut Progress,
) -> Result<(Ending, Vec<Entry>)> {
    begun.world.listen_for_signals()?;
    let mut file = Runs::new(&places.state_dir).create(&begun.run)?;
    let mut journal = Journal::new(&mut file, Vec::new());
    let ending = exec::run(plan, &mut journal, &mut begun.world, progress);
    progress.clear();
    Ok((ending.context(InDoubt)?, journal.entries().to_vec()))
}
