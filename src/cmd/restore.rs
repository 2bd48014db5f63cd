use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use zeebe_snap_backends::StageName;

use super::carry::{begin, carry_out};
use super::{load, plan_json, plan_text, print, print_json, tell_findings};
use crate::agent::protocol::FaultKind;
use crate::catalog::Catalog;
use crate::catalog::manifest::Manifest;
use crate::exit::Exit;
use crate::plan::recovery::Point;
use crate::plan::{restore, stage_name};
use crate::report::progress::Progress;
use crate::report::table::moment;
use crate::report::{ending, tell};
use crate::world::{Places, Real};

/// Bring a set back in place: verify, stop all brokers, swap every data directory, start
///
/// What is replaced is kept beside the data.
#[derive(Debug, Args)]
pub struct Restore {
    /// A set's id, or `latest` for the newest complete one
    set: String,
    /// Show what would be done, command by command, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Restore a set whose digests are not in
    #[arg(long)]
    allow_unverified: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let mut progress = Progress::new();
        let mut begun = match begin(places, &cluster, self.dry_run, &mut progress)? {
            Ok(begun) => begun,
            Err(exit) => return Ok(exit),
        };
        let run = begun.run.clone();
        let manifest = Catalog::new(&places.state_dir).find(&self.set)?;
        let request = restore::Request {
            allow_unverified: self.allow_unverified,
        };
        let (plan, findings) = restore::plan(&cluster, &begun.seen, &manifest, &run, request);
        tell_findings(&findings);
        let Some(plan) = plan else {
            begun.world.close();
            if self.json {
                print_json(
                    &json!({ "format": 1, "verb": "restore", "result": "nothing", "set": manifest.origin.set, "findings": findings }),
                )?;
            }
            tell(&format!(
                "zeebe-snap: set {} was not restored, and nothing was touched",
                manifest.origin.set
            ));
            return Ok(Exit::Refused);
        };
        if self.dry_run {
            begun.world.close();
            match self.json {
                true => print_json(&plan_json("restore", Some(&plan), &findings, &cluster))?,
                false => print(&plan_text(&plan, &cluster))?,
            }
            return Ok(Exit::Done);
        }
        if !self.yes && !ask(&manifest)? {
            begun.world.close();
            tell("zeebe-snap: nothing was touched");
            return Ok(Exit::Refused);
        }

        let carried = carry_out(places, &mut begun, plan, &mut progress);
        let kept = kept(&begun.world, &stage_name(&run));
        begun.world.close();
        let (ending, entries) = carried?;
        let nodes: Vec<_> = cluster.brokers.keys().copied().collect();
        let set = &manifest.origin.set;
        let result = match ending.point {
            Point::Before => "failed",
            Point::Past => "restored",
        };
        if self.json {
            let mut document = ending::document("restore", result, &entries, &ending, &nodes);
            document["set"] = json!(set);
            document["cluster"] = json!(cluster.name);
            document["run"] = json!(run);
            print_json(&document)?;
        } else if ending.point == Point::Past {
            print(&format!(
                "Set {set} of {} is back.\n{kept}{}",
                cluster.name,
                ending::times(&entries, &nodes)
            ))?;
        }
        if let (Point::Before, Some(cause)) = (ending.point, &ending.cause) {
            tell(&format!(
                "zeebe-snap: set {set} was not restored, the data is what it was: {}",
                ending::why(cause)
            ));
        }
        if let Some(todo) = ending::todo(&ending) {
            tell(&todo);
        }
        if ending
            .failures
            .iter()
            .any(|failure| failure.fault.kind == FaultKind::Differs)
        {
            tell(&format!(
                "Hint: `zeebe-snap verify {set}` names every difference; choose another set."
            ));
        }
        Ok(ending::exit(&ending))
    }
}

/// Where what was replaced is kept now, a line each.
fn kept(world: &Real, stage: &StageName) -> String {
    let seen = world.inspect().unwrap_or_default();
    let volumes = seen.iter().filter_map(|seen| seen.volume.as_ref().ok());
    let kept = volumes.flat_map(|volume| &volume.kept);
    kept.filter(|kept| kept.name == *stage)
        .map(|kept| format!("What it replaced is kept: {}\n", kept.path.display()))
        .collect()
}

fn ask(manifest: &Manifest) -> Result<bool> {
    if !io::stdin().is_terminal() {
        tell(
            "zeebe-snap: a restore asks before it replaces data; there is no terminal to ask at, so say --yes",
        );
        return Ok(false);
    }
    let taken = manifest.origin.set.time().map(moment).unwrap_or_default();
    tell(&format!(
        "This replaces the data of {} brokers by set {} of {taken}.",
        manifest.members.len(),
        manifest.origin.set
    ));
    tell("What happened since is not in it; the present data is kept beside the new.");
    eprint!("Type yes to go on: ");
    io::stderr().flush().context("write to the terminal")?;
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("read the answer")?;
    Ok(line.trim() == "yes")
}
