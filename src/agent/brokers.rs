//! Brokers stopped, proven down, started.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use jiff::Timestamp;

use super::Job;
use super::identity;
use super::post::{Post, Posts};
use super::protocol::{Answer, Fact, Fault, FaultKind, Locking, Outcome};
use crate::config::{OnStuckStop, Service};
use crate::id::NodeId;
use crate::plan::Stuck;
use crate::process::{Holder, Process, holders};
use crate::service::{self, Gate, Instance, Phase};
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
pub fn prove_seen(posts: &Posts, brokers: &[(NodeId, Instance)]) -> Result<(Outcome, Fact)> {
    let folders = folders(posts, brokers.iter().map(|(node, _)| *node))?;
    let deadline = Instant::now() + PASSERS_BY;
    loop {
        let mut trouble = None;
        for ((node, broker), held) in brokers.iter().zip(holders(&folders)?) {
            let others: Vec<&Holder> = held
                .iter()
                .filter(|holder| holder.process != broker.process)
                .collect();
            // One that is just ending is for the stop to judge.
            if others.len() == held.len() && broker.process.is_alive()? {
                trouble = Some(format!(
                    "broker {node} (pid {}) is not seen to hold its data directory any more; nothing was stopped",
                    broker.process.pid
                ));
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
pub fn prove_down(
    posts: &Posts,
    nodes: &[NodeId],
    stopped: &[(NodeId, Instance)],
) -> Result<(Outcome, Fact)> {
    let folders = folders(posts, nodes.iter().copied())?;
    let deadline = Instant::now() + PASSERS_BY;
    loop {
        let trouble = match holders(&folders) {
            Ok(held) => match nodes.iter().zip(&held).find(|(_, held)| !held.is_empty()) {
                Some((node, held)) => {
                    let names = name(&held.iter().collect::<Vec<_>>());
                    anyhow!("the data directory of broker {node} is still held by {names}")
                }
                None => {
                    not_started_since(posts, stopped)?;
                    return Ok((Outcome::Done, Fact::None));
                }
            },
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(trouble);
        }
        std::thread::sleep(POLL);
    }
}

/// systemd knows of a start even if it has ended again.
fn not_started_since(posts: &Posts, stopped: &[(NodeId, Instance)]) -> Result<()> {
    for (node, broker) in stopped
        .iter()
        .filter(|(_, broker)| broker.invocation.is_some())
    {
        let state = service::state(&posts.desk, &posts.of(*node)?.broker)?;
        // systemd forgets a unit that is down and that nothing refers to; then it has nothing to say.
        let another = state.invocation.is_some() && state.invocation != broker.invocation;
        if state.phase != Phase::Down || another {
            bail!(
                "broker {node} was started by something else after it was stopped: {}",
                state.seen
            );
        }
    }
    Ok(())
}

/// Asks the broker to stop and waits until it has ended.
pub fn stop(
    job: &Job<'_>,
    node: NodeId,
    instance: &Instance,
    stuck: Stuck,
) -> Result<(Outcome, Fact)> {
    let (posts, broker) = (job.posts, &instance.process);
    let post = posts.of(node)?;
    let service = post.service(posts)?;
    job.still_wanted()?;
    let asked = Timestamp::now();
    if !broker.is_alive()? {
        // A backup of a cluster that has just lost a broker is not what was asked for; a restore wants it down.
        ensure!(
            stuck == Stuck::IsKilled,
            "broker {node} (pid {}) has ended by itself",
            broker.pid
        );
        wait_until_down(posts, post, || false)?;
        let ended = Timestamp::now();
        let fact = Fact::Stopped {
            asked,
            ended,
            killed: false,
        };
        return Ok((Outcome::AlreadyDone, fact));
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
            Stuck::Fails => return Err(not_ended(posts, post, instance)),
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

/// Why a broker has not ended in time.
fn not_ended(posts: &Posts, post: &Post, instance: &Instance) -> anyhow::Error {
    let (node, pid) = (post.broker.node_id, instance.process.pid);
    let timeout = posts.stop_timeout;
    let state = service::state(&posts.desk, &post.broker);
    // A unit that is to stop and still is active waits for others.
    let first = instance.dependants.join(", ");
    if !first.is_empty() && state.is_ok_and(|state| state.phase == Phase::Up) {
        anyhow!(
            "broker {node} (pid {pid}) was not told to stop within {timeout:?}: systemd first ends {first}"
        )
    } else {
        anyhow!("broker {node} (pid {pid}) has not ended {timeout:?} after it was told to stop")
    }
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
        let state = service::state(&posts.desk, &post.broker)?;
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
pub fn start(job: &Job<'_>, node: NodeId, stopped: Option<&Instance>) -> Result<(Outcome, Fact)> {
    let posts = job.posts;
    let post = posts.of(node)?;
    post.called_off.store(true, Ordering::SeqCst);
    let service = post.service(posts)?;
    post.called_off.store(false, Ordering::SeqCst);
    let end = match stopped {
        Some(stopped) => see_it_end(posts, post, &stopped.process)?,
        None => End::Ended,
    };
    let dependants = stopped
        .map(|stopped| stopped.dependants.as_slice())
        .unwrap_or_default();
    let commanded = Timestamp::now();
    let nothing_to_do = match end {
        End::NeverTold => true,
        End::CalledBack => false,
        // Units that went down with it are to be started even if it is up.
        End::Ended => dependants.is_empty() && is_up(job, post)?,
    };
    if nothing_to_do {
        return Ok((Outcome::AlreadyDone, Fact::Started { commanded }));
    }
    let lock = service.as_ref().context("a service lock")?;
    service::start(&posts.desk, &post.broker, dependants, lock)?;
    Ok((Outcome::Done, Fact::Started { commanded }))
}

/// What became of a broker that was to stop.
enum End {
    /// It has ended.
    Ended,
    /// systemd, which ends other units first, has not told it yet: a start takes the stop back.
    CalledBack,
    /// It was never told, and runs.
    NeverTold,
}

fn see_it_end(posts: &Posts, post: &Post, broker: &Process) -> Result<End> {
    if !broker.is_alive().unwrap_or(true) {
        return Ok(End::Ended);
    }
    let told = *post.told.lock().unwrap_or_else(PoisonError::into_inner);
    let node = post.broker.node_id;
    if told.is_none() && posts.locking == Locking::Fresh {
        // This agent has been there from the beginning.
        return Ok(End::NeverTold);
    }
    let by_systemd = matches!(post.broker.service, Service::Systemd { .. });
    if by_systemd && service::state(&posts.desk, &post.broker)?.phase == Phase::Up {
        return Ok(End::CalledBack);
    }
    let told = match told {
        Some(told) => told,
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
    Ok(End::Ended)
}

/// Whether the broker runs, whoever started it. (Who holds its data need not be the broker.)
fn is_up(job: &Job<'_>, post: &Post) -> Result<bool> {
    let state = service::state(&job.posts.desk, &post.broker)?;
    // A run that begins has just proven it down; whoever settles later has not.
    let just_proven = (job.posts.locking, job.plan) == (Locking::Fresh, 0);
    if state.phase == Phase::Up || just_proven {
        return Ok(state.phase == Phase::Up);
    }
    let seen = identity::of(&job.posts.desk, post, &[])?.service;
    Ok(seen.phase == Phase::Up || api::answers(&post.broker.management))
}

/// Nothing else starts the broker from here on.
pub fn close_gate(job: &Job<'_>, node: NodeId) -> Result<(Outcome, Fact)> {
    let post = job.posts.of(node)?;
    let _service = post.service(job.posts)?;
    job.still_wanted()?;
    Ok(match service::close_gate(&job.posts.desk, &post.broker)? {
        Gate::Closed => (Outcome::Done, Fact::None),
        Gate::AlreadyClosed | Gate::None => (Outcome::AlreadyDone, Fact::None),
    })
}

/// Anybody may start the broker again.
pub fn open_gate(job: &Job<'_>, node: NodeId) -> Result<(Outcome, Fact)> {
    let post = job.posts.of(node)?;
    let _service = post.service(job.posts)?;
    service::open_gate(&job.posts.desk, &post.broker)?;
    Ok((Outcome::Done, Fact::None))
}

/// What the broker's management API says, and if it does not answer, whether it runs at all.
pub fn health(posts: &Posts, node: NodeId) -> Result<Answer> {
    let post = posts.of(node)?;
    let api = api::ask(&post.broker.management).map_err(|error| format!("{error:#}"));
    let desk = &posts.desk;
    let seen_down = || {
        let held = holders(std::slice::from_ref(&post.data))?.concat();
        anyhow::Ok(identity::of(desk, post, &held)?.service.phase == Phase::Down)
    };
    let says_down = || anyhow::Ok(service::state(desk, &post.broker)?.phase == Phase::Down);
    let down = api.is_err() && says_down()? && seen_down()?;
    let ended = down.then(|| service::where_to_look(&post.broker));
    Ok(Answer::Health { api, ended })
}
