//! Brokers stopped, proven down, started.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::Job;
use super::post::{Post, Posts};
use super::protocol::{Answer, Fact, Fault, FaultKind, Locking, Outcome};
use crate::config::OnStuckStop;
use crate::id::NodeId;
use crate::plan::Stuck;
use crate::process::{Holder, Process, holders};
use crate::service::{self, Phase};
use crate::zeebe::api;

/// What is gone after this, a reader that happened by, does not count as a holder.
const PASSERS_BY: Duration = Duration::from_secs(2);

/// How long the end of a killed process may take.
const KILL_TAKES: Duration = Duration::from_secs(30);

/// How long a service may take to see that its process has ended.
const SERVICE_SEES: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(10);

fn name(holders: &[&Holder]) -> String {
    holders
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Every broker is seen by the scan that is to prove it down, and nobody else holds its data.
pub fn prove_seen(posts: &Posts, brokers: &[(NodeId, Process)]) -> Result<(Outcome, Fact)> {
    let folders = folders(posts, brokers.iter().map(|(node, _)| *node))?;
    let deadline = Instant::now() + PASSERS_BY;
    loop {
        let mut trouble = None;
        for ((node, broker), held) in brokers.iter().zip(holders(&folders)?) {
            let others: Vec<&Holder> = held
                .iter()
                .filter(|holder| holder.process != *broker)
                .collect();
            if others.len() == held.len() {
                bail!(
                    "broker {node} (pid {}) is not seen to hold its data directory any more; nothing was stopped",
                    broker.pid
                );
            }
            if !others.is_empty() {
                trouble = Some(format!(
                    "besides broker {node}, {} holds its data directory; nothing was stopped",
                    name(&others)
                ));
            }
        }
        match trouble {
            None => return Ok((Outcome::Done, Fact::None)),
            Some(text) if Instant::now() >= deadline => bail!(text),
            Some(_) => std::thread::sleep(POLL),
        }
    }
}

fn folders(posts: &Posts, nodes: impl Iterator<Item = NodeId>) -> Result<Vec<PathBuf>> {
    nodes.map(|node| Ok(posts.of(node)?.data.clone())).collect()
}

/// Nobody has a file of these brokers' data open or mapped.
pub fn prove_down(posts: &Posts, nodes: &[NodeId]) -> Result<(Outcome, Fact)> {
    let folders = folders(posts, nodes.iter().copied())?;
    let deadline = Instant::now() + PASSERS_BY;
    loop {
        let held = match holders(&folders) {
            Ok(held) => held,
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => continue,
        };
        let Some((node, holders)) = nodes
            .iter()
            .zip(&held)
            .find(|(_, holders)| !holders.is_empty())
        else {
            return Ok((Outcome::Done, Fact::None));
        };
        if Instant::now() >= deadline {
            let names = name(&holders.iter().collect::<Vec<_>>());
            bail!("the data directory of broker {node} is still held by {names}");
        }
        std::thread::sleep(POLL);
    }
}

/// Asks the broker to stop and waits until it has ended.
pub fn stop(
    job: &Job<'_>,
    node: NodeId,
    broker: &Process,
    stuck: Stuck,
) -> Result<(Outcome, Fact)> {
    let posts = job.posts;
    let post = posts.of(node)?;
    let service = post.service(posts)?;
    job.still_wanted()?;
    let asked = Timestamp::now();
    if !broker.is_alive()? {
        bail!("broker {node} (pid {}) has ended by itself", broker.pid);
    }
    let begun = Instant::now();
    *post.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
    service::ask_to_stop(&posts.desk, &post.broker, broker)?;
    let called_off = || post.called_off.load(Ordering::SeqCst);
    let ended = broker.wait(begun + posts.stop_timeout, called_off)?;
    let killed = !ended;
    if !ended {
        if called_off() {
            return Err(Fault {
                kind: FaultKind::CalledOff,
                text: "the wait was called off".to_owned(),
            }
            .into());
        }
        match stuck {
            Stuck::Fails => bail!(
                "broker {node} (pid {}) has not ended {:?} after it was told to stop",
                broker.pid,
                posts.stop_timeout
            ),
            Stuck::IsKilled => kill(posts, post, broker)?,
        }
    }
    let fact = Fact::Stopped {
        asked,
        ended: Timestamp::now(),
        killed,
    };
    wait_until_down(posts, post, called_off)?;
    drop(service);
    Ok((Outcome::Done, fact))
}

fn kill(posts: &Posts, post: &Post, broker: &Process) -> Result<()> {
    service::kill(&posts.desk, &post.broker, broker)?;
    if !broker.wait(Instant::now() + KILL_TAKES, || false)? {
        bail!("pid {} does not end although it was killed", broker.pid);
    }
    Ok(())
}

/// The service, too, says that it is down.
fn wait_until_down(posts: &Posts, post: &Post, called_off: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + SERVICE_SEES;
    loop {
        let state = service::state(&posts.desk, &post.broker, &[])?;
        if state.phase == Phase::Down {
            return Ok(());
        }
        if Instant::now() >= deadline || called_off() {
            bail!("its process has ended, but {}", state.seen);
        }
        std::thread::sleep(POLL);
    }
}

/// Starts the broker, unless it runs. `stopped` was told to stop: it cannot be called back, so it has to end first.
pub fn start(job: &Job<'_>, node: NodeId, stopped: Option<&Process>) -> Result<(Outcome, Fact)> {
    let posts = job.posts;
    let post = posts.of(node)?;
    post.called_off.store(true, Ordering::SeqCst);
    let service = post.service(posts)?;
    post.called_off.store(false, Ordering::SeqCst);
    if let Some(broker) = stopped.filter(|broker| broker.is_alive().unwrap_or(true)) {
        let told = *post.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = match told {
            Some(told) => told,
            // This agent has been there from the beginning: the broker was never told.
            None if posts.locking == Locking::Fresh => {
                let commanded = Timestamp::now();
                return Ok((Outcome::AlreadyDone, Fact::Started { commanded }));
            }
            // Whether a dead one told it is not known. Being told twice does no harm, and it ends cleanly.
            None => {
                service::ask_to_stop(&posts.desk, &post.broker, broker)?;
                Instant::now()
            }
        };
        if !broker.wait(told + posts.stop_timeout, || false)? {
            match posts.on_stuck_stop {
                OnStuckStop::Kill => kill(posts, post, broker)?,
                OnStuckStop::Leave => bail!(
                    "broker {node} (pid {}) does not end; it was left as it is (on_stuck_stop = \"leave\")",
                    broker.pid
                ),
            }
        }
        wait_until_down(posts, post, || false)?;
    }
    let commanded = Timestamp::now();
    if is_up(job, post)? {
        return Ok((Outcome::AlreadyDone, Fact::Started { commanded }));
    }
    let lock = service.as_ref().context("a service lock")?;
    service::start(&posts.desk, &post.broker, lock)?;
    Ok((Outcome::Done, Fact::Started { commanded }))
}

/// Whether the broker runs, whoever started it. (Who holds its data need not be the broker.)
fn is_up(job: &Job<'_>, post: &Post) -> Result<bool> {
    let state = service::state(&job.posts.desk, &post.broker, &[])?;
    // A run that begins has just proven it down; whoever settles later has not.
    let just_proven = (job.posts.locking, job.plan) == (Locking::Fresh, 0);
    Ok(state.phase == Phase::Up || (!just_proven && api::answers(&post.broker.management)))
}

/// What the broker's management API says, and if it does not answer, whether it runs at all.
pub fn health(posts: &Posts, node: NodeId) -> Result<Answer> {
    let post = posts.of(node)?;
    let api = api::ask(&post.broker.management).map_err(|error| format!("{error:#}"));
    let is_down = |held: &[Holder]| -> Result<bool> {
        Ok(service::state(&posts.desk, &post.broker, held)?.phase == Phase::Down)
    };
    let down = api.is_err()
        && is_down(&[])?
        && is_down(&holders(std::slice::from_ref(&post.data))?.concat())?;
    let ended = down.then(|| service::where_to_look(&post.broker));
    Ok(Answer::Health { api, ended })
}
