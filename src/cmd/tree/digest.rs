use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use zeebe_snap_backends::tree::{self, TreeDigest};

use super::{Threads, left_out, with_hint};
use crate::cmd::{path_json, print, print_json};
use crate::exit::Exit;
use crate::report::progress::Progress;
use crate::report::table::bytes;

const MORE: &str = "\
    Two hashes say what is in a tree: one of its content (names, types, files, links), one of its metadata \
    (owners, modes, modification times, extended attributes with ACLs). Equal trees have equal hashes, wherever \
    they lie. Holes, inode flags and other times do not count. Sockets are left out and named.";

/// Hash everything in a tree
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Digest {
    /// The root of the tree
    dir: PathBuf,
    /// Print one line of JSON for each entry instead, as the catalog keeps of a set
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
}

impl Digest {
    pub fn run(self) -> Result<Exit> {
        let progress = Progress::new();
        progress.say(format!("digest {:?}", self.dir));
        let tree = tree::digest(
            &self.dir,
            &self.threads.pass(&|bytes| progress.hashed(bytes)),
        );
        progress.clear();
        let tree = tree.map_err(with_hint)?;
        if self.json {
            print_json(&json!({
                "format": 1,
                "verb": "tree digest",
                "dir": path_json(&self.dir),
                "content": tree.content,
                "metadata": tree.metadata,
                "entries": tree.entries.len(),
                "files": tree.files,
                "bytes": tree.bytes,
                "sockets": tree.sockets,
            }))?;
        } else if self.list {
            let mut text = String::new();
            for entry in &tree.entries {
                text.push_str(&serde_json::to_string(entry)?);
                text.push('\n');
            }
            print(&text)?;
        } else {
            print(&text(&tree))?;
        }
        Ok(Exit::Done)
    }
}

fn text(tree: &TreeDigest) -> String {
    format!(
        "content   {}\nmetadata  {}\nentries   {}\nfiles     {}\nbytes     {} ({})\n{}",
        tree.content,
        tree.metadata,
        tree.entries.len(),
        tree.files,
        tree.bytes,
        bytes(tree.bytes),
        left_out(&tree.sockets)
    )
}
