use std::io;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::pipe::{self, Receiver};
use zeebe_snap_backends::stream::{self, Agreement, Point, Shipment, agree};
use zeebe_snap_backends::{Label, Landing, Obstacle, SnapName};

use super::side::Side;
use super::{Manner, Story, landing, opened, point_json, refused, snap_name};
use crate::cmd::{print, print_json};
use crate::exit::Exit;

const MORE: &str = "\
    With --to, what the place has is looked at first: the stream starts from the latest snapshot that both sides have, \
    found by identity, never by name; all of it is sent where there is none. A stream to the place that was cut is gone on \
    with where the file system can do that, else it is removed and begun anew. What lands there counts when it is whole and \
    on the disk.\n\n\
    Without --to, the stream goes to standard output, and starts from --base or has all of it.\n\n\
    A place is for the snapshots of one volume, and of the same kind as that. It is a folder on btrfs, as /backup/broker-0; a ZFS \
    dataset, as tank/broker-0; or a name in a thin pool of LVM, as vg0/pool/broker-0. A folder or dataset is made if it is not there.";

/// Send a snapshot to another volume, or to standard output
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Send {
    /// The data directory that the snapshot is of, or the place where it has landed
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The name of the snapshot, as `zeebe-snap-20261123T014500Z`
    #[arg(value_name = "SNAPSHOT", value_parser = snap_name)]
    name: SnapName,
    /// Where it is to land
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// Send only what changed since this one, which the other side has
    #[arg(long, value_name = "SNAPSHOT", value_parser = snap_name)]
    base: Option<SnapName>,
    #[command(flatten)]
    manner: Manner,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const VERB: &str = "stream send";

impl Send {
    pub fn run(self) -> Result<Exit> {
        let host = Host::new(&[]);
        let from = Side::of(&host, &self.from)?;
        from.stream()?;
        let (of, label) = match from.find(&host, &self.name)? {
            Ok(found) => found,
            Err(why) => return refused(VERB, self.json, &[why]),
        };
        let base = match &self.base {
            None => None,
            Some(base) => match from.find(&host, base)? {
                Ok((base, _)) => Some(base),
                Err(why) => return refused(VERB, self.json, &[why]),
            },
        };
        match &self.to {
            Some(place) => {
                let landing = landing(&host, place)?;
                self.to_place(&host, &from, &*landing, &of, base, &label)
            }
            None => self.to_standard_output(&host, &from, of, base),
        }
    }

    fn to_place(
        &self,
        host: &Host,
        from: &Side,
        landing: &dyn Landing,
        of: &Point,
        base: Option<Point>,
        label: &Label,
    ) -> Result<Exit> {
        let stream = from.stream()?;
        // From the look that decides on.
        let _held = self.manner.hold(landing)?;
        let mut points = stream.points(host)?;
        if let Some(base) = &base {
            points.retain(|it| it == base || it == of);
        }
        let (shipment, abandon) = match agree(of, &points, &landing.landed(host)?) {
            Agreement::Send(shipment, abandon) => (shipment, abandon),
            Agreement::Refused(why) => return refused(VERB, self.json, &[why]),
            Agreement::Landed => return self.landed(of, &landing.id().title),
        };
        if let (Some(base), None) = (&base, &shipment.base) {
            let why = Obstacle {
                what: format!(
                    "{} does not have the base {}",
                    landing.id().title,
                    base.name
                ),
                why: "a stream says only what is to be changed in its base".to_owned(),
                todo: "leave out --base, and what both sides have is found".to_owned(),
            };
            return refused(VERB, self.json, &[why]);
        }
        let found = stream.obstacles(host, &shipment)?;
        if !found.is_empty() {
            return refused(VERB, self.json, &found);
        }
        let estimate = stream.estimate(host, &shipment)?;
        // What is abandoned first is not in the way.
        let found = match abandon[..] {
            [] => landing.obstacles(host, &shipment, estimate)?,
            _ => Vec::new(),
        };
        if !found.is_empty() {
            return refused(VERB, self.json, &found);
        }
        let story = Story {
            verb: VERB,
            shipment: &shipment,
            from: &from.title(),
            to: &landing.id().title,
            estimate,
        };
        if self.manner.dry_run {
            let mut before: Vec<_> = abandon
                .iter()
                .flat_map(|name| landing.abandon(name))
                .collect();
            before.extend(landing.prepare(&shipment, label));
            let ends = (stream.send(&shipment), landing.receive(&shipment));
            let lines = story.lines(&before, &ends.0.to_string(), &ends.1.to_string());
            return story.planned(self.json, &lines);
        }
        let begun = Instant::now();
        let shipped = self
            .manner
            .flow(format!("send {}", of.name), estimate, |flow| {
                stream::ship(host, stream, landing, &shipment, &abandon, label, flow)
            })??;
        story.done(self.json, shipped.bytes, begun.elapsed())
    }

    fn landed(&self, of: &Point, to: &str) -> Result<Exit> {
        match self.json {
            true => print_json(&json!({
                "format": 1,
                "verb": VERB,
                "result": "unchanged",
                "snapshot": point_json(of),
                "to": to,
            }))?,
            false => print(&format!("{to} has {} already, whole.\n", of.name))?,
        }
        Ok(Exit::Done)
    }

    fn to_standard_output(
        &self,
        host: &Host,
        from: &Side,
        of: Point,
        base: Option<Point>,
    ) -> Result<Exit> {
        let stream = from.stream()?;
        let shipment = Shipment {
            of,
            base,
            resume: None,
        };
        let found = stream.obstacles(host, &shipment)?;
        if !found.is_empty() {
            return refused(VERB, self.json, &found);
        }
        let story = Story {
            verb: VERB,
            shipment: &shipment,
            from: &from.title(),
            to: "standard output",
            estimate: stream.estimate(host, &shipment)?,
        };
        let sender = stream.send(&shipment);
        if self.manner.dry_run {
            return story.planned(self.json, &[sender.to_string()]);
        }
        if self.json {
            bail!(
                "--json would be in the midst of the stream\n  Hint: give --to, or leave out --json."
            );
        }
        let out = opened(
            &io::stdout(),
            "standard output",
            "give --to, or send it into a file or a pipe",
        )?;
        let what = format!("send {}", shipment.of.name);
        self.manner.flow(what, story.estimate, |flow| {
            pipe::run(host, sender, Receiver::Open(out), flow)
        })??;
        Ok(Exit::Done)
    }
}
