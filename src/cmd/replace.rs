//! What restore and undo share: from a plan that replaces the data of all brokers to the last line.

use anyhow::Result;
use serde_json::{Value, json};
use zeebe_snap_backends::StageName;

use super::ask::ask;
use super::carry::{Begun, carry_out};
use super::{plan_json, plan_text, print, print_json, tell_findings};
use crate::agent::protocol::FaultKind;
use crate::config::Cluster;
use crate::exec::Ending;
use crate::exit::Exit;
use crate::plan::recovery::Point;
use crate::plan::{Finding, Plan};
use crate::report::progress::Progress;
use crate::report::{ending, tell};
use crate::world::{Places, Real};

/// A replacement that was planned, or refused.
#[derive(Debug)]
pub struct Replacing<'a> {
    /// "restore", "undo".
    pub verb: &'a str,
    /// Nothing is carried out.
    pub dry_run: bool,
    /// Nobody is asked.
    pub yes: bool,
    /// One JSON document.
    pub json: bool,
    /// "set 20261123T014500Z of orders".
    pub what: String,
    /// What is said before the question.
    pub question: Vec<String>,
    /// Shown before the plan and the question, on paper as it were: what config files will be.
    pub diff: String,
    /// Goes into the JSON document.
    pub fields: Vec<(&'static str, Value)>,
    /// Where what is replaced will be kept.
    pub stage: StageName,
}

impl Replacing<'_> {
    /// Carries it out, unless it was refused or only a dry run was asked for.
    pub fn run(
        self,
        places: &Places,
        cluster: &Cluster,
        mut begun: Begun,
        (plan, findings): (Option<Plan>, Vec<Finding>),
        progress: &mut Progress,
    ) -> Result<Exit> {
        tell_findings(&findings);
        let Some(plan) = plan else {
            begun.world.close();
            if self.json {
                let mut document = json!({ "format": 1, "verb": self.verb, "result": "nothing", "findings": findings });
                self.add_fields(&mut document);
                print_json(&document)?;
            }
            tell(&format!(
                "zeebe-snap: {} was not brought back, and nothing was touched",
                self.what
            ));
            return Ok(Exit::Refused);
        };
        if self.dry_run {
            begun.world.close();
            match self.json {
                true => {
                    let mut document = plan_json(self.verb, Some(&plan), &findings, cluster);
                    document["config_diff"] = json!(self.diff);
                    print_json(&document)?;
                }
                false => print(&(self.diff.clone() + &plan_text(&plan, cluster)))?,
            }
            return Ok(Exit::Done);
        }
        if !self.yes {
            if !self.diff.is_empty() {
                tell(self.diff.trim_end());
            }
            if !ask(self.verb, &self.question)? {
                begun.world.close();
                tell("zeebe-snap: nothing was touched");
                return Ok(Exit::Refused);
            }
        }
        let run = begun.run.clone();
        let carried = carry_out(places, &mut begun, plan, progress);
        let kept = kept(&begun.world, &self.stage);
        begun.world.close();
        let (ending, entries) = carried?;
        let nodes: Vec<_> = cluster.brokers.keys().copied().collect();
        if self.json {
            let result = match ending.point {
                Point::Before => "failed",
                Point::Past => "restored",
            };
            let mut document = ending::document(self.verb, result, &entries, &ending, &nodes);
            document["cluster"] = json!(cluster.name);
            document["run"] = json!(run);
            self.add_fields(&mut document);
            print_json(&document)?;
        } else if ending.point == Point::Past {
            let mut what = self.what.clone();
            if let Some(first) = what.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            print(&format!(
                "{what} is back.\n{kept}{}",
                ending::times(&entries, &nodes)
            ))?;
        }
        self.tell_the_end(&ending);
        Ok(ending::exit(&ending))
    }

    fn add_fields(&self, document: &mut Value) {
        for (name, value) in &self.fields {
            document[name] = value.clone();
        }
    }

    fn tell_the_end(&self, ending: &Ending) {
        if let (Point::Before, Some(cause)) = (ending.point, &ending.cause) {
            tell(&format!(
                "zeebe-snap: {} was not brought back, the data is what it was: {}",
                self.what,
                ending::why(cause)
            ));
        }
        if let Some(todo) = ending::todo(ending) {
            tell(&todo);
        }
        let differs = |failure: &crate::exec::Failure| failure.fault.kind == FaultKind::Differs;
        if ending.failures.iter().any(differs) {
            tell("Hint: `zeebe-snap verify` names every difference; choose another set.");
        }
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
