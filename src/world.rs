//! The real world: agents at the end of links, the catalog on this machine's disk, signals at the door.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use zeebe_snap_backends::tree::{self, Entry as TreeEntry};
use zeebe_snap_backends::{SnapName, VolumeId};

use crate::agent::protocol::{
    Answer, Fact, Fault, FaultKind, Locking, Opening, Outcome, Paper, Performed, Request, Seen,
};
use crate::catalog::Catalog;
use crate::catalog::manifest::Manifest;
use crate::config::Cluster;
use crate::exec::{Wake, World};
use crate::id::NodeId;
use crate::journal::{Entry, StepNo};
use crate::link::Link;
use crate::plan::configs::Present;
use crate::plan::restore::Received;
use crate::plan::{Source, Step};
use crate::report::progress::Progress;
use crate::report::table::many;
use crate::zeebe::data::Damage;
use crate::zeebe::health::ailments;
use crate::zeebe::settings::map_addresses;

/// How often a cluster that is coming up is asked.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Where the program's files are.
#[derive(Debug, Clone)]
pub struct Places {
    /// cluster.toml.
    pub cluster: PathBuf,
    /// Journals, sets and records.
    pub state_dir: PathBuf,
    /// Whether agents log what they run.
    pub verbose: bool,
}

/// See above.
#[derive(Debug)]
pub struct Real {
    places: Places,
    cluster: Cluster,
    link: Arc<Link>,
    catalog: Catalog,
    send: mpsc::Sender<Wake>,
    receive: mpsc::Receiver<Wake>,
    progress: Progress,
    opened: Instant,
}

impl Real {
    /// Starts the agent and takes the locks, as `locking` says.
    pub fn open(
        places: &Places,
        cluster: &Cluster,
        locking: Locking,
        progress: Progress,
    ) -> Result<Real> {
        let (send, receive) = mpsc::channel();
        Ok(Real {
            link: Arc::new(link(places, cluster, locking)?),
            catalog: Catalog::new(&places.state_dir),
            places: places.clone(),
            cluster: cluster.clone(),
            send,
            receive,
            progress,
            opened: Instant::now(),
        })
    }

    /// The name of this host.
    pub fn host(&self) -> &str {
        &self.link.host
    }

    /// What is true of all brokers now.
    pub fn inspect(&self) -> Result<Vec<Seen>> {
        match self.link.ask(Request::Inspect)? {
            Answer::Seen(seen) => Ok(seen),
            other => bail!("the agent answered an inspection with {other:?}"),
        }
    }

    /// The config files of cluster.toml, as they stand.
    pub fn configs(&self) -> Result<Present> {
        match self.link.ask(Request::Configs)? {
            Answer::Configs(files) => Ok(files.into_iter().collect()),
            other => bail!("the agent answered a question for config files with {other:?}"),
        }
    }

    /// What goes along with a step and is in no plan.
    fn content(&self, step: &Step) -> Result<(Vec<u8>, Vec<Paper>)> {
        match step {
            Step::StageConfig { set, file, map, .. } => {
                let kept = self.catalog.read_config(set, file)?;
                let mapped = map_addresses(&String::from_utf8_lossy(&kept), map);
                Ok((mapped.into_bytes(), Vec::new()))
            }
            Step::KeepPapers { node, set, .. } => {
                Ok((Vec::new(), self.catalog.papers(set, *node)?))
            }
            _ => Ok((Vec::new(), Vec::new())),
        }
    }

    /// What is in a paper that is kept beside a snapshot, if it is there.
    pub fn paper(
        &self,
        volume: &VolumeId,
        snapshot: &SnapName,
        name: &str,
    ) -> Result<Option<Vec<u8>>> {
        let request = Request::Paper {
            volume: volume.clone(),
            snapshot: snapshot.clone(),
            name: name.to_owned(),
        };
        match self.link.ask(request)? {
            Answer::Paper(content) => Ok(content.map(|content| content.to_vec())),
            other => bail!("the agent answered a question for a paper with {other:?}"),
        }
    }

    /// How brokers could receive these snapshots of other volumes, or why they could not.
    pub fn receive(&self, sources: Vec<(NodeId, Source)>) -> Result<Received> {
        if sources.is_empty() {
            return Ok(Received::new());
        }
        let nodes: Vec<NodeId> = sources.iter().map(|(node, _)| *node).collect();
        match self.link.ask(Request::Receive(sources))? {
            Answer::Receiving(received) => Ok(nodes.into_iter().zip(received).collect()),
            other => bail!("the agent answered a question for receiving with {other:?}"),
        }
    }

    /// The listing of a member, digested now from its snapshot.
    pub fn listing(&self, verify: Step) -> Result<Vec<TreeEntry>> {
        let (send, receive) = mpsc::channel();
        let (mut entries, progress) = (Vec::new(), self.progress.clone());
        let request = Request::Perform {
            plan: 0,
            step: Box::new(verify),
            content: Vec::new(),
            papers: Vec::new(),
        };
        self.link.tell(
            request,
            Box::new(move |answer| {
                let result = match answer {
                    Answer::Entries(part) => return entries.extend(part),
                    Answer::Hashed(bytes) => return progress.hashed(bytes),
                    Answer::Performed(performed) => {
                        check(&performed.fact, &entries).map(|()| std::mem::take(&mut entries))
                    }
                    Answer::Failed(fault) => Err(fault.into()),
                    other => Err(anyhow::anyhow!("the agent answered a step with {other:?}")),
                };
                drop(send.send(result));
            }),
        );
        receive.recv().context("the agent did not answer")?
    }

    /// What of Zeebe's own snapshots in a member is not what Zeebe wrote.
    pub fn damage(&self, volume: VolumeId, snapshot: SnapName) -> Result<Vec<Damage>> {
        match self.link.ask(Request::ZeebesOwn { volume, snapshot })? {
            Answer::Damage(damage) => Ok(damage),
            other => bail!("the agent answered a question for damage with {other:?}"),
        }
    }

    /// From here on a signal is a thing that happens, like the end of a step. When this world is closed it is again what
    /// it always was.
    pub fn listen_for_signals(&self) -> Result<()> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .context("listen for signals")?;
        let send = self.send.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if send.send(Wake::Interrupted).is_err() {
                    drop(signal_hook::low_level::emulate_default_handler(signal));
                }
            }
        });
        Ok(())
    }

    /// Ends the agent: nothing is owed, or what is owed is for a later run.
    pub fn close(self) {
        self.link.goodbye();
        if let Some(link) = Arc::into_inner(self.link) {
            link.wait();
        }
    }
}

fn link(places: &Places, cluster: &Cluster, locking: Locking) -> Result<Link> {
    let opening = Opening {
        brokers: cluster.brokers.values().cloned().collect(),
        tool_dirs: cluster.tool_dirs.clone(),
        state_dir: places.state_dir.clone(),
        stop_timeout: cluster.stop_timeout,
        on_stuck_stop: cluster.on_stuck_stop,
        locking,
    };
    Link::local(&places.cluster, &places.state_dir, places.verbose, opening)
}

impl World for Real {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn passed(&self) -> Duration {
        self.opened.elapsed()
    }

    fn begin(&mut self, no: StepNo, step: &Step, history: &[Entry]) {
        let send = self.send.clone();
        let end = move |result: Result<Performed, Fault>| drop(send.send(Wake::Ended(no, result)));
        match step {
            Step::AwaitHealthy { nodes } => {
                let (link, nodes, timeout) = (
                    Arc::clone(&self.link),
                    nodes.clone(),
                    self.cluster.ready_timeout,
                );
                std::thread::spawn(move || end(await_healthy(&link, &nodes, timeout)));
            }
            Step::Record { .. } => end(here(|| self.catalog.record(&manifest(history)?))),
            Step::Complete { .. } => end(here(|| self.catalog.complete(&manifest(history)?))),
            Step::Forget { set } => end(here(|| self.catalog.forget(set))),
            // Its end in the journal, synced, is all there is to it.
            Step::Commit => end(here(|| Ok(()))),
            Step::Unlist { set } => end(here(|| self.catalog.unlist(set))),
            step => {
                let mut gather = Gather {
                    step: step.clone(),
                    catalog: self.catalog.clone(),
                    entries: Vec::new(),
                    files: Vec::new(),
                };
                let progress = self.progress.clone();
                let (content, papers) = match self.content(step) {
                    Ok(content) => content,
                    Err(error) => {
                        let wrong = error.context(step.to_string());
                        return end(Err(wrong.into()));
                    }
                };
                let request = Request::Perform {
                    plan: no.plan,
                    step: Box::new(step.clone()),
                    content,
                    papers,
                };
                self.link.tell(
                    request,
                    Box::new(move |answer| {
                        if let Some(result) = gather.hear(answer, &progress) {
                            end(result);
                        }
                    }),
                );
            }
        }
    }

    fn next(&mut self, patience: Option<Duration>) -> Wake {
        match patience {
            Some(patience) => self.receive.recv_timeout(patience).unwrap_or(Wake::Nothing),
            // The sender is ours as well, so there is always one.
            None => self.receive.recv().unwrap_or(Wake::Nothing),
        }
    }

    fn renew(&mut self) -> Result<()> {
        if self.link.is_lost() {
            self.link = Arc::new(
                link(&self.places, &self.cluster, Locking::Settling)
                    .context("start another agent")?,
            );
        }
        Ok(())
    }
}

/// Done by the coordinator itself.
fn here(act: impl FnOnce() -> Result<()>) -> Result<Performed, Fault> {
    let begun = Timestamp::now();
    act()?;
    Ok(Performed {
        outcome: Outcome::Done,
        begun,
        ended: Timestamp::now(),
        fact: Fact::None,
    })
}

fn manifest(history: &[Entry]) -> Result<Manifest> {
    Manifest::of_run(history).context("the journal does not say that the set is captured")
}

fn await_healthy(link: &Link, nodes: &[NodeId], timeout: Duration) -> Result<Performed, Fault> {
    let begun = Timestamp::now();
    let deadline = Instant::now() + timeout;
    let mut ready: BTreeMap<NodeId, Timestamp> = BTreeMap::new();
    loop {
        let mut brokers = BTreeMap::new();
        for node in nodes {
            let answer = link.ask(Request::Health { node: *node })?;
            let Answer::Health { api, ended } = answer else {
                return Err(Fault::other(format!("the agent answered {answer:?}")));
            };
            if let Some(log) = ended {
                let text = format!("broker {node} does not run; see {log}");
                return Err(Fault::other(text));
            }
            if api.as_ref().is_ok_and(|api| api.ready) {
                ready.entry(*node).or_insert_with(Timestamp::now);
            }
            brokers.insert(*node, api);
        }
        let ailing = ailments(&brokers);
        if ailing.is_empty() {
            let fact = Fact::Ready(ready.into_iter().collect());
            return Ok(Performed {
                outcome: Outcome::Done,
                begun,
                ended: Timestamp::now(),
                fact,
            });
        }
        if Instant::now() >= deadline {
            let list: Vec<String> = ailing
                .iter()
                .map(|(node, what)| format!("broker {node}: {what}"))
                .collect();
            return Err(Fault::other(format!(
                "the cluster is not healthy {timeout:?} after its start: {}",
                list.join("; ")
            )));
        }
        std::thread::sleep(ASK_AGAIN);
    }
}

/// Gathers what comes before the last answer to a step: listings and config files, which go into the catalog.
struct Gather {
    step: Step,
    catalog: Catalog,
    entries: Vec<TreeEntry>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Gather {
    fn hear(&mut self, answer: Answer, progress: &Progress) -> Option<Result<Performed, Fault>> {
        match answer {
            Answer::Entries(part) => self.entries.extend(part),
            Answer::Hashed(bytes) => progress.hashed(bytes),
            Answer::File { path, content } => self.files.push((path, content)),
            Answer::Performed(performed) => {
                return Some(self.keep(*performed).map_err(Fault::from));
            }
            // The agent names the step in what it says; of a lost one nothing is heard.
            Answer::Failed(fault) if fault.kind == FaultKind::LinkLost => {
                let text = format!("{}: {}", self.step, fault.text);
                return Some(Err(Fault { text, ..fault }));
            }
            Answer::Failed(fault) => return Some(Err(fault)),
            other => {
                return Some(Err(Fault::other(format!(
                    "the agent answered a step with {other:?}"
                ))));
            }
        }
        None
    }

    fn keep(&mut self, mut performed: Performed) -> Result<Performed> {
        match &self.step {
            Step::KeepConfig { node, set, .. } => {
                let keep = |(number, (path, content)): (usize, &(PathBuf, Vec<u8>))| {
                    self.catalog.keep_config(set, *node, number, path, content)
                };
                performed.fact = Fact::Config(
                    self.files
                        .iter()
                        .enumerate()
                        .map(keep)
                        .collect::<Result<_>>()?,
                );
            }
            Step::Digest { node, set, .. } => {
                check(&performed.fact, &self.entries)?;
                self.catalog.keep_listing(set, *node, &self.entries)?;
            }
            Step::Verify { node, set, .. } => {
                check(&performed.fact, &self.entries)?;
                let manifest = self
                    .catalog
                    .read(set)?
                    .with_context(|| format!("there is no set {set}"))?;
                let differences =
                    tree::compare(&self.catalog.read_listing(&manifest, *node)?, &self.entries);
                if let Some(first) = differences.first() {
                    let text = format!(
                        "broker {node} of set {set} differs from what was captured in {}; the first: {first}",
                        many(differences.len(), "place", "places")
                    );
                    return Err(Fault {
                        kind: FaultKind::Differs,
                        text,
                    }
                    .into());
                }
            }
            _ => {}
        }
        Ok(performed)
    }
}

/// The listing came over the pipe as it was digested.
fn check(fact: &Fact, entries: &[TreeEntry]) -> Result<()> {
    let Fact::Digest {
        content, metadata, ..
    } = fact
    else {
        bail!("the agent sent no digest")
    };
    ensure!(
        *content == tree::content_hash(entries).to_string(),
        "the listing was damaged on its way"
    );
    ensure!(
        *metadata == tree::metadata_hash(entries).to_string(),
        "the listing was damaged on its way"
    );
    Ok(())
}
