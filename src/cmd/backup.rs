use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::carry::{begin, carry_out};
use super::{load, plan_json, plan_text, print, print_json, tell_findings};
use crate::catalog::Catalog;
use crate::catalog::manifest::SetState;
use crate::exit::Exit;
use crate::id::SetId;
use crate::plan::backup;
use crate::plan::recovery::Point;
use crate::report::progress::Progress;
use crate::report::{ending, tell};
use crate::world::Places;

/// Take a set: stop all brokers, snapshot every data volume, start them again, digest
#[derive(Debug, Args)]
pub struct Backup {
    /// Show what would be done, command by command, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Back up a cluster that is up but not healthy; a broker with a broken partition may have to be killed
    #[arg(long)]
    allow_unhealthy: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let mut progress = Progress::new();
        let mut begun = match begin(places, &cluster, self.dry_run, &mut progress)? {
            Ok(begun) => begun,
            Err(exit) => return Ok(exit),
        };
        let run = begun.run.clone();
        let request = backup::Request {
            allow_unhealthy: self.allow_unhealthy,
        };
        let (plan, findings) =
            backup::plan(&cluster, begun.world.host(), &begun.seen, &run, request);
        let Some(plan) = plan else {
            begun.world.close();
            if self.json {
                print_json(
                    &json!({ "format": 1, "verb": "backup", "result": "nothing", "cluster": cluster.name, "findings": findings }),
                )?;
            }
            tell_findings(&findings);
            tell("zeebe-snap: no backup was made, and nothing was touched");
            return Ok(Exit::Refused);
        };
        tell_findings(&findings);
        if self.dry_run {
            begun.world.close();
            match self.json {
                true => print_json(&plan_json("backup", Some(&plan), &findings, &cluster))?,
                false => print(&plan_text(&plan, &cluster))?,
            }
            return Ok(Exit::Done);
        }
        let carried = carry_out(places, &mut begun, plan, &mut progress);
        begun.world.close();
        let (ending, entries) = carried?;

        let set = SetId::from(run.clone());
        let manifest = Catalog::new(&places.state_dir).read(&set)?;
        let nodes: Vec<_> = cluster.brokers.keys().copied().collect();
        let result = match (
            ending.point,
            manifest.as_ref().map(|manifest| manifest.state()),
        ) {
            (Point::Before, _) => "failed",
            (Point::Past, Some(SetState::Complete)) => "complete",
            (Point::Past, _) => "captured",
        };
        if self.json {
            let mut document = ending::document("backup", result, &entries, &ending, &nodes);
            document["set"] = json!(manifest.as_ref().map(|manifest| &manifest.origin.set));
            document["run"] = json!(run);
            document["cluster"] = json!(cluster.name);
            document["bytes"] = json!(manifest.as_ref().and_then(|manifest| manifest.bytes()));
            print_json(&document)?;
        } else if let Some(manifest) = &manifest {
            let window = manifest
                .window_ms
                .map(|ms| format!("The window was {}.\n", crate::report::table::duration(ms)));
            let times = ending::times(&entries, &nodes);
            print(&format!(
                "{}\n{}{times}",
                ending::set(manifest),
                window.unwrap_or_default()
            ))?;
        }
        if let (Point::Before, Some(cause)) = (ending.point, &ending.cause) {
            tell(&format!(
                "zeebe-snap: no set was made: {}",
                ending::why_in_short(&ending, cause)
            ));
        } else if result == "captured" {
            tell(&format!(
                "zeebe-snap: set {set} is captured; its digests are not in"
            ));
        }
        if let Some(todo) = ending::todo(&ending) {
            tell(&todo);
        }
        Ok(ending::exit(&ending))
    }
}
