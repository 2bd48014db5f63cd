use std::io::{self, Read};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::pipe::{self, Sender};
use zeebe_snap_backends::stream::{HEAD, Landing, Shipment, Whole};
use zeebe_snap_backends::{Error, Label, SnapName};

use super::{Manner, Story, landing, opened, refused};
use crate::exit::Exit;

const MORE: &str = "\
    Reads the stream from standard input, as `zeebe-snap stream send` writes it to standard output, on this host or another. What \
    it is of, and what it starts from, is read from the stream. What lands there counts when it is whole and on the disk; what \
    was cut is removed.";

/// Receive a snapshot from standard input
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Receive {
    /// Where it is to land: a folder on btrfs, a ZFS dataset, or a name in a thin pool of LVM, as vg0/pool/broker-0
    #[arg(value_name = "PLACE")]
    place: String,
    #[command(flatten)]
    manner: Manner,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const VERB: &str = "stream receive";

impl Receive {
    pub fn run(self) -> Result<Exit> {
        let host = Host::new(&[]);
        let landing = landing(&host, &self.place)?;
        let mut input = opened(
            &io::stdin(),
            "standard input",
            "give it a file or a pipe with a stream",
        )?;
        let mut first = Vec::new();
        (&mut input)
            .take(HEAD as u64)
            .read_to_end(&mut first)
            .context("read standard input")?;
        let _held = self.manner.hold(&*landing)?;
        let landed = landing.landed(&host)?;
        let shipment = landing.head(&first)?.shipment(&landed);
        let cut = landed.iter().filter(|it| {
            it.label.is_some()
                && it.point.name == shipment.of.name
                && matches!(it.whole, Whole::Cut { .. })
        });
        let cut: Vec<SnapName> = cut.map(|it| it.point.name.clone()).collect();
        if cut.is_empty() {
            let found = landing.obstacles(&host, &shipment, None)?;
            if !found.is_empty() {
                return refused(VERB, self.json, &found);
            }
        }
        let to = landing.id().title;
        let story = Story {
            verb: VERB,
            shipment: &shipment,
            from: "standard input",
            to: &to,
            estimate: None,
        };
        let mut before: Vec<_> = cut.iter().flat_map(|name| landing.abandon(name)).collect();
        before.extend(landing.prepare(&shipment, &Label::new()));
        let receiver = landing.receive(&shipment);
        let sender = Sender::Begun(first, input);
        if self.manner.dry_run {
            let lines = story.lines(&before, &sender.to_string(), &receiver.to_string());
            return story.planned(self.json, &lines);
        }
        let begun = Instant::now();
        let what = format!("receive {}", shipment.of.name);
        let bytes = self.manner.flow(what, None, |flow| {
            let received = perform_all(&before, &host, flow.stop)
                .and_then(|()| Ok(pipe::run(&host, sender, receiver, flow)?))
                .and_then(|bytes| {
                    perform_all(&landing.finish(&host, &shipment)?, &host, &|| false)?;
                    Ok(bytes)
                });
            received.map_err(|error| away(&host, &*landing, &shipment, error))
        })??;
        story.done(self.json, bytes, begun.elapsed())
    }
}

/// Removes what was cut. It cannot be gone on with: nobody knows who sent it.
fn away(host: &Host, landing: &dyn Landing, shipment: &Shipment, cause: Error) -> anyhow::Error {
    let gone = perform_all(&landing.abandon(&shipment.of.name), host, &|| false);
    let cause = anyhow::Error::from(cause);
    match gone {
        Ok(()) => cause,
        Err(left) => {
            anyhow::anyhow!("{cause:#}; and what was received could not be removed: {left}")
        }
    }
}
