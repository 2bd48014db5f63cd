use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::lost::{Lost, Taken, lost};
use super::{load, lock_state, plan_text, print, print_json};
use crate::agent::protocol::Locking;
use crate::catalog::Catalog;
use crate::catalog::manifest::Origin;
use crate::config::Cluster;
use crate::exec;
use crate::exit::{Exit, InDoubt};
use crate::id::{RunId, SetId};
use crate::journal::{self, Durability, Entry, Journal, Log, Runs};
use crate::plan::recovery::{self, Point};
use crate::plan::{Aim, Step, Whose};
use crate::report::ending;
use crate::report::progress::Progress;
use crate::world::{Places, Real};

/// Settle what a run that died still owes: start brokers it stopped, put back what it swapped, complete its set
///
/// With --catalog, sets that the catalog has lost, or whose files there are damaged, are then taken in from the hosts: each host
/// keeps a copy of what is written of a complete set beside its snapshots. One is taken in if all of its snapshots stand and
/// all copies agree.
#[derive(Debug, Args)]
pub struct Recover {
    /// Then take in from the hosts the sets that the catalog has lost
    #[arg(long)]
    catalog: bool,
    /// Show what would be done, command by command, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Recover {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        if self.dry_run {
            return self.show(places, &cluster);
        }
        let lock = lock_state(places)?;
        let open = dead_runs(places)?;
        let mut progress = Progress::new();
        let mut exit = settle_dead_runs(places, &cluster, &mut progress)?.exit();
        let result = if exit == Exit::Done {
            "settled"
        } else {
            "failed"
        };
        let runs: Vec<&RunId> = open.iter().map(|(run, _)| run).collect();
        let mut document =
            json!({ "format": 1, "verb": "recover", "result": result, "runs": runs });
        if !self.json && open.is_empty() {
            print("Nothing is owed.\n")?;
        }
        if self.catalog && exit == Exit::Done {
            let taken = with_lost(places, &cluster, &progress, |lost, world, catalog| {
                Taken::of(lost, world, catalog)
            })?;
            taken.say(!self.json)?;
            if !taken.left.is_empty() {
                exit = Exit::Failed;
            }
            (document["taken_in"], document["not_taken_in"]) = taken.json();
        }
        drop(lock);
        if self.json {
            print_json(&document)?;
        }
        Ok(exit)
    }

    fn show(&self, places: &Places, cluster: &Cluster) -> Result<Exit> {
        let open = dead_runs(places)?;
        let lost = match self.catalog {
            true => Some(with_lost(
                places,
                cluster,
                &Progress::new(),
                |lost, _, _| lost,
            )?),
            false => None,
        };
        let plans = open
            .iter()
            .filter_map(|(run, entries)| Some((run, recovery::plan(entries)?)));
        if self.json {
            let list: Vec<_> = plans.map(|(run, plan)| json!({ "run": run, "plan": super::plan_json("recover", Some(&plan), &[], cluster) })).collect();
            let mut document =
                json!({ "format": 1, "verb": "recover", "result": "planned", "runs": list });
            if let Some(lost) = lost {
                document["lost"] = lost.iter().map(Lost::json).collect();
            }
            print_json(&document)?;
            return Ok(Exit::Done);
        }
        let mut text: String = plans
            .map(|(run, plan)| format!("{}:\n{}", title(run, &open), plan_text(&plan, cluster)))
            .collect();
        if text.is_empty() {
            text.push_str("Nothing is owed.\n");
        }
        for lost in lost.iter().flatten() {
            text.push_str(&lost.text());
        }
        print(&text)?;
        Ok(Exit::Done)
    }
}

/// Does something with the sets that the catalog has lost, and with who knows them.
fn with_lost<T>(
    places: &Places,
    cluster: &Cluster,
    progress: &Progress,
    act: impl FnOnce(Vec<Lost>, &Real, &Catalog) -> T,
) -> Result<T> {
    let world = Real::open(places, cluster, Locking::Reads, progress.clone())?;
    let catalog = Catalog::new(&places.state_dir);
    let seen = world.inspect()?;
    let lost = lost(&world, cluster, &catalog, &seen, &dead_runs(places)?, true)?;
    let done = act(lost, &world, &catalog);
    world.close();
    Ok(done)
}

fn title(run: &RunId, open: &[(RunId, Vec<Entry>)]) -> String {
    let entries = open
        .iter()
        .find(|(other, _)| other == run)
        .map(|(_, entries)| entries.as_slice())
        .unwrap_or_default();
    match journal::plans(entries).first().map(|plan| &plan.aim) {
        Some(Aim::Backup { .. }) => format!("Backup {run}"),
        Some(Aim::Restore { set, .. }) => format!("Restore {run} of set {set}"),
        Some(Aim::Undo { kept, .. }) => format!("Undo {run} of {kept}"),
        Some(Aim::Release) => format!("Release {run}"),
        Some(Aim::Forget { sets }) => {
            let sets: Vec<&str> = sets.iter().map(SetId::as_str).collect();
            format!("Forget {run} of set {}", sets.join(", "))
        }
        Some(Aim::Recover) | None => format!("Run {run}"),
    }
}

/// The runs whose journals are not closed, oldest first. Where one does not read, what it owes is not known, and that is an
/// error.
pub fn dead_runs(places: &Places) -> Result<Vec<Open>> {
    let (open, unreadable) = open_runs(places)?;
    match unreadable.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(open),
    }
}

/// A run whose journal is not closed, and that journal.
type Open = (RunId, Vec<Entry>);

/// A run whose journal does not read, and why.
type Unreadable = (RunId, anyhow::Error);

/// The same, and apart from them those whose journals do not read.
pub fn open_runs(places: &Places) -> Result<(Vec<Open>, Vec<Unreadable>)> {
    let runs = Runs::new(&places.state_dir);
    let catalog = Catalog::new(&places.state_dir);
    let (mut open, mut unreadable) = (Vec::new(), Vec::new());
    for run in runs.list()? {
        if runs.is_closed(&run)? {
            continue;
        }
        let read = runs.read(&run).and_then(|entries| {
            says_all(&catalog, &entries)?;
            Ok(entries)
        });
        match read {
            // One that died before its first line has done nothing.
            Ok(entries) if entries.is_empty() || journal::is_closed(&entries) => {}
            Ok(entries) => open.push((run, entries)),
            Err(error) => {
                let unknown = UnknownDebt(run.clone(), runs.path(&run));
                unreadable.push((run, error.context(unknown)));
            }
        }
    }
    Ok((open, unreadable))
}

/// A backup that is not past its point has written nothing of its set. If something is, the journal has lost its end, and
/// what it says must not be undone.
fn says_all(catalog: &Catalog, entries: &[Entry]) -> Result<()> {
    if let Some(origin) = Origin::of_run(entries)
        && recovery::point(entries) == Point::Before
    {
        ensure!(
            !catalog.has(&origin.set),
            "it has lost its end: set {} was captured, and it does not say so",
            origin.set
        );
    }
    Ok(())
}

/// What a run owes is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "what run {0} owes is not known, so nothing is touched. See that every broker is as it should be (`zeebe-snap status`), then move {file} away", file = .1.display()
)]
pub struct UnknownDebt(RunId, PathBuf);

/// What a backup still owed to a set that is forgotten is owed no more. What it owes to brokers is.
pub fn let_off(places: &Places, forgotten: &[SetId]) -> Result<()> {
    let runs = Runs::new(&places.state_dir);
    for (run, entries) in dead_runs(places)? {
        let of_these = Origin::of_run(&entries).is_some_and(|of| forgotten.contains(&of.set));
        let owed = recovery::plan(&entries);
        let mut steps = owed
            .iter()
            .flat_map(|plan| &plan.stages)
            .flat_map(|stage| &stage.steps);
        let of_the_set_alone = steps.all(|step| {
            matches!(
                step,
                Step::Record { .. }
                    | Step::Digest { .. }
                    | Step::Complete { .. }
                    | Step::Hold { .. }
                    | Step::KeepPapers { .. }
            )
        });
        if of_these && of_the_set_alone {
            let (mut file, _) = runs.reopen(&run)?;
            let at = jiff::Timestamp::now();
            file.append(&Entry::Closed { at }, Durability::Synced)?;
        }
    }
    Ok(())
}

/// Whose brokers a run was about, if not those of `cluster`.
fn strangers<'a>(entries: &'a [Entry], cluster: &Cluster) -> Option<&'a Whose> {
    let of = &journal::plans(entries).first()?.of;
    (of.data != cluster.whose().data).then_some(of)
}

/// How it went with dead runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Nothing is owed.
    All,
    /// Brokers are as they should be; of a set or of what is kept something is owed still.
    Brokers,
    /// Nothing else may begin.
    Not(Exit),
}

impl Settled {
    fn exit(self) -> Exit {
        match self {
            Settled::All => Exit::Done,
            Settled::Brokers => Exit::Failed,
            Settled::Not(exit) => exit,
        }
    }
}

/// Settles every dead run; the state folder is locked, so none of them is alive. Says what it does.
pub fn settle_dead_runs(
    places: &Places,
    cluster: &Cluster,
    progress: &mut Progress,
) -> Result<Settled> {
    let mut settled = Settled::All;
    let open = dead_runs(places)?;
    for (run, entries) in &open {
        if let Some(stranger) = strangers(entries, cluster) {
            progress.note(&format!(
                "zeebe-snap: {} did not end, and it is of the brokers of another cluster.toml, {}",
                title(run, &open),
                stranger.file.display()
            ));
            progress.note(&format!(
                "Hint: settle it first, with `zeebe-snap --cluster {} recover`.",
                stranger.file.display()
            ));
            return Ok(Settled::Not(Exit::Refused));
        }
        progress.note(&format!(
            "{} did not end; settling what it owes",
            title(run, &open)
        ));
        let point = recovery::point(entries);
        let (mut file, entries) = Runs::new(&places.state_dir).reopen(run)?;
        let mut journal = Journal::new(&mut file, entries);
        let mut world = Real::open(places, cluster, Locking::Settling, progress.clone())?;
        world.listen_for_signals()?;
        let ending = exec::settle(&mut journal, &mut world, progress);
        progress.clear();
        world.close();
        let ending = ending.context(InDoubt)?;
        let exit = ending::exit(&ending);
        if let Some(todo) = ending::todo(&ending) {
            progress.note(&todo);
        }
        // What could not be digested or destroyed was said; brokers are as they should be, and what comes next may go on.
        if exit == Exit::Failed && ending.point == Point::Past {
            settled = Settled::Brokers;
            continue;
        }
        if exit != Exit::Done {
            return Ok(Settled::Not(exit));
        }
        let how = match (
            point,
            journal::plans(journal.entries())
                .first()
                .map(|plan| &plan.aim),
        ) {
            (Point::Before, _) => "what it did is undone".to_owned(),
            (Point::Past, Some(Aim::Backup { origin })) => {
                format!("set {} is complete", origin.set)
            }
            (Point::Past, _) => "it is finished".to_owned(),
        };
        progress.note(&format!("{} is settled: {how}", title(run, &open)));
    }
    Ok(settled)
}
