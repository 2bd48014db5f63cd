//! What stands at a path: nothing, a folder, a mount.
//!
//! Must not know what it is looked at for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::mounts::{self, Mount};
use crate::tree::Inode;
use crate::{Error, Result};

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// Nothing.
    Nothing,
    /// A folder.
    Folder(Inode),
    /// A folder on which a file system, or a part of one, is mounted.
    Mount {
        /// The mounted root.
        root: Inode,
        /// Which part of the file system it is.
        part: PathBuf,
        /// "btrfs", "ext4".
        fstype: String,
    },
}

impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stands::Nothing => f.write_str("not there"),
            Stands::Folder(inode) => write!(f, "folder {inode}"),
            Stands::Mount { root, part, fstype } => {
                write!(f, "a mount of {} of {fstype}, {root}", part.display())
            }
        }
    }
}

impl Stands {
    /// What stands at `path`.
    pub fn at(path: &Path) -> Result<Stands> {
        Ok(match (folder(path)?, mounted(path)?) {
            (None, _) => Stands::Nothing,
            (Some(inode), None) => Stands::Folder(inode),
            (Some(root), Some(mount)) => Stands::Mount {
                root,
                part: mount.root,
                fstype: mount.fstype,
            },
        })
    }
}

/// The inode of the folder at `path`.
pub fn folder(path: &Path) -> Result<Option<Inode>> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Inode::of(path)
            .map(Some)
            .map_err(Error::io("look at", path)),
        Ok(_) => Err(Error::State(format!("{} is not a folder", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// What is mounted at `path`, the last one if there are several.
fn mounted(path: &Path) -> Result<Option<Mount>> {
    let all = mounts::read()?;
    Ok(all.into_iter().rev().find(|mount| mount.point == path))
}
