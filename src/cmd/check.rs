use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use zeebe_snap_backends::Cost;

use super::{findings_text, load, print, print_json};
use crate::agent::protocol::{Locking, Seen};
use crate::exit::Exit;
use crate::id::RunId;
use crate::plan::{Weight, backup};
use crate::report::progress::Progress;
use crate::report::table::{self, many};
use crate::world::{Places, Real};

fn brokers_json(seen: &[Seen]) -> Vec<Value> {
    let broker = |seen: &Seen| {
        let volume = seen.volume.as_ref().ok()?;
        Some(json!({
            "node_id": seen.node, "data": seen.data, "volume": volume.id.title,
            "backend": volume.id.backend, "cost": volume.cost,
        }))
    };
    seen.iter().filter_map(broker).collect()
}

/// How each broker's data lies, and what a snapshot of it costs.
fn brokers_text(seen: &[Seen]) -> String {
    let mut text = String::new();
    for seen in seen {
        let Ok(volume) = &seen.volume else { continue };
        let cost = match volume.cost {
            None => "its cost is not known".to_owned(),
            Some(Cost::Instant) => "a snapshot".to_owned(),
            Some(Cost::Clone { entries }) => {
                format!("a clone that shares blocks, {entries} entries")
            }
            Some(Cost::Copy { bytes }) => {
                format!("a copy of {} while it is down", table::bytes(bytes))
            }
        };
        text += &format!("broker {}: {}; {cost}\n", seen.node, volume.id.title);
    }
    text
}

/// Find everything that would keep a backup from being made, and change nothing
#[derive(Debug, Args)]
pub struct Check {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let world = Real::open(places, &cluster, Locking::Reads, Progress::new())?;
        let seen = world.inspect()?;
        let run = RunId::after(jiff::Timestamp::now(), None);
        let (plan, findings) = backup::plan(
            &cluster,
            world.host(),
            &seen,
            &run,
            backup::Request::default(),
        );
        world.close();
        if self.json {
            let result = if plan.is_some() { "good" } else { "refused" };
            print_json(&json!({
                "format": 1, "verb": "check", "result": result, "cluster": cluster.name,
                "brokers": brokers_json(&seen), "findings": findings,
            }))?;
        } else {
            let refusals = findings
                .iter()
                .filter(|finding| finding.weight == Weight::Refusal)
                .count();
            let last = match (&plan, findings.len()) {
                (Some(_), 0) => format!(
                    "Cluster {} is ready to be backed up: {} brokers.\n",
                    cluster.name,
                    seen.len()
                ),
                (Some(_), warnings) => format!(
                    "Cluster {} can be backed up; {}.\n",
                    cluster.name,
                    many(warnings, "warning", "warnings")
                ),
                (None, _) => format!(
                    "Cluster {} cannot be backed up: {} in the way.\n",
                    cluster.name,
                    many(refusals, "finding stands", "findings stand")
                ),
            };
            print(&(findings_text(&findings) + &brokers_text(&seen) + &last))?;
        }
        Ok(if plan.is_some() {
            Exit::Done
        } else {
            Exit::Refused
        })
    }
}
