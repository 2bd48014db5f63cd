//! The program under test as a child process.

use std::ffi::OsStr;
use std::process::{Command, Output};

use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_zeebe-snap");

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; 128 and the number of the signal that killed it, as a shell has it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `zeebe-snap tree` with `arguments` to its end.
pub fn tree<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    run(Command::new(PROGRAM).arg("tree").args(arguments))
}

/// Runs `command` to its end.
pub fn run(command: &mut Command) -> Outcome {
    let output = command.output();
    output
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
        .into()
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Outcome {
        use std::os::unix::process::ExitStatusExt;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let killed = || 128 + output.status.signal().unwrap();
        Outcome {
            code: output.status.code().unwrap_or_else(killed),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Outcome {
    /// Insists on an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, code, "exit code; {self}");
        self
    }

    /// Insists on words in what was said on standard error.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Outcome {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not said; {self}");
        }
        self
    }

    /// Standard output as the one JSON document it has to be.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not a JSON document: {error}; {self}"));
        assert_eq!(document["format"], 1, "{self}");
        document
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome {
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit code {code}\n-- stdout\n{stdout}\n-- stderr\n{stderr}\n--"
        )
    }
}
