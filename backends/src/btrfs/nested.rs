//! A data directory that is a subvolume of its own, reached inside a bigger mount.
//!
//! Snapshots and what a rollback keeps stand beside it. A swap exchanges two names of one mount, so nothing is unmounted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::place::{self, Stands};
use super::stream::Keeps;
use super::{Detail, btrfs, id, nested_subvolumes, snapshot, snapshots};
use crate::action::Action;
use crate::cmd::System;
use crate::exchange::{Exchange, Stands as Lies};
use crate::name::{SnapName, StageName};
use crate::store::{self, Store};
use crate::stream::{Part, Stream};
use crate::{
    Kept, Label, Obstacle, Progress, Purpose, Result, Rollback, Snapshot, View, Volume, VolumeId,
    brought_back, mounts,
};

/// A subvolume that holds a data directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Nested {
    data: PathBuf,
    /// What stood at the data directory's path when it was looked at.
    was: Stands,
}

impl Nested {
    pub fn new(data: &Path, was: Stands) -> Nested {
        Nested {
            data: data.to_owned(),
            was,
        }
    }

    fn store(&self) -> Store {
        Store::beside(&self.data)
    }

    /// Whether there are snapshots of it as a subvolume, or what a rollback of them replaced.
    pub fn is_remembered(&self, sys: &dyn System) -> Result<bool> {
        Ok(!snapshots(sys, &self.store())?.is_empty() || !self.replaced(sys)?.is_empty())
    }

    /// What rollbacks of the subvolume replaced and keep.
    fn replaced(&self, sys: &dyn System) -> Result<Vec<Kept>> {
        let store = self.store();
        let mut kept = Vec::new();
        for name in store.entries::<StageName>()? {
            // Until it has been swapped, what stands there is what was staged.
            let side = store.read_sidecar(name.as_str())?;
            let Some(side) = side.filter(|side| side.replaces.is_some()) else {
                continue;
            };
            let path = store.of(name.as_str());
            let stands = Stands::at(sys, &path)?;
            if side.replaces == Some(stands.to_string())
                && let Some(identity) = stands.identity()
            {
                kept.push(Kept {
                    name,
                    path,
                    label: Some(side.label),
                    identity,
                });
            }
        }
        Ok(kept)
    }

    /// As it is where a clone of a tree is brought back, which keeps what it replaces in the same store.
    fn exchange(&self) -> Exchange {
        Exchange::new(&self.data, Lies::Nothing)
    }

    fn replaces(&self) -> Option<String> {
        (self.was != Stands::Nothing).then(|| self.was.to_string())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.store().of(name)
    }
}

impl Volume for Nested {
    fn id(&self) -> VolumeId {
        id(
            format!("btrfs subvolume {}", self.data.display()),
            &Detail::Nested(self.clone()),
        )
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        let mut found = mounts::obstacles(&self.data)?;
        if purpose != Purpose::Capture {
            if found.is_empty() {
                let sources = brought_back(self, sys, purpose)?;
                found.extend(self.exchange().obstacles(&sources)?);
            }
        } else {
            let data = self.data.display();
            match &self.was {
                Stands::Subvolume { .. } => {
                    let ours = self.data.join(store::NAME);
                    found.extend(nested_subvolumes(sys, &self.data, &self.data, &ours)?);
                }
                Stands::Folder { .. } => found.push(Obstacle {
                    what: format!("{data} is a plain folder on btrfs, and has snapshots of when it was a subvolume, or what a restore kept then"),
                    why: "snapshots of a folder stand elsewhere, and sets of both kinds could not be told apart".to_owned(),
                    todo: format!("restore a set, or release what is kept; or with the broker stopped: mv {data} {data}.old; \
                                   btrfs subvolume create {data}; cp -a --reflink=always {data}.old/. {data}/; rm -rf {data}.old"),
                }),
                Stands::Nothing => found.push(Obstacle::missing(&self.data)),
            }
        }
        Ok(found)
    }

    fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        snapshots(sys, &self.store())
    }

    fn find(&self, sys: &dyn System, name: &SnapName) -> Result<Option<Snapshot>> {
        snapshot(sys, &self.store(), name)
    }

    fn prepare(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        self.store().begin(name, label, self.was.uuid())
    }

    fn prepared(&self) -> Result<Vec<(SnapName, Label)>> {
        self.store().prepared()
    }

    fn snapshot(&self, name: &SnapName, _: &Label) -> Vec<Action> {
        let cmd = btrfs(["subvolume", "snapshot", "-r"])
            .arg(&self.data)
            .arg(self.at(name.as_str()));
        vec![Action::Run(cmd)]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        place::delete(&self.store(), name.as_str())
    }

    fn unprepare(&self, name: &SnapName) -> Vec<Action> {
        self.store().forget_snapshot(name)
    }

    fn papers(&self, name: &SnapName) -> Option<PathBuf> {
        Some(self.store().papers(name))
    }

    fn view(&self, name: &SnapName) -> View {
        View::of(self.at(name.as_str()))
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(self)
    }

    fn stream(&self) -> Option<&dyn Stream> {
        Some(self)
    }
}

impl Keeps for Nested {
    fn kept_in(&self) -> Store {
        self.store()
    }

    fn data_in_it(&self) -> Part {
        Part::default()
    }
}

impl Rollback for Nested {
    fn stage(&self, from: &Snapshot, _: &View, stage: &StageName, label: &Label) -> Vec<Action> {
        let copy = btrfs(["subvolume", "snapshot"])
            .arg(self.at(from.name.as_str()))
            .arg(self.at(stage.as_str()));
        let mut actions = self.store().begin_stage(stage, label, self.replaces());
        actions.push(Action::Run(copy));
        actions
    }

    fn staged(&self, _: &StageName) -> Option<PathBuf> {
        None
    }

    fn swap(&self, stage: &StageName) -> Vec<Action> {
        vec![Action::SwapNames(
            self.data.clone(),
            self.at(stage.as_str()),
        )]
    }

    fn reverse(&self, stage: &StageName) -> Vec<Action> {
        self.swap(stage)
    }

    /// What is kept may be a folder: one that stood there in place of the subvolume.
    fn discard(&self, stage: &StageName) -> Vec<Action> {
        let path = self.at(stage.as_str());
        let mut actions = vec![
            Action::DeleteSubvolume(path.clone()),
            Action::RemoveTree(path),
        ];
        actions.extend(self.clear(stage));
        actions
    }

    fn clear(&self, stage: &StageName) -> Vec<Action> {
        self.store().forget(stage.as_str())
    }

    fn progress(&self, sys: &dyn System, of: &str, stage: &StageName) -> Result<Progress> {
        let path = self.at(stage.as_str());
        let (live, beside) = (Stands::at(sys, &self.data)?, Stands::at(sys, &path)?);
        // What was staged is known by what it was taken of, or is what was kept; the old data by what it was when the plan
        // was made.
        let staged = |stands: &Stands| {
            stands.parent().is_some_and(|parent| parent == of)
                || stands.identity().is_some_and(|identity| identity == of)
        };
        Ok(match (&live, &beside) {
            (live, Stands::Nothing) if *live == self.was => Progress::Untouched,
            (live, beside) if *live == self.was && staged(beside) => Progress::Staged,
            (live, beside) if staged(live) && *beside == self.was => Progress::Swapped,
            _ => Progress::Unclear(format!(
                "{} is {live}, {} is {beside}; expected were {} and {of} or a snapshot of it",
                self.data.display(),
                path.display(),
                self.was
            )),
        })
    }

    fn kept(&self, sys: &dyn System) -> Result<Vec<Kept>> {
        let mut kept = self.replaced(sys)?;
        // A clone of a tree may have taken the place of the subvolume.
        for other in self.exchange().kept(sys)? {
            if kept.iter().any(|kept| kept.name == other.name) {
                continue;
            }
            if let Some(identity) = Stands::at(sys, &other.path)?.identity() {
                kept.push(Kept { identity, ..other });
            }
        }
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(kept)
    }

    fn keeps_nothing(&self) -> bool {
        self.was == Stands::Nothing
    }

    fn take_kept(&self, kept: &Kept, stage: &StageName, label: &Label) -> Vec<Action> {
        let mut actions = self.store().begin_stage(stage, label, self.replaces());
        actions.push(Action::MoveTree {
            from: kept.path.clone(),
            to: self.at(stage.as_str()),
        });
        actions
    }

    fn put_back(&self, kept: &StageName, stage: &StageName) -> Vec<Action> {
        let mut actions = vec![Action::MoveTree {
            from: self.at(stage.as_str()),
            to: self.at(kept.as_str()),
        }];
        actions.extend(self.clear(stage));
        actions
    }

    fn forget_kept(&self, kept: &StageName) -> Vec<Action> {
        self.clear(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subvolume() -> Nested {
        Nested {
            data: "/srv/zeebe 0/data".into(),
            was: Stands::Subvolume {
                uuid: "26cadf4a".into(),
                parent_uuid: None,
            },
        }
    }

    fn lines(actions: Vec<Action>) -> String {
        actions.iter().map(|action| format!("{action}\n")).collect()
    }

    #[test]
    fn builders_print_the_commands_an_admin_would_type() {
        let snap = SnapName::try_from("zeebe-snap-20261123T014500Z".to_owned()).unwrap();
        let stage = StageName::try_from("restore-20261124T120000Z".to_owned()).unwrap();
        let volume = subvolume();
        let taken = Snapshot {
            name: snap.clone(),
            identity: "619bf1db".to_owned(),
            label: None,
        };
        insta::assert_snapshot!(lines(volume.prepare(&snap, &Label::new())), @r"
        mkdir -p -m 700 '/srv/zeebe 0/.zeebe-snap/data'
        install -m 600 /dev/stdin '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z.json'   # 49 bytes
        ");
        insta::assert_snapshot!(lines(volume.snapshot(&snap, &Label::new())), @"btrfs subvolume snapshot -r '/srv/zeebe 0/data' '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z'");
        insta::assert_snapshot!(lines(volume.destroy(&snap)), @r"
        btrfs subvolume delete '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z'
        sync -f '/srv/zeebe 0/.zeebe-snap/data'
        ");
        insta::assert_snapshot!(lines(volume.stage(&taken, &volume.view(&snap), &stage, &Label::new())), @r"
        mkdir -p -m 700 '/srv/zeebe 0/.zeebe-snap/data'
        install -m 600 /dev/stdin '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z.json'   # 56 bytes
        btrfs subvolume snapshot '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z' '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z'
        ");
        insta::assert_snapshot!(lines(volume.swap(&stage)), @"mv --exchange '/srv/zeebe 0/data' '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z'");
    }

    #[test]
    fn what_is_kept_takes_another_name_and_nothing_else() {
        let volume = subvolume();
        let [restored, undone] =
            ["restore-1", "undo-2"].map(|name| StageName::try_from(name.to_owned()).unwrap());
        let kept = Kept {
            path: volume.at(restored.as_str()),
            name: restored.clone(),
            label: None,
            identity: "5ab1".to_owned(),
        };
        insta::assert_snapshot!(lines(volume.take_kept(&kept, &undone, &Label::new())), @r"
        mkdir -p -m 700 '/srv/zeebe 0/.zeebe-snap/data'
        install -m 600 /dev/stdin '/srv/zeebe 0/.zeebe-snap/data/undo-2.json'   # 56 bytes
        mv -nT '/srv/zeebe 0/.zeebe-snap/data/restore-1' '/srv/zeebe 0/.zeebe-snap/data/undo-2'
        ");
        insta::assert_snapshot!(lines(volume.put_back(&restored, &undone)), @r"
        mv -nT '/srv/zeebe 0/.zeebe-snap/data/undo-2' '/srv/zeebe 0/.zeebe-snap/data/restore-1'
        rm -f '/srv/zeebe 0/.zeebe-snap/data/undo-2.seal'
        rm -f '/srv/zeebe 0/.zeebe-snap/data/undo-2.json'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap/data'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap'
        ");
        insta::assert_snapshot!(lines(volume.forget_kept(&restored)), @r"
        rm -f '/srv/zeebe 0/.zeebe-snap/data/restore-1.seal'
        rm -f '/srv/zeebe 0/.zeebe-snap/data/restore-1.json'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap/data'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap'
        ");
        insta::assert_snapshot!(lines(volume.discard(&undone)), @r"
        btrfs subvolume delete '/srv/zeebe 0/.zeebe-snap/data/undo-2'
        rm -rf '/srv/zeebe 0/.zeebe-snap/data/undo-2'
        rm -f '/srv/zeebe 0/.zeebe-snap/data/undo-2.seal'
        rm -f '/srv/zeebe 0/.zeebe-snap/data/undo-2.json'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap/data'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap'
        ");
    }

    #[test]
    fn an_id_opens_as_the_same_volume() {
        let volume = subvolume();
        assert_eq!(crate::open(&volume.id()).unwrap().id(), volume.id());
    }
}
