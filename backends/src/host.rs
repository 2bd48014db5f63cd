//! [`System`] on this machine: where tools are found, with what environment they run, and what becomes of their output.
//!
//! Must not know what any tool means.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::cmd::{Cmd, RunError, System};

/// Where tools are looked for: fixed, since the caller's PATH is not to decide what root runs.
const DIRS: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// How much of a tool's standard error is kept.
pub(crate) const STDERR_KEPT: usize = 4096;

/// Runs tools on this machine, each in a process group of its own, so that a Ctrl-C at the terminal does not reach it.
#[derive(Debug)]
pub struct Host {
    dirs: Vec<PathBuf>,
    held: Option<File>,
}

impl Host {
    /// Looks for tools in `first`, then in the usual places.
    pub fn new(first: &[PathBuf]) -> Host {
        Host {
            dirs: first
                .iter()
                .cloned()
                .chain(DIRS.iter().map(PathBuf::from))
                .collect(),
            held: None,
        }
    }

    /// Hands every tool an open `file` as its standard input. A lock taken on it (flock) then lasts until the last tool
    /// has ended, even when this process is killed: nobody else touches the volume before that.
    #[must_use]
    pub fn holding(mut self, file: File) -> Host {
        self.held = Some(file);
        self
    }

    /// The full path of `program`, or `None` where it is not installed.
    pub fn which(&self, program: &OsStr) -> Option<PathBuf> {
        if Path::new(program).components().count() > 1 {
            return Some(PathBuf::from(program));
        }
        self.dirs
            .iter()
            .map(|dir| dir.join(program))
            .find(|path| path.is_file())
    }

    /// The same, or the error of starting it.
    fn program(&self, cmd: &Cmd) -> Result<PathBuf, RunError> {
        self.which(cmd.program()).ok_or_else(|| {
            not_started(
                cmd,
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "it is not installed (or name its folder in tool_dirs)",
                ),
            )
        })
    }
}

/// All that a tool finds in its environment.
fn environment() -> [(&'static str, String); 3] {
    [
        ("PATH", DIRS.join(":")),
        ("LC_ALL", "C.UTF-8".to_owned()),
        // LVM complains of every file it did not open itself.
        ("LVM_SUPPRESS_FD_WARNINGS", "1".to_owned()),
    ]
}

fn not_started(cmd: &Cmd, source: io::Error) -> RunError {
    RunError::Start {
        cmd: cmd.clone(),
        source,
    }
}

/// "exited with 1", "was ended by signal 9".
pub(crate) fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    }
}

impl System for Host {
    fn run(&self, cmd: &Cmd) -> Result<Vec<u8>, RunError> {
        let start_error = |source| not_started(cmd, source);
        let program = self.program(cmd)?;
        let begun = Instant::now();
        let expression = duct::cmd(program, cmd.arguments())
            .full_env(environment())
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .before_spawn(|command| {
                command.process_group(0);
                Ok(())
            });
        let expression = match &self.held {
            Some(file) => expression.stdin_file(file.try_clone().map_err(start_error)?),
            None => expression.stdin_null(),
        };
        let output = expression.run().map_err(start_error)?;
        let ms = begun.elapsed().as_secs_f64() * 1000.0;
        tracing::debug!(cmd = %cmd, status = %output.status, ms, "ran");
        if output.status.success() {
            return Ok(output.stdout);
        }
        let tail = output.stderr.len().saturating_sub(STDERR_KEPT);
        let stderr = String::from_utf8_lossy(&output.stderr[tail..]).into_owned();
        Err(RunError::Exit {
            cmd: cmd.clone(),
            how: how_it_ended(output.status),
            stderr,
        })
    }

    fn start(&self, cmd: &Cmd, input: Option<Stdio>, output: Stdio) -> Result<Child, RunError> {
        let start_error = |source| not_started(cmd, source);
        let input = match (input, &self.held) {
            (Some(input), _) => input,
            (None, Some(file)) => file.try_clone().map_err(start_error)?.into(),
            (None, None) => Stdio::null(),
        };
        Command::new(self.program(cmd)?)
            .args(cmd.arguments())
            .env_clear()
            .envs(environment())
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(start_error)
    }
}
