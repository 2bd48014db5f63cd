//! lvm: snapshots of the logical volume whose file system holds a data directory.
//!
//! How the directory lies decides how it is brought back: the mount point of its own thin volume changes places with a
//! snapshot of a snapshot (room `whole`); anything else gets a clone of its tree (room `within`), and what is not thin always:
//! a merge would use the snapshot up. LVM is told what to do and
//! asked what there is (room `report`), and never repaired; none of its commands is ever killed. What is thin is sent as a
//! stream of the chunks that its pool's metadata name (rooms `metadata`, `stream`), which lands in a thin pool (rooms
//! `standing`, `landing`). Must not know sets or brokers: what a label says is its writer's business.

mod active;
mod attach;
mod beside;
mod cow;
mod landing;
mod metadata;
mod names;
mod origin;
mod place;
mod pool;
mod report;
mod seat;
mod standing;
mod stream;
mod tags;
mod whole;
mod within;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cmd::{Cmd, System};
use crate::{Driver, Error, Landing, Result, Volume, VolumeId, mounts};
use origin::{Kind, Origin};
use standing::Place;
use whole::Whole;
use within::Within;

/// The driver.
#[derive(Debug)]
pub struct Lvm;

/// There while the kernel has device-mapper.
const MODULE: &str = "/sys/module/dm_mod";

/// How a data directory lies on a logical volume; what a [`VolumeId`] says in detail.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "lies", rename_all = "kebab-case")]
enum Detail {
    Whole(Box<Whole>),
    Within(Box<Within>),
}

impl Driver for Lvm {
    fn name(&self) -> &'static str {
        "lvm"
    }

    fn detect(&self, sys: &dyn System, dir: &Path) -> Result<Option<Box<dyn Volume>>> {
        if !dir.parent().is_some_and(Path::is_dir) {
            return Ok(None);
        }
        let mounts = mounts::read()?;
        let here = mounts.iter().rev().find(|mount| mount.point == dir);
        let Some(mount) = here.or_else(|| mounts::around(&mounts, dir)) else {
            return Ok(None);
        };
        let Some(origin) = Origin::of(sys, mount)? else {
            return Ok(None);
        };
        let is_all = mount.point == dir && mount.root == Path::new("/");
        Ok(Some(match is_all && origin.kind == Kind::Thin {
            true => Box::new(Whole::new(origin, mount)),
            false => Box::new(Within::of(dir, mount, origin)?),
        }))
    }

    fn open(&self, id: &VolumeId) -> Result<Box<dyn Volume>> {
        Ok(match read(id)? {
            Detail::Whole(whole) => whole,
            Detail::Within(within) => within,
        })
    }

    fn landing(&self, sys: &dyn System, place: &str) -> Result<Option<Box<dyn Landing>>> {
        match Place::of(place).filter(|_| Path::new(MODULE).exists()) {
            Some(place) if place.is_in_a_pool(sys)? => Ok(Some(Box::new(place))),
            _ => Ok(None),
        }
    }

    fn open_landing(&self, id: &VolumeId) -> Result<Box<dyn Landing>> {
        Ok(Box::new(read::<Place>(id)?))
    }
}

/// What `id` says in detail.
fn read<T: serde::de::DeserializeOwned>(id: &VolumeId) -> Result<T> {
    serde_json::from_value(id.detail.clone()).map_err(|error| Error::Id {
        backend: id.backend.clone(),
        why: error.to_string(),
    })
}

/// The id of what `detail` says.
fn id(title: String, detail: &Detail) -> VolumeId {
    VolumeId {
        backend: Lvm.name().to_owned(),
        title,
        // Paths are UTF-8, which was seen to before, and nothing else can fail.
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn lvchange<const N: usize>(words: [&str; N], lv: &str) -> Cmd {
    Cmd::new("lvchange").args(words).arg(lv)
}
