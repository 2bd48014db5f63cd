//! A `btrfs` that stands before the real one and can hold or fail the snapshot of one broker.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nix::sys::stat::Mode;

use crate::cluster::{Cluster, write_script};
use crate::rig::tool;
use crate::wait::{seconds, until};

/// What the failing command says on its standard error.
pub const COMPLAINT: &str = "ERROR: cannot snapshot: No space left on device";

const SCRIPT: &str = r#"#!/bin/sh
here='HERE'
what=
case " $* " in *" subvolume snapshot "*"-r "*) [ ! -e "$here/armed" ] || read -r what whom <"$here/armed" ;; esac
case "$*" in *"/$whom/"*) ;; *) what= ;; esac
word=$what
if [ "$what" = hold ]; then
    mkfifo "$here/release.$$"
    echo "$$ $*" >"$here/held"
    read -r word <"$here/release.$$"
fi
if [ "$word" = fail ]; then
    echo 'COMPLAINT' >&2
    exit 1
fi
exec 'BTRFS' "$@"
"#;

/// The stand-in. Passes everything on until it is told otherwise.
#[derive(Debug)]
pub struct Gate {
    dir: PathBuf,
    held: Receiver<String>,
}

/// A snapshot command that waits to be let go.
#[derive(Debug)]
pub struct Held {
    dir: PathBuf,
    pid: i32,
}

/// What a held snapshot command does next.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// It takes the snapshot.
    Go,
    /// It takes none, and fails.
    Fail,
}

impl Gate {
    /// Puts the stand-in into a new folder; `Setup::tools` names it to the program.
    pub fn before_btrfs(cluster: &Cluster) -> Gate {
        let dir = tempfile::Builder::new()
            .prefix("tools-")
            .tempdir_in(cluster.dir())
            .unwrap()
            .keep();
        let real = tool(Command::new("sh").args(["-c", "command -v btrfs"]));
        let script = SCRIPT
            .replace("HERE", dir.to_str().unwrap())
            .replace("COMPLAINT", COMPLAINT)
            .replace("BTRFS", real.trim());
        write_script(&dir.join("btrfs"), &script);
        let held = listen(&dir.join("held"));
        Gate { dir, held }
    }

    /// The folder to be searched for tools.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// From now on the snapshot of this broker is held.
    pub fn hold(&self, broker: usize) {
        fs::write(self.dir.join("armed"), format!("hold broker-{broker}\n")).unwrap();
    }

    /// From now on the snapshot of this broker fails.
    pub fn fail(&self, broker: usize) {
        fs::write(self.dir.join("armed"), format!("fail broker-{broker}\n")).unwrap();
    }

    /// From now on everything passes.
    pub fn pass(&self) {
        fs::remove_file(self.dir.join("armed")).unwrap();
    }

    /// Waits for a snapshot command to arrive and be held.
    pub fn wait_held(&self) -> Held {
        let line = self
            .held
            .recv_timeout(seconds(120))
            .expect("a snapshot command comes");
        let pid = line.split(' ').next().unwrap().parse().unwrap();
        Held {
            dir: self.dir.clone(),
            pid,
        }
    }
}

impl Held {
    /// Lets the command go on. It has to be there still: a command that changes a volume is never killed.
    pub fn release(self, then: Then) {
        let word = match then {
            Then::Go => "go\n",
            Then::Fail => "fail\n",
        };
        let fifo = self.dir.join(format!("release.{}", self.pid));
        // Without waiting, so that a command that is gone is an error (ENXIO) and not a test that hangs.
        let mut pipe = until("the held snapshot command to listen", seconds(10), || {
            use std::os::unix::fs::OpenOptionsExt;
            let mut options = File::options();
            options.write(true).custom_flags(nix::libc::O_NONBLOCK);
            options.open(&fifo).ok()
        });
        pipe.write_all(word.as_bytes()).unwrap();
    }
}

/// The lines that are written to a new FIFO, by whoever writes.
fn listen(fifo: &Path) -> Receiver<String> {
    nix::unistd::mkfifo(fifo, Mode::S_IRWXU).unwrap();
    // Open both ways: no writer waits for a reader, and no end of file when one has written.
    let file = File::options().read(true).write(true).open(fifo).unwrap();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(file).lines() {
            if sender.send(line.expect("a FIFO can be read")).is_err() {
                return;
            }
        }
    });
    receiver
}
