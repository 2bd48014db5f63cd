//! Two folders exchange their entries, one rename at a time, in either direction, and from wherever it was cut.
//!
//! The journal is written before the first rename: the names and inodes of both sides. So at any moment each entry is known
//! to be on one side or the other, and both directions can be finished. The folders' own attributes change places, too;
//! two empty folders beside the journal hold them meanwhile. On xfs an exchange of two names changes the mtime of folders,
//! so that is put back. Must not know what is exchanged, or why.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags, renameat_with, utimensat};
use serde::{Deserialize, Serialize};

use super::Exchanged;
use crate::action;
use crate::name::hidden_beside;
use crate::renames;
use crate::store;
use crate::tree::{self, ByteString, Mtime};
use crate::{Error, Progress, Result};

/// Of a journal.
const FORMAT: u32 = 1;

/// What a file or folder is known by, and a folder's times.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Mark {
    inode: u64,
    /// Accessed and modified.
    times: Option<(Mtime, Mtime)>,
}

/// Its times may have changed.
impl PartialEq for Mark {
    fn eq(&self, other: &Mark) -> bool {
        self.inode == other.inode
    }
}

impl Mark {
    /// Of what is at `path`, if anything is.
    pub fn of(path: &Path) -> Result<Option<Mark>> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("look at", path)(error)),
        };
        let time = |seconds, nanoseconds: i64| Mtime {
            seconds,
            nanoseconds: nanoseconds as u32,
        };
        let times = || {
            let accessed = time(meta.atime(), meta.atime_nsec());
            (accessed, time(meta.mtime(), meta.mtime_nsec()))
        };
        Ok(Some(Mark {
            inode: meta.ino(),
            times: meta.is_dir().then(times),
        }))
    }

    /// Gives a folder, which is at `path` now, the times it had.
    pub fn put_times_back(&self, path: &Path) -> Result<()> {
        let Some((accessed, modified)) = self.times else {
            return Ok(());
        };
        let times = tree::timestamps(accessed, modified);
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::io("set the times of", path))
    }
}

/// The entries of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(ByteString, Mark)>", into = "Vec<(ByteString, Mark)>")]
pub struct Listing(BTreeMap<ByteString, Mark>);

impl From<Vec<(ByteString, Mark)>> for Listing {
    fn from(pairs: Vec<(ByteString, Mark)>) -> Listing {
        Listing(pairs.into_iter().collect())
    }
}

impl From<Listing> for Vec<(ByteString, Mark)> {
    fn from(listing: Listing) -> Vec<(ByteString, Mark)> {
        listing.0.into_iter().collect()
    }
}

impl Listing {
    /// What is in `dir`, without `leave_out`.
    pub fn of(dir: &Path, leave_out: &[OsString]) -> Result<Listing> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let entry = entry.map_err(Error::io("list", dir))?;
            if leave_out.contains(&entry.file_name()) {
                continue;
            }
            if let Some(mark) = Mark::of(&entry.path())? {
                found.insert(bytes(entry.file_name()), mark);
            }
        }
        Ok(Listing(found))
    }
}

fn bytes(name: OsString) -> ByteString {
    use std::os::unix::ffi::OsStringExt;
    name.into_vec().into()
}

fn path_of(dir: &Path, name: &ByteString) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    dir.join(std::ffi::OsStr::from_bytes(name))
}

/// What is written down of an exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    format: u32,
    /// Where it is going, or has come.
    to: Exchanged,
    /// Whether it is there.
    done: bool,
    /// The data directory's entries before the first exchange.
    data: Listing,
    /// The staged tree's.
    stage: Listing,
}

/// Where the journal of the exchange with `stage` is.
fn journal(stage: &Path) -> PathBuf {
    hidden_beside(stage, "exchange")
}

/// The third name that an entry has while two change places that cannot be exchanged.
pub fn between(stage: &Path) -> PathBuf {
    hidden_beside(stage, "between")
}

/// The folder in which the attributes of the two folders are held.
fn held(stage: &Path) -> PathBuf {
    hidden_beside(stage, "attributes")
}

fn attributes(stage: &Path) -> [PathBuf; 2] {
    ["data", "stage"].map(|side| held(stage).join(side))
}

impl Journal {
    /// Of the exchange with `stage`, if one has begun.
    pub fn read(stage: &Path) -> Result<Option<Journal>> {
        let path = journal(stage);
        let Some(text) = store::read_if_there(&path)? else {
            return Ok(None);
        };
        let journal: Option<Journal> = serde_json::from_slice(&text).ok();
        let journal = journal.filter(|journal| journal.format == FORMAT);
        journal
            .map(Some)
            .ok_or_else(|| Error::State(format!("{} is not an exchange's journal", path.display())))
    }

    fn write(&self, stage: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::from);
        let path = journal(stage);
        action::write_durably(&path, &text.map_err(Error::io("write", &path))?)
    }

    /// Whether the staged tree is in place, and what it replaced is kept.
    pub fn has_swapped(&self) -> bool {
        self.done && self.to == Exchanged::Swapped
    }

    /// Whether it was taken back: the data was at work since.
    pub fn is_over(&self) -> bool {
        self.done && self.to == Exchanged::Back
    }

    /// Where the exchange stands, if what is `there` agrees.
    pub fn stands(&self, data: &Listing, stage: &Listing) -> Option<Progress> {
        let swapped = *data == self.stage && *stage == self.data;
        match (self.done, self.to) {
            (true, Exchanged::Swapped) => swapped.then_some(Progress::Swapped),
            // What was put back is at work again, and may have changed.
            (true, Exchanged::Back) => (*stage == self.stage).then_some(Progress::Staged),
            (false, _) => Some(Progress::Halfway),
        }
    }
}

/// Exchanges the entries of `data`, but for `leave_out`, and of `stage`, and the attributes of both, until it is as `to`
/// says. What is so already is left.
pub fn exchange(data: &Path, stage: &Path, leave_out: &[OsString], to: Exchanged) -> Result<()> {
    let begun = Journal::read(stage)?;
    let mut journal = match begun {
        Some(journal) if !journal.is_over() || to == Exchanged::Back => Journal {
            to,
            done: false,
            ..journal
        },
        _ => {
            hold_attributes(data, stage)?;
            Journal {
                format: FORMAT,
                to,
                done: false,
                data: Listing::of(data, leave_out)?,
                stage: Listing::of(stage, &[])?,
            }
        }
    };
    journal.write(stage)?;
    let (in_data, in_stage) = match to {
        Exchanged::Swapped => (&journal.stage, &journal.data),
        Exchanged::Back => (&journal.data, &journal.stage),
    };
    let names: std::collections::BTreeSet<_> = in_data.0.keys().chain(in_stage.0.keys()).collect();
    for name in names {
        let (one, other) = (path_of(data, name), path_of(stage, name));
        let wanted = (in_data.0.get(name).copied(), in_stage.0.get(name).copied());
        exchange_one(&one, &other, &between(stage), wanted)?;
        for (mark, path) in [(wanted.0, one), (wanted.1, other)] {
            mark.map_or(Ok(()), |mark| mark.put_times_back(&path))?;
        }
    }
    let [of_data, of_stage] = attributes(stage);
    let (onto_data, onto_stage) = match to {
        Exchanged::Swapped => (of_stage, of_data),
        Exchanged::Back => (of_data, of_stage),
    };
    tree::clone_attributes(&onto_data, data)?;
    tree::clone_attributes(&onto_stage, stage)?;
    action::sync_dir(data)?;
    action::sync_dir(stage)?;
    journal.done = true;
    journal.write(stage)
}

/// `wanted` is what is to be at the two paths. Where names cannot be exchanged one of the two is `between` meanwhile.
fn exchange_one(
    one: &Path,
    other: &Path,
    between: &Path,
    wanted: (Option<Mark>, Option<Mark>),
) -> Result<()> {
    loop {
        let (at_one, at_other) = (Mark::of(one)?, Mark::of(other)?);
        // What is between may be of another pair, which is next.
        let wanted_here = |mark: &Mark| Some(*mark) == wanted.0 || Some(*mark) == wanted.1;
        let at_between = Mark::of(between)?.filter(wanted_here);
        if at_between.is_none() && (at_one, at_other) == wanted {
            return Ok(());
        }
        let one_is_others = at_one.is_some() && at_one == wanted.1;
        let other_is_ones = at_other.is_some() && at_other == wanted.0;
        let (from, to) = match (at_one, at_other, at_between) {
            (Some(_), Some(_), None) if one_is_others && other_is_ones => {
                if !on_old_zfs(one)? {
                    return change_places(one, other, (true, true));
                }
                (one, between)
            }
            (Some(_), None, _) if one_is_others => (one, other),
            (None, Some(_), _) if other_is_ones => (other, one),
            (None, _, Some(mark)) if Some(mark) == wanted.0 => (between, one),
            (_, None, Some(mark)) if Some(mark) == wanted.1 => (between, other),
            _ => {
                return Err(Error::State(format!(
                    "{} and {} are not the files that were to change places: somebody else has changed them",
                    one.display(),
                    other.display()
                )));
            }
        };
        renames::to_free(from, to).map_err(Error::io("rename", from))?;
    }
}

/// Whether the two names at `path` and elsewhere cannot be exchanged.
fn on_old_zfs(path: &Path) -> Result<bool> {
    let around = path.parent().unwrap_or(path);
    let dir = fs::File::open(around).map_err(Error::io("open", around))?;
    Ok(renames::on_old_zfs(dir))
}

/// Two names change places; where only one of them exists it moves to the other.
pub fn change_places(one: &Path, other: &Path, exist: (bool, bool)) -> Result<()> {
    let (from, to) = match exist {
        (true, true) => {
            let done = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
            return done.map_err(Error::io("rename", one));
        }
        (true, false) => (one, other),
        (false, _) => (other, one),
    };
    renames::to_free(from, to).map_err(Error::io("rename", from))
}

/// Writes down the attributes of both folders. What a try that was cut has left of it is overwritten.
fn hold_attributes(data: &Path, stage: &Path) -> Result<()> {
    for (folder, held) in [data, stage].into_iter().zip(attributes(stage)) {
        action::make_dir(&held)?;
        tree::clone_attributes(folder, &held)?;
        action::sync_dir(&held)?;
    }
    Ok(())
}

/// Removes what is written down of the exchange with `stage`.
pub fn forget(stage: &Path) -> Result<()> {
    action::remove_file(&journal(stage))?;
    Ok(tree::remove(&held(stage))?)
}
