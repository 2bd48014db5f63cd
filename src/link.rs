//! The coordinator's side of an agent's pipe: requests out, answers in, each to whoever asked.
//!
//! Must not know what a request means.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use anyhow::{Context, Result, bail};

use crate::agent::protocol::{Answer, Ask, Fault, FaultKind, Opening, PROTOCOL, Request, Say};

/// Takes answers as they come; the last is not `Entries`, `Hashed` or `File`.
type Listener = Box<dyn FnMut(Answer) + Send>;

/// A pipe to an agent.
#[derive(Debug)]
pub struct Link {
    child: Mutex<Child>,
    to: Mutex<Option<ChildStdin>>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
    /// The name of the agent's host.
    pub host: String,
}

#[derive(Default)]
struct Waiting {
    listeners: Mutex<HashMap<u64, Listener>>,
    lost: AtomicBool,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting")
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lost() -> Answer {
    Answer::Failed(Fault {
        kind: FaultKind::LinkLost,
        text: "the agent of this host has ended".to_owned(),
    })
}

fn is_last(answer: &Answer) -> bool {
    !matches!(
        answer,
        Answer::Entries(_) | Answer::Hashed(_) | Answer::File { .. }
    )
}

impl Waiting {
    fn hear(&self, say: Say) {
        // The listener is taken out, so that it may itself ask.
        let Some(mut listener) = lock(&self.listeners).remove(&say.id) else {
            return;
        };
        let last = is_last(&say.answer);
        listener(say.answer);
        if !last {
            lock(&self.listeners).insert(say.id, listener);
        }
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
        let all: Vec<Listener> = lock(&self.listeners)
            .drain()
            .map(|(_, listener)| listener)
            .collect();
        for mut listener in all {
            listener(lost());
        }
    }
}

impl Link {
    /// Starts the agent of this host as a child process, greets it and opens the brokers.
    pub fn local(
        cluster: &Path,
        state_dir: &Path,
        verbose: bool,
        opening: Opening,
    ) -> Result<Link> {
        let own = std::env::current_exe().context("find this program's own file")?;
        let mut command = Command::new(own);
        command
            .arg("--cluster")
            .arg(cluster)
            .arg("--state-dir")
            .arg(state_dir);
        if verbose {
            command.arg("-v");
        }
        Link::start(command.arg("agent"), opening)
    }

    fn start(command: &mut Command, opening: Opening) -> Result<Link> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the agent")?;
        let (to, from) = (
            child.stdin.take(),
            child.stdout.take().context("the agent has no pipe")?,
        );
        let waiting: Arc<Waiting> = Arc::default();
        let heard = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let say = line
                    .map_err(anyhow::Error::from)
                    .and_then(|line| Ok(serde_json::from_str::<Say>(&line)?));
                match say {
                    Ok(say) => heard.hear(say),
                    Err(error) => {
                        tracing::error!(%error, "an agent's answer does not read");
                        break;
                    }
                }
            }
            heard.lose();
        });
        let mut link = Link {
            child: Mutex::new(child),
            to: Mutex::new(to),
            waiting,
            next: AtomicU64::new(1),
            host: String::new(),
        };
        match link.ask(Request::Hello { protocol: PROTOCOL })? {
            Answer::Hello { host, .. } => link.host = host,
            other => bail!("the agent answered the greeting with {other:?}"),
        }
        link.ask(Request::Open(Box::new(opening)))?;
        Ok(link)
    }

    /// Whether the agent has ended.
    pub fn is_lost(&self) -> bool {
        self.waiting.lost.load(Ordering::SeqCst)
    }

    /// Asks and waits for the answer; a failure is an error.
    pub fn ask(&self, request: Request) -> Result<Answer> {
        let (send, receive) = mpsc::channel();
        self.tell(request, Box::new(move |answer| drop(send.send(answer))));
        match receive.recv().context("the agent did not answer")? {
            Answer::Failed(fault) => Err(fault.into()),
            answer => Ok(answer),
        }
    }

    /// Asks, and lets `listener` take the answers. An agent that has ended answers with a fault.
    pub fn tell(&self, request: Request, mut listener: Listener) {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let line = match serde_json::to_string(&Ask { id, request }) {
            Ok(line) => line,
            Err(error) => return listener(Answer::Failed(Fault::other(error.to_string()))),
        };
        lock(&self.waiting.listeners).insert(id, listener);
        let written = match &mut *lock(&self.to) {
            Some(to) => writeln!(to, "{line}").and_then(|()| to.flush()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        // The reading thread may see the end later than this one.
        if written.is_err() {
            self.waiting.lost.store(true, Ordering::SeqCst);
        }
        // The reading thread tells all listeners when the agent ends; one that came after that is told here.
        if self.is_lost()
            && let Some(mut listener) = lock(&self.waiting.listeners).remove(&id)
        {
            listener(lost());
        }
    }

    /// Tells the agent that it may end: nothing is owed, or what is owed is for a later run.
    pub fn goodbye(&self) {
        self.tell(Request::Bye, Box::new(|_| ()));
        lock(&self.to).take();
    }

    /// Waits for the agent's end.
    pub fn wait(self) {
        if let Err(error) = lock(&self.child).wait() {
            tracing::debug!(%error, "waiting for the agent's end");
        }
    }
}
