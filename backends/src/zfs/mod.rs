//! ZFS: snapshots of the dataset that holds a data directory.
//!
//! How the directory lies decides how it is brought back: one that a dataset of its own is mounted at changes places with a
//! clone by their names (room `whole`); a folder with other things beside it, and what cannot be renamed or mounted again by
//! its name, gets a clone of its tree (room `within`). Must not know sets or brokers: what a label says is its writer's business.
//!
//! OpenZFS 2.1 or later. Nothing is kept in the data, nor beside it but on behalf of a folder: what has to be known is in user
//! properties, set by the command that makes what they are of.

mod beside;
mod landing;
mod line;
mod mark;
mod names;
mod obstacles;
mod snapshots;
mod standing;
mod stream;
mod tell;
mod whole;
mod within;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cmd::{Cmd, System};
use crate::exchange::Exchange;
use crate::mounts::{self, Mount};
use crate::name::SnapName;
use crate::{Action, Driver, Error, Joint, Label, Landing, Result, Volume, VolumeId};
use landing::Place;
use line::Line;
use tell::{own, text};
use whole::{Mounting, Whole};
use within::Within;

/// The driver.
#[derive(Debug)]
pub struct Zfs;

/// How a data directory lies on ZFS; what a [`VolumeId`] says in detail.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "lies", rename_all = "kebab-case")]
enum Detail {
    Whole(Whole),
    Within(Box<Within>),
}

impl Detail {
    fn line(&self) -> &Line {
        match self {
            Detail::Whole(whole) => whole.line(),
            Detail::Within(within) => within.line(),
        }
    }
}

/// There while the kernel has ZFS.
const MODULE: &str = "/sys/module/zfs";

impl Driver for Zfs {
    fn name(&self) -> &'static str {
        "zfs"
    }

    fn detect(&self, sys: &dyn System, dir: &Path) -> Result<Option<Box<dyn Volume>>> {
        if !dir.parent().is_some_and(Path::is_dir) {
            return Ok(None);
        }
        let all = mounts::read()?;
        let around = mounts::around(&all, dir).filter(|mount| is_dataset(mount));
        let Some(mount) = around else {
            let whole = not_mounted(sys, dir)?;
            return Ok(whole.map(|whole| Box::new(whole) as Box<dyn Volume>));
        };
        let exchange = Exchange::of(dir)?;
        if let Some(whole) = whole(sys, dir, mount)? {
            return Ok(Some(Box::new(whole)));
        }
        let part = mount.root.strip_prefix("/").unwrap_or(&mount.root);
        let part = part.join(dir.strip_prefix(&mount.point).unwrap_or(dir));
        let line = line_of(sys, &mount.source)?.0;
        Ok(Some(Box::new(Within::new(line, part, exchange))))
    }

    fn open(&self, id: &VolumeId) -> Result<Box<dyn Volume>> {
        Ok(match detail(id)? {
            Detail::Whole(whole) => Box::new(whole),
            Detail::Within(within) => within,
        })
    }

    fn landing(&self, _: &dyn System, place: &str) -> Result<Option<Box<dyn Landing>>> {
        let place = Place::new(place);
        Ok(match place.is_of_a_pool() {
            true => Some(Box::new(place)),
            false => None,
        })
    }

    fn open_landing(&self, id: &VolumeId) -> Result<Box<dyn Landing>> {
        let place: Place =
            serde_json::from_value(id.detail.clone()).map_err(|error| Error::Id {
                backend: id.backend.clone(),
                why: error.to_string(),
            })?;
        Ok(Box::new(place))
    }
}

/// Whether it is of a dataset, and not of a snapshot.
fn is_dataset(mount: &Mount) -> bool {
    mount.fstype == "zfs" && !mount.source.contains('@')
}

type Properties = std::collections::BTreeMap<String, tell::Value>;

const OF_A_DATASET: [&str; 5] = ["guid", "mountpoint", "canmount", "mounted", line::LINE];

fn line_from(name: &str, all: &Properties) -> Line {
    let guid = text(all, "guid").unwrap_or_default();
    Line {
        live: name.to_owned(),
        began: own(all, line::LINE).unwrap_or(guid).to_owned(),
    }
}

fn line_of(sys: &dyn System, dataset: &str) -> Result<(Line, Properties)> {
    let told = tell::get(sys, &OF_A_DATASET, &["--", dataset])?;
    let (name, all) = told
        .into_iter()
        .next()
        .ok_or_else(|| Error::State(format!("{dataset} is gone")))?;
    Ok((line_from(&name, &all), all))
}

/// Whether a dataset with this mount point is mounted at `dir`.
fn is_at(mountpoint: &str, dir: &Path) -> bool {
    mountpoint.starts_with('/')
        && Path::new(mountpoint)
            .canonicalize()
            .is_ok_and(|path| path == dir)
}

/// The dataset that `mount` is of, if it can be mounted at `dir` again by its name alone, and be given another.
fn whole(sys: &dyn System, dir: &Path, mount: &Mount) -> Result<Option<Whole>> {
    if mount.point != dir || mount.root != Path::new("/") || !mount.source.contains('/') {
        return Ok(None);
    }
    let (line, all) = line_of(sys, &mount.source)?;
    let mounting = match text(&all, "mountpoint") {
        Some("legacy") => Mounting::Legacy {
            options: mount.options.clone(),
        },
        Some(mountpoint) if is_at(mountpoint, dir) => Mounting::Property,
        _ => return Ok(None),
    };
    Ok(Some(Whole::new(dir, line, mounting, &all)))
}

/// The dataset that should be mounted at `dir` and is not.
fn not_mounted(sys: &dyn System, dir: &Path) -> Result<Option<Whole>> {
    if !Path::new(MODULE).exists() {
        return Ok(None);
    }
    for (name, all) in tell::get(sys, &OF_A_DATASET, &["-t", "filesystem"])? {
        let should = text(&all, "canmount") == Some("on") && text(&all, "mounted") == Some("no");
        if should && name.contains('/') && is_at(text(&all, "mountpoint").unwrap_or_default(), dir)
        {
            let line = line_from(&name, &all);
            return Ok(Some(Whole::new(dir, line, Mounting::Property, &all)));
        }
    }
    Ok(None)
}

fn detail(id: &VolumeId) -> Result<Detail> {
    let detail = match id.backend == Zfs.name() {
        true => serde_json::from_value(id.detail.clone()).map_err(|error| error.to_string()),
        false => Err("it is of another backend".to_owned()),
    };
    detail.map_err(|why| Error::Id {
        backend: id.backend.clone(),
        why,
    })
}

/// The id of what `detail` says.
fn id(title: String, detail: &Detail) -> VolumeId {
    VolumeId {
        backend: Zfs.name().to_owned(),
        title,
        detail: serde_json::to_value(detail).unwrap_or_default(),
    }
}

fn zfs<const N: usize>(words: [&str; N]) -> Cmd {
    Cmd::new("zfs").args(words)
}

/// One `zfs snapshot` takes them of all datasets of a pool, or of none.
impl Joint for Line {
    fn key(&self) -> &str {
        self.pool()
    }

    fn snapshot(&self, volumes: &[(VolumeId, Label)], name: &SnapName) -> Result<Vec<Action>> {
        let details = volumes.iter().map(|(id, label)| Ok((detail(id)?, label)));
        let details = details.collect::<Result<Vec<_>>>()?;
        let lines: Vec<(&Line, &Label)> = details
            .iter()
            .map(|(detail, label)| (detail.line(), *label))
            .collect();
        if let Some((other, _)) = lines.iter().find(|(line, _)| line.pool() != self.pool()) {
            return Err(Error::State(format!(
                "{} and {} are of two pools, and cannot be snapshotted in one call",
                self.live, other.live
            )));
        }
        Ok(vec![Action::Run(Line::take(&lines, name))])
    }
}
