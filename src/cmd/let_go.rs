//! What release and forget share: from a plan that destroys what is not wanted any more to the last line.

use anyhow::Result;
use serde_json::json;

use super::ask::ask;
use super::carry::{Begun, carry_out};
use super::{plan_json, plan_text, print, print_json, tell_findings};
use crate::config::Cluster;
use crate::exit::Exit;
use crate::plan::{Finding, Plan};
use crate::report::progress::Progress;
use crate::report::{ending, tell};
use crate::world::Places;

/// A destruction that was planned, or refused.
#[derive(Debug)]
pub struct LettingGo<'a> {
    /// "release", "forget".
    pub verb: &'a str,
    /// Nothing is carried out.
    pub dry_run: bool,
    /// Nobody is asked.
    pub yes: bool,
    /// One JSON document.
    pub json: bool,
    /// What is said before the question.
    pub question: Vec<String>,
    /// What is said when it is done.
    pub done: String,
    /// What is said when it is not.
    pub not_done: String,
}

impl LettingGo<'_> {
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
                print_json(
                    &json!({ "format": 1, "verb": self.verb, "result": "nothing", "findings": findings }),
                )?;
            }
            tell(&format!("zeebe-snap: {}", self.not_done));
            return Ok(Exit::Refused);
        };
        if self.dry_run {
            begun.world.close();
            match self.json {
                true => print_json(&plan_json(self.verb, Some(&plan), &findings, cluster))?,
                false => print(&plan_text(&plan, cluster))?,
            }
            return Ok(Exit::Done);
        }
        if !plan.stages.is_empty() && !self.yes && !ask(self.verb, &self.question)? {
            begun.world.close();
            tell("zeebe-snap: nothing was touched");
            return Ok(Exit::Refused);
        }
        let run = begun.run.clone();
        let carried = carry_out(places, &mut begun, plan, progress);
        begun.world.close();
        let (ending, entries) = carried?;
        let exit = ending::exit(&ending);
        if self.json {
            let result = if exit == Exit::Done { "done" } else { "failed" };
            let nodes: Vec<_> = cluster.brokers.keys().copied().collect();
            let mut document = ending::document(self.verb, result, &entries, &ending, &nodes);
            document["cluster"] = json!(cluster.name);
            document["run"] = json!(run);
            print_json(&document)?;
        } else if exit == Exit::Done {
            print(&self.done)?;
        }
        if exit != Exit::Done {
            tell(&format!("zeebe-snap: {}", self.not_done));
        }
        if let Some(todo) = ending::todo(&ending) {
            tell(&todo);
        }
        Ok(exit)
    }
}
