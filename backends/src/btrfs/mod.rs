//! btrfs: snapshots of the subvolume that holds a data directory.
//!
//! How the directory lies decides how it is brought back: one that is a subvolume inside a bigger mount changes names with
//! a writable snapshot (room `nested`); a mount point, or a folder with other things beside it, gets a clone of its tree
//! (room `within`). Must not know sets or brokers: what a label says is its writer's business.

mod format;
mod landing;
mod nested;
mod place;
mod show;
mod stream;
mod within;

pub(crate) use place::{
    create as create_subvolume, delete_if_there as delete_subvolume, is_subvolume_root,
};

pub(crate) use format::MAGIC as STREAM_MAGIC;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cmd::{Cmd, System};
use crate::exchange::{Exchange, Stands as Lies};
use crate::name::SnapName;
use crate::store::Store;
use crate::{Driver, Error, Landing, Obstacle, Result, Snapshot, Volume, VolumeId};
use landing::Folder;
use nested::Nested;
use place::Stands;
use show::Shown;
use within::Within;

/// The driver.
#[derive(Debug)]
pub struct Btrfs;

/// How a data directory lies on btrfs; what a [`VolumeId`] says in detail.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "lies", rename_all = "kebab-case")]
enum Detail {
    Nested(Nested),
    Within(Box<Within>),
}

impl Driver for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn detect(&self, sys: &dyn System, dir: &Path) -> Result<Option<Box<dyn Volume>>> {
        if !place::is_on_btrfs(dir)? {
            return Ok(None);
        }
        let exchange = Exchange::of(dir)?;
        let is_mount = matches!(exchange.was, Lies::Mount { .. });
        let stands = Stands::at(sys, dir)?;
        let is_subvolume = matches!(stands, Stands::Subvolume { .. });
        let nested = Nested::new(dir, stands);
        // What was a subvolume when its snapshots were taken, or when it was brought back, becomes one again.
        if !is_mount && (is_subvolume || nested.is_remembered(sys)?) {
            return Ok(Some(Box::new(nested)));
        }
        Ok(match Within::find(sys, exchange)? {
            Some(within) => Some(Box::new(within)),
            None => None,
        })
    }

    fn open(&self, id: &VolumeId) -> Result<Box<dyn Volume>> {
        let detail: Detail =
            serde_json::from_value(id.detail.clone()).map_err(|error| Error::Id {
                backend: id.backend.clone(),
                why: error.to_string(),
            })?;
        Ok(match detail {
            Detail::Nested(nested) => Box::new(nested),
            Detail::Within(within) => within,
        })
    }

    fn landing(&self, _: &dyn System, place: &str) -> Result<Option<Box<dyn Landing>>> {
        let folder = Folder::new(Path::new(place));
        Ok(match folder.is_on_btrfs()? {
            true => Some(Box::new(folder)),
            false => None,
        })
    }

    fn open_landing(&self, id: &VolumeId) -> Result<Box<dyn Landing>> {
        let folder: Folder =
            serde_json::from_value(id.detail.clone()).map_err(|error| Error::Id {
                backend: id.backend.clone(),
                why: error.to_string(),
            })?;
        Ok(Box::new(folder))
    }
}

/// The id of what `detail` says.
fn id(title: String, detail: &Detail) -> VolumeId {
    VolumeId {
        backend: Btrfs.name().to_owned(),
        title,
        // Paths are UTF-8, which was seen to in detection, and nothing else can fail.
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn btrfs<const N: usize>(words: [&str; N]) -> Cmd {
    Cmd::new("btrfs").args(words)
}

/// The snapshot `name` in `store`.
fn snapshot(sys: &dyn System, store: &Store, name: &SnapName) -> Result<Option<Snapshot>> {
    let path = store.of(name.as_str());
    let Some(shown) = place::shown(sys, &path)? else {
        // A snapshot would be made inside a folder of its name.
        return match Stands::at(sys, &path)? {
            Stands::Nothing => Ok(None),
            other => Err(Error::State(format!("{} is {other}", path.display()))),
        };
    };
    labelled(store, name.clone(), shown).map(Some)
}

/// It is ours if the sidecar names the subvolume it was taken of, and it is a frozen snapshot of just that.
fn labelled(store: &Store, name: SnapName, shown: Shown) -> Result<Snapshot> {
    let label = store
        .read_sidecar(name.as_str())?
        .filter(|side| shown.readonly && side.parent_uuid.is_some())
        .filter(|side| side.parent_uuid == shown.parent_uuid)
        .map(|side| side.label);
    Ok(Snapshot {
        name,
        identity: shown.uuid,
        label,
    })
}

/// The frozen subvolumes in `store`.
fn snapshots(sys: &dyn System, store: &Store) -> Result<Vec<Snapshot>> {
    let mut found = Vec::new();
    for name in store.entries::<SnapName>()? {
        // What a rollback staged or keeps is writable and stands here too.
        let shown = place::shown(sys, &store.of(name.as_str()))?;
        if let Some(shown) = shown.filter(|shown| shown.readonly) {
            found.push(labelled(store, name, shown)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Subvolumes inside `folder`, which lies in the subvolume at `subvolume`, are not in its snapshot.
fn nested_subvolumes(
    sys: &dyn System,
    subvolume: &Path,
    folder: &Path,
    leave_out: &Path,
) -> Result<Vec<Obstacle>> {
    let top = show::parse_path(&sys.run(&btrfs(["subvolume", "show"]).arg(subvolume))?)?;
    let list = sys.run(&btrfs(["subvolume", "list", "-o"]).arg(subvolume))?;
    let below = |path: &str| {
        Path::new(path)
            .strip_prefix(&top)
            .ok()
            .map(|rest| subvolume.join(rest))
    };
    let inside = show::parse_list(&list)?
        .into_iter()
        .filter_map(|path| below(&path))
        .filter(|path| path.starts_with(folder) && !path.starts_with(leave_out));
    Ok(inside
        .map(|nested| Obstacle {
            what: format!(
                "{} has the subvolume {} inside it",
                folder.display(),
                nested.display()
            ),
            why: "a snapshot shows a nested subvolume as an empty folder".to_owned(),
            todo: "move it out of the data directory, or make it a plain folder".to_owned(),
        })
        .collect())
}
