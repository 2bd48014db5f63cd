use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::carry::begin;
use super::load;
use super::replace::Replacing;
use crate::catalog::Catalog;
use crate::exit::Exit;
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
        let manifest = Catalog::new(&places.state_dir).find(&self.set)?;
        let request = restore::Request {
            allow_unverified: self.allow_unverified,
            no_start: self.no_start,
        };
        let sources = restore::to_receive(&begun.seen, &manifest);
        let received = begun.world.receive(sources)?;
        let planned = restore::plan(&cluster, &begun.seen, &received, &manifest, &run, request);
        let set = &manifest.origin.set;
        let taken = set.time().map(moment).unwrap_or_default();
        let replacing = Replacing {
            verb: "restore",
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
            diff: String::new(),
            fields: vec![("set", json!(set))],
            stage: stage_name("restore", &run),
        };
        replacing.run(places, &cluster, begun, planned, &mut progress)
    }
}
