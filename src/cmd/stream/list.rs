use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::{Landed, Whole};

use super::landed::state;
use super::{landing, point_json};
use crate::cmd::{print, print_json};
use crate::exit::Exit;
use crate::report::table::table;

const MORE: &str = "\
    What is whole is all there, and on the disk. The next stream can start from what is a base. What was cut is not all there; \
    the next stream of it goes on where it was cut if the file system can do that. What is not ours was made by somebody \
    else, and is never removed.";

/// List what has landed at a place
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct List {
    /// The place, as `stream send --to` names it
    #[arg(value_name = "PLACE")]
    place: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self) -> Result<Exit> {
        let host = Host::new(&[]);
        let landing = landing(&host, &self.place)?;
        let (place, all) = (landing.id().title, landing.landed(&host)?);
        if self.json {
            let all: Vec<Value> = all.iter().map(object).collect();
            print_json(&json!({
                "format": 1,
                "verb": "stream list",
                "place": place,
                "snapshots": all,
            }))?;
        } else if all.is_empty() {
            print(&format!("Nothing has landed in {place}.\n"))?;
        } else {
            let heading = ["snapshot", "state", "whose", "identity"].map(str::to_owned);
            let rows = all.iter().map(row);
            let rows: Vec<Vec<String>> = [heading.to_vec()].into_iter().chain(rows).collect();
            print(&table(&rows))?;
        }
        Ok(Exit::Done)
    }
}

fn row(it: &Landed) -> Vec<String> {
    let state = match &it.whole {
        _ if it.label.is_none() => "?",
        Whole::Base => "whole, a base",
        Whole::Whole => "whole",
        Whole::Cut { resume: Some(_) } => "cut, goes on",
        Whole::Cut { resume: None } => "cut",
    };
    let whose = match &it.label {
        Some(_) => "ours",
        None => "not ours",
    };
    let name = it.point.name.to_string();
    vec![
        name,
        state.to_owned(),
        whose.to_owned(),
        it.point.identity.clone(),
    ]
}

fn object(it: &Landed) -> Value {
    let mut object = point_json(&it.point);
    object["ours"] = json!(it.label.is_some());
    object["label"] = json!(it.label);
    object["state"] = match &it.label {
        Some(_) => json!(state(&it.whole)),
        None => Value::Null,
    };
    object["resumable"] = json!(matches!(it.whole, Whole::Cut { resume: Some(_) }));
    object
}
