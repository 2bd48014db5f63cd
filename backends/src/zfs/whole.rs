//! A data directory that a dataset of its own is mounted at. What is staged is a clone, and takes the dataset's name.
//!
//! What is replaced is kept as a dataset beside it. The data's dataset holds the snapshots up to the one that it came from:
//! others that were taken later stay with what is kept, and are found there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::beside::{Discard, Forget, PutBack, Stage, Take};
use super::line::Line;
use super::names::Names;
use super::snapshots::{Beside, Destroy};
use super::stream::sends;
use super::tell::text;
use super::{Detail, Properties, id, obstacles};
use crate::action::{Action, Change};
use crate::cmd::System;
use crate::name::{SnapName, StageName};
use crate::renaming::{Rename, Renaming, To};
use crate::stream::{Part, Stream};
use crate::{
    Hold, Joint, Kept, Label, Obstacle, Progress, Purpose, Result, Rollback, Snapshot, View,
    Volume, VolumeId,
};

/// How a dataset comes to be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mounting {
    /// Its own property says where.
    Property,
    /// By mount(8), with these options of the mount.
    Legacy {
        /// "rw,relatime".
        options: String,
    },
}

/// A dataset, and the data directory that it is mounted at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Whole {
    data: PathBuf,
    line: Line,
    /// What stood there when it was looked at.
    guid: String,
    mounting: Mounting,
    canmount: String,
}

fn change(change: impl Change + 'static) -> Vec<Action> {
    vec![Action::Change(Arc::new(change))]
}

impl Whole {
    pub fn new(data: &Path, line: Line, mounting: Mounting, all: &Properties) -> Whole {
        let told = |property: &str| text(all, property).unwrap_or_default().to_owned();
        Whole {
            data: data.to_owned(),
            line,
            guid: told("guid"),
            mounting,
            canmount: told("canmount"),
        }
    }

    pub fn line(&self) -> &Line {
        &self.line
    }

    fn renaming(&self, stage: &StageName) -> Renaming<Names> {
        Renaming {
            named: Names {
                data: self.data.clone(),
                line: self.line.clone(),
                mounting: self.mounting.clone(),
                canmount: self.canmount.clone(),
            },
            live: self.line.live.clone(),
            beside: self.line.beside(stage),
            was: self.guid.clone(),
        }
    }
}

impl Volume for Whole {
    fn id(&self) -> VolumeId {
        let title = format!("zfs dataset {}", self.line.live);
        id(title, &Detail::Whole(self.clone()))
    }

    fn data(&self) -> &Path {
        &self.data
    }

    /// Which `snapdir=visible` shows.
    fn leave_out(&self) -> Vec<std::ffi::OsString> {
        vec![".zfs".into()]
    }

    fn freezes(&self) -> String {
        format!("zfs dataset {}", self.guid)
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        obstacles::of_whole(sys, &self.data, &self.line, purpose)
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
        change(Destroy(self.line.snapshot(name)))
    }

    fn unprepare(&self, _: &SnapName) -> Vec<Action> {
        Vec::new()
    }

    fn view(&self, name: &SnapName) -> View {
        View::attached(Arc::new(self.line.snapshot(name)), PathBuf::new()).without(self.leave_out())
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(self)
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

sends!(Whole);

impl Whole {
    /// Where the data is in what is sent.
    fn part_of_it(&self) -> Part {
        Part {
            below: PathBuf::new(),
            leave_out: self.leave_out(),
        }
    }
}

impl Rollback for Whole {
    fn stage(&self, from: &Snapshot, _: &View, stage: &StageName, label: &Label) -> Vec<Action> {
        change(Stage {
            line: self.line.clone(),
            from: from.clone(),
            stage: stage.clone(),
            label: label.clone(),
        })
    }

    fn staged(&self, _: &StageName) -> Option<PathBuf> {
        None
    }

    fn swap(&self, stage: &StageName) -> Vec<Action> {
        change(Rename {
            renaming: self.renaming(stage),
            to: To::Swapped,
        })
    }

    fn reverse(&self, stage: &StageName) -> Vec<Action> {
        change(Rename {
            renaming: self.renaming(stage),
            to: To::Back,
        })
    }

    fn discard(&self, stage: &StageName) -> Vec<Action> {
        change(Discard {
            line: self.line.clone(),
            stage: stage.clone(),
        })
    }

    fn clear(&self, stage: &StageName) -> Vec<Action> {
        self.discard(stage)
    }

    fn progress(&self, sys: &dyn System, of: &str, stage: &StageName) -> Result<Progress> {
        self.renaming(stage).progress(sys, of)
    }

    fn kept(&self, sys: &dyn System) -> Result<Vec<Kept>> {
        let seen = self.line.look(sys)?;
        let kept = seen.kept(sys)?.into_iter();
        let kept = kept.map(|(name, member, label)| Kept {
            name,
            path: PathBuf::from(&member.name),
            label,
            identity: member.guid.clone(),
        });
        Ok(kept.collect())
    }

    fn view_kept(&self, kept: &Kept) -> View {
        let name = kept.path.to_string_lossy().into_owned();
        View::attached(Arc::new(Beside(name)), PathBuf::new()).without(self.leave_out())
    }

    /// A dataset with nothing in it is something.
    fn keeps_nothing(&self) -> bool {
        false
    }

    fn take_kept(&self, kept: &Kept, stage: &StageName, label: &Label) -> Vec<Action> {
        change(Take {
            line: self.line.clone(),
            kept: kept.clone(),
            stage: stage.clone(),
            label: label.clone(),
        })
    }

    fn put_back(&self, kept: &StageName, stage: &StageName) -> Vec<Action> {
        change(PutBack {
            line: self.line.clone(),
            kept: kept.clone(),
            stage: stage.clone(),
        })
    }

    fn forget_kept(&self, kept: &StageName) -> Vec<Action> {
        change(Forget {
            line: self.line.clone(),
            kept: kept.clone(),
        })
    }
}
