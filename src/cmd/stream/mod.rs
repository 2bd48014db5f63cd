//! Streams of snapshots by themselves: needs no cluster.toml, no agent and no state folder.
//!
//! It must not know what a stream consists of, nor what is in the snapshots.

mod destroy;
mod dump;
mod extract;
mod landed;
mod list;
mod rate;
mod receive;
mod send;
mod side;

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::pipe::Flow;
use zeebe_snap_backends::stream::{self, Landing, Point, Shipment};
use zeebe_snap_backends::{Action, Obstacle, SnapName};

use super::{absolute, interruption, print, print_json};
use crate::exit::Exit;
use crate::lock;
use crate::report::progress::Progress;
use crate::report::table::bytes;
use crate::report::tell;
use rate::Rate;

/// Send and receive snapshots, and take care of what has landed, whatever is in them
#[derive(Debug, Args)]
pub struct Stream {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Send(send::Send),
    Receive(receive::Receive),
    List(list::List),
    Extract(extract::Extract),
    Destroy(destroy::Destroy),
    Dump(dump::Dump),
}

impl Stream {
    pub fn run(self) -> Result<Exit> {
        match self.verb {
            Verb::Send(verb) => verb.run(),
            Verb::Receive(verb) => verb.run(),
            Verb::List(verb) => verb.run(),
            Verb::Extract(verb) => verb.run(),
            Verb::Destroy(verb) => verb.run(),
            Verb::Dump(verb) => verb.run(),
        }
    }
}

/// How it flows, and what is said of it.
#[derive(Debug, Args)]
struct Manner {
    /// Let no more bytes than this flow in a second: 500K, 20M, 1G
    #[arg(long, value_name = "RATE")]
    limit: Option<Rate>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Manner {
    /// [`hold`]s the place, if anything is to change there.
    fn hold(&self, landing: &dyn Landing) -> Result<Option<File>> {
        (!self.dry_run).then(|| hold(landing)).transpose()
    }

    /// Lets `work` make bytes flow, shown on a terminal as `what`, until it is done or a signal comes.
    fn flow<T>(
        &self,
        what: String,
        of: Option<u64>,
        work: impl FnOnce(&Flow<'_>) -> T,
    ) -> Result<T> {
        let interrupted = interruption()?;
        let progress = Progress::new();
        progress.say(what);
        let result = work(&Flow {
            limit: self.limit.map(|rate| rate.0),
            progress: &|bytes| progress.flowed(bytes, of),
            stop: &|| interrupted.load(Ordering::Relaxed),
        });
        progress.clear();
        Ok(result)
    }
}

/// The place that `text` names. A path has a slash in front, or a dot and a slash.
fn landing(host: &Host, text: &str) -> Result<Box<dyn Landing>> {
    place(host, text)?.with_context(|| {
        let hint = match Path::new(text).exists() && !text.starts_with(['.', '/']) {
            true => format!("give a path with a slash, as ./{text}"),
            false => "give a folder on btrfs, a ZFS dataset, or a name in a thin pool of LVM, as vg0/pool/broker-0".to_owned(),
        };
        format!("no streams land at {text:?}\n  Hint: {hint}.")
    })
}

/// The same, if it names one.
fn place(host: &Host, text: &str) -> Result<Option<Box<dyn Landing>>> {
    let place = match text.starts_with('.') {
        true => {
            let path = absolute(text.into())?;
            path.into_os_string()
                .into_string()
                .ok()
                .with_context(|| format!("{text:?} is not UTF-8"))?
        }
        false => text.to_owned(),
    };
    Ok(stream::landing(host, &place)?)
}

/// Keeps others from changing what stands at a place, until what it gives is dropped.
fn hold(landing: &dyn Landing) -> Result<File> {
    lock::take(&lock::of_place(&landing.id()), Duration::ZERO)
}

fn snap_name(text: &str) -> Result<SnapName, String> {
    SnapName::try_from(text.to_owned()).map_err(|error| error.to_string())
}

/// Our standard output or input as what tools take.
fn opened(fd: &(impl AsFd + IsTerminal), what: &str, instead: &str) -> Result<File> {
    ensure!(
        !fd.is_terminal(),
        "a stream is nothing for a terminal, and {what} is one\n  Hint: {instead}."
    );
    opened_whatever(fd, what)
}

/// The same, where a terminal will do.
fn opened_whatever(fd: &impl AsFd, what: &str) -> Result<File> {
    let fd = fd.as_fd().try_clone_to_owned();
    Ok(File::from(fd.with_context(|| format!("open {what}"))?))
}

fn point_json(point: &Point) -> Value {
    json!({ "name": point.name, "identity": point.identity })
}

/// The commands that would be run, one a line.
fn commands(actions: &[Action]) -> Vec<String> {
    let lines = actions.iter().map(Action::to_string);
    lines
        .flat_map(|lines| lines.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The same, for people.
fn lines_text(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("       {line}\n"))
        .collect()
}

fn refused(verb: &str, json: bool, found: &[Obstacle]) -> Result<Exit> {
    for it in found {
        tell(&format!(
            "refused: {}\n  Why: {}.\n  Hint: {}.",
            it.what, it.why, it.todo
        ));
    }
    if json {
        print_json(&json!({ "format": 1, "verb": verb, "result": "refused", "findings": found }))?;
    }
    Ok(Exit::Refused)
}

/// One stream that is to be, or was: what is said of it in every way.
struct Story<'a> {
    verb: &'a str,
    shipment: &'a Shipment,
    from: &'a str,
    to: &'a str,
    /// About so many bytes.
    estimate: Option<u64>,
}

impl Story<'_> {
    /// The lines that would be run.
    fn lines(&self, before: &[Action], sender: &str, receiver: &str) -> Vec<String> {
        let mut lines = commands(before);
        lines.push(format!("{sender} | {receiver}"));
        lines
    }

    fn planned(&self, json: bool, lines: &[String]) -> Result<Exit> {
        if json {
            let mut document = self.json("planned");
            document["commands"] = json!(lines);
            print_json(&document)?;
        } else {
            let about = self.estimate.map(|it| format!(" (about {})", bytes(it)));
            print(&format!(
                "Would {}{}:\n{}",
                self.sentence(),
                about.unwrap_or_default(),
                lines_text(lines)
            ))?;
        }
        Ok(Exit::Done)
    }

    fn done(&self, json: bool, flowed: u64, took: Duration) -> Result<Exit> {
        if json {
            let mut document = self.json("done");
            document["bytes"] = json!(flowed);
            document["seconds"] = json!((took.as_secs_f64() * 1000.0).round() / 1000.0);
            print_json(&document)?;
        } else {
            let rate = flowed as f64 / took.as_secs_f64().max(0.001);
            print(&format!(
                "snapshot  {}\nbase      {}\nfrom      {}\nto        {}\nbytes     {flowed} ({}, {}/s)\n",
                self.shipment.of.name,
                self.shipment
                    .base
                    .as_ref()
                    .map_or("none: all of it was sent", |base| base.name.as_str()),
                self.from,
                self.to,
                bytes(flowed),
                bytes(rate as u64),
            ))?;
        }
        Ok(Exit::Done)
    }

    /// "send zeebe-snap-2 of X, from zeebe-snap-1 on, to Y".
    fn sentence(&self) -> String {
        let Shipment { of, base, resume } = self.shipment;
        let (from, to) = (self.from, self.to);
        let name = &of.name;
        match (resume, base) {
            (Some(_), _) => format!("go on with {name} of {from}, which was cut, to {to}"),
            (None, Some(base)) => format!("send {name} of {from}, from {} on, to {to}", base.name),
            (None, None) => format!("send all of {name} of {from} to {to}"),
        }
    }

    fn json(&self, result: &str) -> Value {
        json!({
            "format": 1,
            "verb": self.verb,
            "result": result,
            "snapshot": point_json(&self.shipment.of),
            "base": self.shipment.base.as_ref().map(point_json),
            "resumed": self.shipment.resume.is_some(),
            "from": self.from,
            "to": self.to,
            "estimate": self.estimate,
        })
    }
}
