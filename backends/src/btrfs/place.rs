//! Where a data directory stands on btrfs, what stands beside it, and the sidecar files that say so.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::btrfs;
use super::show::{self, Shown};
use crate::action::Action;
use crate::cmd::System;
use crate::{Error, Label, Result};

/// Of every subvolume's root (BTRFS_FIRST_FREE_OBJECTID), and of nothing else on btrfs.
const ROOT_INODE: u64 = 256;

/// Of a sidecar.
const FORMAT: u32 = 1;

/// BTRFS_SUPER_MAGIC, statfs(2).
const MAGIC: i64 = 0x9123_683E;

/// A data directory on btrfs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    /// The data directory, absolute.
    pub data: PathBuf,
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

/// What is written beside a snapshot or a staged copy.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sidecar {
    format: u32,
    /// The subvolume it is a snapshot of; absent for a staged copy.
    pub parent_uuid: Option<String>,
    /// What its maker says of it.
    pub label: Label,
}

impl Place {
    /// The place of `data`, if the folder around it is on btrfs.
    pub fn find(data: &Path) -> Result<Option<Place>> {
        let Some(around) = data.parent().filter(|_| data.file_name().is_some()) else {
            return Ok(None);
        };
        if data.to_str().is_none() {
            let text = format!("{} is not UTF-8, which is not built yet", data.display());
            return Err(Error::State(text));
        }
        let at = if data.exists() { data } else { around };
        match rustix::fs::statfs(at) {
            Ok(fs) if fs.f_type == MAGIC => Ok(Some(Place {
                data: data.to_owned(),
            })),
            Ok(_) => Ok(None),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("look at the file system of", at)(error)),
        }
    }

    /// The folder beside the data where snapshots and what a rollback keeps stand.
    pub fn folder(&self) -> PathBuf {
        let around = self.data.parent().unwrap_or(Path::new("/"));
        around
            .join(".zeebe-snap")
            .join(self.data.file_name().unwrap_or_default())
    }

    /// A name in that folder.
    pub fn of(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The sidecar of a name in that folder.
    pub fn sidecar(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.json"))
    }

    /// Writes a sidecar.
    pub fn write_sidecar(&self, name: &str, label: &Label, parent_uuid: Option<&String>) -> Action {
        let sidecar =
            serde_json::json!({ "format": FORMAT, "parent_uuid": parent_uuid, "label": label });
        Action::Write {
            path: self.sidecar(name),
            content: format!("{sidecar}\n").into_bytes(),
        }
    }

    /// Removes a sidecar, and the folders once they are empty.
    pub fn forget(&self, name: &str) -> Vec<Action> {
        let folder = self.folder();
        let mut actions = vec![
            Action::RemoveFile(self.sidecar(name)),
            Action::RemoveEmptyDir(folder.clone()),
        ];
        actions.extend(
            folder
                .parent()
                .map(|above| Action::RemoveEmptyDir(above.to_owned())),
        );
        actions
    }

    /// What stands in that folder under a name of type `N`, sidecars aside.
    pub fn entries<N: TryFrom<String>>(&self) -> Result<Vec<N>> {
        let folder = self.folder();
        let listing = match fs::read_dir(&folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &folder)(error)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(Error::io("list", &folder))?;
            let is_dir = entry
                .file_type()
                .map_err(Error::io("look at", &entry.path()))?
                .is_dir();
            let name = Some(entry.file_name())
                .filter(|_| is_dir)
                .map(OsString::into_string)
                .and_then(Result::ok);
            names.extend(name.and_then(|name| N::try_from(name).ok()));
        }
        Ok(names)
    }

    /// What stands at `path`.
    pub fn stands(&self, sys: &dyn System, path: &Path) -> Result<Stands> {
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

    /// What btrfs says of the subvolume at `path`; `None` where there is none.
    pub fn shown(&self, sys: &dyn System, path: &Path) -> Result<Option<Shown>> {
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() && meta.ino() == ROOT_INODE => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("look at", path)(error)),
        }
        show::parse_show(&sys.run(&btrfs(["subvolume", "show"]).arg(path))?).map(Some)
    }
}

/// Reads a sidecar, if there is one that can be read.
pub fn read_sidecar(path: &Path) -> Result<Option<Sidecar>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    // What does not read, or is of a later format, says nothing: the snapshot beside it is not taken for ours.
    Ok(serde_json::from_slice(&text)
        .ok()
        .filter(|side: &Sidecar| side.format == FORMAT))
}
