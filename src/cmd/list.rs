use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::{print, print_json};
use crate::catalog::Catalog;
use crate::catalog::manifest::{Manifest, SetState};
use crate::exit::Exit;
use crate::id::SetId;
use crate::report::table::{bytes, duration, moment, table};
use crate::report::tell;
use crate::world::Places;

/// List the sets
#[derive(Debug, Args)]
pub struct List {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn zeebe(manifest: &Manifest) -> Option<String> {
    manifest
        .origin
        .brokers
        .iter()
        .find_map(|broker| broker.zeebe.as_ref())
        .map(|learned| learned.version.to_string())
}

fn row(set: &SetId, manifest: &Result<Manifest>) -> Vec<String> {
    let time = set.time().map(moment).unwrap_or_default();
    let cells = match manifest {
        Ok(manifest) => vec![
            match manifest.state() {
                SetState::Complete => "complete".to_owned(),
                SetState::Captured => "captured".to_owned(),
            },
            manifest.origin.cluster.clone(),
            manifest.members.len().to_string(),
            zeebe(manifest).unwrap_or("?".to_owned()),
            manifest.bytes().map_or("?".to_owned(), bytes),
            manifest.window_ms.map_or("-".to_owned(), duration),
        ],
        Err(_) => vec!["unreadable".to_owned()],
    };
    [set.to_string(), time].into_iter().chain(cells).collect()
}

fn object(set: &SetId, manifest: &Result<Manifest>) -> Value {
    match manifest {
        Ok(manifest) => json!({
            "set": set,
            "time": set.time(),
            "state": manifest.state(),
            "cluster": manifest.origin.cluster,
            "brokers": manifest.members.len(),
            "zeebe": zeebe(manifest),
            "bytes": manifest.bytes(),
            "window_ms": manifest.window_ms,
        }),
        Err(error) => {
            json!({ "set": set, "time": set.time(), "state": "unreadable", "error": format!("{error:#}") })
        }
    }
}

impl List {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let sets = Catalog::new(&places.state_dir).list()?;
        if self.json {
            let sets: Vec<Value> = sets
                .iter()
                .map(|(set, manifest)| object(set, manifest))
                .collect();
            print_json(&json!({ "format": 1, "sets": sets }))?;
            return Ok(Exit::Done);
        }
        if sets.is_empty() {
            print("There are no sets.\n")?;
            return Ok(Exit::Done);
        }
        let heading = [
            "set", "taken", "state", "cluster", "brokers", "zeebe", "size", "window",
        ]
        .map(str::to_owned)
        .to_vec();
        let rows: Vec<Vec<String>> = std::iter::once(heading)
            .chain(sets.iter().map(|(set, manifest)| row(set, manifest)))
            .collect();
        print(&table(&rows))?;
        for (set, manifest) in &sets {
            if let Err(error) = manifest {
                tell(&format!("zeebe-snap: set {set}: {error:#}"));
            }
        }
        if sets.iter().any(|(_, manifest)| manifest.is_err()) {
            tell("Hint: `zeebe-snap recover --catalog` takes in again what the hosts still have.");
        }
        Ok(Exit::Done)
    }
}
