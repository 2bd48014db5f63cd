use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::lost::{Lost, lost};
use super::recover::open_runs;
use super::{load, print, print_json};
use crate::agent::protocol::{Locking, Seen};
use crate::catalog::Catalog;
use crate::exit::Exit;
use crate::id::NodeId;
use crate::plan::recovery;
use crate::report::ending;
use crate::report::progress::Progress;
use crate::report::table::table;
use crate::world::{Places, Real};
use crate::zeebe::health::ailments;

/// Show the brokers, the newest set, what runs owe and what restores keep
#[derive(Debug, Args)]
pub struct Status {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let world = Real::open(places, &cluster, Locking::Reads, Progress::new())?;
        let seen = world.inspect()?;
        let (open, unreadable) = open_runs(places)?;
        let owed: Vec<_> = open
            .iter()
            .filter_map(|(run, entries)| {
                let steps: Vec<String> = recovery::plan(entries)?
                    .stages
                    .iter()
                    .flat_map(|stage| &stage.steps)
                    .map(ToString::to_string)
                    .collect();
                Some((run, steps))
            })
            .collect();
        let catalog = Catalog::new(&places.state_dir);
        let newest = catalog.newest()?;
        let half_forgotten = catalog.half_forgotten()?;
        let lost = lost(&world, &cluster, &catalog, &seen, &open, false)?;
        world.close();
        let brokers: BTreeMap<NodeId, _> = seen
            .iter()
            .map(|seen| (seen.node, seen.api.clone()))
            .collect();
        let ailing: BTreeMap<NodeId, String> = ailments(&brokers).into_iter().collect();
        if self.json {
            let broker = |seen: &Seen| {
                json!({
                    "node_id": seen.node,
                    "up": seen.is_up(),
                    "gated": seen.service.gated,
                    "pid": seen.broker.as_ref().map(|process| process.pid),
                    "trouble": ailing.get(&seen.node),
                    "zeebe": seen.api.as_ref().ok().and_then(|api| api.version.clone()),
                    "kept": seen.volume.as_ref().map(|volume| volume.kept.clone()).unwrap_or_default(),
                })
            };
            print_json(&json!({
                "format": 1,
                "cluster": cluster.name,
                "healthy": ailing.is_empty(),
                "latest": newest.as_ref().map(|manifest| &manifest.origin.set),
                "half_forgotten": half_forgotten,
                "lost": lost.iter().map(Lost::json).collect::<Vec<_>>(),
                "unreadable_runs": unreadable.iter().map(|(run, error)| json!({ "run": run, "error": format!("{error:#}") })).collect::<Vec<_>>(),
                "owed": owed.iter().map(|(run, steps)| json!({ "run": run, "steps": steps })).collect::<Vec<_>>(),
                "brokers": seen.iter().map(broker).collect::<Vec<_>>(),
            }))?;
        } else {
            let mut rows = vec![
                ["broker", "pid", "zeebe", "state"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(seen.iter().map(|seen| row(seen, ailing.get(&seen.node))));
            let mut text = format!("Cluster {}\n{}", cluster.name, table(&rows));
            text.push_str(
                &newest
                    .as_ref()
                    .map_or("There is no complete set.\n".to_owned(), |manifest| {
                        format!("Newest: {}\n", ending::set(manifest))
                    }),
            );
            for (run, steps) in &owed {
                text.push_str(&format!(
                    "Run {run} did not end. It owes: {}.\nHint: `zeebe-snap recover` settles it.\n",
                    steps.join(", ")
                ));
            }
            for (_, error) in &unreadable {
                text.push_str(&format!("{error:#}\n"));
            }
            text.extend(lost.iter().map(Lost::text));
            for set in &half_forgotten {
                text.push_str(&format!(
                    "Set {set} is half forgotten.\nHint: `zeebe-snap forget {set}` destroys the rest.\n"
                ));
            }
            for seen in seen.iter().filter(|seen| seen.service.gated) {
                text.push_str(&format!(
                    "Broker {} is held down: its gate is closed.\n",
                    seen.node
                ));
            }
            for kept in seen
                .iter()
                .filter_map(|seen| seen.volume.as_ref().ok())
                .flat_map(|volume| &volume.kept)
            {
                text.push_str(&format!("Kept: {}\n", kept.path.display()));
            }
            print(&text)?;
        }
        Ok(if owed.is_empty() && unreadable.is_empty() {
            Exit::Done
        } else {
            Exit::Person
        })
    }
}

fn row(seen: &Seen, trouble: Option<&String>) -> Vec<String> {
    let pid = seen
        .broker
        .as_ref()
        .map_or("-".to_owned(), |process| process.pid.to_string());
    let version = seen
        .api
        .as_ref()
        .ok()
        .and_then(|api| api.version.as_ref())
        .map_or("-".to_owned(), ToString::to_string);
    let state = match (seen.is_up(), trouble) {
        (false, _) => "down".to_owned(),
        (true, Some(trouble)) => trouble.clone(),
        (true, None) => "healthy".to_owned(),
    };
    vec![seen.node.to_string(), pid, version, state]
}
