//! The end of a run: its exit code, its last lines, its JSON.

use serde_json::{Value, json};

use super::table::{bytes, duration, table};
use super::times::Times;
use crate::agent::protocol::Fault;
use crate::catalog::manifest::{Manifest, SetState, milliseconds};
use crate::exec::{Cause, Ending};
use crate::exit::Exit;
use crate::id::NodeId;
use crate::journal::Entry;
use crate::plan::Step;
use crate::plan::recovery::Point;

const PHASES: [&str; 6] = ["flush", "stop", "sync", "snapshot", "start", "ready"];

/// The exit code a run's ending has.
pub fn exit(ending: &Ending) -> Exit {
    let brokers_wait = ending.failures.iter().any(|failure| {
        let seen_to = matches!(
            failure.step,
            Step::Start { .. } | Step::AwaitHealthy { .. } | Step::SwapBack { .. }
        );
        seen_to && (failure.no.plan > 0 || ending.point == Point::Past)
    });
    let unsettled = ending
        .owed
        .as_ref()
        .is_some_and(|_| ending.point == Point::Before);
    if brokers_wait || unsettled {
        Exit::Person
    } else if ending.cause.is_none() && ending.failures.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// What a person has to do, where the exit code says that one is needed.
pub fn todo(ending: &Ending) -> Option<String> {
    let mut lines = Vec::new();
    if let Some(owed) = &ending.owed {
        let steps: Vec<String> = owed
            .stages
            .iter()
            .flat_map(|stage| &stage.steps)
            .map(ToString::to_string)
            .collect();
        lines.push(format!("Still to do: {}.", steps.join(", ")));
        lines.push(
            "Hint: see to what is said above, then run `zeebe-snap recover`, which does the rest."
                .to_owned(),
        );
    } else if exit(ending) == Exit::Person {
        lines.push(
            "Hint: `zeebe-snap status` shows each broker; its own log says why it is not healthy."
                .to_owned(),
        );
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Why a run that was undone was, for the last line.
pub fn why(cause: &Cause) -> String {
    match cause {
        Cause::Failed { fault, .. } => fault.text.clone(),
        other => other.to_string(),
    }
}

/// The same, in short where it was said when it happened.
pub fn why_in_short(ending: &Ending, cause: &Cause) -> String {
    match cause {
        Cause::Failed { step, fault } if was_said(ending, step, fault) => format!("{step} failed"),
        other => why(other),
    }
}

fn was_said(ending: &Ending, step: &str, fault: &Fault) -> bool {
    let mut said = ending.failures.iter();
    said.any(|failure| failure.step.to_string() == step && failure.fault.text == fault.text)
}

/// A row of times for each broker.
pub fn times(entries: &[Entry], nodes: &[NodeId]) -> String {
    let times = Times::of_run(entries);
    phases(nodes.iter().map(|node| (*node, times.phases(*node))))
}

/// A row of times for each member of a set.
pub fn phases(
    brokers: impl Iterator<Item = (NodeId, std::collections::BTreeMap<String, f64>)>,
) -> String {
    let brokers: Vec<_> = brokers.collect();
    let known: Vec<&str> = PHASES
        .into_iter()
        .filter(|phase| {
            brokers
                .iter()
                .any(|(_, phases)| phases.contains_key(*phase))
        })
        .collect();
    let mut rows = vec![
        std::iter::once("broker")
            .chain(known.iter().copied())
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    ];
    for (node, phases) in &brokers {
        let cells = known.iter().map(|phase| {
            phases
                .get(*phase)
                .map_or("-".to_owned(), |ms| duration(*ms))
        });
        rows.push(std::iter::once(node.to_string()).chain(cells).collect());
    }
    if known.is_empty() {
        String::new()
    } else {
        table(&rows)
    }
}

/// "Set … is complete: …".
pub fn set(manifest: &Manifest) -> String {
    let size = manifest
        .bytes()
        .map_or(String::new(), |size| format!(", {}", bytes(size)));
    let state = match manifest.state() {
        SetState::Complete => "complete",
        SetState::Captured => "captured, its digests are not in",
    };
    format!(
        "Set {} of {} is {state}: {} brokers{size}.",
        manifest.origin.set,
        manifest.origin.cluster,
        manifest.members.len()
    )
}

/// The document of a changing verb.
pub fn document(
    verb: &str,
    result: &str,
    entries: &[Entry],
    ending: &Ending,
    nodes: &[NodeId],
) -> Value {
    let times = Times::of_run(entries);
    let brokers = nodes.iter().map(|node| {
        let mut broker = json!({ "node_id": node });
        for (phase, ms) in times.phases(*node) {
            broker[format!("{phase}_ms")] = json!(ms);
        }
        broker
    });
    let failures = ending.failures.iter().map(|failure| {
        json!({ "broker": failure.step.node(), "step": failure.step.word(), "message": failure.fault.text })
    });
    json!({
        "format": 1,
        "verb": verb,
        "result": result,
        "cause": ending.cause.as_ref().map(why),
        "window_ms": times.window().map(milliseconds),
        "exit_to_start_ms": times.exit_to_start().map(milliseconds),
        "stop_spread_ms": times.stop_spread().map(milliseconds),
        "brokers": brokers.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
        "owed": ending.owed.as_ref().map(|plan| plan.stages.iter().flat_map(|stage| &stage.steps).map(ToString::to_string).collect::<Vec<_>>()),
    })
}
