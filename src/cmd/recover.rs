use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::{load, lock_state, plan_text, print, print_json};
use crate::agent::protocol::Locking;
use crate::config::Cluster;
use crate::exec;
use crate::exit::{Exit, InDoubt};
use crate::id::{RunId, SetId};
use crate::journal::{self, Entry, Journal, Runs};
use crate::plan::{Aim, Whose, recovery};
use crate::report::ending;
use crate::report::progress::Progress;
use crate::world::{Places, Real};

/// Settle what a run that died still owes: start brokers it stopped, put back what it swapped, complete its set
#[derive(Debug, Args)]
pub struct Recover {
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
        let open = dead_runs(places)?;
        if self.dry_run {
            let plans = open
                .iter()
                .filter_map(|(run, entries)| Some((run, recovery::plan(entries)?)));
            if self.json {
                let list: Vec<_> = plans.map(|(run, plan)| json!({ "run": run, "plan": super::plan_json("recover", Some(&plan), &[], &cluster) })).collect();
                print_json(
                    &json!({ "format": 1, "verb": "recover", "result": "planned", "runs": list }),
                )?;
            } else {
                let text: String = plans
                    .map(|(run, plan)| {
                        format!("{}:\n{}", title(run, &open), plan_text(&plan, &cluster))
                    })
                    .collect();
                print(if text.is_empty() {
                    "Nothing is owed.\n"
                } else {
                    &text
                })?;
            }
            return Ok(Exit::Done);
        }
        let lock = lock_state(places)?;
        let mut progress = Progress::new();
        let exit = settle_dead_runs(places, &cluster, &mut progress)?;
        drop(lock);
        let runs: Vec<&RunId> = open.iter().map(|(run, _)| run).collect();
        let result = if exit == Exit::Done {
            "settled"
        } else {
            "failed"
        };
        match self.json {
            true => print_json(
                &json!({ "format": 1, "verb": "recover", "result": result, "runs": runs }),
            )?,
            false if open.is_empty() => print("Nothing is owed.\n")?,
            false => {}
        }
        Ok(exit)
    }
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

/// The runs whose journals are not closed, oldest first.
pub fn dead_runs(places: &Places) -> Result<Vec<(RunId, Vec<Entry>)>> {
    let runs = Runs::new(&places.state_dir);
    let mut open = Vec::new();
    for run in runs.list()? {
        let entries = runs
            .read(&run)
            .with_context(|| format!("what run {run} owes is not known"))?;
        // One that died before its first line has done nothing.
        if !entries.is_empty() && !journal::is_closed(&entries) {
            open.push((run, entries));
        }
    }
    Ok(open)
}

/// Whose brokers a run was about, if not those of `cluster`.
fn strangers<'a>(entries: &'a [Entry], cluster: &Cluster) -> Option<&'a Whose> {
    let of = &journal::plans(entries).first()?.of;
    (of.data != cluster.whose().data).then_some(of)
}

/// Settles every dead run; the state folder is locked, so none of them is alive. Says what it does.
pub fn settle_dead_runs(
    places: &Places,
    cluster: &Cluster,
    progress: &mut Progress,
) -> Result<Exit> {
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
            return Ok(Exit::Refused);
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
        if exit == Exit::Failed && ending.point == recovery::Point::Past {
            continue;
        }
        if exit != Exit::Done {
            return Ok(exit);
        }
        let how = match (
            point,
            journal::plans(journal.entries())
                .first()
                .map(|plan| &plan.aim),
        ) {
            (recovery::Point::Before, _) => "what it did is undone".to_owned(),
            (recovery::Point::Past, Some(Aim::Backup { origin })) => {
                format!("set {} is complete", origin.set)
            }
            (recovery::Point::Past, _) => "it is finished".to_owned(),
        };
        progress.note(&format!("{} is settled: {how}", title(run, &open)));
    }
    Ok(Exit::Done)
}
