//! The papers of a set: what is kept beside its snapshots, too, so that a lost catalog can be rebuilt. Under the names they
//! have in the catalog.

use std::fs;

use anyhow::{Context, Result, ensure};
use zeebe_snap_backends::tree::{self, Entry};

use super::manifest::{Manifest, SetState};
use super::{COMPLETE, Catalog};
use crate::agent::protocol::{KeptFile, Paper};
use crate::id::{NodeId, SetId};

/// The name of a member's listing.
pub(super) fn listing(node: NodeId) -> String {
    format!("node-{node}-entries.jsonl")
}

/// The names of a member's papers, but for the manifest.
pub(super) fn names(manifest: &Manifest, node: NodeId) -> Vec<String> {
    let config = manifest.member(node).map(|member| &member.config);
    let config = config.into_iter().flatten();
    let config = config.map(|file| file.kept_as.clone());
    std::iter::once(listing(node)).chain(config).collect()
}

/// The paper called `name` is the one that the manifest means.
pub(super) fn check(manifest: &Manifest, node: NodeId, name: &str, content: &[u8]) -> Result<()> {
    if name == listing(node) {
        return check_listing(manifest, node, content).map(drop);
    }
    let config = manifest.member(node).map(|member| &member.config);
    let mut config = config.into_iter().flatten();
    let file = config.find(|file| file.kept_as == name);
    check_config(file.context("the manifest names no such file")?, content)
}

/// A config file that is kept is the one that was captured.
fn check_config(file: &KeptFile, content: &[u8]) -> Result<()> {
    ensure!(
        file.blake3 == blake3::hash(content).to_string(),
        "it is damaged: it is not what was captured"
    );
    Ok(())
}

/// Reads a listing, which must be the one its manifest means.
pub(super) fn check_listing(
    manifest: &Manifest,
    node: NodeId,
    content: &[u8],
) -> Result<Vec<Entry>> {
    let lines = content.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    let entries: Vec<Entry> = lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()
        .context("it is damaged: it is not a listing")?;
    let digest = manifest
        .member(node)
        .and_then(|member| member.digest.as_ref());
    let digest = digest
        .with_context(|| format!("set {} has no digest of broker {node}", manifest.origin.set))?;
    let found = (
        tree::content_hash(&entries).to_string(),
        tree::metadata_hash(&entries).to_string(),
    );
    ensure!(
        found == (digest.content.clone(), digest.metadata.clone()),
        "it is damaged: it is not the listing its manifest means"
    );
    Ok(entries)
}

impl Catalog {
    /// What is kept beside the snapshot of `first`, which all who share its volume are in: the manifest last. Nothing, if there
    /// is no such complete set any more.
    pub fn papers(&self, set: &SetId, first: NodeId) -> Result<Vec<Paper>> {
        let manifest = self.read(set)?;
        let complete = manifest.filter(|manifest| manifest.state() == SetState::Complete);
        let Some(manifest) = complete else {
            return Ok(Vec::new());
        };
        let members = manifest.origin.captured_with(first);
        let names = members.flat_map(|node| names(&manifest, node));
        let paper = |name: String| {
            let path = self.dir(set).join(&name);
            let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            let content = content.into();
            Ok(Paper { name, content })
        };
        names.chain([COMPLETE.to_owned()]).map(paper).collect()
    }

    /// Whether all that is written of a set is what its manifest means.
    pub fn check(&self, manifest: &Manifest) -> Result<()> {
        for of in &manifest.origin.brokers {
            if manifest.state() == SetState::Complete {
                self.read_listing(manifest, of.node)?;
            }
            let member = manifest.member(of.node);
            for file in member.into_iter().flat_map(|member| &member.config) {
                let content = self.read_config(&manifest.origin.set, &file.kept_as)?;
                check_config(file, &content).with_context(|| file.kept_as.clone())?;
            }
        }
        Ok(())
    }
}
