//! Planning to destroy sets: first each is taken off the list, then its snapshots are destroyed, last what is written of it.

use super::{Aim, Finding, Findings, Plan, Stage, Step};
use crate::catalog::manifest::Origin;
use crate::config::Cluster;

/// A set that is to be destroyed.
#[derive(Debug, Clone)]
pub struct Doomed {
    /// What is known of it.
    pub origin: Origin,
    /// Whether the catalog has anything of it.
    pub listed: bool,
}

/// The plan to destroy the sets, or none where something speaks against it; and all that was found.
pub fn plan(cluster: &Cluster, sets: &[Doomed]) -> (Option<Plan>, Vec<Finding>) {
    let mut findings = Findings::default();
    for doomed in sets {
        look_at(cluster, &doomed.origin, &mut findings);
    }
    if findings.refuses() {
        return (None, findings.0);
    }
    let plan = Plan {
        aim: Aim::Forget {
            sets: sets.iter().map(|of| of.origin.set.clone()).collect(),
        },
        of: cluster.whose(),
        max_downtime: cluster.max_downtime,
        stages: sets.iter().flat_map(stages_of).collect(),
    };
    (Some(plan), findings.0)
}

fn stages_of(doomed: &Doomed) -> Vec<Stage> {
    let listed = |stage: &Stage| doomed.listed || !matches!(stage.steps[..], [Step::Unlist { .. }]);
    let stages = Stage::with_steps(stages(&doomed.origin));
    stages.into_iter().filter(listed).collect()
}

fn look_at(cluster: &Cluster, origin: &Origin, findings: &mut Findings) {
    let set = &origin.set;
    let strangers: Vec<String> = origin
        .brokers
        .iter()
        .filter(|of| !cluster.brokers.contains_key(&of.node))
        .map(|of| of.node.to_string())
        .collect();
    if origin.cluster == cluster.name && strangers.is_empty() {
        return;
    }
    let and = match strangers.is_empty() {
        true => String::new(),
        false => format!(" and has the brokers {}", strangers.join(", ")),
    };
    findings.refuse(
        None,
        format!(
            "set {set} is of the cluster {}{and}, cluster.toml is of {}",
            origin.cluster, cluster.name
        ),
        "its snapshots are destroyed on the hosts of its own cluster",
        "name the cluster.toml it was taken with, by --cluster",
    );
}

/// The stages that destroy a set. One that fails ends the run, so that what is written of the set goes last.
pub(crate) fn stages(origin: &Origin) -> Vec<Stage> {
    let set = || origin.set.clone();
    // Brokers on one volume share its snapshot.
    let first = origin
        .brokers
        .iter()
        .filter(|of| of.captured_with == of.node);
    let destroy = first.map(|of| Step::Destroy {
        node: of.node,
        volume: of.volume.clone(),
        snapshot: of.snapshot.clone(),
        label: origin.label(of.node),
    });
    vec![
        Stage::leave(vec![Step::Unlist { set: set() }]),
        Stage::leave(destroy.collect()),
        Stage::leave(vec![Step::Forget { set: set() }]),
    ]
}
