//! A data directory in a dataset that is not its own alone: a folder with other things beside it, the root of a pool, or what
//! is mounted by other means than its dataset's name.
//!
//! The dataset's snapshot captures it. What is brought back is its own tree and nothing beside it, cloned out of the
//! snapshot. Brokers whose folders lie in one dataset share its snapshots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::line::Line;
use super::snapshots::Destroy;
use super::stream::sends;
use super::{Detail, id, obstacles};
use crate::action::Action;
use crate::cmd::System;
use crate::exchange::{Exchange, Stands};
use crate::name::SnapName;
use crate::stream::{Part, Stream};
use crate::{
    Hold, Joint, Label, Obstacle, Purpose, Result, Rollback, Snapshot, View, Volume, VolumeId,
    brought_back, mounts,
};

/// A folder of a dataset, or all of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Within {
    line: Line,
    /// Where the data lies in it; empty if it is all of it.
    part: PathBuf,
    exchange: Exchange,
}

impl Within {
    pub fn new(line: Line, part: PathBuf, exchange: Exchange) -> Within {
        Within {
            line,
            part,
            exchange,
        }
    }

    pub fn line(&self) -> &Line {
        &self.line
    }
}

impl Volume for Within {
    fn id(&self) -> VolumeId {
        let (data, dataset) = (self.exchange.data.display(), &self.line.live);
        let title = match self.exchange.was {
            Stands::Mount { .. } => format!("mount {data} of zfs dataset {dataset}"),
            Stands::Nothing | Stands::Folder(_) => {
                format!("folder {data} of zfs dataset {dataset}")
            }
        };
        id(title, &Detail::Within(Box::new(self.clone())))
    }

    fn data(&self) -> &Path {
        &self.exchange.data
    }

    fn leave_out(&self) -> Vec<std::ffi::OsString> {
        self.exchange.leave_out()
    }

    fn freezes(&self) -> String {
        format!("zfs dataset {}", self.line.began)
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        let data = &self.exchange.data;
        let mut found = mounts::obstacles(data)?;
        found.extend(obstacles::of_the_pool(sys, &self.line)?);
        if purpose == Purpose::Capture {
            if self.exchange.was == Stands::Nothing {
                found.push(Obstacle::missing(data));
            }
            found.extend(obstacles::of_snapshots(sys, &self.line)?);
        } else if found.is_empty() {
            let sources = brought_back(self, sys, purpose)?;
            found.extend(self.exchange.obstacles(&sources)?);
        }
        Ok(found)
    }

    fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        self.line.list(sys)
    }

    fn find(&self, sys: &dyn System, name: &SnapName) -> Result<Option<Snapshot>> {
        Ok(self.line.find(sys, name)?.map(|found| found.snapshot))
    }

    fn prepare(&self, _: &SnapName, _: &Label) -> Vec<Action> {
        Vec::new()
    }

    fn snapshot(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        vec![Action::Run(Line::take(&[(&self.line, label)], name))]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        vec![Action::Change(Arc::new(Destroy(self.line.snapshot(name))))]
    }

    /// What only a rollback leaves: seals of trees that took the place of nothing.
    fn unprepare(&self, _: &SnapName) -> Vec<Action> {
        self.exchange.store().remove_if_empty()
    }

    fn view(&self, name: &SnapName) -> View {
        View::attached(Arc::new(self.line.snapshot(name)), self.part.clone())
            .without(self.exchange.leave_out())
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(&self.exchange)
    }

    fn hold(&self) -> Option<&dyn Hold> {
        Some(&self.line)
    }

    fn stream(&self) -> Option<&dyn Stream> {
        Some(self)
    }

    fn joint(&self) -> Option<&dyn Joint> {
        Some(&self.line)
    }
}

sends!(Within);

impl Within {
    /// Where the data is in what is sent.
    fn part_of_it(&self) -> Part {
        Part {
            below: self.part.clone(),
            leave_out: self.exchange.leave_out(),
        }
    }
}
