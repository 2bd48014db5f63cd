//! The two ends of a pipe: started, waited for, ended.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::carry::{CHUNK, poll_for};
use super::{EndError, Receiver, Sender};
use crate::action::Stop;
use crate::cmd::{Cmd, RunError, System};
use crate::host::{STDERR_KEPT, how_it_ended};

/// How an end came out.
pub type Verdict = Result<(), EndError>;

/// How long a sender may take to see that it has lost its partner before it is asked to end, and then before it is ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a tool's standard error is read on after its end, when something it started has it open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// One end at work.
pub enum Running<'scope> {
    Tool(Box<Tool<'scope>>),
    Own {
        line: String,
        thread: ScopedJoinHandle<'scope, crate::Result<()>>,
    },
    Open,
}

pub struct Tool<'scope> {
    cmd: Cmd,
    child: Child,
    has_ended: Arc<AtomicBool>,
    said: ScopedJoinHandle<'scope, Vec<u8>>,
}

/// Starts what reads, and gives what to write to.
pub fn receiver<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sys: &'scope dyn System,
    receiver: Receiver,
    stop: &'scope (dyn Fn() -> bool + Sync),
) -> Result<(OwnedFd, Running<'scope>), EndError> {
    match receiver {
        Receiver::Open(file) => Ok((file.into(), Running::Open)),
        Receiver::Tool(cmd) => {
            let (reads, to) = pipe().map_err(|error| not_started(&cmd, error))?;
            let tool = Tool::start(scope, sys, cmd, Some(reads.into()), Stdio::null())?;
            Ok((to, tool))
        }
        Receiver::Own(mut own) => {
            let line = own.to_string();
            let (reads, to) = pipe().map_err(|error| EndError::own(&line, error))?;
            let thread = scope.spawn(move || own.read(sys, reads.into(), stop));
            Ok((to, Running::Own { line, thread }))
        }
    }
}

/// Starts what writes, and gives what to read from.
pub fn sender<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sys: &'scope dyn System,
    sender: Sender,
    stop: &'scope (dyn Fn() -> bool + Sync),
) -> Result<(OwnedFd, Running<'scope>), EndError> {
    match sender {
        Sender::Open(file) | Sender::Begun(_, file) => Ok((file.into(), Running::Open)),
        Sender::Tool(cmd) => {
            let (from, writes) = pipe().map_err(|error| not_started(&cmd, error))?;
            let tool = Tool::start(scope, sys, cmd, None, writes.into())?;
            Ok((from, tool))
        }
        Sender::Own(mut own) => {
            let line = own.to_string();
            let (from, writes) = pipe().map_err(|error| EndError::own(&line, error))?;
            let thread = scope.spawn(move || own.write(sys, writes.into(), stop));
            Ok((from, Running::Own { line, thread }))
        }
    }
}

/// The end to read from, and the end to write to.
fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (from, to) = std::io::pipe()?;
    // The fewer turns the better. There is a limit for each user, past which a smaller one has to do.
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(&to, CHUNK) {
        tracing::debug!(%error, "a small pipe");
    }
    Ok((from.into(), to.into()))
}

fn not_started(cmd: &Cmd, source: std::io::Error) -> EndError {
    let cmd = cmd.clone();
    EndError::Tool(RunError::Start { cmd, source })
}

impl EndError {
    fn own(line: &str, source: std::io::Error) -> EndError {
        EndError::Own {
            line: line.to_owned(),
            source: Box::new(crate::Error::io("open a pipe for", "a stream".as_ref())(
                source,
            )),
        }
    }
}

impl<'scope> Tool<'scope> {
    fn start(
        scope: &'scope Scope<'scope, '_>,
        sys: &dyn System,
        cmd: Cmd,
        input: Option<Stdio>,
        output: Stdio,
    ) -> Result<Running<'scope>, EndError> {
        let mut child = sys.start(&cmd, input, output)?;
        let has_ended = Arc::new(AtomicBool::new(false));
        let (stderr, ended) = (child.stderr.take(), Arc::clone(&has_ended));
        let said = scope.spawn(move || stderr.map(|it| last_words(it, &ended)).unwrap_or_default());
        Ok(Running::Tool(Box::new(Tool {
            cmd,
            child,
            has_ended,
            said,
        })))
    }

    /// Whether it has ended after so long.
    fn ends_within(&self, long: Duration) -> bool {
        let pid = Pid::from_child(&self.child);
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return false;
        };
        let deadline = Instant::now() + long;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut one = [PollFd::new(&fd, PollFlags::IN)];
            let polled = poll_for(&mut one, left);
            if !one[0].revents().is_empty() {
                return true;
            }
            if left.is_zero() || polled.is_err() {
                return false;
            }
        }
    }

    /// It and all that it started, which is not waited for yet.
    fn signal(&self, signal: Signal) {
        let sent = kill_process_group(Pid::from_child(&self.child), signal);
        tracing::debug!(cmd = %self.cmd, ?signal, ?sent, "told to end");
    }

    fn verdict(mut self) -> Verdict {
        let status = self.child.wait();
        self.has_ended.store(true, Ordering::Relaxed);
        let said = self.said.join().unwrap_or_default();
        let status = status.map_err(|error| not_started(&self.cmd, error))?;
        tracing::debug!(cmd = %self.cmd, %status, "ran");
        match status.success() {
            true => Ok(()),
            false => Err(EndError::Tool(RunError::Exit {
                cmd: self.cmd,
                how: how_it_ended(status),
                stderr: String::from_utf8_lossy(&said).into_owned(),
            })),
        }
    }
}

impl Running<'_> {
    /// As it is shown.
    pub fn line(&self) -> String {
        match self {
            Running::Tool(tool) => tool.cmd.to_string(),
            Running::Own { line, .. } => line.clone(),
            Running::Open => "whoever reads the stream".to_owned(),
        }
    }

    /// Waits until it ends by itself, or is to be ended.
    pub fn wait(self, stop: Stop<'_>) -> Verdict {
        match self {
            Running::Tool(tool) => {
                while !stop() && !tool.ends_within(Duration::from_millis(100)) {}
                match stop() {
                    true => Running::Tool(tool).end(),
                    false => tool.verdict(),
                }
            }
            Running::Own { line, thread } => match thread.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(EndError::Own {
                    line,
                    source: Box::new(error),
                }),
                Err(_) => Err(EndError::Own {
                    line,
                    source: Box::new(crate::Error::State("it panicked".to_owned())),
                }),
            },
            Running::Open => Ok(()),
        }
    }

    /// Waits until it sees that it has lost its partner, and ends it if it does not. Only for what changes nothing.
    pub fn end(self) -> Verdict {
        if let Running::Tool(tool) = &self {
            for signal in [Signal::TERM, Signal::KILL] {
                if !tool.ends_within(PATIENCE) {
                    tool.signal(signal);
                }
            }
        }
        match self {
            Running::Tool(tool) => tool.verdict(),
            other => other.wait(&|| false),
        }
    }
}

/// The end of what a tool says, once it has ended.
fn last_words(mut from: ChildStderr, has_ended: &AtomicBool) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buffer = [0; STDERR_KEPT];
    loop {
        let ended = has_ended.load(Ordering::Relaxed);
        let mut one = [PollFd::new(&from, PollFlags::IN)];
        let polled = poll_for(&mut one, LAST_WORDS);
        let nothing = one[0].revents().is_empty();
        if polled.is_err() || nothing && ended {
            return said;
        }
        if nothing {
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return said,
            Ok(n) => said.extend_from_slice(&buffer[..n]),
        }
        let old = said.len().saturating_sub(STDERR_KEPT);
        said.drain(..old);
    }
}
