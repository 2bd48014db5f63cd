//! What becomes a broker: `zeebe-snap launch RECORD PROGRAM ARGUMENTS…`, run by `command::start` and by nobody else.
//!
//! It leaves the caller's session, so that the end of the caller or a key at its terminal does not reach the broker,
//! writes down which process it is, lets go of the lock that came as its standard input, and becomes the program.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process::Process;

/// Becomes `program`; returns only if that fails.
pub fn launch(record: &Path, program: &[OsString]) -> Result<()> {
    let (program, arguments) = program.split_first().context("no program to launch")?;
    nix::unistd::setsid().context("begin a session")?;
    // A disk that is full or broken leaves no broker down. Whoever finds no record looks at who holds the folder.
    let written = serde_json::to_vec(&Process::own()?)
        .map_err(std::io::Error::from)
        .and_then(|text| std::fs::write(record, text));
    if let Err(error) = written {
        eprintln!("zeebe-snap: write {}: {error}", record.display());
    }
    let null = File::open("/dev/null").context("open /dev/null")?;
    let error = Command::new(program).args(arguments).stdin(null).exec();
    Err(error).with_context(|| format!("become {}", program.to_string_lossy()))
}

/// Opens a log to append to; what goes on without it gets nothing to write to.
pub fn open_log_or_null(log: &Path) -> Result<File> {
    open_log(log).or_else(|error| {
        tracing::error!("{error:#}");
        let null = OpenOptions::new().append(true).open("/dev/null");
        null.context("open /dev/null")
    })
}

/// Opens a log to append to, and makes it for the owner alone if it is not there.
pub fn open_log(log: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options
        .open(log)
        .with_context(|| format!("open the log {}", log.display()))
}
