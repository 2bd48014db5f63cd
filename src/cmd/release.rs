use anyhow::Result;
use clap::Args;

use super::carry::begin;
use super::let_go::LettingGo;
use super::load;
use crate::exit::Exit;
use crate::id::RunId;
use crate::plan::release;
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
        let paths: Vec<String> = begun
            .seen
            .iter()
            .flat_map(|seen| &seen.volume)
            .flat_map(|volume| &volume.kept)
            .filter(|kept| planned.0.as_ref().is_some_and(|plan| plan.releases(kept)))
            .map(|kept| kept.path.display().to_string())
            .collect();
        let mut question = vec!["This destroys what was replaced and is kept:".to_owned()];
        question.extend(paths.iter().map(|path| format!("  {path}")));
        question.push("It cannot be brought back.".to_owned());
        let letting_go = LettingGo {
            verb: "release",
            dry_run: self.dry_run,
            yes: self.yes,
            json: self.json,
            question,
            done: match paths.is_empty() {
                true => "Nothing is kept.\n".to_owned(),
                false => paths
                    .iter()
                    .map(|path| format!("Released: {path}\n"))
                    .collect(),
            },
            not_done: "not all of it was released".to_owned(),
        };
        letting_go.run(places, &cluster, begun, planned, &mut progress)
    }
}
