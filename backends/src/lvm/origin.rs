//! A logical volume with a file system that data lies on, and its snapshots.
//!
//! What belongs to it is told by a tag, and never by what LVM says is its origin: that is forgotten when names change
//! places or a snapshot is merged.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::active::Active;
use super::attach::{self, Reader};
use super::report::{Report, Row};
use super::{cow, names, place, pool, tags};
use crate::action::Action;
use crate::cmd::{Cmd, System};
use crate::mounts::Mount;
use crate::name::SnapName;
use crate::{Error, Label, Obstacle, Result, Snapshot, View};

/// What its snapshots are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Volumes of the same thin pool.
    Thin,
    /// Copies of what it had where it was written to since, in room that is set aside for them; active as long as it is.
    Thick,
}

/// One of which snapshots can be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub kind: Kind,
    pub vg: String,
    /// Its name when it was looked at.
    pub name: String,
    pub uuid: String,
    /// The uuid it had when it was first seen: what was brought back has another.
    pub lineage: String,
    /// "xfs", "ext4".
    pub fstype: String,
    /// Where it is mounted.
    pub point: PathBuf,
}

impl Origin {
    /// The volume that is mounted there, if it is one of which snapshots can be taken and read.
    pub fn of(sys: &dyn System, mount: &Mount) -> Result<Option<Origin>> {
        if attach::options(&mount.fstype).is_none() {
            return Ok(None);
        }
        let Some(device) = place::of(&mount.device)? else {
            return Ok(None);
        };
        let report = Report::ask(sys, &device.vg)?;
        let row = report.of(&device.uuid).ok_or_else(|| {
            Error::State(format!(
                "{} is logical volume {} of {}, and LVM knows of no such one",
                mount.source, device.uuid, device.vg
            ))
        })?;
        let kind = match row.is_thin() {
            true => Kind::Thin,
            // Of a snapshot of this kind there can be none.
            false if row.is_copy_on_write() => return Ok(None),
            false => Kind::Thick,
        };
        Ok(Some(Origin {
            kind,
            name: row.name.clone(),
            uuid: row.uuid.clone(),
            lineage: row.marks.volume.clone().unwrap_or(device.uuid),
            vg: device.vg,
            fstype: mount.fstype.clone(),
            point: mount.point.clone(),
        }))
    }

    /// What a snapshot freezes.
    pub fn freezes(&self) -> String {
        format!("logical volume {}", self.uuid)
    }

    pub fn report(&self, sys: &dyn System) -> Result<Report> {
        Report::ask(sys, &self.vg)
    }

    /// The full name of what has this name in the group.
    pub fn lv(&self, name: &str) -> String {
        format!("{}/{name}", self.vg)
    }

    /// The name in the group of what we call `name`.
    pub fn name_of(&self, name: &str) -> String {
        names::of(&self.vg, name, &self.lineage)
    }

    /// Whether what has that row belongs to this volume, or is it.
    pub fn has(&self, row: &Row) -> bool {
        row.uuid == self.lineage || row.marks.volume.as_ref() == Some(&self.lineage)
    }

    /// Whether what has that row is a snapshot that we took, by what is written on it.
    pub fn is_ours(&self, row: &Row) -> bool {
        let name = row.marks.snapshot.as_deref();
        self.has(row) && name.is_some_and(|name| row.name == self.name_of(name))
    }

    /// The snapshot that has that row. What has our name and not our tags, or can be written to, is somebody else's.
    pub fn snapshot_in(&self, row: &Row) -> Option<Snapshot> {
        let ours = row.marks.snapshot.as_deref().filter(|_| self.is_ours(row));
        let at_our_name = names::plain(&row.name, &self.lineage);
        let beside = row.marks.staged.is_some() || !row.marks.kept.is_empty();
        let name = ours.or(at_our_name.filter(|_| !beside))?;
        Some(Snapshot {
            name: SnapName::try_from(name.to_owned()).ok()?,
            identity: row.uuid.clone(),
            label: ours
                .filter(|_| row.is_frozen())
                .map(|_| row.marks.label.clone()),
        })
    }

    pub fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        let report = self.report(sys)?;
        for row in report.rows.iter().filter(|row| self.is_ours(row)) {
            cow::warn(self, row);
        }
        let snapshots = report.rows.iter().filter_map(|row| self.snapshot_in(row));
        let mut found: Vec<Snapshot> = snapshots.collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// With a size it would not be a thin one. That is not activated, now or by a boot; the other kind always is.
    pub fn snapshot(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        let cmd = Cmd::new("lvcreate").args(["-y", "-pr", "-s"]);
        let cmd = match self.kind {
            Kind::Thin => cmd.arg("-ky"),
            Kind::Thick => cmd.args(["-l", cow::SIZE]),
        };
        let cmd = cmd.arg("-n").arg(self.name_of(name.as_str()));
        let tags = tags::of_snapshot(&self.lineage, name.as_str(), label);
        let cmd = tags::each(cmd, "--addtag", &tags);
        vec![Action::Run(cmd.arg(self.lv(&self.name)))]
    }

    pub fn destroy(&self, name: &SnapName) -> Vec<Action> {
        let name = self.name_of(name.as_str());
        vec![Action::Run(remove(&self.lv(&name)))]
    }

    /// How what has this name in the group is read.
    pub fn read(&self, name: &str, part: PathBuf) -> View {
        let reader = Reader {
            active: Active {
                vg: self.vg.clone(),
                name: name.to_owned(),
            },
            fstype: Some(self.fstype.clone()),
            kind: self.kind,
        };
        View::attached(Arc::new(reader), part)
    }

    /// What is in the way of a snapshot.
    pub fn obstacles(&self, sys: &dyn System) -> Result<Vec<Obstacle>> {
        if let Some(obstacle) = name_obstacle(&self.vg) {
            return Ok(vec![obstacle]);
        }
        match self.kind {
            Kind::Thin => pool::obstacles(sys, self),
            Kind::Thick => cow::obstacles(sys, self),
        }
    }
}

/// What is in the way of names of ours in the group `vg`.
pub fn name_obstacle(vg: &str) -> Option<Obstacle> {
    (!names::fit(vg)).then(|| Obstacle {
        what: format!("the volume group's name {vg} is too long"),
        why: "the names of snapshots have to fit beside it".to_owned(),
        todo: "vgrename it to one of less than 80 characters (a hyphen counts twice)".to_owned(),
    })
}

/// Removes one, active or not; one in use is left.
pub fn remove(lv: &str) -> Cmd {
    Cmd::new("lvremove").args(["-y", lv])
}
