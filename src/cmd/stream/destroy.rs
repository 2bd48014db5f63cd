use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::{Landed, Whole};
use zeebe_snap_backends::{Obstacle, SnapName};

use super::landed::{find, state};
use super::{commands, hold, landing, lines_text, point_json, refused, snap_name};
use crate::cmd::ask::ask;
use crate::cmd::{print, print_json};
use crate::exit::Exit;
use crate::report::tell;

const MORE: &str = "\
    What was cut is removed, too. What somebody else made is refused, whatever it is called. A stream starts from what both sides \
    have: with the last of that destroyed, the next one has all of it.";

/// Destroy a snapshot that has landed at a place
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Destroy {
    /// The place, as `stream send --to` names it
    #[arg(value_name = "PLACE")]
    place: String,
    /// The name of the snapshot, as `stream list` shows it
    #[arg(value_name = "SNAPSHOT", value_parser = snap_name)]
    name: SnapName,
    /// Show what would be done, command by command, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const VERB: &str = "stream destroy";

impl Destroy {
    pub fn run(self) -> Result<Exit> {
        let host = Host::new(&[]);
        let landing = landing(&host, &self.place)?;
        let (place, all) = (landing.id().title, landing.landed(&host)?);
        let it = match find(&all, &place, &self.name) {
            Ok(it) => it,
            Err(why) => return refused(VERB, self.json, &[why]),
        };
        let name = &self.name;
        if it.label.is_none() {
            let why = Obstacle {
                what: format!("{name} of {place} is not one of ours"),
                why: "zeebe-snap destroys only what it made".to_owned(),
                todo: "remove it by hand, if it is no longer wanted".to_owned(),
            };
            return refused(VERB, self.json, &[why]);
        }
        let actions = match it.whole {
            Whole::Cut { .. } => landing.abandon(name),
            Whole::Base | Whole::Whole => landing.destroy(name),
        };
        if self.dry_run {
            let lines = commands(&actions);
            match self.json {
                true => self.print_document("planned", it, &place, Some(&lines))?,
                false => print(&format!(
                    "Would destroy {name} of {place}:\n{}",
                    lines_text(&lines)
                ))?,
            }
            return Ok(Exit::Done);
        }
        if !self.yes && !ask(VERB, &question(&all, it, &place))? {
            tell("zeebe-snap: nothing was touched");
            return Ok(Exit::Refused);
        }
        let _held = hold(&*landing)?;
        perform_all(&actions, &host, &|| false)?;
        let left = landing.landed(&host)?;
        ensure!(
            left.iter().all(|left| left.point != it.point),
            "{name} of {place} is still there"
        );
        match self.json {
            true => self.print_document("done", it, &place, None)?,
            false => print(&format!("Destroyed: {name} of {place}\n"))?,
        }
        Ok(Exit::Done)
    }

    fn print_document(
        &self,
        result: &str,
        it: &Landed,
        place: &str,
        lines: Option<&[String]>,
    ) -> Result<()> {
        let mut document = json!({
            "format": 1,
            "verb": VERB,
            "result": result,
            "snapshot": point_json(&it.point),
            "state": state(&it.whole),
            "place": place,
        });
        if let Some(lines) = lines {
            document["commands"] = json!(lines);
        }
        print_json(&document)
    }
}

fn question(all: &[Landed], it: &Landed, place: &str) -> Vec<String> {
    let mut question = vec![format!("This destroys {} of {place}.", it.point.name)];
    let is_whole = |it: &&Landed| it.label.is_some() && !matches!(it.whole, Whole::Cut { .. });
    if is_whole(&it) && all.iter().filter(is_whole).count() == 1 {
        question.push("It is the last one there: the next stream has all of it.".to_owned());
    }
    question.push("It cannot be brought back.".to_owned());
    question
}
