//! Volumes and trees: what a host's file systems can do for a backup.
//!
//! This crate knows datasets, subvolumes, logical volumes and directory trees. It knows nothing of Zeebe, of
//! clusters, of sets or of the terminal. This page is the one to read before adding a backend.
//!
//! # How a backend is shaped
//! A [`Driver`] looks at a path and says whether it can take care of it; if so it gives a [`Volume`]. A volume
//! - **reads** by asking the system: [`Volume::list`], [`Volume::find`], [`Volume::obstacles`];
//! - **changes nothing itself**. What changes is returned as [`Action`]s, values that are printed by a dry run and
//!   performed by whoever runs the plan. Builders of actions are pure: the same volume and names give the same lines.
//!
//! A capability is an object you get or do not get: [`Volume::rollback`], [`Volume::stream`], [`Volume::hold`],
//! [`Volume::joint`]. A backend that cannot do a thing returns `None`, which a planner sees before anything is touched.
//!
//! A [`VolumeId`] is all that is needed to build a volume's actions again later, from a journal, with no look at the
//! system. It holds what the planner saw, so that the executor can ask whether it still holds.
//!
//! # Adding one
//! A backend is a room of its own and one line in [`DRIVERS`]. In this order it costs least:
//! 1. **Record** what the tools say, on the real thing (`scripts/vm` has it where your kernel has not), and write the parser against
//!    that: bytes in, values out, command and version named beside the recording. Ask for a fixed list of columns or properties.
//! 2. **Identity.** Find what the system knows a volume and a snapshot by that no rename changes (guid, uuid). All else is built
//!    on it: what a snapshot is of, what was staged of what, what is mounted. Names only tell where to look.
//! 3. **Detect**: from what is mounted at the data directory, never from a name. Say how it lies: the root of a volume of its
//!    own, or a folder beside other things. For a folder there is nothing to write but the snapshot and its [`View`]:
//!    [`exchange::Exchange`] brings it back, as in `btrfs/within.rs`, `zfs/within.rs` and `lvm/within.rs`.
//! 4. **Snapshot**: one command that makes it together with its [`Label`], so that there is no moment in which one of ours does
//!    not say so. Where the system has no place for a label, [`store`] writes it beside, in [`Volume::prepare`].
//! 5. **View**: a path, or [`view::Attach`] for what has to be mounted first, which is for the reader alone.
//! 6. **Rollback**: what has names that can be given (datasets, logical volumes) implements the ten small functions of `renaming`,
//!    which has the order, the cuts and the proof. What takes several commands is one [`action::Change`], which asks what is left
//!    to do: the run can die after each of them.
//! 7. **Obstacles**: whatever would fail with the brokers down is found while they run, with a name and a way out.
//! 8. Make it pass `tests/contract.rs`: a fixture for each way the data can lie, and `contract!` for each. The suite takes
//!    every capability you give; one you do not name fails it.

pub mod action;
pub mod btrfs;
pub mod cmd;
pub mod copy;
pub mod exchange;
pub mod files;
mod flush;
mod fstab;
pub mod host;
pub mod lvm;
pub mod mounts;
pub mod name;
mod namespaces;
pub mod papers;
mod renames;
mod renaming;
pub mod store;
pub mod stream;
pub mod tree;
pub mod view;
pub mod zfs;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use action::Action;
pub use cmd::{Cmd, RunError, System};
pub use name::{NameError, SnapName, StageName};
pub use stream::{Landing, Stream};
pub use view::View;

/// What can go wrong while asking about a volume or changing it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tool could not be run, or said no.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file operation failed.
    #[error("{what} {}", path.display())]
    Io {
        /// The operation, as a verb: "open", "rename".
        what: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A tool's answer is not of the form this crate knows.
    #[error("{cmd} answered {line:?}, expected {expected}")]
    Answer {
        /// The command asked.
        cmd: String,
        /// The line that does not fit, shortened.
        line: String,
        /// What was looked for.
        expected: &'static str,
    },
    /// A tree could not be gone through, cloned or removed.
    #[error(transparent)]
    Tree(#[from] tree::TreeError),
    /// A stream did not get through.
    #[error(transparent)]
    Pipe(#[from] stream::pipe::PipeError),
    /// A block stream was refused, or could not be applied.
    #[error(transparent)]
    Blocks(#[from] stream::blocks::apply::ApplyError),
    /// The volume is not in the state the caller relies on. Nothing was changed.
    #[error("{0}")]
    State(String),
    /// A [`VolumeId`] names a backend that does not exist, or does not read as one of that backend's.
    #[error("volume id of backend {backend:?} does not read: {why}")]
    Id {
        /// The backend named.
        backend: String,
        /// Why it does not read.
        why: String,
    },
}

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err`: an [`Error::Io`] of `what` on `path`.
    pub fn io<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            what,
            path,
            source: source.into(),
        }
    }
}

/// An error with its causes, on one line. A cause that is told already is not told again.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Names a volume so that it can be opened again later with no look at the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeId {
    /// The driver's name.
    pub backend: String,
    /// For people: "btrfs subvolume /srv/zeebe/data".
    pub title: String,
    /// What the driver needs, in its own form.
    pub detail: serde_json::Value,
}

impl VolumeId {
    /// What names it in a few letters, as many as are asked for up to 64: the same each time, and another for another volume.
    pub fn short(&self, letters: usize) -> String {
        let hash = blake3::hash(self.detail.to_string().as_bytes());
        hash.to_hex()[..letters].to_owned()
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

/// What is written beside or into a snapshot, so that it names itself: ZFS user properties, LV tags, a sidecar file.
pub type Label = BTreeMap<String, String>;

/// A frozen volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapName,
    /// What the system itself knows it by, which no rename changes: a guid or uuid.
    pub identity: String,
    /// The label, if this crate made it and that can be shown; `None` is somebody else's and is never destroyed.
    pub label: Option<Label>,
}

/// What a volume is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be snapshotted.
    Capture,
    /// To have its content replaced by a snapshot's.
    BringBack,
    /// To have its content replaced by what is kept beside it, which needs no room.
    TakeBack,
}

/// Something about a volume that stands in the way of a [`Purpose`], found before anything is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// What is wrong, with names.
    pub what: String,
    /// Why that matters.
    pub why: String,
    /// What a person can do about it.
    pub todo: String,
}

impl Obstacle {
    fn missing(data: &Path) -> Obstacle {
        Obstacle {
            what: format!("{} does not exist", data.display()),
            why: "there is nothing to back up".to_owned(),
            todo: "correct `data` in cluster.toml, or restore a set".to_owned(),
        }
    }
}

/// What a snapshot costs while the brokers are down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Milliseconds, however large the data is.
    Instant,
    /// A clone that shares blocks: it grows with the number of entries.
    Clone {
        /// Files, folders and all else.
        entries: u64,
    },
    /// A copy of every byte.
    Copy {
        /// That many, holes aside.
        bytes: u64,
    },
}

/// Finds volumes of one kind. There is one of each, in [`DRIVERS`].
pub trait Driver: fmt::Debug + Send + Sync {
    /// The word used in cluster.toml: "btrfs".
    fn name(&self) -> &'static str;

    /// Looks at the data directory `dir` (absolute, symbolic links resolved as far as it exists) and gives the volume
    /// that holds it, or `None` where it is not of this kind. A directory that has gone missing is still found when
    /// its snapshots are there. Reads only.
    fn detect(&self, sys: &dyn System, dir: &Path) -> Result<Option<Box<dyn Volume>>>;

    /// The volume that `id` names. Looks at nothing.
    fn open(&self, id: &VolumeId) -> Result<Box<dyn Volume>>;

    /// The place where streams of this kind land that `place` names, or `None` where it names nothing of this kind. It may be
    /// one that is to be made. Reads only.
    fn landing(&self, _sys: &dyn System, _place: &str) -> Result<Option<Box<dyn Landing>>> {
        Ok(None)
    }

    /// The landing that `id` names. Looks at nothing.
    fn open_landing(&self, id: &VolumeId) -> Result<Box<dyn Landing>> {
        Err(Error::Id {
            backend: id.backend.clone(),
            why: "no streams land there".to_owned(),
        })
    }
}

/// A dataset, subvolume, logical volume or directory that holds one data directory.
pub trait Volume: fmt::Debug + Send + Sync {
    /// What names it.
    fn id(&self) -> VolumeId;

    /// The data directory: what is synced, proven at rest, and swapped.
    fn data(&self) -> &Path;

    /// Names in its root that are not the broker's: ours, and the file system's own.
    fn leave_out(&self) -> Vec<OsString> {
        Vec::new()
    }

    /// What a snapshot freezes. Volumes of one backend that say the same share a snapshot.
    fn freezes(&self) -> String {
        self.id().title
    }

    /// What a snapshot costs now.
    fn cost(&self) -> Result<Cost> {
        Ok(Cost::Instant)
    }

    /// What stands in the way of `purpose`; empty is good.
    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>>;

    /// All snapshots of this volume that carry a [`SnapName`], oldest first, ours and others'.
    fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>>;

    /// The one named.
    fn find(&self, sys: &dyn System, name: &SnapName) -> Result<Option<Snapshot>> {
        Ok(self.list(sys)?.into_iter().find(|s| s.name == *name))
    }

    /// What is done ahead of a snapshot, outside the window, durably: folders and labels.
    fn prepare(&self, name: &SnapName, label: &Label) -> Vec<Action>;

    /// What was prepared and has no snapshot, each with its label.
    fn prepared(&self) -> Result<Vec<(SnapName, Label)>> {
        Ok(Vec::new())
    }

    /// Takes the snapshot, which has `label`. What was written before has been synced.
    fn snapshot(&self, name: &SnapName, label: &Label) -> Vec<Action>;

    /// Removes the snapshot. The caller has seen in [`Volume::find`] that it is there and ours.
    fn destroy(&self, name: &SnapName) -> Vec<Action>;

    /// Removes what [`Volume::prepare`] made, once there is no snapshot; nothing to do is not an error.
    fn unprepare(&self, name: &SnapName) -> Vec<Action>;

    /// How the snapshot is read.
    fn view(&self, name: &SnapName) -> View;

    /// The folder where the [`papers`] of a snapshot are kept: on the volume itself, beside the snapshot and never in it nor in
    /// the data; [`Volume::unprepare`] removes it. A backend that has no such place gives none.
    fn papers(&self, _name: &SnapName) -> Option<PathBuf> {
        None
    }

    /// Brings a snapshot's content back in place, keeping what it replaces.
    fn rollback(&self) -> Option<&dyn Rollback> {
        None
    }

    /// Ships snapshots as streams.
    fn stream(&self) -> Option<&dyn Stream> {
        None
    }

    /// Keeps the system itself from destroying a snapshot.
    fn hold(&self) -> Option<&dyn Hold> {
        None
    }

    /// Takes snapshots of several volumes in one call.
    fn joint(&self) -> Option<&dyn Joint> {
        None
    }
}

/// What `volume` can be asked to bring back for `purpose`. The newest snapshot stands for them all.
fn brought_back(volume: &dyn Volume, sys: &dyn System, purpose: Purpose) -> Result<Vec<View>> {
    Ok(match purpose {
        Purpose::Capture => Vec::new(),
        Purpose::BringBack => {
            let newest = volume.list(sys)?.pop();
            newest
                .map(|newest| volume.view(&newest.name))
                .into_iter()
                .collect()
        }
        Purpose::TakeBack => {
            let kept = volume.rollback().map(|rollback| rollback.kept(sys));
            let kept = kept.transpose()?.into_iter().flatten();
            let view = |kept| volume.rollback().map(|rollback| rollback.view_kept(&kept));
            kept.filter_map(view).collect()
        }
    })
}

/// Where a rollback stands, as asked of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is staged and the data is what it was.
    Untouched,
    /// The new data stands beside the old.
    Staged,
    /// The new data is in place and what it replaced is beside it (or there was nothing to replace).
    Swapped,
    /// What changes places does so piece by piece, and that was cut: both directions can be finished.
    Halfway,
    /// None of these: what was found, for a person to read. Nothing may be changed.
    Unclear(String),
}

/// Replaces a volume's content by a snapshot's, in two steps that can each be taken back.
pub trait Rollback: fmt::Debug {
    /// Makes a writable copy of the snapshot under `stage`, beside the data. `view` is how the snapshot is read, for those
    /// that clone a tree. Brokers may run.
    fn stage(&self, from: &Snapshot, view: &View, stage: &StageName, label: &Label) -> Vec<Action>;
    /// Where the staged copy can be read, if it has to be compared with what was captured: a clone of a tree does, a
    /// snapshot of a snapshot does not.
    fn staged(&self, stage: &StageName) -> Option<PathBuf>;
    /// Puts the staged copy in place of the data; what it replaces takes its name. Nobody may hold the data.
    fn swap(&self, stage: &StageName) -> Vec<Action>;
    /// The reverse of [`Rollback::swap`].
    fn reverse(&self, stage: &StageName) -> Vec<Action>;
    /// Removes a staged copy that was not swapped in, or was taken back; and lets go of what is kept under that name, whatever
    /// it is. One that was cut is finished by another.
    fn discard(&self, stage: &StageName) -> Vec<Action>;
    /// Removes what a stage that was cut left behind, when there is no staged copy; nothing to do is not an error.
    fn clear(&self, stage: &StageName) -> Vec<Action>;
    /// Where it stands. `of` is the identity of what was staged: a snapshot's, or that of what was kept.
    fn progress(&self, sys: &dyn System, of: &str, stage: &StageName) -> Result<Progress>;
    /// What former rollbacks keep beside the data. One that replaced nothing keeps nothing.
    fn kept(&self, sys: &dyn System) -> Result<Vec<Kept>>;
    /// How what is kept is read.
    fn view_kept(&self, kept: &Kept) -> View {
        View::of(kept.path.clone())
    }
    /// Whether a swap would replace nothing: nothing stood there when the volume was looked at. What is written of its stage
    /// is of no use once it has been swapped in, and [`Rollback::forget_kept`] removes it.
    fn keeps_nothing(&self) -> bool;
    /// Stages what is kept, as it is: it takes the name `stage`, by one rename, which is the last action. What is written
    /// of it under its own name stays until [`Rollback::forget_kept`]. Brokers may run.
    fn take_kept(&self, kept: &Kept, stage: &StageName, label: &Label) -> Vec<Action>;
    /// The reverse of [`Rollback::take_kept`], from wherever that was cut: `kept` is kept as it was. The caller has seen
    /// in [`Rollback::progress`] that it was not swapped in, or was taken back.
    fn put_back(&self, kept: &StageName, stage: &StageName) -> Vec<Action>;
    /// Removes what is still written of `kept`, which was taken and swapped in; nothing to do is not an error.
    fn forget_kept(&self, kept: &StageName) -> Vec<Action>;
}

/// What a rollback replaced and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The stage it is kept under.
    pub name: StageName,
    /// Where it stands, for people: a folder, or the name of a volume.
    pub path: PathBuf,
    /// Its label, as given to [`Rollback::stage`].
    pub label: Option<Label>,
    /// What the system knows it by, as in [`Snapshot::identity`].
    pub identity: String,
}

/// Holds, where the system has them.
pub trait Hold: fmt::Debug {
    /// Keeps `snap` from being destroyed until `tag` is released.
    fn hold(&self, snap: &SnapName, tag: &str) -> Vec<Action>;
    /// The reverse.
    fn release(&self, snap: &SnapName, tag: &str) -> Vec<Action>;
    /// The tags on `snap`.
    fn holds(&self, sys: &dyn System, snap: &SnapName) -> Result<Vec<String>>;
}

/// One call for several volumes, at one instant.
pub trait Joint: fmt::Debug {
    /// Volumes of one driver with the same key can be snapshotted in one call (for ZFS: the pool).
    fn key(&self) -> &str;
    /// Takes `name` of all `volumes`, this one among them, each with its label.
    fn snapshot(&self, volumes: &[(VolumeId, Label)], name: &SnapName) -> Result<Vec<Action>>;
}

/// Every backend, asked in this order; the first that finds a volume has it.
pub static DRIVERS: &[&dyn Driver] = &[&btrfs::Btrfs, &zfs::Zfs, &lvm::Lvm, &copy::Copy];

/// The driver called `name`.
pub fn driver(name: &str) -> Option<&'static dyn Driver> {
    DRIVERS.iter().copied().find(|d| d.name() == name)
}

/// The volume of a data directory that is to receive a snapshot of another volume, of another folder or file system: what is
/// staged is a clone of the view that [`Rollback::stage`] is given. `at` is the id that the driver [`copy::Copy`] gave the
/// directory that receives, `from` the volume that has the snapshot.
pub fn receiving(at: &VolumeId, from: &VolumeId, name: &SnapName) -> Result<VolumeId> {
    copy::receiving(at, from, name)
}

/// The volume that `id` names. Looks at nothing.
pub fn open(id: &VolumeId) -> Result<Box<dyn Volume>> {
    driver(&id.backend)
        .ok_or_else(|| Error::Id {
            backend: id.backend.clone(),
            why: "no such backend".to_owned(),
        })?
        .open(id)
}
