use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::blocks::explain::As;
use zeebe_snap_backends::stream::kind::Kind;
use zeebe_snap_backends::stream::pipe::{self, EndError, Flow, PipeError, Receiver};

use super::opened_whatever;
use crate::exit::Exit;

const MORE: &str = "\
    A stream of btrfs or ZFS is explained by their own tools, `btrfs receive --dump` and `zstream dump`; a block stream by this \
    program. All of it is read, and its checksums are checked.";

/// Explain what is in a stream
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Dump {
    /// The file that the stream is in
    file: PathBuf,
    /// Print one line of JSON for each record; of a block stream only
    #[arg(long)]
    json: bool,
}

impl Dump {
    pub fn run(self) -> Result<Exit> {
        let file = &self.file;
        let mut first = Vec::new();
        File::open(file)
            .and_then(|it| it.take(64).read_to_end(&mut first))
            .with_context(|| format!("read {}", file.display()))?;
        let Some(kind) = Kind::of(&first) else {
            bail!(
                "{} is no stream that is known: it begins as none of btrfs, of ZFS or of blocks",
                file.display()
            );
        };
        if self.json && kind != Kind::Blocks {
            bail!("{kind} explains its streams as text only\n  Hint: leave out --json.");
        }
        let form = match self.json {
            true => As::Json,
            false => As::Text,
        };
        let out = opened_whatever(&io::stdout(), "standard output")?;
        let explained = pipe::run(
            &Host::new(&[]),
            kind.explain(file, form),
            Receiver::Open(out),
            &Flow::new(),
        );
        match explained {
            Ok(_) => Ok(Exit::Done),
            // A reader that went away is not an error.
            Err(PipeError::End { cause, .. }) if matches!(*cause, EndError::TooEarly { .. }) => {
                Ok(Exit::Done)
            }
            Err(error) => Err(error.into()),
        }
    }
}
