use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use zeebe_snap_backends::tree;

use super::{load, print, print_json};
use crate::agent::protocol::Locking;
use crate::catalog::Catalog;
use crate::exit::Exit;
use crate::plan::Step;
use crate::report::progress::Progress;
use crate::world::{Places, Real};

/// Digest a set's snapshots again and name everything that is not as it was captured
#[derive(Debug, Args)]
pub struct Verify {
    /// A set's id, or `latest` for the newest complete one
    set: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let catalog = Catalog::new(&places.state_dir);
        let manifest = catalog.find(&self.set)?;
        let set = &manifest.origin.set;
        let progress = Progress::new();
        let world = Real::open(places, &cluster, Locking::Reads, progress.clone())?;
        let mut members = Vec::new();
        let mut differs = false;
        for broker in &manifest.origin.brokers {
            let want = catalog.read_listing(&manifest, broker.node)?;
            let source = manifest
                .source(broker.node)
                .context("a member has no snapshot")?;
            progress.say(format!("verify broker {}", broker.node));
            let step = Step::Verify {
                node: broker.node,
                set: set.clone(),
                source,
                staged: None,
            };
            // A snapshot that is gone or another's is a difference, too.
            let (differences, error) = match world.listing(step) {
                Ok(have) => (tree::compare(&want, &have), None),
                Err(error) => (Vec::new(), Some(format!("{error:#}"))),
            };
            differs |= !differences.is_empty() || error.is_some();
            members.push((broker.node, want.len(), differences, error));
        }
        progress.clear();
        world.close();
        if self.json {
            let member = |(node, entries, differences, error): &(
                _,
                _,
                Vec<tree::Difference>,
                _,
            )| json!({ "node_id": node, "entries": entries, "differences": differences, "error": error });
            let result = if differs { "differs" } else { "equal" };
            print_json(
                &json!({ "format": 1, "verb": "verify", "result": result, "set": set, "members": members.iter().map(member).collect::<Vec<_>>() }),
            )?;
        } else {
            let mut text = String::new();
            for (node, entries, differences, error) in &members {
                match (error, differences.len()) {
                    (Some(error), _) => text.push_str(&format!("broker {node}: {error}\n")),
                    (None, 0) => text.push_str(&format!(
                        "broker {node}: {entries} entries, each as it was captured\n"
                    )),
                    (None, many) => {
                        text.push_str(&format!("broker {node}: {many} differences\n"));
                        differences
                            .iter()
                            .for_each(|difference| text.push_str(&format!("  {difference}\n")));
                    }
                }
            }
            text.push_str(&match differs {
                true => format!("Set {set} is NOT what was captured.\n"),
                false => format!("Set {set} is what was captured.\n"),
            });
            print(&text)?;
        }
        Ok(if differs { Exit::Differs } else { Exit::Done })
    }
}
