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

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(live: &str, mounting: Mounting) -> Whole {
        Whole {
            data: "/srv/zeebe 0/data".into(),
            line: Line {
                live: live.to_owned(),
                began: "739688077085264725".to_owned(),
            },
            guid: "739688077085264725".to_owned(),
            mounting,
            canmount: "on".to_owned(),
        }
    }

    fn lines(actions: &[Action]) -> String {
        actions.iter().map(|action| format!("{action}\n")).collect()
    }

    fn stage(name: &str) -> StageName {
        StageName::try_from(name.to_owned()).unwrap()
    }

    fn label(node: &str) -> Label {
        [("set", "1"), ("node", node)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn snap() -> SnapName {
        SnapName::try_from("zeebe-snap-20261123T014500Z".to_owned()).unwrap()
    }

    #[test]
    fn a_snapshot_has_its_label_from_the_first_moment() {
        let volume = volume("tank/data", Mounting::Property);
        insta::assert_snapshot!(lines(&volume.snapshot(&snap(), &label("0"))), @r#"zfs snapshot -o 'zeebe-snap:label={"node":"0","set":"1"}' -o 'zeebe-snap:of={"739688077085264725":{}}' tank/data@zeebe-snap-20261123T014500Z"#);
        let mut other = self::volume("tank/other", Mounting::Property);
        other.line.began = "4491574907441578825".to_owned();
        let both = [(volume.id(), label("0")), (other.id(), label("1"))];
        let together = volume.joint().unwrap().snapshot(&both, &snap()).unwrap();
        insta::assert_snapshot!(lines(&together), @r#"zfs snapshot -o 'zeebe-snap:label={"set":"1"}' -o 'zeebe-snap:of={"4491574907441578825":{"node":"1"},"739688077085264725":{"node":"0"}}' tank/data@zeebe-snap-20261123T014500Z tank/other@zeebe-snap-20261123T014500Z"#);
        let elsewhere = self::volume("pond/data", Mounting::Property);
        let both = [(volume.id(), label("0")), (elsewhere.id(), label("1"))];
        assert!(volume.joint().unwrap().snapshot(&both, &snap()).is_err());
        insta::assert_snapshot!(lines(&volume.destroy(&snap())), @"zfs destroy tank/data@zeebe-snap-20261123T014500Z");
        insta::assert_snapshot!(lines(&volume.hold().unwrap().hold(&snap(), "a set")), @"zfs hold 'a set' tank/data@zeebe-snap-20261123T014500Z");
        insta::assert_snapshot!(volume.view(&snap()).to_string(), @r"/mnt/ (mount -t zfs tank/data@zeebe-snap-20261123T014500Z /mnt)");
    }

    #[test]
    fn a_clone_takes_the_name_of_what_it_replaces() {
        let volume = volume("tank/data", Mounting::Property);
        let from = Snapshot {
            name: snap(),
            identity: "10222591163750571820".to_owned(),
            label: None,
        };
        let (stage, view) = (stage("restore-20261124T120000Z"), volume.view(&snap()));
        let mut all = Rollback::stage(&volume, &from, &view, &stage, &label("0"));
        all.extend(volume.swap(&stage));
        all.extend(volume.discard(&stage));
        insta::assert_snapshot!(lines(&all), @r#"
        zfs set 'zeebe-snap:kept.restore-20261124_54120000_5a={"node":"0","set":"1"}' tank/data
        zfs clone -o canmount=noauto -o zeebe-snap:line=739688077085264725 -o zeebe-snap:made-of=10222591163750571820 tank/data@zeebe-snap-20261123T014500Z tank/data.restore-20261124T120000Z   # with what was set, and is delegated, on the dataset itself
        umount '/srv/zeebe 0/data'
        zfs set canmount=noauto tank/data
        zfs rename -u tank/data tank/data.restore-20261124T120000Z.between
        zfs rename -u tank/data.restore-20261124T120000Z tank/data
        zfs rename -u tank/data.restore-20261124T120000Z.between tank/data.restore-20261124T120000Z
        zfs set canmount=on tank/data
        zfs mount tank/data
        zfs promote tank/data
        zfs destroy tank/data.restore-20261124T120000Z
        zfs inherit zeebe-snap:kept.restore-20261124_54120000_5a tank/data
        "#);
        let options = "rw,noatime".to_owned();
        let legacy = self::volume("tank/data", Mounting::Legacy { options });
        insta::assert_snapshot!(lines(&legacy.reverse(&stage)), @r"
        umount '/srv/zeebe 0/data'
        zfs set canmount=noauto tank/data
        zfs rename -u tank/data tank/data.restore-20261124T120000Z.between
        zfs rename -u tank/data.restore-20261124T120000Z tank/data
        zfs rename -u tank/data.restore-20261124T120000Z.between tank/data.restore-20261124T120000Z
        zfs set canmount=on tank/data
        mount -t zfs -o rw,noatime tank/data '/srv/zeebe 0/data'
        zfs promote tank/data
        ");
    }

    #[test]
    fn what_is_kept_is_renamed() {
        let volume = volume("tank/data", Mounting::Property);
        let kept = Kept {
            name: stage("restore-1"),
            path: "tank/data.restore-1".into(),
            label: None,
            identity: "4093950843059251091".to_owned(),
        };
        let mut all = volume.take_kept(&kept, &stage("undo-2"), &label("0"));
        all.extend(volume.put_back(&kept.name, &stage("undo-2")));
        all.extend(volume.forget_kept(&kept.name));
        insta::assert_snapshot!(lines(&all), @r#"
        zfs set 'zeebe-snap:kept.undo-2={"node":"0","set":"1"}' tank/data
        zfs rename -u tank/data.restore-1 tank/data.undo-2
        zfs rename -u tank/data.undo-2 tank/data.restore-1
        zfs inherit zeebe-snap:kept.undo-2 tank/data
        zfs inherit zeebe-snap:kept.restore-1 tank/data
        "#);
        insta::assert_snapshot!(volume.view_kept(&kept).to_string(), @"/mnt/ (mount -t zfs -o ro,zfsutil tank/data.restore-1 /mnt)");
    }
}
