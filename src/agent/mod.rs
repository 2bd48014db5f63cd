//! The host's side: requests in, answers out, one thread for each request.
//!
//! An agent touches volumes and services, and nothing else does. It does what it is asked and plans nothing. If its pipe
//! ends with no goodbye the coordinator has died: the agent then becomes `recover`, which settles what the dead run owes.
//! Must not know sets, catalogs or the terminal.

mod brokers;
pub mod configs;
mod identity;
mod inspect;
mod papers;
mod post;
pub mod protocol;
mod rollback;
mod volumes;
mod zeebes_own;

use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};

use crate::plan::{Captured, Step};
use post::Posts;
use protocol::{Answer, Ask, Fault, FaultKind, PROTOCOL, Paper, Performed, Request, Say};

/// How long the lock of a coordinator may outlast its pipe.
const COORDINATOR_ENDS: std::time::Duration = std::time::Duration::from_secs(30);

/// Writes answers; a line is written whole.
#[derive(Debug, Clone)]
struct Mouth {
    out: Arc<Mutex<io::Stdout>>,
    id: u64,
}

impl Mouth {
    fn say(&self, answer: Answer) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let line = serde_json::to_string(&Say {
            id: self.id,
            answer,
        });
        let written = line
            .map_err(io::Error::from)
            .and_then(|line| writeln!(out, "{line}").and_then(|()| out.flush()));
        // A coordinator that has died is noticed at the other end of the pipe.
        if let Err(error) = written {
            tracing::debug!(%error, "an answer was not heard");
        }
    }
}

/// Serves until the pipe ends.
pub fn serve(cluster: &Path, state_dir: &Path) -> Result<()> {
    // A session of its own: a key at the coordinator's terminal, or its end, is the coordinator's affair.
    nix::unistd::setsid().context("begin a session")?;
    let out = Arc::new(Mutex::new(io::stdout()));
    let posts: Arc<OnceLock<Posts>> = Arc::default();
    let touched = Arc::new(AtomicBool::new(false));
    let quitting = Arc::new(AtomicBool::new(false));
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let ask: Ask = serde_json::from_str(&line).context("a request does not read")?;
        let mouth = Mouth {
            out: Arc::clone(&out),
            id: ask.id,
        };
        match ask.request {
            Request::Bye => return Ok(()),
            Request::Hello { protocol } => mouth.say(hello(protocol)),
            Request::Open(opening) => {
                let answer = Posts::open(*opening).map(|opened| posts.set(opened));
                mouth.say(
                    answer.map_or_else(|error| Answer::Failed(error.into()), |_| Answer::Opened),
                );
            }
            request => {
                if let Request::Perform { plan, step, .. } = &request {
                    touched.fetch_or(step.changes(), Ordering::SeqCst);
                    if let Some(posts) = posts.get() {
                        posts.newest_plan.fetch_max(*plan, Ordering::SeqCst);
                    }
                }
                let (posts, quitting) = (Arc::clone(&posts), Arc::clone(&quitting));
                std::thread::spawn(move || {
                    let answered = catch_unwind(AssertUnwindSafe(|| match posts.get() {
                        Some(posts) => answer(posts, &request, &mouth, &quitting),
                        None => bail!("nothing was opened"),
                    }));
                    mouth.say(match answered {
                        Ok(Ok(answer)) => answer,
                        Ok(Err(error)) => Answer::Failed(error.into()),
                        Err(_) => Answer::Failed(Fault::other(
                            "the agent has a defect: a request panicked",
                        )),
                    });
                });
            }
        }
    }
    quitting.store(true, Ordering::SeqCst);
    if touched.load(Ordering::SeqCst) {
        become_recover(cluster, state_dir)?;
    }
    Ok(())
}

fn hello(protocol: u32) -> Answer {
    if protocol != PROTOCOL {
        let text = format!(
            "this agent speaks protocol {PROTOCOL}, not {protocol}: install the same zeebe-snap on all hosts"
        );
        return Answer::Failed(Fault::other(text));
    }
    let host = nix::unistd::gethostname()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Answer::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host,
    }
}

fn answer(
    posts: &Posts,
    request: &Request,
    mouth: &Mouth,
    quitting: &AtomicBool,
) -> Result<Answer> {
    match request {
        Request::Inspect => Ok(Answer::Seen(inspect::inspect(posts)?)),
        Request::Configs => Ok(Answer::Configs(inspect::configs(posts)?)),
        Request::Receive(sources) => Ok(Answer::Receiving(inspect::receive(posts, sources))),
        Request::Health { node } => brokers::health(posts, *node),
        Request::ZeebesOwn { volume, snapshot } => Ok(Answer::Damage(zeebes_own::damage(
            posts, volume, snapshot, quitting,
        )?)),
        Request::Paper {
            volume,
            snapshot,
            name,
        } => Ok(Answer::Paper(papers::read(volume, snapshot, name)?)),
        Request::Perform {
            plan,
            step,
            content,
            papers,
        } => {
            let job = Job {
                posts,
                plan: *plan,
                mouth,
                quitting,
            };
            let performed =
                perform(&job, step, content, papers).with_context(|| step.to_string())?;
            Ok(Answer::Performed(Box::new(performed)))
        }
        Request::Hello { .. } | Request::Open(_) | Request::Bye => {
            bail!("that is said once, in order")
        }
    }
}

/// What a step is performed with.
#[derive(Debug, Clone, Copy)]
struct Job<'a> {
    posts: &'a Posts,
    plan: usize,
    mouth: &'a Mouth,
    /// Set when the coordinator is gone: what only reads ends early.
    quitting: &'a AtomicBool,
}

impl Job<'_> {
    /// Asked when a step has its turn: it is not begun once a later plan has come.
    fn still_wanted(&self) -> Result<()> {
        if self.plan < self.posts.newest_plan.load(Ordering::SeqCst) {
            return Err(Fault {
                kind: FaultKind::CalledOff,
                text: "it was called off before it began".to_owned(),
            }
            .into());
        }
        Ok(())
    }
}

fn perform(job: &Job<'_>, step: &Step, content: &[u8], papers: &[Paper]) -> Result<Performed> {
    let begun = jiff::Timestamp::now();
    let (outcome, fact) = match step {
        Step::ProveSeen { brokers } => brokers::prove_seen(job.posts, brokers)?,
        Step::Stop {
            node,
            broker,
            stuck,
        } => brokers::stop(job, *node, broker, *stuck)?,
        Step::ProveDown { nodes, stopped } => brokers::prove_down(job.posts, nodes, stopped)?,
        Step::Start { node, stopped } => brokers::start(job, *node, stopped.as_ref())?,
        Step::KeepConfig { files, .. } => volumes::read_files(job, files)?,
        Step::Digest {
            volume, snapshot, ..
        } => volumes::digest(job, volume, snapshot)?,
        Step::KeepPapers {
            node,
            volume,
            snapshot,
            ..
        } => papers::keep(job, *node, volume, snapshot, papers)?,
        Step::Verify { source, staged, .. } => volumes::verify(job, source, staged.as_ref())?,
        Step::Prepare {
            node,
            volume,
            snapshot,
            label,
        } => volumes::prepare(job, *node, volume, snapshot, label)?,
        Step::Flush { volume, .. } => volumes::flush(volume)?,
        Step::Snapshot {
            node,
            volume,
            snapshot,
            label,
            with,
        } => {
            let first = Captured {
                node: *node,
                volume: volume.clone(),
                label: label.clone(),
            };
            volumes::snapshot(job, &first, with, snapshot)?
        }
        Step::Hold {
            node,
            volume,
            snapshot,
        } => volumes::hold(job, *node, volume, snapshot)?,
        Step::Destroy {
            node,
            volume,
            snapshot,
            label,
        } => volumes::destroy(job, *node, volume, snapshot, label)?,
        Step::StageData {
            node,
            volume,
            source,
            stage,
            label,
        } => rollback::stage(job, *node, volume, source, stage, label)?,
        Step::TakeKept {
            node,
            volume,
            kept,
            stage,
            label,
        } => rollback::take_kept(job, *node, volume, kept, stage, label)?,
        Step::PutBack {
            node,
            volume,
            kept,
            stage,
        } => rollback::put_back(job, *node, volume, kept, stage)?,
        Step::ForgetKept { node, volume, kept } => rollback::forget_kept(job, *node, volume, kept)?,
        Step::Release { node, volume, kept } => rollback::release(job, *node, volume, kept)?,
        Step::Swap(staged) => rollback::swap(job, staged)?,
        Step::SwapBack(staged) => rollback::swap_back(job, staged)?,
        Step::Discard(staged) => rollback::discard(job, staged)?,
        Step::StageConfig { swap, .. } => {
            configs::in_turn(job, swap, |swap| configs::stage(swap, content))?
        }
        Step::SwapConfig(swap) => configs::in_turn(job, swap, configs::swap)?,
        Step::SwapBackConfig(swap) => configs::in_turn(job, swap, configs::swap_back)?,
        Step::DiscardConfig(swap) => configs::in_turn(job, swap, configs::discard)?,
        Step::CloseGate { node } => brokers::close_gate(job, *node)?,
        Step::OpenGate { node } => brokers::open_gate(job, *node)?,
        Step::AwaitHealthy { .. }
        | Step::Record { .. }
        | Step::Complete { .. }
        | Step::Commit
        | Step::Unlist { .. }
        | Step::Forget { .. } => {
            bail!("that is the coordinator's to do")
        }
    };
    Ok(Performed {
        outcome,
        begun,
        ended: jiff::Timestamp::now(),
        fact,
    })
}

/// The coordinator is dead, and with it its lock: this process takes its place and settles. Locks of this process end
/// with it; a tool that still runs keeps its volume's.
fn become_recover(cluster: &Path, state_dir: &Path) -> Result<()> {
    use std::os::unix::process::CommandExt;
    // The pipe of a process that is killed can end before its lock does, and `recover` does not wait for a lock.
    let freed = crate::lock::take(&state_dir.join("lock"), COORDINATOR_ENDS);
    if let Err(error) = &freed {
        tracing::error!(%error, "the coordinator's lock is held still");
    }
    drop(freed);
    let log = crate::service::launch::open_log_or_null(&state_dir.join("settle.log"))?;
    let own = std::env::current_exe().context("find this program's own file")?;
    let error = std::process::Command::new(own)
        .arg("--cluster")
        .arg(cluster)
        .arg("--state-dir")
        .arg(state_dir)
        .arg("recover")
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .exec();
    Err(error).context("become recover")
}
