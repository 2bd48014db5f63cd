use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::carry::begin;
use super::load;
use super::replace::Replacing;
use crate::catalog::Catalog;
use crate::exit::Exit;
use crate::id::RunId;
use crate::plan::{Aim, stage_name, undo};
use crate::report::progress::Progress;
use crate::world::Places;

/// Bring back what a restore, or an undo, replaced
///
/// All brokers are stopped, the data that is kept takes the place of the present, and they are started. The present data
/// is kept in its turn, so that an undo can be undone.
#[derive(Debug, Args)]
pub struct Undo {
    /// The run whose replacing is undone, as `status` shows it; else the newest
    #[arg(value_parser = super::run_id)]
    run: Option<RunId>,
    /// Leave the brokers down at the end
    #[arg(long)]
    no_start: bool,
    /// Show what would be done, command by command, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Undo {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let mut progress = Progress::new();
        let begun = match begin(places, &cluster, self.dry_run, &mut progress)? {
            Ok(begun) => begun,
            Err(exit) => return Ok(exit),
        };
        let run = begun.run.clone();
        let known = Catalog::new(&places.state_dir).known()?;
        let present = begun.world.configs()?;
        let request = undo::Request {
            run: self.run,
            no_start: self.no_start,
        };
        let (plan, findings) = undo::plan(&cluster, &begun.seen, &known, &present, &run, &request);
        let kept = plan.as_ref().and_then(|plan| match &plan.aim {
            Aim::Undo { kept, .. } => Some(kept.clone()),
            _ => None,
        });
        let what = match &kept {
            Some(kept) => format!("what {kept} replaced"),
            None => "what was replaced".to_owned(),
        };
        let replacing = Replacing {
            verb: "undo",
            result: "undone",
            dry_run: self.dry_run,
            yes: self.yes,
            json: self.json,
            question: vec![
                format!(
                    "This brings back {what}, in all {} brokers.",
                    begun.seen.len()
                ),
                "What happened since is not in it; the present data is kept in its turn."
                    .to_owned(),
            ],
            what,
            diff: String::new(),
            fields: vec![("undone", json!(kept))],
            stage: stage_name("undo", &run),
        };
        let planned = (plan, findings);
        replacing.run(places, &cluster, begun, planned, &mut progress)
    }
}
