//! Two folders exchange their entries, one rename at a time, in either direction, and from wherever it was cut.
//!
//! The journal is written before the first rename: the names and inodes of both sides. So at any moment each entry is known
//! to be on one side or the other, and both directions can be finished. The folders' own attributes change places, too;
//! two empty folders beside the journal hold them meanwhile. Must not know what is exchanged, or why.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;
use serde::{Deserialize, Serialize};

use super::Exchanged;
use crate::action::{self, sync_parent};
use crate::tree::{self, ByteString};
use crate::{Error, Progress, Result};

/// Of a journal.
const FORMAT: u32 = 1;

/// The entries of a folder: names and inodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(ByteString, u64)>", into = "Vec<(ByteString, u64)>")]
pub struct Listing(BTreeMap<ByteString, u64>);

impl From<Vec<(ByteString, u64)>> for Listing {
    fn from(pairs: Vec<(ByteString, u64)>) -> Listing {
        Listing(pairs.into_iter().collect())
    }
}

impl From<Listing> for Vec<(ByteString, u64)> {
    fn from(listing: Listing) -> Vec<(ByteString, u64)> {
        listing.0.into_iter().collect()
    }
}

impl Listing {
    /// What is in `dir`, without `leave_out`.
    pub fn of(dir: &Path, leave_out: &[OsString]) -> Result<Listing> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let entry = entry.map_err(Error::io("list", dir))?;
            if !leave_out.contains(&entry.file_name()) {
                found.insert(bytes(entry.file_name()), entry.ino());
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

/// A file or folder of the exchange with `stage`. Its name is not one of a snapshot or a stage.
pub fn beside(stage: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(stage.file_name().unwrap_or_default());
    name.push(".");
    name.push(what);
    stage.with_file_name(name)
}

/// Where the attributes of the two folders are held.
fn attributes(stage: &Path) -> [PathBuf; 2] {
    let folder = beside(stage, "attributes");
    ["data", "stage"].map(|side| folder.join(side))
}

impl Journal {
    /// Of the exchange with `stage`, if one has begun.
    pub fn read(stage: &Path) -> Result<Option<Journal>> {
        let path = beside(stage, "exchange");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let journal: Option<Journal> = serde_json::from_slice(&text).ok();
        let journal = journal.filter(|journal| journal.format == FORMAT);
        journal
            .map(Some)
            .ok_or_else(|| Error::State(format!("{} is not an exchange's journal", path.display())))
    }

    fn write(&self, stage: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::from);
        let path = beside(stage, "exchange");
        action::write_durably(&path, &text.map_err(Error::io("write", &path))?)
    }

    /// Whether the staged tree is in place, and what it replaced is kept.
    pub fn has_swapped(&self) -> bool {
        self.done && self.to == Exchanged::Swapped
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
    let mut journal = match Journal::read(stage)? {
        Some(journal) => Journal {
            to,
            done: false,
            ..journal
        },
        None => {
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
        let wanted = (in_data.0.get(name).copied(), in_stage.0.get(name).copied());
        exchange_one(&path_of(data, name), &path_of(stage, name), wanted)?;
    }
    let [of_data, of_stage] = attributes(stage);
    let (onto_data, onto_stage) = match to {
        Exchanged::Swapped => (of_stage, of_data),
        Exchanged::Back => (of_data, of_stage),
    };
    tree::clone_attributes(&onto_data, data)?;
    tree::clone_attributes(&onto_stage, stage)?;
    for dir in [data, stage] {
        let open = File::open(dir).map_err(Error::io("open", dir))?;
        open.sync_all().map_err(Error::io("sync", dir))?;
    }
    journal.done = true;
    journal.write(stage)
}

/// `wanted` are the inodes that are to be at the two paths.
fn exchange_one(one: &Path, other: &Path, wanted: (Option<u64>, Option<u64>)) -> Result<()> {
    let (at_one, at_other) = (inode(one)?, inode(other)?);
    if (at_one, at_other) == wanted {
        return Ok(());
    }
    let (from, to, flags) = match (at_one, at_other) {
        _ if (at_other, at_one) != wanted => {
            return Err(Error::State(format!(
                "{} and {} are not the files that were to change places: somebody else has changed them",
                one.display(),
                other.display()
            )));
        }
        (Some(_), Some(_)) => (one, other, RenameFlags::EXCHANGE),
        (Some(_), None) => (one, other, RenameFlags::NOREPLACE),
        (None, _) => (other, one, RenameFlags::NOREPLACE),
    };
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, from, cwd, to, flags).map_err(Error::io("rename", from))
}

fn inode(path: &Path) -> Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// Writes down the attributes of both folders. What a try that was cut has left of it is overwritten.
fn hold_attributes(data: &Path, stage: &Path) -> Result<()> {
    for (folder, held) in [data, stage].into_iter().zip(attributes(stage)) {
        action::make_dir(&held)?;
        tree::clone_attributes(folder, &held)?;
        let open = File::open(&held).map_err(Error::io("open", &held))?;
        open.sync_all().map_err(Error::io("sync", &held))?;
    }
    Ok(())
}

/// Removes what is written down of the exchange with `stage`.
pub fn forget(stage: &Path) -> Result<()> {
    let journal = beside(stage, "exchange");
    match fs::remove_file(&journal) {
        Ok(()) => sync_parent(&journal)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("remove", &journal)(error)),
    }
    Ok(tree::remove(&beside(stage, "attributes"))?)
}
