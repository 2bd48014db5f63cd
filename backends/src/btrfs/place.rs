//! What stands at a path on btrfs: a subvolume, a folder, nothing.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::btrfs;
use super::show::{self, Shown};
use crate::action::Action;
use crate::cmd::System;
use crate::store::Store;
use crate::{Error, Result};

/// Of every subvolume's root (BTRFS_FIRST_FREE_OBJECTID), and of nothing else on btrfs.
pub const ROOT_INODE: u64 = 256;

/// BTRFS_SUPER_MAGIC, statfs(2).
const MAGIC: i64 = 0x9123_683E;

/// Whether `data`, or the folder it would be in, is on btrfs.
pub fn is_on_btrfs(data: &Path) -> Result<bool> {
    let Some(around) = data.parent().filter(|_| data.file_name().is_some()) else {
        return Ok(false);
    };
    is_btrfs(if data.exists() { data } else { around })
}

/// Whether `at` is on btrfs; nothing is not.
pub fn is_btrfs(at: &Path) -> Result<bool> {
    match rustix::fs::statfs(at) {
        Ok(fs) => Ok(fs.f_type == MAGIC),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(Error::io("look at the file system of", at)(error)),
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// Nothing.
    Nothing,
    /// A plain folder.
    Folder {
        /// Its inode number in the subvolume around it.
        inode: u64,
    },
    /// A subvolume.
    Subvolume {
        /// Its own.
        uuid: String,
        /// Of what it is a snapshot of.
        parent_uuid: Option<String>,
    },
}

impl Stands {
    /// What stands at `path`.
    pub fn at(sys: &dyn System, path: &Path) -> Result<Stands> {
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stands::Nothing),
            Err(error) => return Err(Error::io("look at", path)(error)),
        };
        if !meta.is_dir() {
            return Err(Error::State(format!("{} is not a folder", path.display())));
        }
        if meta.ino() != ROOT_INODE {
            return Ok(Stands::Folder { inode: meta.ino() });
        }
        let shown = show::parse_show(&sys.run(&btrfs(["subvolume", "show"]).arg(path))?)?;
        Ok(Stands::Subvolume {
            uuid: shown.uuid,
            parent_uuid: shown.parent_uuid,
        })
    }

    /// What tells it from all else, whatever its name; a folder's number is never given again.
    pub fn identity(&self) -> Option<String> {
        match self {
            Stands::Nothing => None,
            Stands::Folder { .. } => Some(self.to_string()),
            Stands::Subvolume { uuid, .. } => Some(uuid.clone()),
        }
    }

    pub fn uuid(&self) -> Option<&String> {
        match self {
            Stands::Subvolume { uuid, .. } => Some(uuid),
            Stands::Nothing | Stands::Folder { .. } => None,
        }
    }

    pub fn parent(&self) -> Option<&String> {
        match self {
            Stands::Subvolume { parent_uuid, .. } => parent_uuid.as_ref(),
            Stands::Nothing | Stands::Folder { .. } => None,
        }
    }
}

impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stands::Nothing => f.write_str("not there"),
            Stands::Folder { inode } => write!(f, "a folder (inode {inode})"),
            Stands::Subvolume {
                uuid,
                parent_uuid: None,
            } => write!(f, "subvolume {uuid}"),
            Stands::Subvolume {
                uuid,
                parent_uuid: Some(parent),
            } => write!(f, "subvolume {uuid}, a snapshot of {parent}"),
        }
    }
}

/// Whether there is a subvolume at `path`, which is on btrfs if there is anything.
pub fn is_subvolume(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(meta.is_dir() && meta.ino() == ROOT_INODE),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// What btrfs says of the subvolume at `path`; `None` where there is none.
pub fn shown(sys: &dyn System, path: &Path) -> Result<Option<Shown>> {
    if !is_subvolume(path)? {
        return Ok(None);
    }
    show::parse_show(&sys.run(&btrfs(["subvolume", "show"]).arg(path))?).map(Some)
}

/// Whether `path` is the root of a subvolume, whatever the file system is.
pub fn is_subvolume_root(path: &Path) -> Result<bool> {
    Ok(is_subvolume(path)? && is_on_btrfs(path)?)
}

/// Makes a subvolume at `path`, where nothing is.
pub fn create(sys: &dyn System, path: &Path) -> Result<()> {
    sys.run(&btrfs(["subvolume", "create"]).arg(path))?;
    Ok(())
}

/// Deletes the subvolume at `path`, if one is there, with what is in it.
pub fn delete_if_there(sys: &dyn System, path: &Path) -> Result<()> {
    if is_subvolume(path)? {
        sys.run(&btrfs(["subvolume", "delete"]).arg(path))?;
    }
    // One that was deleted, now or by a try that was cut, may come back after a power cut until then.
    match path.parent().filter(|around| around.exists()) {
        Some(around) => Action::Sync(around.to_owned()).perform(sys, &|| false),
        None => Ok(()),
    }
}

/// Deletes a subvolume in `store`. A commit of its own (`delete -C`) can wait for the file system's next, up to 30 s; a
/// sync does not (both measured with brokers writing beside it).
pub fn delete(store: &Store, name: &str) -> Vec<Action> {
    vec![
        Action::Run(btrfs(["subvolume", "delete"]).arg(store.of(name))),
        Action::Sync(store.folder().to_owned()),
    ]
}
