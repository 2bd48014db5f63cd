use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use zeebe_snap_backends::tree::{self, Cloned, Pass};

use super::{Threads, left_out, with_hint};
use crate::cmd::{absolute, interruption, path_json, print, print_json};
use crate::exit::Exit;
use crate::report::progress::Progress;
use crate::report::table::bytes;

const MORE: &str = "\
    Blocks are shared with the source where the file system can do that (btrfs, xfs with reflink), else copied. \
    Kept are types, content with its holes, hard links, symbolic links as they are, owners, modes, extended \
    attributes with ACLs and capabilities, inode flags, device numbers, access and modification times. Sockets are left \
    out and named. The source must be at rest: what changes meanwhile is an error. A mount point below SRC is \
    refused.\n\n\
    DST appears when it is whole and on the disk. Until then the clone is `.<name of DST>.partial` beside it; that \
    is removed when the clone fails or is interrupted, and by the next one where it could not be.";

/// Clone a tree, with all that is in it
#[derive(Debug, Args)]
#[command(after_help = MORE)]
pub struct Clone {
    /// The root of the tree
    #[arg(value_name = "SRC")]
    from: PathBuf,
    /// What the clone is to be; nothing may be there yet
    #[arg(value_name = "DST")]
    to: PathBuf,
    /// Say what would be cloned, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threads: Threads,
}

impl Clone {
    pub fn run(self) -> Result<Exit> {
        ensure!(
            self.to.file_name().is_some(),
            "{:?} does not end in a name, which the clone is to have",
            self.to
        );
        if self.dry_run {
            return self.plan();
        }
        let interrupted = interruption()?;
        let progress = Progress::new();
        progress.say(format!("clone {:?}", self.from));
        let done = |bytes| progress.hashed(bytes);
        let pass = Pass {
            stop: &|| interrupted.load(Ordering::Relaxed),
            ..self.threads.pass(&done)
        };
        let cloned = tree::clone(&self.from, &self.to, &pass, &mut |_| Ok(()));
        progress.clear();
        let cloned = cloned.map_err(with_hint)?;
        if self.json {
            print_json(&json!({
                "format": 1,
                "verb": "tree clone",
                "result": "done",
                "from": path_json(&self.from),
                "to": path_json(&self.to),
                "entries": cloned.entries,
                "files": cloned.files,
                "bytes": cloned.bytes,
                "shared": cloned.shared,
                "sockets": cloned.sockets,
            }))?;
        } else {
            print(&text(&cloned))?;
        }
        Ok(Exit::Done)
    }

    fn plan(&self) -> Result<Exit> {
        let weight = tree::weigh(&self.from, &self.threads.pass(&|_| {})).map_err(with_hint)?;
        ensure!(
            self.to.symlink_metadata().is_err(),
            "{:?} is there already",
            self.to
        );
        let around = absolute(self.to.clone())?.with_file_name("");
        let look = |path: &Path| path.metadata().with_context(|| format!("look at {path:?}"));
        let same = look(&self.from)?.dev() == look(&around)?.dev();
        let shares = same
            && tree::shares_blocks(&around)
                .with_context(|| format!("try to share blocks in {around:?}"))?;
        if self.json {
            print_json(&json!({
                "format": 1,
                "verb": "tree clone",
                "result": "planned",
                "from": path_json(&self.from),
                "to": path_json(&self.to),
                "allocated": weight.allocated,
                "shares_blocks": shares,
            }))?;
        } else {
            let how = if shares { "shared" } else { "copied" };
            let size = bytes(weight.allocated);
            print(&format!(
                "Would clone {size} of blocks, which would be {how}.\n"
            ))?;
        }
        Ok(Exit::Done)
    }
}

fn text(cloned: &Cloned) -> String {
    format!(
        "entries   {}\nfiles     {}\nbytes     {} ({})\nshared    {} ({})\n{}",
        cloned.entries,
        cloned.files,
        cloned.bytes,
        bytes(cloned.bytes),
        cloned.shared,
        bytes(cloned.shared),
        left_out(&cloned.sockets)
    )
}
