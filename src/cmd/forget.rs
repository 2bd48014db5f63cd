use anyhow::Result;
use clap::Args;

use super::carry::begin;
use super::let_go::LettingGo;
use super::load;
use crate::catalog::Catalog;
use crate::exit::Exit;
use crate::plan::forget;
use crate::report::ending;
use crate::report::progress::Progress;
use crate::world::Places;

/// Destroy sets: their snapshots, and what is written of them
///
/// A set is taken off the list first, so that a set that is half gone is never taken for a good one. What restores keep is
/// not touched.
#[derive(Debug, Args)]
pub struct Forget {
    /// The ids of the sets
    #[arg(required = true, value_name = "SET")]
    sets: Vec<String>,
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

impl Forget {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let mut progress = Progress::new();
        let begun = match begin(places, &cluster, self.dry_run, &mut progress)? {
            Ok(begun) => begun,
            Err(exit) => return Ok(exit),
        };
        let catalog = Catalog::new(&places.state_dir);
        let found: Result<Vec<_>> = self
            .sets
            .iter()
            .map(|name| catalog.find_to_forget(name))
            .collect();
        let mut manifests = found?;
        manifests.sort_by(|a, b| a.origin.set.cmp(&b.origin.set));
        manifests.dedup_by(|a, b| a.origin.set == b.origin.set);
        let origins: Vec<_> = manifests.iter().map(|manifest| &manifest.origin).collect();
        let planned = forget::plan(&cluster, &origins);
        let mut question = vec!["This destroys:".to_owned()];
        question.extend(
            manifests
                .iter()
                .map(|manifest| format!("  {}", ending::set(manifest))),
        );
        question.push("It cannot be brought back.".to_owned());
        let letting_go = LettingGo {
            verb: "forget",
            dry_run: self.dry_run,
            yes: self.yes,
            json: self.json,
            question,
        };
        letting_go.run(places, &cluster, begun, planned, &mut progress)
    }
}
