//! The state folder in memory: journals, byte for byte, of which only what was synced survives a power cut; and the catalog.
//!
//! Must not know what a line says.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Result, ensure};

use crate::catalog::manifest::{Manifest, SetState};
use crate::id::{RunId, SetId};

/// A file that is only added to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paper {
    pub bytes: Vec<u8>,
    pub synced: usize,
}

/// What is written of a set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    pub manifest: Option<Rc<Manifest>>,
    pub forgotten: bool,
    pub configs: BTreeMap<String, Rc<Vec<u8>>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    pub journals: BTreeMap<RunId, Paper>,
    pub sets: BTreeMap<SetId, Set>,
}

impl State {
    pub fn lose_power(&mut self, torn: usize) {
        for paper in self.journals.values_mut() {
            let left = (paper.synced + torn).min(paper.bytes.len());
            paper.bytes.truncate(left);
            paper.synced = left;
        }
    }

    pub fn manifest(&self, set: &SetId) -> Option<&Manifest> {
        self.sets.get(set)?.manifest.as_deref()
    }

    pub fn record(&mut self, manifest: Manifest) {
        let set = self.sets.entry(manifest.origin.set.clone()).or_default();
        set.manifest = Some(Rc::new(manifest));
    }

    pub fn complete(&mut self, manifest: Manifest) -> Result<()> {
        ensure!(
            manifest.state() == SetState::Complete,
            "a digest is missing"
        );
        self.record(manifest);
        Ok(())
    }

    pub fn unlist(&mut self, set: &SetId) -> Result<()> {
        if let Some(found) = self.sets.get_mut(set) {
            ensure!(found.manifest.is_some(), "there is no such set");
            found.forgotten = true;
        }
        Ok(())
    }

    pub fn forget(&mut self, set: &SetId) -> Result<()> {
        let good = self.sets.get(set).filter(|set| !set.forgotten);
        let complete = good
            .and_then(|set| set.manifest.as_ref())
            .is_some_and(|it| it.state() == SetState::Complete);
        ensure!(!complete, "the set is complete");
        self.sets.remove(set);
        Ok(())
    }
}
