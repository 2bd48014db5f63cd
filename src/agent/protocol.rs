//! What the coordinator and an agent say to each other: one JSON object a line, each with the number of the request.
//!
//! An agent answers requests in any order, several at a time. The first is [`Request::Hello`]; a peer of another
//! protocol is turned away by it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeebe_snap_backends::tree::{ByteString, Entry};
use zeebe_snap_backends::{Cost, Kept, Label, Obstacle, SnapName, Snapshot, VolumeId};

use crate::config::{Broker, OnStuckStop};
use crate::id::NodeId;
use crate::plan::configs::PresentFiles;
use crate::plan::{Source, Step};
use crate::process::{Holder, Process};
use crate::service;
use crate::zeebe::api::Api;
use crate::zeebe::data::{Damage, DataFolder};
use crate::zeebe::settings::Settings;
use crate::zeebe::version::Version;

/// Goes up when what is said changes its meaning.
pub const PROTOCOL: u32 = 1;

/// A line to an agent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Chosen by the coordinator, each once.
    pub id: u64,
    /// What is wanted.
    pub request: Request,
}

/// What can be asked of an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub enum Request {
    /// Who are you?
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// These are the brokers; asked once, after the greeting.
    Open(Box<Opening>),
    /// What do you see? Changes nothing.
    Inspect,
    /// How could the brokers receive these snapshots of other volumes? Changes nothing.
    Receive(Vec<(NodeId, Source)>),
    /// What are the config files named in cluster.toml? Changes nothing.
    Configs,
    /// What does this broker's management API say?
    Health { node: NodeId },
    /// Do Zeebe's own checksums hold in this snapshot? Changes nothing.
    ZeebesOwn {
        volume: VolumeId,
        snapshot: SnapName,
    },
    /// Do this.
    Perform {
        /// Which plan of the run it is of. A step of an earlier plan that has not begun when one of a later arrives is
        /// not begun any more.
        plan: usize,
        /// What.
        step: Box<Step>,
        /// What a config file becomes: in no plan, since it may hold secrets.
        #[serde(default)]
        content: Vec<u8>,
        /// What is kept beside a snapshot; the last one says by being there that all are.
        #[serde(default)]
        papers: Vec<Paper>,
    },
    /// What is in this paper of a snapshot? Changes nothing.
    Paper {
        volume: VolumeId,
        snapshot: SnapName,
        name: String,
    },
    /// All is settled: end, and leave everything as it is.
    Bye,
}

/// The brokers an agent cares for, and how.
#[derive(Debug, Serialize, Deserialize)]
pub struct Opening {
    /// All of this host.
    pub brokers: Vec<Broker>,
    /// Searched for tools first.
    pub tool_dirs: Vec<PathBuf>,
    /// Where records of started services are kept.
    pub state_dir: PathBuf,
    /// From the cluster.toml.
    pub stop_timeout: Duration,
    /// From the cluster.toml.
    pub on_stuck_stop: OnStuckStop,
    /// Whether anything will be changed.
    pub locking: Locking,
}

/// How an agent takes the locks of its brokers and volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Locking {
    /// Not at all: it only reads.
    Reads,
    /// At once; one that is held turns the run away.
    Fresh,
    /// It waits for what a dead run left behind: a broker being started, a tool that has not ended yet.
    Settling,
}

/// A line from an agent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Say {
    /// Of the request.
    pub id: u64,
    /// The answer.
    pub answer: Answer,
}

/// What an agent answers. All but the last two are the last for their request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub enum Answer {
    /// To a greeting.
    Hello {
        /// [`PROTOCOL`] of the agent.
        protocol: u32,
        /// The agent's version.
        version: String,
        /// The host's name.
        host: String,
    },
    /// To an opening.
    Opened,
    /// To an inspection: one for each broker.
    Seen(Vec<Seen>),
    /// To a question for receiving: in the order asked.
    Receiving(Vec<Result<Receiving, String>>),
    /// To a question for config files.
    Configs(Vec<(NodeId, PresentFiles)>),
    /// To a question for health.
    Health {
        /// What the API says, or why it does not answer.
        api: Result<Api, String>,
        /// Said of a broker that does not run: where to look why.
        ended: Option<String>,
    },
    /// What is in a paper, if it is there.
    Paper(Option<ByteString>),
    /// What of Zeebe's own snapshots is not what Zeebe wrote.
    Damage(Vec<Damage>),
    /// The step is done.
    Performed(Box<Performed>),
    /// It is not.
    Failed(Fault),
    /// More of a digest; the answer is yet to come.
    Entries(Vec<Entry>),
    /// Bytes hashed since the last; the answer is yet to come.
    Hashed(u64),
    /// A config file; the answer is yet to come.
    File { path: PathBuf, content: Vec<u8> },
}

/// What an agent sees of one broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    /// Which.
    pub node: NodeId,
    /// The data directory, symbolic links resolved.
    pub data: PathBuf,
    /// The volume that holds it, or why there is none.
    pub volume: Result<VolumeSeen, String>,
    /// Who has a file of it open or mapped.
    pub holders: Vec<Holder>,
    /// The broker's process, be it one that holds nothing.
    pub broker: Option<Process>,
    /// What its service says, and what is seen of it besides.
    pub service: service::State,
    /// What its management API says, or why it does not answer.
    pub api: Result<Api, String>,
    /// What the data folder says of itself.
    pub folder: Result<DataFolder, String>,
    /// What the broker is told: config files of cluster.toml, environment, command line; or why that does not read.
    pub settings: Result<Settings, String>,
    /// The version of the install named in cluster.toml.
    pub installed: Option<Version>,
    /// The config files of cluster.toml that cannot be read, and why.
    pub unreadable: Vec<String>,
}

/// What an agent sees of a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeSeen {
    /// Its name.
    pub id: VolumeId,
    /// What its snapshot freezes; brokers with the same share one.
    pub freezes: String,
    /// What its snapshot costs, if that can be told.
    pub cost: Option<Cost>,
    /// In the way of a snapshot.
    pub capture: Vec<Obstacle>,
    /// In the way of a rollback; `None` where the backend has none.
    pub bring_back: Option<Vec<Obstacle>>,
    /// In the way of bringing back what is kept.
    pub take_back: Vec<Obstacle>,
    /// Those that carry a name of ours.
    pub snapshots: Vec<Snapshot>,
    /// What was made ready for a snapshot that is not there: its name and its label.
    #[serde(default)]
    pub prepared: Vec<(SnapName, Label)>,
    /// What former restores keep.
    pub kept: Vec<Kept>,
}

/// How a broker could receive a snapshot of another volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receiving {
    /// What the other volume has under that name.
    pub snapshot: Option<Snapshot>,
    /// The broker's volume, as one that receives it.
    pub volume: VolumeId,
    /// What is in the way.
    pub obstacles: Vec<Obstacle>,
}

/// A file that is kept beside a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paper {
    /// The name of the file, which leads nowhere else.
    pub name: String,
    /// All of it.
    pub content: ByteString,
}

/// How a step was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Performed {
    /// Whether there was anything to do.
    pub outcome: Outcome,
    /// When it began, by the clock of the host that did it.
    pub begun: jiff::Timestamp,
    /// When it ended.
    pub ended: jiff::Timestamp,
    /// What was found out by doing it.
    pub fact: Fact,
}

/// Whether there was anything to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done now.
    Done,
    /// It was so already.
    AlreadyDone,
}

/// What was found out by doing a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// Nothing.
    None,
    /// The broker ended.
    Stopped {
        /// When it was asked to.
        asked: jiff::Timestamp,
        /// When its process had ended.
        ended: jiff::Timestamp,
        /// Whether it had to be killed.
        killed: bool,
    },
    /// The snapshot is taken.
    Snapshot {
        /// What the system knows it by.
        identity: String,
        /// The same of those that were taken with it.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        with: BTreeMap<NodeId, String>,
        /// How long the sync before it took.
        sync: Duration,
        /// How long the snapshot itself took.
        snapshot: Duration,
    },
    /// The start was commanded.
    Started {
        /// When the command was given.
        commanded: jiff::Timestamp,
    },
    /// When each broker first was ready.
    Ready(Vec<(NodeId, jiff::Timestamp)>),
    /// The config files that are in the set now.
    Config(Vec<KeptFile>),
    /// What the member's tree is.
    Digest {
        /// Over names, types and contents.
        content: String,
        /// Over owners, modes, times and extended attributes.
        metadata: String,
        /// How many entries.
        entries: u64,
        /// How many bytes the files have.
        bytes: u64,
    },
}

/// A config file kept in a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Where it was on its host.
    pub path: PathBuf,
    /// Its name in the set's folder.
    pub kept_as: String,
    /// BLAKE3 of its content.
    pub blake3: String,
}

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind it is, where that decides something.
    pub kind: FaultKind,
    /// For people: the operation and its object, then the causes.
    pub text: String,
}

/// The kinds of faults that decide something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Something else has the lock.
    Locked,
    /// The agent ended, or its link did; whether the step was done is not known.
    LinkLost,
    /// The wait was called off.
    CalledOff,
    /// A difference was found where there must be none.
    Differs,
    /// Anything else.
    Other,
}

impl Fault {
    /// One that decides nothing.
    pub fn other(text: impl Into<String>) -> Fault {
        Fault {
            kind: FaultKind::Other,
            text: text.into(),
        }
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Fault {
        let kind = error
            .downcast_ref::<Fault>()
            .map_or(FaultKind::Other, |fault| fault.kind);
        Fault {
            kind,
            text: format!("{error:#}"),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}
