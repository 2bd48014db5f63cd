//! What speaks for or against a run, found before anything is touched.

use serde::Serialize;

use crate::id::NodeId;

/// One thing found that speaks for or against a run, before anything is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether the run is refused for it.
    pub weight: Weight,
    /// The broker it is about.
    pub broker: Option<NodeId>,
    /// What is the matter.
    pub what: String,
    /// Why that matters.
    pub why: String,
    /// What a person can do.
    pub todo: String,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// To be known; nothing is refused for it.
    Warning,
    /// The run is refused.
    Refusal,
}

/// Collects findings.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// One that refuses the run.
    pub fn refuse(
        &mut self,
        broker: Option<NodeId>,
        what: impl Into<String>,
        why: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.push(
            Weight::Refusal,
            broker,
            what.into(),
            why.into(),
            todo.into(),
        );
    }

    /// One that is only said.
    pub fn warn(
        &mut self,
        broker: Option<NodeId>,
        what: impl Into<String>,
        why: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.push(
            Weight::Warning,
            broker,
            what.into(),
            why.into(),
            todo.into(),
        );
    }

    pub(super) fn push(
        &mut self,
        weight: Weight,
        broker: Option<NodeId>,
        what: String,
        why: String,
        todo: String,
    ) {
        self.0.push(Finding {
            weight,
            broker,
            what,
            why,
            todo,
        });
    }

    /// Whether one of them refuses the run.
    pub fn refuses(&self) -> bool {
        self.0
            .iter()
            .any(|finding| finding.weight == Weight::Refusal)
    }
}
