use anyhow::Result;
use clap::Args;

use super::carry::begin;
use super::let_go::{LettingGo, last_steps};
use super::load;
use crate::exit::Exit;
use crate::id::RunId;
use crate::plan::{Step, release};
use crate::report::progress::Progress;
use crate::world::Places;

/// Let go of what restores and undos replaced and keep, and free its space
#[derive(Debug, Args)]
pub struct Release {
    /// The runs whose replaced data is let go of, as `status` shows them
    #[arg(value_parser = super::run_id, required_unless_present = "all", conflicts_with = "all")]
    runs: Vec<RunId>,
    /// All that is kept
    #[arg(long)]
    all: bool,
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

impl Release {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let mut progress = Progress::new();
        let begun = match begin(places, &cluster, self.dry_run, &mut progress)? {
            Ok(begun) => begun,
            Err(exit) => return Ok(exit),
        };
        let request = match self.all {
            true => release::Request::All,
            false => release::Request::Runs(self.runs),
        };
        let planned = release::plan(&cluster, &begun.seen, &request);
        let mut question = vec!["This destroys what was replaced and is kept:".to_owned()];
        let path = |step: &Step| match step {
            Step::Release { kept, .. } => Some(format!("  {}", kept.path.display())),
            _ => None,
        };
        question.extend(planned.0.iter().flat_map(last_steps).filter_map(path));
        question.push("It cannot be brought back.".to_owned());
        let letting_go = LettingGo {
            verb: "release",
            dry_run: self.dry_run,
            yes: self.yes,
            json: self.json,
            question,
        };
        letting_go.run(places, &cluster, begun, planned, &mut progress)
    }
}
