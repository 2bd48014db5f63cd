//! What release and forget share: from a plan that destroys what is not wanted any more to the last line.

use anyhow::Result;
use serde_json::{Value, json};

use super::ask::ask;
use super::carry::{Begun, carry_out};
use super::{path_json, plan_json, plan_text, print, print_json, tell_findings};
use crate::config::Cluster;
use crate::exit::Exit;
use crate::journal::{self, Entry};
use crate::plan::{Finding, Plan, Step};
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
            tell("zeebe-snap: nothing was touched");
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
        let wanted: Vec<Step> = last_steps(&plan).cloned().collect();
        if !wanted.is_empty() && !self.yes && !ask(self.verb, &self.question)? {
            begun.world.close();
            tell("zeebe-snap: nothing was touched");
            return Ok(Exit::Refused);
        }
        let run = begun.run.clone();
        let carried = carry_out(places, &mut begun, plan, progress);
        begun.world.close();
        let (ending, entries) = carried?;
        let exit = ending::exit(&ending);
        let is_done = |wanted: &&Step| journal::done(&entries).any(|(step, _)| step == *wanted);
        let (gone, left): (Vec<&Step>, Vec<&Step>) = wanted.iter().partition(is_done);
        if self.json {
            let result = if exit == Exit::Done { "done" } else { "failed" };
            let nodes: Vec<_> = cluster.brokers.keys().copied().collect();
            let mut document = ending::document(self.verb, result, &entries, &ending, &nodes);
            document["cluster"] = json!(cluster.name);
            document["run"] = json!(run);
            document["destroyed"] = gone.iter().filter_map(|step| name(step)).collect();
            document["left"] = left.iter().filter_map(|step| name(step)).collect();
            print_json(&document)?;
        } else if wanted.is_empty() {
            print("Nothing is kept.\n")?;
        } else {
            print(&gone.iter().map(|step| said_gone(step)).collect::<String>())?;
        }
        for step in left {
            tell(&format!("zeebe-snap: {}", said_left(step, &entries)));
        }
        if let Some(todo) = ending::todo(&ending) {
            tell(&todo);
        }
        Ok(exit)
    }
}

/// The steps with which each thing that is destroyed is gone.
pub fn last_steps(plan: &Plan) -> impl Iterator<Item = &Step> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    steps.filter(|step| matches!(step, Step::Release { .. } | Step::Forget { .. }))
}

/// What is gone with a step, for scripts.
fn name(step: &Step) -> Option<Value> {
    match step {
        Step::Release { node, kept, .. } => {
            Some(json!({ "node_id": node, "name": kept.name, "path": path_json(&kept.path) }))
        }
        Step::Forget { set } => Some(json!({ "set": set })),
        _ => None,
    }
}

fn said_gone(step: &Step) -> String {
    match step {
        Step::Release { kept, .. } => format!("Released: {}\n", kept.path.display()),
        Step::Forget { set } => format!("Set {set} is forgotten.\n"),
        _ => String::new(),
    }
}

fn said_left(step: &Step, entries: &[Entry]) -> String {
    let is_unlisted = |set| {
        let mut done = journal::done(entries);
        done.any(|(step, _)| matches!(step, Step::Unlist { set: of } if of == set))
    };
    match step {
        Step::Release { kept, .. } => format!("not released: {}", kept.path.display()),
        Step::Forget { set } if is_unlisted(set) => format!(
            "not all of set {set} is gone; what is left of it is not listed, and `zeebe-snap forget {set}` takes it up again"
        ),
        Step::Forget { set } => format!("set {set} is not forgotten"),
        _ => String::new(),
    }
}
