use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use zeebe_snap_backends::tree::{self, TreeDigest};

use super::{Threads, quoted, with_hint};
use crate::cmd::{path_json, print, print_json};
use crate::exit::Exit;
use crate::report::progress::Progress;

const MORE: &str = "\
    Reads every file of both. Compared are names, types, content, symbolic links, hard links, device numbers, \
    owners, modes, modification times and extended attributes with ACLs; not holes, inode flags and other times. \
    Sockets are left out and named. The exit code is 5 if there is a difference.";

/// Name everything in which two trees differ
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Compare {
    /// The tree as it is wanted
    #[arg(value_name = "A")]
    want: PathBuf,
    /// The tree that may differ from it
    #[arg(value_name = "B")]
    have: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
}

impl Compare {
    pub fn run(self) -> Result<Exit> {
        let (want, have) = (self.digest(&self.want)?, self.digest(&self.have)?);
        let differences = tree::compare(&want.entries, &have.entries);
        let (result, exit) = match differences.is_empty() {
            true => ("equal", Exit::Done),
            false => ("differs", Exit::Differs),
        };
        if self.json {
            let side = |dir: &Path, tree: &TreeDigest| json!({ "dir": path_json(dir), "entries": tree.entries.len(), "sockets": tree.sockets });
            print_json(&json!({
                "format": 1,
                "verb": "tree compare",
                "result": result,
                "a": side(&self.want, &want),
                "b": side(&self.have, &have),
                "differences": differences,
            }))?;
            return Ok(exit);
        }
        let mut text: String = differences.iter().map(|one| format!("{one}\n")).collect();
        let (a, b) = (&self.want, &self.have);
        for (dir, tree) in [(a, &want), (b, &have)] {
            if !tree.sockets.is_empty() {
                let names = quoted(&tree.sockets);
                text.push_str(&format!("Sockets in {dir:?} are left out: {names}\n"));
            }
        }
        text.push_str(&match differences.len() {
            0 => format!(
                "{b:?} is the same as {a:?}: {} entries.\n",
                want.entries.len()
            ),
            1 => format!("{b:?} is NOT the same as {a:?}: 1 difference.\n"),
            many => format!("{b:?} is NOT the same as {a:?}: {many} differences.\n"),
        });
        print(&text)?;
        Ok(exit)
    }

    fn digest(&self, dir: &Path) -> Result<TreeDigest> {
        let progress = Progress::new();
        progress.say(format!("digest {dir:?}"));
        let tree = tree::digest(dir, &self.threads.pass(&|bytes| progress.hashed(bytes)));
        progress.clear();
        tree.map_err(with_hint)
    }
}
