//! A command is a value: a program and its arguments, never a shell string. Only a [`System`] runs it.
//!
//! Must not know what any command means.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::process::{Child, Stdio};

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
}

impl Cmd {
    /// A command with no arguments yet. A program without a slash is looked up by the [`System`].
    pub fn new(program: impl Into<OsString>) -> Cmd {
        Cmd {
            program: program.into(),
            args: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Cmd {
        self.args.push(arg.into());
        self
    }

    /// Adds several.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Cmd {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The program.
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments.
    pub fn arguments(&self) -> &[OsString] {
        &self.args
    }
}

/// A line that a POSIX shell reads as this command.
impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.program))?;
        for arg in &self.args {
            f.write_str(" ")?;
            f.write_str(&quote(arg))?;
        }
        Ok(())
    }
}

/// `word` as one word of a POSIX shell. Bytes that are not UTF-8 are shown as the replacement character.
pub fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why a command gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot start {program}: {source}", program = cmd.program().to_string_lossy())]
    Start {
        /// The command.
        cmd: Cmd,
        /// The system's answer.
        source: io::Error,
    },
    /// It ended with another exit code than 0, or by a signal.
    #[error("{cmd} {how}{}", said(stderr))]
    Exit {
        /// The command.
        cmd: Cmd,
        /// "exited with 1", "was ended by signal 9".
        how: String,
        /// The end of what it wrote to standard error; shown, never matched.
        stderr: String,
    },
}

fn said(stderr: &str) -> String {
    match stderr.trim() {
        "" => " and said nothing".to_owned(),
        text => format!(": {text}"),
    }
}

/// Runs commands on a host.
pub trait System: fmt::Debug + Send + Sync {
    /// Runs `cmd` to its end and gives its standard output.
    fn run(&self, cmd: &Cmd) -> Result<Vec<u8>, RunError>;

    /// Starts `cmd` for one end of a [pipe](crate::stream::pipe): its standard error is to be read and its end waited for. With
    /// no `input` it has what every tool has.
    fn start(&self, cmd: &Cmd, _input: Option<Stdio>, _output: Stdio) -> Result<Child, RunError> {
        Err(RunError::Start {
            cmd: cmd.clone(),
            source: io::ErrorKind::Unsupported.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_a_shell_reads_it() {
        let cmd = Cmd::new("btrfs").args(["subvolume", "show", "/srv/it's here/data", ""]);
        assert_eq!(
            cmd.to_string(),
            r"btrfs subvolume show '/srv/it'\''s here/data' ''"
        );
    }
}
