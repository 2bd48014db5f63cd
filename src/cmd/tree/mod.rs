//! Directory trees by themselves: needs no cluster.toml, no agent and no state folder.
//!
//! It must not know what is in the trees.

mod clone;
mod compare;
mod digest;

use std::io;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use anyhow::Result;
use clap::{Args, Subcommand};
use zeebe_snap_backends::tree::{Pass, TreeError, TreePath};

use crate::exit::Exit;

/// Clone, digest and compare directory trees, whatever is in them
#[derive(Debug, Args)]
pub struct Tree {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Clone(clone::Clone),
    Digest(digest::Digest),
    Compare(compare::Compare),
}

impl Tree {
    pub fn run(self) -> Result<Exit> {
        match self.verb {
            Verb::Clone(verb) => verb.run(),
            Verb::Digest(verb) => verb.run(),
            Verb::Compare(verb) => verb.run(),
        }
    }
}

#[derive(Debug, Args)]
struct Threads {
    /// Work with no more threads than this; never with more than there are cores [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl Threads {
    fn count(&self) -> NonZeroUsize {
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.threads.map_or(cores, |threads| threads.min(cores))
    }

    fn pass<'a>(&self, progress: &'a (dyn Fn(u64) + Sync)) -> Pass<'a> {
        Pass {
            threads: self.count(),
            progress,
            ..Pass::new()
        }
    }
}

/// Sockets that were left out, for people.
fn quoted(sockets: &[TreePath]) -> String {
    let names: Vec<String> = sockets.iter().map(TreePath::to_string).collect();
    names.join(" ")
}

/// The same as a row of a table; empty where there are none.
fn left_out(sockets: &[TreePath]) -> String {
    match sockets {
        [] => String::new(),
        _ => format!("left out  {} (sockets)\n", quoted(sockets)),
    }
}

/// What a person can do about it.
pub(super) fn with_hint(error: TreeError) -> anyhow::Error {
    let hint = match &error {
        TreeError::Changed { .. } => "stop whoever writes there, or take a snapshot of it",
        TreeError::OtherVolume { .. } => "unmount it, or work on it by itself",
        TreeError::NotKept { .. } => "run this as root, to a file system that knows such a thing",
        TreeError::Inside { .. } => "give a path outside the source",
        TreeError::Busy { .. } => "wait until that is done",
        TreeError::Left { .. } => "the next clone of that name removes what is left",
        TreeError::Io { source, .. } => match source.kind() {
            io::ErrorKind::AlreadyExists => "give another name, or remove what is there",
            io::ErrorKind::NotADirectory => "give a folder itself, not a link that leads to one",
            io::ErrorKind::StorageFull => "make room, or clone to another file system",
            _ => return error.into(),
        },
        TreeError::Interrupted => return error.into(),
    };
    let text = format!("{:#}\n  Hint: {hint}.", anyhow::Error::from(error));
    anyhow::Error::msg(text)
}
