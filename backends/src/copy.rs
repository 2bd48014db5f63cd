//! copy: where there is no snapshot, a clone of the data directory's tree is one. It shares blocks where the file system
//! can (a reflink); else every byte is copied while the broker is down.
//!
//! Clones and what a rollback keeps stand in `.zeebe-snap`, beside the data directory or, if it is a mount point, inside.
//! Must not know sets or brokers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::cmd::System;
use crate::exchange::{Exchange, Stands, folder, weigh};
use crate::name::SnapName;
use crate::store::Store;
use crate::{
    Cost, Driver, Error, Label, Obstacle, Purpose, Result, Rollback, Snapshot, View, Volume,
    VolumeId, brought_back, mounts,
};

/// The driver.
#[derive(Debug)]
pub struct Copy;

impl Driver for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn detect(&self, _: &dyn System, dir: &Path) -> Result<Option<Box<dyn Volume>>> {
        // Any folder can be copied.
        if !dir.parent().is_some_and(Path::is_dir) {
            return Ok(None);
        }
        Ok(Some(Box::new(Tree {
            exchange: Exchange::of(dir)?,
        })))
    }

    fn open(&self, id: &VolumeId) -> Result<Box<dyn Volume>> {
        Ok(Box::new(tree(id)?))
    }
}

/// See [`crate::receiving`].
pub(crate) fn receiving(at: &VolumeId, from: &VolumeId, name: &SnapName) -> Result<VolumeId> {
    let Tree { exchange } = tree(at)?;
    let exchange = exchange.receiving(from, name);
    Ok(Tree { exchange }.id())
}

/// What `id` names.
fn tree(id: &VolumeId) -> Result<Tree> {
    serde_json::from_value(id.detail.clone()).map_err(|error| Error::Id {
        backend: id.backend.clone(),
        why: error.to_string(),
    })
}

/// A data directory whose tree is cloned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Tree {
    exchange: Exchange,
}

impl Tree {
    fn store(&self) -> Store {
        self.exchange.store()
    }

    fn at(&self, name: &SnapName) -> PathBuf {
        self.store().of(name.as_str())
    }

    /// The data directory as it is.
    fn all(&self) -> View {
        View::of(self.exchange.data.clone()).without(self.exchange.leave_out())
    }
}

impl Volume for Tree {
    fn id(&self) -> VolumeId {
        VolumeId {
            backend: Copy.name().to_owned(),
            title: match self.exchange.was {
                Stands::Mount { .. } => format!("mount {}", self.exchange.data.display()),
                _ => format!("folder {}", self.exchange.data.display()),
            },
            detail: serde_json::to_value(self).unwrap_or_default(),
        }
    }

    fn data(&self) -> &Path {
        &self.exchange.data
    }

    fn leave_out(&self) -> Vec<OsString> {
        self.exchange.leave_out()
    }

    fn cost(&self) -> Result<Cost> {
        let weight = match self.exchange.was {
            Stands::Nothing => return Ok(Cost::Copy { bytes: 0 }),
            Stands::Folder(_) | Stands::Mount { .. } => {
                weigh(&self.exchange.data, &self.exchange.leave_out())?
            }
        };
        Ok(match self.exchange.shares()? {
            true => Cost::Clone {
                entries: weight.entries,
            },
            false => Cost::Copy {
                bytes: weight.allocated,
            },
        })
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        let data = &self.exchange.data;
        let mut found = mounts::obstacles(data)?;
        // What is not one volume cannot be weighed.
        if !found.is_empty() {
            return Ok(found);
        }
        if purpose == Purpose::Capture {
            if self.exchange.was == Stands::Nothing {
                return Ok(vec![Obstacle::missing(data)]);
            }
            found = self.exchange.obstacles_of_clones()?;
            if found.is_empty() {
                found.extend(self.exchange.room(sys, &self.all())?);
            }
            return Ok(found);
        }
        let sources = match self.exchange.receives()? {
            Some(received) if purpose == Purpose::BringBack => vec![received],
            _ => brought_back(self, sys, purpose)?,
        };
        found = self.exchange.obstacles(&sources)?;
        if found.is_empty() && purpose == Purpose::BringBack {
            for source in &sources {
                found.extend(self.exchange.room(sys, source)?);
            }
        }
        Ok(found)
    }

    fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        let store = self.store();
        let mut found = Vec::new();
        for name in store.entries::<SnapName>()? {
            // What a rollback staged or keeps stands here too.
            let seal = store.read_seal(name.as_str())?;
            if seal.is_none_or(|seal| seal.of.is_none()) {
                found.extend(self.find(sys, &name)?);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn find(&self, _: &dyn System, name: &SnapName) -> Result<Option<Snapshot>> {
        let Some(root) = folder(&self.at(name))? else {
            return Ok(None);
        };
        let store = self.store();
        let seal = store.read_seal(name.as_str())?;
        let whole = seal.is_some_and(|seal| seal.of.is_none() && seal.root == root);
        let sidecar = store.read_sidecar(name.as_str())?.filter(|_| whole);
        Ok(Some(Snapshot {
            name: name.clone(),
            identity: root.to_string(),
            label: sidecar.map(|side| side.label),
        }))
    }

    fn prepare(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        self.store().begin(name, label, None)
    }

    fn prepared(&self) -> Result<Vec<(SnapName, Label)>> {
        self.store().prepared()
    }

    fn snapshot(&self, name: &SnapName, _: &Label) -> Vec<Action> {
        vec![Action::CloneTree {
            from: self.all(),
            to: self.at(name),
            subvolume: false,
            seal: self.store().seal(name.as_str()),
            of: None,
        }]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        vec![Action::RemoveTree(self.at(name))]
    }

    fn unprepare(&self, name: &SnapName) -> Vec<Action> {
        // A clone that was cut has left a part.
        let mut actions = vec![Action::RemoveTree(self.at(name))];
        actions.extend(self.store().forget_snapshot(name));
        actions
    }

    fn papers(&self, name: &SnapName) -> Option<PathBuf> {
        Some(self.store().papers(name))
    }

    fn view(&self, name: &SnapName) -> View {
        View::of(self.at(name)).without(self.exchange.leave_out())
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(&self.exchange)
    }
}
