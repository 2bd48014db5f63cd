//! Runs the two ends of a stream, and carries the bytes from one to the other.
//!
//! The bytes are moved from pipe to pipe by the kernel (splice(2)), so that counting and limiting them costs next to nothing.
//! Each tool runs in a process group of its own. A sender that has lost its receiver is ended; a receiver is never killed: it
//! sees the end of its input, and is waited for. So nothing runs any more when [`run`] returns.
//!
//! Must not know what flows.

mod carry;
mod ends;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::action::Stop;
use crate::cmd::{Cmd, RunError, System};

use carry::Ended;
use ends::Verdict;

/// The end that writes.
#[derive(Debug)]
pub enum Sender {
    /// A tool, to its standard output.
    Tool(Cmd),
    /// Our own code.
    Own(Box<dyn Writes>),
    /// What was opened: a file, or a pipe that somebody else writes to.
    Open(File),
    /// The same, of which this was read already.
    Begun(Vec<u8>, File),
}

/// The end that reads.
#[derive(Debug)]
pub enum Receiver {
    /// A tool, from its standard input.
    Tool(Cmd),
    /// Our own code.
    Own(Box<dyn Reads>),
    /// What was opened: a file, or a pipe that somebody else reads from.
    Open(File),
}

/// Our own code that sends. It is shown as the line that does the same.
pub trait Writes: fmt::Debug + fmt::Display + Send {
    /// Writes all of it to `to`. An error of writing is not told from others: when the other end is to blame, it is known.
    /// What takes long asks `stop`.
    fn write(&mut self, sys: &dyn System, to: File, stop: Stop<'_>) -> crate::Result<()>;
}

/// Our own code that receives. It is shown as the line that does the same.
pub trait Reads: fmt::Debug + fmt::Display + Send {
    /// Reads all of it, to the end of `from`. A stream that ends too early must be refused: that is how it learns that the
    /// sender failed.
    fn read(&mut self, sys: &dyn System, from: File, stop: Stop<'_>) -> crate::Result<()>;
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Tool(cmd) => cmd.fmt(f),
            Sender::Own(own) => own.fmt(f),
            Sender::Open(_) | Sender::Begun(..) => f.write_str("cat"),
        }
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receiver::Tool(cmd) => cmd.fmt(f),
            Receiver::Own(own) => own.fmt(f),
            Receiver::Open(_) => f.write_str("cat"),
        }
    }
}

/// How bytes are to flow.
#[derive(Clone, Copy)]
pub struct Flow<'a> {
    /// No more bytes than this in a second.
    pub limit: Option<u64>,
    /// Told how many bytes have flowed so far, at most ten times a second, and at the end.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Whether to give up.
    pub stop: Stop<'a>,
}

impl Flow<'_> {
    /// As fast as it can, to the end.
    pub fn new() -> Flow<'static> {
        Flow {
            limit: None,
            progress: &|_| {},
            stop: &|| false,
        }
    }
}

impl Default for Flow<'_> {
    fn default() -> Self {
        Flow::new()
    }
}

impl fmt::Debug for Flow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Why a stream did not get through.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// One end failed. What the other end said when it lost its partner is kept.
    #[error("{cause}{}", afterwards(other.as_deref()))]
    End {
        /// The one that failed first.
        cause: Box<EndError>,
        /// The other, where it complained, too.
        other: Option<Box<EndError>>,
    },
    /// The bytes could not be carried from one to the other.
    #[error("carry the stream: {source}{}", afterwards(other.as_deref()))]
    Carry {
        /// The system's answer.
        source: io::Error,
        /// What an end said of it.
        other: Option<Box<EndError>>,
    },
    /// [`Flow::stop`] said so.
    #[error("the stream was given up after {bytes} bytes")]
    GivenUp {
        /// So many had flowed.
        bytes: u64,
    },
}

fn afterwards(other: Option<&EndError>) -> String {
    match other {
        Some(other) if other.has_spoken() => format!("; afterwards {other}"),
        _ => String::new(),
    }
}

/// What was the matter with one end.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// A tool.
    #[error(transparent)]
    Tool(#[from] RunError),
    /// Our own code.
    #[error("{line}: {}", crate::told(source))]
    Own {
        /// As it is shown.
        line: String,
        /// What it said.
        source: Box<crate::Error>,
    },
    /// It ended well, and had not read what was sent.
    #[error("{line} ended before the stream did, and says that all is well")]
    TooEarly {
        /// As it is shown.
        line: String,
    },
}

impl EndError {
    /// Whether it says more than that it has lost its partner.
    fn has_spoken(&self) -> bool {
        match self {
            EndError::Tool(RunError::Exit { stderr, .. }) => !stderr.trim().is_empty(),
            EndError::Tool(RunError::Start { .. }) => true,
            EndError::Own { source, .. } => !lost_its_partner(source),
            EndError::TooEarly { .. } => false,
        }
    }
}

fn lost_its_partner(error: &crate::Error) -> bool {
    matches!(error, crate::Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
}

/// Runs both ends to their end, and gives the number of bytes that flowed. It is an error unless both ended well.
///
/// A receiver whose sender failed sees the end of its input, as if it were the end of the stream: what it makes of that is
/// never whole before [`Landing::finish`](crate::stream::Landing::finish).
pub fn run(
    sys: &dyn System,
    sender: Sender,
    receiver: Receiver,
    flow: &Flow<'_>,
) -> Result<u64, PipeError> {
    // What is still at work when its partner is lost gives up.
    let lost = AtomicBool::new(false);
    let stop = || lost.load(Ordering::Relaxed) || (flow.stop)();
    thread::scope(|scope| {
        // The receiver first: where it cannot be started, nothing is read.
        let (to, reads) =
            ends::receiver(scope, sys, receiver, &stop).map_err(|e| blame(e, Ok(())))?;
        let (sender, first) = match sender {
            Sender::Begun(first, rest) => (Sender::Open(rest), first),
            other => (other, Vec::new()),
        };
        let (from, writes) = match ends::sender(scope, sys, sender, &stop) {
            Ok(started) => started,
            Err(cause) => {
                drop(to);
                return Err(blame(cause, reads.wait(&|| false)));
            }
        };
        let (bytes, ended) = carry::carry(&first, &from, &to, flow);
        tracing::debug!(bytes, ?ended, "carried");
        drop(from);
        let sent = match ended {
            Ended::SenderDone => writes.wait(&stop),
            Ended::ReceiverGone | Ended::GivenUp | Ended::Failed(_) => {
                lost.store(true, Ordering::Relaxed);
                writes.end()
            }
        };
        drop(to);
        let line = reads.line();
        let received = reads.wait(&|| false);
        (flow.progress)(bytes);
        match ended {
            Ended::SenderDone => match (sent, received) {
                (Ok(()), Ok(())) => Ok(bytes),
                (Err(cause), other) => Err(blame(cause, other)),
                (Ok(()), Err(cause)) => Err(blame(cause, Ok(()))),
            },
            Ended::ReceiverGone => match received {
                Err(cause) => Err(blame(cause, sent)),
                Ok(()) => Err(blame(EndError::TooEarly { line }, sent)),
            },
            Ended::GivenUp => Err(PipeError::GivenUp { bytes }),
            Ended::Failed(source) => Err(PipeError::Carry {
                source,
                other: received.err().or(sent.err()).map(Box::new),
            }),
        }
    })
}

fn blame(cause: EndError, other: Verdict) -> PipeError {
    PipeError::End {
        cause: Box::new(cause),
        other: other.err().map(Box::new),
    }
}
