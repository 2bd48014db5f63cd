//! A data directory in a subvolume that is not its own alone: a mount point, or a folder with other things beside it.
//!
//! The subvolume's snapshot captures it. What is brought back is its own tree and nothing beside it, cloned out of the
//! snapshot. Brokers whose folders lie in one subvolume share its snapshots, which stand in the subvolume's root.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::place::{ROOT_INODE, Stands};
use super::stream::Keeps;
use super::{Detail, btrfs, id, nested_subvolumes, place, snapshot, snapshots};
use crate::action::Action;
use crate::cmd::System;
use crate::exchange::{Exchange, Stands as Lies};
use crate::name::SnapName;
use crate::store::{self, Store};
use crate::stream::{Part, Stream};
use crate::{
    Error, Label, Obstacle, Purpose, Result, Rollback, Snapshot, View, Volume, VolumeId,
    brought_back, mounts,
};

/// A folder of a subvolume, or all of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Within {
    /// The root of the subvolume, as it can be reached.
    subvolume: PathBuf,
    uuid: String,
    /// Where the data lies in it; empty if it is all of it.
    part: PathBuf,
    exchange: Exchange,
}

impl Within {
    /// The subvolume around the data, or at it; `None` where its root cannot be reached, as below a bind mount of a part.
    pub fn find(sys: &dyn System, exchange: Exchange) -> Result<Option<Within>> {
        let dir = exchange.data.clone();
        let start = match exchange.was {
            Lies::Nothing => dir.parent().unwrap_or(&dir),
            Lies::Folder(_) | Lies::Mount { .. } => &dir,
        };
        let Some(subvolume) = root_of(start)? else {
            return Ok(None);
        };
        let Stands::Subvolume { uuid, .. } = Stands::at(sys, subvolume)? else {
            return Ok(None);
        };
        let part = dir.strip_prefix(subvolume).unwrap_or(&dir);
        Ok(Some(Within {
            subvolume: subvolume.to_owned(),
            uuid,
            part: part.to_owned(),
            exchange,
        }))
    }

    fn store(&self) -> Store {
        Store::inside(&self.subvolume)
    }
}

/// The root of the subvolume that `path` lies in, if the way up to it crosses no mount.
fn root_of(path: &Path) -> Result<Option<&Path>> {
    let look = |path: &Path| std::fs::metadata(path).map_err(Error::io("look at", path));
    let device = look(path)?.dev();
    for path in path.ancestors() {
        let meta = look(path)?;
        if meta.dev() != device {
            return Ok(None);
        }
        if meta.ino() == ROOT_INODE {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

impl Volume for Within {
    fn id(&self) -> VolumeId {
        let data = self.exchange.data.display();
        let title = match self.exchange.data == self.subvolume {
            true => format!("btrfs mount {data}"),
            false => format!(
                "folder {data} of btrfs subvolume {}",
                self.subvolume.display()
            ),
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
        format!("btrfs subvolume {}", self.uuid)
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        let data = &self.exchange.data;
        let mut found = mounts::obstacles(data)?;
        if self.uuid == "-" {
            found.push(Obstacle {
                what: format!("the subvolume {} has no UUID", self.subvolume.display()),
                why: "its snapshots could not be told from those of others (it was made by btrfs-progs before 4.16)".to_owned(),
                todo: "keep the data in a subvolume of its own".to_owned(),
            });
        }
        if purpose == Purpose::Capture {
            if self.exchange.was == Lies::Nothing {
                found.push(Obstacle::missing(data));
            }
            let ours = self.subvolume.join(store::NAME);
            found.extend(nested_subvolumes(sys, &self.subvolume, data, &ours)?);
        } else if found.is_empty() {
            let sources = brought_back(self, sys, purpose)?;
            found.extend(self.exchange.obstacles(&sources)?);
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
        self.store().begin(name, label, Some(&self.uuid))
    }

    fn prepared(&self) -> Result<Vec<(SnapName, Label)>> {
        self.store().prepared()
    }

    fn snapshot(&self, name: &SnapName, _: &Label) -> Vec<Action> {
        let cmd = btrfs(["subvolume", "snapshot", "-r"])
            .arg(&self.subvolume)
            .arg(self.store().of(name.as_str()));
        vec![Action::Run(cmd)]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        place::delete(&self.store(), name.as_str())
    }

    fn unprepare(&self, name: &SnapName) -> Vec<Action> {
        let mut actions = self.store().forget_snapshot(name);
        let stages = self.exchange.store();
        if stages != self.store() {
            actions.extend(stages.remove_if_empty());
        }
        actions
    }

    fn papers(&self, name: &SnapName) -> Option<PathBuf> {
        Some(self.store().papers(name))
    }

    fn view(&self, name: &SnapName) -> View {
        let all = self.store().of(name.as_str());
        let path = match self.part == Path::new("") {
            true => all,
            false => all.join(&self.part),
        };
        View::of(path).without(self.exchange.leave_out())
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(&self.exchange)
    }

    fn stream(&self) -> Option<&dyn Stream> {
        Some(self)
    }
}

impl Keeps for Within {
    fn kept_in(&self) -> Store {
        self.store().clone()
    }

    fn data_in_it(&self) -> Part {
        let below = self.exchange.data.strip_prefix(&self.subvolume);
        Part {
            below: below.unwrap_or(Path::new("")).to_owned(),
            leave_out: self.exchange.leave_out(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::StageName;
    use crate::tree::Inode;

    fn within(subvolume: &str, data: &str, was: Lies) -> Within {
        let (subvolume, data) = (Path::new(subvolume), Path::new(data));
        let part = data.strip_prefix(subvolume).unwrap();
        Within {
            subvolume: subvolume.to_owned(),
            uuid: "26cadf4a".to_owned(),
            part: part.to_owned(),
            exchange: Exchange::new(data, was),
        }
    }

    fn inode(ino: u64) -> Inode {
        Inode { ino, born: None }
    }

    fn lines(volume: &Within) -> String {
        let snap = SnapName::try_from("zeebe-snap-20261123T014500Z".to_owned()).unwrap();
        let stage = StageName::try_from("restore-20261124T120000Z".to_owned()).unwrap();
        let taken = Snapshot {
            name: snap.clone(),
            identity: "619bf1db".to_owned(),
            label: None,
        };
        let rollback = volume.rollback().unwrap();
        let mut all = volume.snapshot(&snap, &Label::new());
        all.extend(rollback.stage(&taken, &volume.view(&snap), &stage, &Label::new()));
        all.extend(rollback.swap(&stage));
        all.extend(rollback.discard(&stage));
        all.iter().map(|action| format!("{action}\n")).collect()
    }

    #[test]
    fn a_folder_is_cloned_out_of_the_snapshot_of_all() {
        let volume = within("/srv", "/srv/zeebe 0/data", Lies::Folder(inode(300)));
        insta::assert_snapshot!(lines(&volume), @r"
        btrfs subvolume snapshot -r /srv /srv/.zeebe-snap/zeebe-snap-20261123T014500Z
        mkdir -p -m 700 '/srv/zeebe 0/.zeebe-snap/data'
        install -m 600 /dev/stdin '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z.json'   # 54 bytes
        cp -a --reflink=auto '/srv/.zeebe-snap/zeebe-snap-20261123T014500Z/zeebe 0/data' '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z'
        mv --exchange '/srv/zeebe 0/data' '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z'
        rm -rf '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z'
        rm -f '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z.seal'
        rm -f '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z.json'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap/data'
        rmdir --ignore-fail-on-non-empty '/srv/zeebe 0/.zeebe-snap'
        ");
    }

    #[test]
    fn a_mount_point_keeps_its_place() {
        let was = Lies::Mount {
            root: inode(256),
            part: "/@data".into(),
            fstype: "btrfs".to_owned(),
        };
        let volume = within("/srv/data", "/srv/data", was);
        insta::assert_snapshot!(lines(&volume), @r"
        btrfs subvolume snapshot -r /srv/data /srv/data/.zeebe-snap/zeebe-snap-20261123T014500Z
        mkdir -p -m 700 /srv/data/.zeebe-snap
        install -m 600 /dev/stdin /srv/data/.zeebe-snap/restore-20261124T120000Z.json   # 75 bytes
        cp -a --reflink=auto /srv/data/.zeebe-snap/zeebe-snap-20261123T014500Z /srv/data/.zeebe-snap/restore-20261124T120000Z   # without .zeebe-snap
        mv --exchange /srv/data/* /srv/data/.zeebe-snap/restore-20261124T120000Z/   # each entry, without .zeebe-snap
        rm -rf /srv/data/.zeebe-snap/restore-20261124T120000Z
        rm -rf /srv/data/.zeebe-snap/.restore-20261124T120000Z.*   # the journal of the exchange
        rm -f /srv/data/.zeebe-snap/restore-20261124T120000Z.seal
        rm -f /srv/data/.zeebe-snap/restore-20261124T120000Z.json
        rmdir --ignore-fail-on-non-empty /srv/data/.zeebe-snap
        ");
    }
}
