use anyhow::Result;
use clap::Args;

use super::carry::begin;
use super::let_go::LettingGo;
use super::recover::let_off;
use super::{load, lock_state};
use crate::agent::protocol::Seen;
use crate::catalog::{Catalog, lost};
use crate::config::Cluster;
use crate::exit::Exit;
use crate::id::SetId;
use crate::plan::forget::{self, Doomed};
use crate::report::ending;
use crate::report::progress::Progress;
use crate::report::table::many;
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
            .map(|name| find(&catalog, &cluster, &begun.seen, name))
            .collect();
        let mut found = found?;
        found.sort_by(|(a, _), (b, _)| a.origin.set.cmp(&b.origin.set));
        found.dedup_by(|(a, _), (b, _)| a.origin.set == b.origin.set);
        let (doomed, said): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let planned = forget::plan(&cluster, &doomed);
        let mut question = vec!["This destroys:".to_owned()];
        question.extend(said.iter().map(|line| format!("  {line}")));
        question.push("It cannot be brought back.".to_owned());
        let letting_go = LettingGo {
            verb: "forget",
            dry_run: self.dry_run,
            yes: self.yes,
            json: self.json,
            question,
        };
        let sets: Vec<SetId> = doomed.into_iter().map(|of| of.origin.set).collect();
        let exit = letting_go.run(places, &cluster, begun, planned, &mut progress)?;
        if exit == Exit::Done && !self.dry_run {
            let _lock = lock_state(places)?;
            let_off(places, &sets)?;
        }
        Ok(exit)
    }
}

/// A set, and what is said of it. Of one that the catalog does not know, or whose manifest does not read, the snapshots on the
/// hosts say what there is to destroy.
fn find(
    catalog: &Catalog,
    cluster: &Cluster,
    seen: &[Seen],
    name: &str,
) -> Result<(Doomed, String)> {
    let error = match catalog.find_to_forget(name) {
        Ok(manifest) => {
            let said = ending::set(&manifest);
            let (origin, listed) = (manifest.origin, true);
            return Ok((Doomed { origin, listed }, said));
        }
        Err(error) => error,
    };
    let Ok(set) = name.parse::<SetId>() else {
        return Err(error);
    };
    let standing = lost::standing(&cluster.name, seen);
    let (stands, listed) = (standing.get(&set), catalog.has(&set));
    if stands.is_none() && !listed {
        return Err(error);
    }
    let origin = lost::origin(&cluster.name, &set, seen);
    let said = format!(
        "What is left of set {set} of {}: the snapshots of {}.",
        cluster.name,
        many(stands.map_or(0, |stands| stands.len()), "broker", "brokers")
    );
    Ok((Doomed { origin, listed }, said))
}
