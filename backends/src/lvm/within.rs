//! A data directory on a volume that is not its own alone: a folder among others, or a bind mount. Brokers whose folders lie on
//! one volume share its snapshots; what is brought back is cloned out of one, and nothing beside it notices.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use super::{Detail, id, pool};
use crate::action::Action;
use crate::cmd::System;
use crate::exchange::{Exchange, Stands};
use crate::mounts::{self, Mount};
use crate::name::SnapName;
use crate::{
    Label, Obstacle, Purpose, Result, Rollback, Snapshot, View, Volume, VolumeId, brought_back,
};

/// A part of a volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Within {
    origin: Origin,
    /// Where the data lies in it; empty if it is all of it.
    part: PathBuf,
    exchange: Exchange,
}

impl Within {
    /// `data`, which is reached by `mount` of `origin`.
    pub fn of(data: &Path, mount: &Mount, origin: Origin) -> Result<Within> {
        let below = data.strip_prefix(&mount.point).unwrap_or(data);
        let part = mount.root.join(below);
        Ok(Within {
            origin,
            part: part.strip_prefix("/").unwrap_or(&part).to_owned(),
            exchange: Exchange::of(data)?,
        })
    }

    /// Whether what is to be brought back finds room, on the file system and in what that is on.
    fn room(&self, sys: &dyn System, from: &View) -> Result<Vec<Obstacle>> {
        let bytes = self.exchange.weigh_copy(sys, from)?;
        let mut found: Vec<Obstacle> = self.exchange.room_for(from, bytes)?.into_iter().collect();
        if found.is_empty() {
            found.extend(pool::room(sys, &self.origin, from, bytes)?);
        }
        Ok(found)
    }
}

impl Volume for Within {
    fn id(&self) -> VolumeId {
        let (data, lv) = (
            self.exchange.data.display(),
            self.origin.lv(&self.origin.name),
        );
        let title = match self.exchange.was {
            Stands::Mount { .. } => format!("{} of {lv} at {data}", self.part.display()),
            _ => format!("folder {data} of {lv}"),
        };
        id(title, &Detail::Within(Box::new(self.clone())))
    }

    fn data(&self) -> &Path {
        &self.exchange.data
    }

    fn leave_out(&self) -> Vec<OsString> {
        self.exchange.leave_out()
    }

    fn freezes(&self) -> String {
        self.origin.freezes()
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        let data = &self.exchange.data;
        let mut found = mounts::obstacles(data)?;
        if !found.is_empty() {
            return Ok(found);
        }
        if purpose == Purpose::Capture {
            if self.exchange.was == Stands::Nothing {
                found.push(Obstacle::missing(data));
            }
            found.extend(pool::obstacles_of(sys, &self.origin)?);
            return Ok(found);
        }
        let sources = brought_back(self, sys, purpose)?;
        found = self.exchange.obstacles(&sources)?;
        if found.is_empty() && purpose == Purpose::BringBack {
            for source in &sources {
                found.extend(self.room(sys, source)?);
            }
        }
        Ok(found)
    }

    fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        self.origin.list(sys)
    }

    fn prepare(&self, _: &SnapName, _: &Label) -> Vec<Action> {
        Vec::new()
    }

    fn snapshot(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        self.origin.snapshot(name, label)
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        self.origin.destroy(name)
    }

    fn unprepare(&self, _: &SnapName) -> Vec<Action> {
        self.exchange.store().remove_if_empty()
    }

    fn view(&self, name: &SnapName) -> View {
        let name = self.origin.name_of(name.as_str());
        let view = self.origin.read(&name, self.part.clone());
        view.without(self.exchange.leave_out())
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(&self.exchange)
    }
}
