//! `.zeebe-snap`: the folder where snapshots and what a rollback keeps stand, and the small files that say what they are.
//!
//! `NAME.json`, the sidecar, is written before a snapshot and holds its label. `NAME.seal` is written by a clone of a tree
//! when all of it is on disk, and says which folder that clone is. `.NAME.papers` is a folder with a snapshot's [papers](crate::papers). Must not know how snapshots are taken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::action::{self, Action};
use crate::name::{SnapName, StageName, hidden_beside};
use crate::tree::Inode;
use crate::{Error, Label, Result};

/// The folder's name, wherever it stands.
pub const NAME: &str = ".zeebe-snap";

/// Of sidecars and seals.
const FORMAT: u32 = 1;

/// One such folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// `.zeebe-snap` itself.
    root: PathBuf,
    /// What is kept for one data directory: a folder in it, or the same.
    folder: PathBuf,
}

/// What is written beside a snapshot or a staged copy.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sidecar {
    format: u32,
    /// The subvolume it is a snapshot of; absent for a staged copy and for a clone.
    pub parent_uuid: Option<String>,
    /// What a staged copy is to replace, and so what is kept in its place.
    pub replaces: Option<String>,
    /// What its maker says of it.
    pub label: Label,
}

/// What is written when a clone is whole.
#[derive(Debug, Serialize, Deserialize)]
pub struct Seal {
    format: u32,
    /// Its root.
    pub root: Inode,
    /// What the snapshot that it is a copy of is known by; absent where the clone is the snapshot.
    pub of: Option<String>,
}

impl Store {
    /// Beside `data`, which is one folder among others.
    pub fn beside(data: &Path) -> Store {
        let root = data.parent().unwrap_or(Path::new("/")).join(NAME);
        Store {
            folder: root.join(data.file_name().unwrap_or_default()),
            root,
        }
    }

    /// Inside `top`, which is the root of a volume.
    pub fn inside(top: &Path) -> Store {
        let root = top.join(NAME);
        Store {
            folder: root.clone(),
            root,
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A name in the folder.
    pub fn of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The file that says what `name` is.
    pub fn sidecar(&self, name: &str) -> PathBuf {
        self.of(&format!("{name}.json"))
    }

    /// The file that says which folder the clone `name` is.
    pub fn seal(&self, name: &str) -> PathBuf {
        self.of(&format!("{name}.seal"))
    }

    /// The folder of a snapshot's papers. Its name is no snapshot's.
    pub fn papers(&self, name: &SnapName) -> PathBuf {
        hidden_beside(&self.of(name.as_str()), "papers")
    }

    /// Makes the folder and writes the sidecar of a snapshot, of the subvolume with that UUID if there is one.
    pub fn begin(
        &self,
        name: &SnapName,
        label: &Label,
        parent_uuid: Option<&String>,
    ) -> Vec<Action> {
        self.write_sidecar(
            name.as_str(),
            &serde_json::json!({ "format": FORMAT, "parent_uuid": parent_uuid, "label": label }),
        )
    }

    /// Makes the folder and writes the sidecar of a staged copy. The label is for what it replaces and is kept in its place;
    /// if that is nothing there is no sidecar.
    pub fn begin_stage(
        &self,
        name: &StageName,
        label: &Label,
        replaces: Option<String>,
    ) -> Vec<Action> {
        match replaces {
            Some(replaces) => self.write_sidecar(
                name.as_str(),
                &serde_json::json!({ "format": FORMAT, "replaces": replaces, "label": label }),
            ),
            None => vec![Action::MakeDir(self.folder.clone())],
        }
    }

    fn write_sidecar(&self, name: &str, sidecar: &serde_json::Value) -> Vec<Action> {
        vec![
            Action::MakeDir(self.folder.clone()),
            Action::Write {
                path: self.sidecar(name),
                content: format!("{sidecar}\n").into_bytes(),
            },
        ]
    }

    /// Reads a sidecar, if there is one that can be read.
    pub fn read_sidecar(&self, name: &str) -> Result<Option<Sidecar>> {
        Ok(read(&self.sidecar(name))?.filter(|side: &Sidecar| side.format == FORMAT))
    }

    /// Reads a seal, if there is one that can be read.
    pub fn read_seal(&self, name: &str) -> Result<Option<Seal>> {
        Ok(read(&self.seal(name))?.filter(|seal: &Seal| seal.format == FORMAT))
    }

    /// Removes what is written of a snapshot that is gone, its papers first.
    pub fn forget_snapshot(&self, name: &SnapName) -> Vec<Action> {
        let mut actions = vec![Action::RemoveTree(self.papers(name))];
        actions.extend(self.forget(name.as_str()));
        actions
    }

    /// Removes what is written of `name`, and the folders once they are empty.
    pub fn forget(&self, name: &str) -> Vec<Action> {
        let mut actions = vec![
            Action::RemoveFile(self.seal(name)),
            Action::RemoveFile(self.sidecar(name)),
        ];
        actions.extend(self.remove_if_empty());
        actions
    }

    /// Removes the folders once they are empty.
    pub fn remove_if_empty(&self) -> Vec<Action> {
        let mut actions = vec![Action::RemoveEmptyStore(self.folder.clone())];
        if self.root != self.folder {
            actions.push(Action::RemoveEmptyDir(self.root.clone()));
        }
        actions
    }

    /// The snapshots that have a sidecar and are not there.
    pub fn prepared(&self) -> Result<Vec<(SnapName, Label)>> {
        let mut found = Vec::new();
        for name in self.names(|kind| kind.is_file())? {
            let name = name.strip_suffix(".json").map(str::to_owned);
            let Some(name) = name.and_then(|name| SnapName::try_from(name).ok()) else {
                continue;
            };
            let is_there = fs::symlink_metadata(self.of(name.as_str())).is_ok();
            let side = self.read_sidecar(name.as_str())?;
            let of_a_snapshot = side.filter(|side| side.replaces.is_none() && !is_there);
            found.extend(of_a_snapshot.map(|side| (name, side.label)));
        }
        Ok(found)
    }

    /// The folders that stand there under a name of type `N`.
    pub fn entries<N: TryFrom<String>>(&self) -> Result<Vec<N>> {
        let names = self.names(|kind| kind.is_dir())?.into_iter();
        Ok(names.filter_map(|name| N::try_from(name).ok()).collect())
    }

    /// The names of what is of such a kind.
    fn names(&self, wanted: fn(&fs::FileType) -> bool) -> Result<Vec<String>> {
        let folder = &self.folder;
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", folder)(error)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(Error::io("list", folder))?;
            let kind = entry
                .file_type()
                .map_err(Error::io("look at", &entry.path()))?;
            if wanted(&kind) {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }
}

/// Writes down that the clone at `root` is whole.
pub fn write_seal(path: &Path, root: Inode, of: Option<&str>) -> Result<()> {
    let seal = serde_json::json!({ "format": FORMAT, "root": root, "of": of });
    action::write_durably(path, format!("{seal}\n").as_bytes())
}

/// Removes the seals in `folder` of staged trees that took the place of nothing, and so stand there no more. (One that has a
/// sidecar is of a tree that was taken and may be put back.)
pub fn remove_orphans(folder: &Path) -> Result<()> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    for entry in listing {
        let path = entry.map_err(Error::io("list", folder))?.path();
        let is_of_a_stage = |seal: Seal| seal.of.is_some();
        if path
            .extension()
            .is_some_and(|extension| extension == "seal")
            && fs::symlink_metadata(path.with_extension("")).is_err()
            && fs::symlink_metadata(path.with_extension("json")).is_err()
            && read(&path)?.is_some_and(is_of_a_stage)
        {
            action::remove_file(&path)?;
        }
    }
    Ok(())
}

/// What does not read, or is of a later format, says nothing: what is beside it is not taken for ours.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    Ok(read_if_there(path)?.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// The content of a file, if there is one.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}
