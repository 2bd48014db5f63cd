//! What the verbs that carry out a plan share: how a run begins, its journal, what an error in the middle of it means.

use std::fs::File;

use anyhow::{Context, Result};

use super::lock_state;
use super::recover::{Settled, settle_dead_runs};
use crate::agent::protocol::{Locking, Seen};
use crate::catalog::Catalog;
use crate::config::Cluster;
use crate::exec::{self, Ending};
use crate::exit::{Exit, InDoubt};
use crate::id::{RunId, SetId};
use crate::journal::{Entry, Journal, Runs};
use crate::plan::Plan;
use crate::plan::undo::run_of;
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
    if !dry_run && let Settled::Not(exit) = settle_dead_runs(places, cluster, progress)? {
        return Ok(Err(exit));
    }
    let world = Real::open(places, cluster, locking, progress.clone())?;
    progress.say("looking at the brokers".to_owned());
    let seen = world.inspect()?;
    progress.clear();
    let run = RunId::after(jiff::Timestamp::now(), newest(places, &seen)?.as_ref());
    Ok(Ok(Begun {
        world,
        seen,
        run,
        _lock: lock,
    }))
}

/// The newest id that is taken: by a run, by a set of the catalog, by a set that only the hosts know, by what a run keeps
/// whose journal is gone.
fn newest(places: &Places, seen: &[Seen]) -> Result<Option<RunId>> {
    let runs = Runs::new(&places.state_dir).list()?;
    let sets = Catalog::new(&places.state_dir).newest_id()?;
    let volumes = seen.iter().filter_map(|seen| seen.volume.as_ref().ok());
    let kept = volumes.clone().flat_map(|volume| &volume.kept);
    let kept = kept.filter_map(|kept| run_of(&kept.name));
    let snapshots = volumes.flat_map(|volume| &volume.snapshots);
    let on_hosts =
        snapshots.filter_map(|snapshot| snapshot.label.as_ref()?.get("set")?.parse::<SetId>().ok());
    let of_sets = sets.into_iter().chain(on_hosts).map(RunId::from);
    Ok(runs.into_iter().chain(of_sets).chain(kept).max())
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
