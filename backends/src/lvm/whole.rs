//! A data directory that is the mount point of its own thin volume. It is brought back by a writable snapshot of a snapshot,
//! which takes the volume's name while nothing is mounted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::beside::{Discard, Forget, PutBack, Take, mark_live};
use super::origin::Origin;
use super::seat::Seat;
use super::stream::{Side, sends};
use super::{Detail, id, tags};
use crate::action::Action;
use crate::cmd::{Cmd, System, quote};
use crate::mounts::{self, Mount};
use crate::name::{SnapName, StageName};
use crate::renaming::{Rename, Renaming, To};
use crate::stream::{Part, Stream};
use crate::{
    Kept, Label, Obstacle, Progress, Purpose, Result, Rollback, Snapshot, View, Volume, VolumeId,
    fstab, namespaces,
};

/// All of a thin volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Whole {
    origin: Origin,
    seat: Seat,
}

impl Whole {
    /// `mount` is at the data directory, and shows all of `origin`.
    pub fn new(origin: Origin, mount: &Mount) -> Whole {
        Whole {
            seat: Seat {
                vg: origin.vg.clone(),
                data: mount.point.clone(),
                fstype: mount.fstype.clone(),
                options: mount.options.clone(),
            },
            origin,
        }
    }

    fn renaming(&self, stage: &StageName) -> Renaming<Seat> {
        Renaming {
            named: self.seat.clone(),
            live: self.origin.name.clone(),
            beside: self.origin.name_of(stage.as_str()),
            was: self.origin.uuid.clone(),
        }
    }

    fn rename(&self, stage: &StageName, to: To) -> Vec<Action> {
        let renaming = self.renaming(stage);
        vec![Action::Change(Arc::new(Rename { renaming, to }))]
    }

    fn side(&self) -> Side {
        Side::Volume(self.origin.clone())
    }

    fn part_of_it(&self) -> Part {
        Part {
            below: PathBuf::new(),
            leave_out: self.leave_out(),
        }
    }

    fn forget(&self, stage: &StageName) -> Vec<Action> {
        let (origin, stage) = (self.origin.clone(), stage.to_string());
        vec![Action::Change(Arc::new(Forget { origin, stage }))]
    }

    /// What is in the way of another volume taking the place of this one.
    fn obstacles_of_swaps(&self) -> Result<Vec<Obstacle>> {
        let data = &self.seat.data;
        let all = mounts::read()?;
        let Some(here) = all.iter().rev().find(|mount| mount.point == *data) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        if here.options.split(',').any(|option| option == "ro") {
            found.push(Obstacle {
                what: format!("{} is mounted read-only", data.display()),
                why: "what is brought back would be, too".to_owned(),
                todo: "look into why it is (the kernel does that after an error, too); mount it writable"
                    .to_owned(),
            });
        }
        let others = all
            .iter()
            .filter(|mount| mount.device == here.device && *mount != here);
        found.extend(others.map(|mount| Obstacle {
            what: format!(
                "{} is mounted at {}, too",
                here.source,
                mount.point.display()
            ),
            why: "what is replaced would still be in use there".to_owned(),
            todo: format!("umount {}", quote(mount.point.as_os_str())),
        }));
        found.extend(namespaces::obstacles(here)?);
        found.extend(self.boots_another()?);
        Ok(found)
    }

    /// What is set aside is not activated by a boot, so there the uuid and label of the file system are of one volume alone.
    /// The device's own uuid and number are not.
    fn boots_another(&self) -> Result<Option<Obstacle>> {
        let data = &self.seat.data;
        let source = fstab::source_of(data)?;
        let stays = |source: &String| {
            ["/dev/disk/by-id/", "/dev/dm-"]
                .iter()
                .any(|prefix| source.starts_with(prefix))
        };
        Ok(source.filter(stays).map(|source| Obstacle {
            what: format!("{} says that {source} is mounted at {}", fstab::PATH, data.display()),
            why: "that does not follow the volume's name, so a boot would mount what is replaced, or nothing".to_owned(),
            todo: format!("write /dev/{} there", self.origin.lv(&self.origin.name)),
        }))
    }
}

impl Volume for Whole {
    fn id(&self) -> VolumeId {
        let lv = self.origin.lv(&self.origin.name);
        let title = format!("thin volume {lv} at {}", self.seat.data.display());
        id(title, &Detail::Whole(Box::new(self.clone())))
    }

    fn data(&self) -> &Path {
        &self.seat.data
    }

    fn leave_out(&self) -> Vec<OsString> {
        // fsck(8) makes it anew in the root of a file system.
        match self.seat.fstype.starts_with("ext") {
            true => vec!["lost+found".into()],
            false => Vec::new(),
        }
    }

    fn freezes(&self) -> String {
        self.origin.freezes()
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        let mut found = mounts::obstacles(&self.seat.data)?;
        if !found.is_empty() {
            return Ok(found);
        }
        if purpose != Purpose::Capture {
            found.extend(self.obstacles_of_swaps()?);
        }
        // What is kept needs no room.
        if purpose != Purpose::TakeBack {
            found.extend(self.origin.obstacles(sys)?);
        }
        Ok(found)
    }

    fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        self.origin.list(sys)
    }

    /// Tags are given with the name.
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
        Vec::new()
    }

    fn view(&self, name: &SnapName) -> View {
        let name = self.origin.name_of(name.as_str());
        let view = self.origin.read(&name, PathBuf::new());
        view.without(self.leave_out())
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(self)
    }

    fn stream(&self) -> Option<&dyn Stream> {
        Some(self)
    }
}

sends!(Whole);

impl Rollback for Whole {
    /// It is not activated before it is the data: two file systems of one uuid are not looked up well.
    fn stage(&self, from: &Snapshot, _: &View, stage: &StageName, label: &Label) -> Vec<Action> {
        let Whole { origin, .. } = self;
        // A snapshot of what is read-only is not, unless it is asked for (2.03.16); it is said all the same.
        let cmd = Cmd::new("lvcreate").args(["-y", "-ky", "-prw", "-s", "-n"]);
        let cmd = cmd.arg(origin.name_of(stage.as_str()));
        let tags = tags::of_staged(&origin.lineage, stage.as_str(), &from.identity);
        let cmd = tags::each(cmd, "--addtag", &tags);
        let cmd = cmd.arg(origin.lv(&origin.name_of(from.name.as_str())));
        vec![
            Action::Run(mark_live(origin, stage, label)),
            Action::Run(cmd),
        ]
    }

    fn staged(&self, _: &StageName) -> Option<PathBuf> {
        None
    }

    fn swap(&self, stage: &StageName) -> Vec<Action> {
        self.rename(stage, To::Swapped)
    }

    fn reverse(&self, stage: &StageName) -> Vec<Action> {
        self.rename(stage, To::Back)
    }

    fn discard(&self, stage: &StageName) -> Vec<Action> {
        let (origin, stage) = (self.origin.clone(), stage.to_string());
        vec![Action::Change(Arc::new(Discard { origin, stage }))]
    }

    fn clear(&self, stage: &StageName) -> Vec<Action> {
        self.forget(stage)
    }

    fn progress(&self, sys: &dyn System, of: &str, stage: &StageName) -> Result<Progress> {
        self.renaming(stage).progress(sys, of)
    }

    /// What has a mark for the stage whose name it has. (The data has one, too, of what is staged.)
    fn kept(&self, sys: &dyn System) -> Result<Vec<Kept>> {
        let Whole { origin, .. } = self;
        let mut kept = Vec::new();
        for row in &origin.report(sys)?.rows {
            let mut marks = row.marks.kept.iter().filter(|_| origin.has(row));
            let mark = marks.find(|(stage, _)| row.name == origin.name_of(stage));
            let Some((stage, label)) = mark else { continue };
            let Ok(name) = StageName::try_from(stage.clone()) else {
                continue;
            };
            kept.push(Kept {
                name,
                path: origin.lv(&row.name).into(),
                label: Some(label.clone()),
                identity: row.uuid.clone(),
            });
        }
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(kept)
    }

    fn view_kept(&self, kept: &Kept) -> View {
        let name = self.origin.name_of(kept.name.as_str());
        let view = self.origin.read(&name, PathBuf::new());
        view.without(self.leave_out())
    }

    fn keeps_nothing(&self) -> bool {
        false
    }

    fn take_kept(&self, kept: &Kept, stage: &StageName, label: &Label) -> Vec<Action> {
        vec![Action::Change(Arc::new(Take {
            origin: self.origin.clone(),
            kept: kept.clone(),
            stage: stage.clone(),
            label: label.clone(),
        }))]
    }

    fn put_back(&self, kept: &StageName, stage: &StageName) -> Vec<Action> {
        let (origin, kept, stage) = (self.origin.clone(), kept.to_string(), stage.to_string());
        vec![Action::Change(Arc::new(PutBack {
            origin,
            kept,
            stage,
        }))]
    }

    fn forget_kept(&self, kept: &StageName) -> Vec<Action> {
        self.forget(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::Kind;
    use super::*;

    fn whole() -> Whole {
        let uuid = "Y9WPlT-CV7m-5cj7-4Ewe-POXn-3UaL-b3jLU0".to_owned();
        Whole {
            origin: Origin {
                kind: Kind::Thin,
                vg: "vg-0".to_owned(),
                name: "data".to_owned(),
                lineage: uuid.clone(),
                uuid,
                fstype: "xfs".to_owned(),
                point: "/srv/zeebe 0/data".into(),
            },
            seat: Seat {
                vg: "vg-0".to_owned(),
                data: "/srv/zeebe 0/data".into(),
                fstype: "xfs".to_owned(),
                options: "rw,noatime,inode64".to_owned(),
            },
        }
    }

    fn lines(actions: Vec<Action>) -> String {
        actions.iter().map(|action| format!("{action}\n")).collect()
    }

    fn stage(name: &str) -> StageName {
        StageName::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn builders_print_the_commands_an_admin_would_type() {
        let (volume, label) = (
            whole(),
            Label::from([("set".to_owned(), "größe".to_owned())]),
        );
        let name = SnapName::try_from("zeebe-snap-20261123T014500Z".to_owned()).unwrap();
        let taken = Snapshot {
            name: name.clone(),
            identity: "eMKadh-t45x".to_owned(),
            label: None,
        };
        let restore = stage("restore-1");
        insta::assert_snapshot!(lines(volume.snapshot(&name, &label)), @"lvcreate -y -pr -s -ky -n zeebe-snap-20261123T014500Z.Y9WPlTCV --addtag zeebe-snap.volume=Y9WPlT-CV7m-5cj7-4Ewe-POXn-3UaL-b3jLU0 --addtag zeebe-snap.snapshot=zeebe-snap-20261123T014500Z --addtag 'zeebe-snap.label:set=gr!c3!b6!c3!9fe' vg-0/data");
        insta::assert_snapshot!(volume.view(&name).to_string(), @"/mnt/ (lvchange -ay -K vg-0/zeebe-snap-20261123T014500Z.Y9WPlTCV && mount -t xfs -o ro,norecovery,nouuid /dev/vg-0/zeebe-snap-20261123T014500Z.Y9WPlTCV /mnt)");
        insta::assert_snapshot!(lines(volume.destroy(&name)), @"lvremove -y vg-0/zeebe-snap-20261123T014500Z.Y9WPlTCV");
        insta::assert_snapshot!(lines(volume.stage(&taken, &volume.view(&name), &restore, &label)), @r"
        lvchange --addtag zeebe-snap.volume=Y9WPlT-CV7m-5cj7-4Ewe-POXn-3UaL-b3jLU0 --addtag zeebe-snap.kept:restore-1 --addtag 'zeebe-snap.kept:restore-1:set=gr!c3!b6!c3!9fe' vg-0/data
        lvcreate -y -ky -prw -s -n restore-1.Y9WPlTCV --addtag zeebe-snap.volume=Y9WPlT-CV7m-5cj7-4Ewe-POXn-3UaL-b3jLU0 --addtag zeebe-snap.staged=restore-1 --addtag zeebe-snap.of=eMKadh-t45x vg-0/zeebe-snap-20261123T014500Z.Y9WPlTCV
        ");
        insta::assert_snapshot!(lines(volume.swap(&restore)), @r"
        umount '/srv/zeebe 0/data'
        lvchange -an vg-0/data
        lvchange -ky vg-0/data
        lvrename vg-0 data restore-1.Y9WPlTCV.between
        lvrename vg-0 restore-1.Y9WPlTCV data
        lvrename vg-0 restore-1.Y9WPlTCV.between restore-1.Y9WPlTCV
        lvchange -kn vg-0/data
        lvchange -ay vg-0/data
        mount -t xfs -o rw,noatime,inode64 /dev/vg-0/data '/srv/zeebe 0/data'
        ");
        insta::assert_snapshot!(lines(volume.discard(&restore)), @r"
        lvremove -y vg-0/restore-1.Y9WPlTCV
        lvchange --deltag zeebe-snap.kept:restore-1 vg-0/data   # and whatever else is written of it
        ");
    }

    #[test]
    fn what_is_kept_takes_another_name_and_nothing_else() {
        let volume = whole();
        let [restored, undone] = ["restore-1", "undo-2"].map(stage);
        let kept = Kept {
            path: "vg-0/restore-1.Y9WPlTCV".into(),
            name: restored.clone(),
            label: None,
            identity: "4v9eNi-n9CR".to_owned(),
        };
        insta::assert_snapshot!(lines(volume.take_kept(&kept, &undone, &Label::new())), @r"
        lvchange --addtag zeebe-snap.volume=Y9WPlT-CV7m-5cj7-4Ewe-POXn-3UaL-b3jLU0 --addtag zeebe-snap.kept:undo-2 vg-0/data
        lvrename vg-0 restore-1.Y9WPlTCV undo-2.Y9WPlTCV
        ");
        insta::assert_snapshot!(lines(volume.put_back(&restored, &undone)), @r"
        lvrename vg-0 undo-2.Y9WPlTCV restore-1.Y9WPlTCV
        lvchange --deltag zeebe-snap.kept:undo-2 vg-0/data   # and whatever else is written of it
        ");
        insta::assert_snapshot!(lines(volume.forget_kept(&restored)), @"lvchange --deltag zeebe-snap.kept:restore-1 vg-0/data   # and whatever else is written of it");
    }

    #[test]
    fn an_id_opens_as_the_same_volume() {
        let volume = whole();
        assert_eq!(crate::open(&volume.id()).unwrap().id(), volume.id());
    }
}
