//! What restore and undo share: from a plan that replaces the data of all brokers to the last line.

use anyhow::Result;
use serde_json::{Value, json};
use zeebe_snap_backends::{Kept, StageName};

use super::ask::ask;
use super::carry::{Begun, carry_out};
use super::{path_json, plan_json, plan_text, print, print_json, tell_findings};
use crate::agent::protocol::{FaultKind, Seen};
use crate::config::Cluster;
use crate::exec::{Ending, Failure};
use crate::exit::Exit;
use crate::id::NodeId;
use crate::plan::recovery::Point;
use crate::plan::{Finding, Plan, Step};
use crate::report::progress::Progress;
use crate::report::{ending, tell};
use crate::world::{Places, Real};

/// A replacement that was planned, or refused.
#[derive(Debug)]
pub struct Replacing<'a> {
    /// "restore", "undo".
    pub verb: &'a str,
    /// "restored", "undone".
    pub result: &'a str,
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
                Point::Past => self.result,
            };
            let mut document = ending::document(self.verb, result, &entries, &ending, &nodes);
            document["cluster"] = json!(cluster.name);
            document["run"] = json!(run);
            document["kept"] = kept_json(kept.as_deref());
            self.add_fields(&mut document);
            print_json(&document)?;
        } else if ending.point == Point::Past {
            let mut what = self.what.clone();
            if let Some(first) = what.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            print(&format!(
                "{what} is back.\n{}{}",
                kept_text(kept.as_deref()),
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
                ending::why_in_short(ending, cause)
            ));
        }
        if let Some(todo) = ending::todo(ending) {
            tell(&todo);
        }
        let differing = |failure: &Failure| match &failure.step {
            Step::Verify { set, .. } if failure.fault.kind == FaultKind::Differs => {
                Some(set.clone())
            }
            _ => None,
        };
        if let Some(set) = ending.failures.iter().find_map(differing) {
            tell(&format!(
                "Hint: `zeebe-snap verify {set}` names every difference; choose another set."
            ));
        }
    }
}

/// What was replaced and is kept now, of which broker; `None` if nobody can be asked any more.
fn kept(world: &Real, stage: &StageName) -> Option<Vec<(NodeId, Kept)>> {
    let seen = world.inspect().ok()?;
    let of = |seen: Seen| {
        let all = seen.volume.map(|volume| volume.kept).unwrap_or_default();
        let ours = all.into_iter().filter(|kept| kept.name == *stage);
        ours.map(move |kept| (seen.node, kept))
    };
    Some(seen.into_iter().flat_map(of).collect())
}

fn kept_text(kept: Option<&[(NodeId, Kept)]>) -> String {
    let Some(kept) = kept else {
        return "What it replaced is kept; `zeebe-snap status` shows where.\n".to_owned();
    };
    kept.iter()
        .map(|(_, kept)| format!("What it replaced is kept: {}\n", kept.path.display()))
        .collect()
}

fn kept_json(kept: Option<&[(NodeId, Kept)]>) -> Value {
    let one = |(node, kept): &(NodeId, Kept)| json!({ "node_id": node, "name": kept.name, "path": path_json(&kept.path) });
    kept.map_or(Value::Null, |kept| kept.iter().map(one).collect())
}
