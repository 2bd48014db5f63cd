//! What the verbs that carry out a plan share: the journal of the run, and what an error in the middle of it means.

use anyhow::{Context, Result};

use crate::exec::{self, Ending};
use crate::exit::InDoubt;
use crate::id::RunId;
use crate::journal::{Entry, Journal, Runs};
use crate::plan::Plan;
use crate::report::progress::Progress;
use crate::world::{Places, Real};

/// Carries out `plan` as the run `run`. An error after the first step means that a person has to look.
pub fn carry_out(
    places: &Places,
    run: &RunId,
    plan: Plan,
    world: &mut Real,
    progress: &mut Progress,
) -> Result<(Ending, Vec<Entry>)> {
    let mut file = Runs::new(&places.state_dir).create(run)?;
    let mut journal = Journal::new(&mut file, Vec::new());
    let ending = exec::run(plan, &mut journal, world, progress);
    progress.clear();
    Ok((ending.context(InDoubt)?, journal.entries().to_vec()))
}
