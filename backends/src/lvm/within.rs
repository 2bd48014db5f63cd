//! A data directory on a volume that is not its own alone: a folder among others, or a bind mount. Brokers whose folders lie on
//! one volume share its snapshots; what is brought back is cloned out of one, and nothing beside it notices.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::origin::{Kind, Origin};
use super::stream::{Side, sends};
use super::{Detail, cow, id, pool};
use crate::action::Action;
use crate::cmd::System;
use crate::exchange::{Exchange, Stands};
use crate::mounts::{self, Mount};
use crate::name::SnapName;
use crate::stream::{Part, Stream};
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

    fn side(&self) -> Side {
        Side::Volume(self.origin.clone())
    }

    fn part_of_it(&self) -> Part {
        Part {
            below: self.part.clone(),
            leave_out: self.exchange.leave_out(),
        }
    }

    /// The newest snapshot of which there is something left.
    fn newest(&self, sys: &dyn System) -> Result<Option<View>> {
        let report = self.origin.report(sys)?;
        let is_left = |snapshot: &Snapshot| {
            let row = report.of(&snapshot.identity);
            snapshot.label.is_some() && row.is_some_and(|row| !row.invalid)
        };
        let newest = self.list(sys)?.into_iter().rfind(is_left);
        Ok(newest.map(|newest| self.view(&newest.name)))
    }

    /// Whether what is to be brought back finds room, on the file system and in what that is on.
    fn room(&self, sys: &dyn System, from: &View) -> Result<Vec<Obstacle>> {
        let bytes = self.exchange.weigh_copy(sys, from)?;
        let mut found: Vec<Obstacle> = self.exchange.room_for(from, bytes)?.into_iter().collect();
        if found.is_empty() {
            found.extend(match self.origin.kind {
                Kind::Thin => pool::room(sys, &self.origin, from, bytes)?
                    .into_iter()
                    .collect(),
                Kind::Thick => cow::room(sys, &self.origin, bytes)?,
            });
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
            Stands::Mount { .. } if self.part == Path::new("") => format!("volume {lv} at {data}"),
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
            found.extend(self.origin.obstacles(sys)?);
            return Ok(found);
        }
        let sources = match purpose {
            Purpose::BringBack => self.newest(sys)?.into_iter().collect(),
            _ => brought_back(self, sys, purpose)?,
        };
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

    /// Tags are given with the name. But in the root of a mount the folder for what is staged comes and goes with the snapshot:
    /// it changes the time of the data directory, which is to be the one that is captured.
    fn prepare(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        match self.exchange.was {
            Stands::Mount { .. } => self.exchange.store().begin(name, label, None),
            Stands::Nothing | Stands::Folder(_) => Vec::new(),
        }
    }

    fn snapshot(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        self.origin.snapshot(name, label)
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        self.origin.destroy(name)
    }

    fn unprepare(&self, name: &SnapName) -> Vec<Action> {
        let store = self.exchange.store();
        match self.exchange.was {
            Stands::Mount { .. } => store.forget_snapshot(name),
            Stands::Nothing | Stands::Folder(_) => store.remove_if_empty(),
        }
    }

    fn view(&self, name: &SnapName) -> View {
        let name = self.origin.name_of(name.as_str());
        let view = self.origin.read(&name, self.part.clone());
        view.without(self.exchange.leave_out())
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(&self.exchange)
    }

    fn stream(&self) -> Option<&dyn Stream> {
        match self.origin.kind {
            Kind::Thin => Some(self),
            Kind::Thick => None,
        }
    }
}

sends!(Within);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::StageName;
    use crate::tree::Inode;

    fn within(kind: Kind, was: Stands, part: &str) -> Within {
        let uuid = "x6HEJa-pMio-YUyI-Datz-xHPp-oDMi-ixcyKb".to_owned();
        Within {
            origin: Origin {
                kind,
                vg: "vg-0".to_owned(),
                name: "srv".to_owned(),
                lineage: uuid.clone(),
                uuid,
                fstype: "ext4".to_owned(),
                point: "/srv".into(),
            },
            part: part.into(),
            exchange: Exchange::new(Path::new("/srv/data"), was),
        }
    }

    fn lines(volume: &Within) -> String {
        let name = SnapName::try_from("zeebe-snap-1".to_owned()).unwrap();
        let stage = StageName::try_from("restore-1".to_owned()).unwrap();
        let taken = Snapshot {
            name: name.clone(),
            identity: "Dx21aU-eUdy".to_owned(),
            label: None,
        };
        let mut all = volume.snapshot(&name, &Label::new());
        let rollback = volume.rollback().unwrap();
        all.extend(rollback.stage(&taken, &volume.view(&name), &stage, &Label::new()));
        all.extend(volume.destroy(&name));
        all.iter().map(|action| format!("{action}\n")).collect()
    }

    #[test]
    fn a_folder_of_a_thin_volume_is_cloned_out_of_a_snapshot() {
        let was = Stands::Folder(Inode {
            ino: 12,
            born: None,
        });
        insta::assert_snapshot!(lines(&within(Kind::Thin, was, "data")), @r"
        lvcreate -y -pr -s -ky -n zeebe-snap-1.x6HEJapM --addtag zeebe-snap.volume=x6HEJa-pMio-YUyI-Datz-xHPp-oDMi-ixcyKb --addtag zeebe-snap.snapshot=zeebe-snap-1 vg-0/srv
        mkdir -p -m 700 /srv/.zeebe-snap/data
        install -m 600 /dev/stdin /srv/.zeebe-snap/data/restore-1.json   # 53 bytes
        lvchange -ay -K vg-0/zeebe-snap-1.x6HEJapM && mount -t ext4 -o ro,noload /dev/vg-0/zeebe-snap-1.x6HEJapM /mnt && cp -a --reflink=auto /mnt/data /srv/.zeebe-snap/data/restore-1
        lvremove -y vg-0/zeebe-snap-1.x6HEJapM
        ");
    }

    #[test]
    fn room_is_set_aside_for_a_snapshot_that_is_not_thin() {
        let was = Stands::Mount {
            root: Inode { ino: 2, born: None },
            part: "/".into(),
            fstype: "ext4".to_owned(),
        };
        insta::assert_snapshot!(lines(&within(Kind::Thick, was, "")), @r"
        lvcreate -y -pr -s -l 20%ORIGIN -n zeebe-snap-1.x6HEJapM --addtag zeebe-snap.volume=x6HEJa-pMio-YUyI-Datz-xHPp-oDMi-ixcyKb --addtag zeebe-snap.snapshot=zeebe-snap-1 vg-0/srv
        mkdir -p -m 700 /srv/data/.zeebe-snap
        install -m 600 /dev/stdin /srv/data/.zeebe-snap/restore-1.json   # 67 bytes
        mount -t ext4 -o ro,noload /dev/vg-0/zeebe-snap-1.x6HEJapM /mnt && cp -a --reflink=auto /mnt/ /srv/data/.zeebe-snap/restore-1   # without .zeebe-snap, lost+found
        lvremove -y vg-0/zeebe-snap-1.x6HEJapM
        ");
    }
}
