//! The program under test in a real terminal: a pty that it is the foreground of, with a key to press.

use nix::sys::wait::WaitStatus;
use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};

use crate::cluster::Cluster;
use crate::program::{LONG, Outcome};
use crate::wait::{seconds, until};

/// A run that is under way in a terminal of its own.
pub struct Terminal {
    session: PtySession,
    seen: String,
}

impl Cluster {
    /// Starts the program in a new terminal.
    pub fn begin_in_terminal(&self, arguments: &[&str]) -> Terminal {
        let options = Options::new()
            .timeout_ms(Some(10_000))
            .strip_ansi_escape_codes(true);
        let session = spawn_with_options(self.command(arguments), options).expect("a pty");
        Terminal {
            session,
            seen: String::new(),
        }
    }
}

impl Terminal {
    /// Types Ctrl-C: the terminal then sends SIGINT to its whole foreground process group.
    pub fn ctrl_c(&mut self) {
        self.session.send_control('c').expect("a key can be typed");
    }

    /// Types a line.
    pub fn types(&mut self, line: &str) {
        self.session.send_line(line).expect("a line can be typed");
    }

    /// Waits until the terminal shows a text, whatever its case.
    pub fn wait_for(&mut self, text: &str) {
        until(&format!("{text:?} on the terminal"), seconds(60), || {
            self.read();
            self.seen.to_lowercase().contains(text).then_some(())
        });
    }

    /// Waits for the end. The terminal has to be free then: a broker that held it would get its hangup.
    pub fn finish(mut self) -> Outcome {
        let code = until("the program in the terminal to end", LONG, || {
            self.read();
            match self.session.process().status() {
                Some(WaitStatus::Exited(_, code)) => Some(code),
                Some(WaitStatus::StillAlive) => None,
                other => panic!("the program died: {other:?}; it said\n{}", self.seen),
            }
        });
        self.seen += &self
            .session
            .exp_eof()
            .expect("the terminal is free after the program");
        Outcome {
            code,
            stdout: String::new(),
            stderr: self.seen,
        }
    }

    fn read(&mut self) {
        while let Some(letter) = self.session.try_read() {
            self.seen.push(letter);
        }
    }
}
