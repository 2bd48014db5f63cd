use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{print, print_json};
use crate::catalog::Catalog;
use crate::catalog::manifest::Manifest;
use crate::exit::Exit;
use crate::report::ending;
use crate::report::table::{bytes, duration, moment, table};
use crate::world::Places;

/// Show all that is written down of a set
#[derive(Debug, Args)]
pub struct Show {
    /// A set's id, or `latest` for the newest complete one
    set: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Show {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let manifest = Catalog::new(&places.state_dir).find(&self.set)?;
        if self.json {
            let mut document = serde_json::to_value(&manifest)?;
            document["state"] = json!(manifest.state());
            document["bytes"] = json!(manifest.bytes());
            print_json(&document)?;
        } else {
            print(&text(&manifest))?;
        }
        Ok(Exit::Done)
    }
}

fn text(manifest: &Manifest) -> String {
    let origin = &manifest.origin;
    let unknown = || "not known".to_owned();
    let mut text = format!("{}\n", ending::set(manifest));
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    line("taken", origin.set.time().map_or_else(unknown, moment));
    line(
        "window",
        manifest
            .window_ms
            .map_or("no broker ran".to_owned(), duration),
    );
    line(
        "partitions",
        origin
            .partitions
            .map_or_else(unknown, |count| count.to_string()),
    );
    line(
        "replication",
        origin
            .replication
            .map_or_else(unknown, |count| count.to_string()),
    );
    line("capture", origin.capture.clone());
    line("taken by", format!("zeebe-snap {}", origin.tool));
    let mut rows = vec![
        [
            "broker",
            "host",
            "zeebe",
            "size",
            "files in it",
            "snapshot",
            "data",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (broker, member) in origin
        .brokers
        .iter()
        .filter_map(|broker| Some((broker, manifest.member(broker.node)?)))
    {
        let digest = member.digest.as_ref();
        rows.push(vec![
            broker.node.to_string(),
            broker.host.clone(),
            broker.zeebe.as_ref().map_or_else(unknown, |learned| {
                format!("{} ({})", learned.version, learned.from)
            }),
            digest.map_or_else(unknown, |digest| bytes(digest.bytes)),
            digest.map_or_else(unknown, |digest| digest.entries.to_string()),
            member.identity.clone(),
            broker.data.display().to_string(),
        ]);
    }
    text.push('\n');
    text.push_str(&table(&rows));
    text.push('\n');
    text.push_str(&ending::phases(
        manifest
            .members
            .iter()
            .map(|member| (member.node, member.phases.clone())),
    ));
    text
}
