use std::collections::BTreeMap;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::carry::begin;
use super::load;
use super::replace::Replacing;
use crate::agent::protocol::KeptFile;
use crate::catalog::manifest::{Manifest, Member};
use crate::catalog::{Catalog, Damaged};
use crate::exit::Exit;
use crate::id::NodeId;
use crate::plan::configs::{Files, KeptFiles, When};
use crate::plan::restore::Looked;
use crate::plan::{restore, stage_name};
use crate::report::progress::Progress;
use crate::report::table::moment;
use crate::world::Places;

/// Bring a set back: verify, stop all brokers, swap every data directory, start
///
/// What is replaced is kept beside the data, and `undo` brings it back. With the cluster.toml of a replacement cluster the
/// set is received there: the same node ids, on other folders or file systems, at other addresses.
#[derive(Debug, Args)]
pub struct Restore {
    /// A set's id, or `latest` for the newest complete one
    set: String,
    /// Leave the brokers down at the end
    #[arg(long)]
    no_start: bool,
    /// In config files, an address of the source and what it becomes; each broker's own is mapped without
    #[arg(long, value_name = "OLD=NEW", value_parser = mapped)]
    map: Vec<(String, String)>,
    /// When the set's config files are written to where cluster.toml has them; the present ones are kept
    #[arg(long, value_enum, default_value_t)]
    config: When,
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
        let begun = match begin(places, &cluster, self.dry_run, &mut progress)? {
            Ok(begun) => begun,
            Err(exit) => return Ok(exit),
        };
        let run = begun.run.clone();
        let catalog = Catalog::new(&places.state_dir);
        let manifest = catalog.find(&self.set)?;
        let request = restore::Request {
            allow_unverified: self.allow_unverified,
            no_start: self.no_start,
            config: self.config,
            map: self.map,
        };
        let sources = restore::to_receive(&begun.seen, &manifest);
        let received = begun.world.receive(sources)?;
        let files = Files {
            kept: kept_configs(&catalog, &manifest)?,
            present: begun.world.configs()?,
        };
        let looked = Looked {
            seen: &begun.seen,
            received: &received,
            files: &files,
            known: &catalog.known()?,
        };
        let (plan, findings, diff) = restore::plan(&cluster, &looked, &manifest, &run, &request);
        let set = &manifest.origin.set;
        let taken = set.time().map(moment).unwrap_or_default();
        let replacing = Replacing {
            verb: "restore",
            result: "restored",
            dry_run: self.dry_run,
            yes: self.yes,
            json: self.json,
            what: format!("set {set} of {}", cluster.name),
            question: vec![
                format!(
                    "This replaces the data of {} brokers by set {set} of {taken}.",
                    manifest.members.len()
                ),
                "What happened since is not in it; the present data is kept beside the new."
                    .to_owned(),
            ],
            diff,
            fields: vec![("set", json!(set))],
            stage: stage_name("restore", &run),
        };
        replacing.run(places, &cluster, begun, (plan, findings), &mut progress)
    }
}

/// The config files that the set has, each with its content.
fn kept_configs(catalog: &Catalog, manifest: &Manifest) -> Result<BTreeMap<NodeId, KeptFiles>> {
    let set = &manifest.origin.set;
    let of = |member: &Member| {
        let read = |file: &KeptFile| {
            let content = catalog.read_config(set, &file.kept_as)?;
            anyhow::ensure!(
                file.blake3 == blake3::hash(&content).to_string(),
                "{} of set {set} is damaged: it is not what was captured",
                file.kept_as
            );
            Ok((file.clone(), content))
        };
        let files: Result<Vec<_>> = member.config.iter().map(read).collect();
        Ok((member.node, files.with_context(|| Damaged(set.clone()))?))
    };
    manifest.members.iter().map(of).collect()
}

fn mapped(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok((old.to_ascii_lowercase(), new.to_owned()))
        }
        _ => Err("it is not of the form OLD=NEW".to_owned()),
    }
}
