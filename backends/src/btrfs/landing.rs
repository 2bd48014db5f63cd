//! A folder on btrfs where `btrfs receive` makes subvolumes.
//!
//! What is received has the name it was sent by. `NAME.json` is written before the first byte flows, and makes it ours;
//! `NAME.seal` after the last, and says which subvolume is the whole one. What has the first and not the second was cut. (It
//! cannot be moved into place instead: a frozen subvolume keeps the folder it was made in.)
//!
//! `btrfs receive` looks for the base by itself, anywhere on the file system, by its received uuid, and a snapshot of a base
//! inherits that. So another subvolume that has it is in the way, and which one was taken is asked afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::show::{self, Shown};
use super::{Btrfs, btrfs, format, place, stream};
use crate::action::Action;
use crate::cmd::System;
use crate::name::SnapName;
use crate::store::read_if_there;
use crate::stream::pipe::{Receiver, Sender};
use crate::stream::{Form, Head, Landed, Landing, Part, Point, Shipment, Stream, Whole};
use crate::{Driver, Error, Label, Obstacle, Result, View, VolumeId};

/// Of what is written beside a subvolume.
const FORMAT: u32 = 1;

/// The folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Folder {
    folder: PathBuf,
}

/// `NAME.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Ahead {
    format: u32,
    /// The identity of what is received.
    of: String,
    label: Label,
}

/// `NAME.seal`.
#[derive(Debug, Serialize, Deserialize)]
struct Seal {
    format: u32,
    /// The subvolume that is whole.
    uuid: String,
}

/// One name in the folder.
struct Standing {
    landed: Landed,
    shown: Option<Shown>,
}

impl Folder {
    /// By its one real path, as far as that is there: what is known of the place, and who holds it, is known by that.
    pub fn new(folder: &Path) -> Folder {
        let real = |there: &Path| -> Option<PathBuf> {
            let rest = folder.strip_prefix(there).ok()?;
            let there = there.canonicalize().ok()?;
            Some(there.components().chain(rest.components()).collect())
        };
        let mut absolute = folder.ancestors().filter(|_| folder.is_absolute());
        Folder {
            folder: absolute.find_map(real).unwrap_or(folder.to_owned()),
        }
    }

    /// Whether it is there, or the folder that it is to be made in. A path that is not absolute is none.
    pub fn is_on_btrfs(&self) -> Result<bool> {
        match self.folder.is_absolute() {
            true => place::is_btrfs(self.around()),
            false => Ok(false),
        }
    }

    /// The folder, or as much of its path as there is.
    fn around(&self) -> &Path {
        let there = self.folder.ancestors().find(|path| path.exists());
        there.unwrap_or(Path::new("/"))
    }

    fn at(&self, name: &SnapName) -> PathBuf {
        self.folder.join(name.as_str())
    }

    fn beside(&self, name: &SnapName, what: &str) -> PathBuf {
        self.folder.join(format!("{name}.{what}"))
    }

    fn names(&self) -> Result<BTreeSet<SnapName>> {
        let folder = &self.folder;
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(Error::io("list", folder)(error)),
        };
        let mut names = BTreeSet::new();
        for entry in listing {
            let entry = entry.map_err(Error::io("list", folder))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = match is_folder {
                true => Some(name.as_str()),
                false => name.strip_suffix(".json").or(name.strip_suffix(".seal")),
            };
            let name = name.map(|name| SnapName::try_from(name.to_owned()));
            names.extend(name.and_then(Result::ok));
        }
        Ok(names)
    }

    fn standing(&self, sys: &dyn System, name: &SnapName) -> Result<Standing> {
        let shown = place::shown(sys, &self.at(name))?;
        let ahead: Option<Ahead> = read(&self.beside(name, "json"), |it: &Ahead| it.format)?;
        let seal: Option<Seal> = read(&self.beside(name, "seal"), |it: &Seal| it.format)?;
        let received = shown.as_ref().and_then(|it| it.received_uuid.clone());
        let point = |identity| Point {
            name: name.clone(),
            identity,
            form: Form::Snapshot,
        };
        let landed = match ahead {
            Some(ahead) => {
                let is_it = |shown: &Shown, seal: Seal| {
                    shown.readonly
                        && received.as_ref() == Some(&ahead.of)
                        && seal.uuid == shown.uuid
                };
                let whole = shown
                    .as_ref()
                    .zip(seal)
                    .is_some_and(|(shown, seal)| is_it(shown, seal));
                Landed {
                    point: point(ahead.of),
                    label: Some(ahead.label),
                    whole: match whole {
                        true => Whole::Base,
                        false => Whole::Cut { resume: None },
                    },
                }
            }
            None => Landed {
                point: point(match &shown {
                    Some(shown) => received.unwrap_or_else(|| shown.uuid.clone()),
                    None => "a folder or file".to_owned(),
                }),
                label: None,
                whole: Whole::Whole,
            },
        };
        Ok(Standing { landed, shown })
    }

    fn all(&self, sys: &dyn System) -> Result<Vec<Standing>> {
        let names = self.names()?.into_iter();
        names.map(|name| self.standing(sys, &name)).collect()
    }

    /// What is whole and ours, and known by `identity`.
    fn whole(&self, sys: &dyn System, identity: &str) -> Result<Option<(Landed, Shown)>> {
        let all = self.all(sys)?.into_iter();
        Ok(all
            .filter(|it| it.landed.label.is_some() && it.landed.whole == Whole::Base)
            .filter(|it| it.landed.point.identity == identity)
            .find_map(|it| Some((it.landed, it.shown?))))
    }

    fn base_obstacles(&self, sys: &dyn System, base: &Point) -> Result<Vec<Obstacle>> {
        let folder = self.folder.display();
        let Some((_, shown)) = self.whole(sys, &base.identity)? else {
            return Ok(vec![Obstacle {
                what: format!(
                    "the base {} ({}) is not in {folder}, or not whole",
                    base.name, base.identity
                ),
                why: "the stream says only what is to be changed in it".to_owned(),
                todo: "send another one that both sides have, or all of it".to_owned(),
            }]);
        };
        let list = sys.run(&btrfs(["subvolume", "list", "-uR"]).arg(&self.folder))?;
        let twins = show::parse_uuids(&list)?
            .into_iter()
            .filter(|(uuid, received, _)| {
                *uuid != shown.uuid && received.as_ref() == Some(&base.identity)
            });
        Ok(twins
            .map(|(_, _, path)| Obstacle {
                what: format!(
                    "the subvolume {path:?} on the file system of {folder} passes for the base {}",
                    base.name
                ),
                why: format!(
                    "it has the same received uuid {}, and btrfs receive may start from it instead",
                    base.identity
                ),
                todo: "delete it, or make a writable snapshot of it and delete it then".to_owned(),
            })
            .collect())
    }
}

/// What does not read, or is of a later format, says nothing: what is beside it is not taken for ours.
fn read<T: serde::de::DeserializeOwned>(path: &Path, format: fn(&T) -> u32) -> Result<Option<T>> {
    let text = read_if_there(path)?;
    let read = text.and_then(|text| serde_json::from_slice(&text).ok());
    Ok(read.filter(|it| format(it) == FORMAT))
}

fn write(path: PathBuf, content: &impl Serialize) -> Action {
    // Nothing in it can fail to be written as JSON.
    let mut content = serde_json::to_vec(content).unwrap_or_default();
    content.push(b'\n');
    Action::Write { path, content }
}

impl Landing for Folder {
    fn id(&self) -> VolumeId {
        VolumeId {
            backend: Btrfs.name().to_owned(),
            title: format!("folder {} on btrfs", self.folder.display()),
            // A path that was given as text is UTF-8, and nothing else can fail.
            detail: serde_json::to_value(self).unwrap_or_default(),
        }
    }

    fn landed(&self, sys: &dyn System) -> Result<Vec<Landed>> {
        Ok(self.all(sys)?.into_iter().map(|it| it.landed).collect())
    }

    fn obstacles(
        &self,
        sys: &dyn System,
        shipment: &Shipment,
        bytes: Option<u64>,
    ) -> Result<Vec<Obstacle>> {
        let mut found = Vec::new();
        let path = self.at(&shipment.of.name);
        if fs::symlink_metadata(&path).is_ok() {
            found.push(Obstacle {
                what: format!("{} is there already", path.display()),
                why: "btrfs receive makes a subvolume of that name".to_owned(),
                todo: "receive elsewhere, or move away what is there".to_owned(),
            });
        }
        if let Some(base) = &shipment.base {
            found.extend(self.base_obstacles(sys, base)?);
        }
        if let Some(bytes) = bytes {
            found.extend(self.no_room(bytes)?);
        }
        Ok(found)
    }

    fn head(&self, first: &[u8]) -> Result<Head> {
        format::head(first)
    }

    fn prepare(&self, shipment: &Shipment, label: &Label) -> Vec<Action> {
        let name = &shipment.of.name;
        let ahead = Ahead {
            format: FORMAT,
            of: shipment.of.identity.clone(),
            label: label.clone(),
        };
        vec![
            Action::MakeDir(self.folder.clone()),
            Action::RemoveFile(self.beside(name, "seal")),
            write(self.beside(name, "json"), &ahead),
        ]
    }

    fn receive(&self, _: &Shipment) -> Receiver {
        Receiver::Tool(btrfs(["receive", "-q"]).arg(&self.folder))
    }

    fn finish(&self, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Action>> {
        let name = &shipment.of.name;
        let path = self.at(name);
        let wrong = |what: String| Err(Error::State(format!("{}: {what}", path.display())));
        let Some(shown) = place::shown(sys, &path)? else {
            return wrong("the stream went through, and no subvolume is there".to_owned());
        };
        if !shown.readonly || shown.received_uuid.as_ref() != Some(&shipment.of.identity) {
            let received = shown.received_uuid.as_deref().unwrap_or("nothing");
            let of = &shipment.of.identity;
            return wrong(format!("what was received is {received}, and not {of}"));
        }
        let base = match &shipment.base {
            Some(base) => match self.whole(sys, &base.identity)? {
                Some((_, shown)) => Some(shown.uuid),
                None => return wrong(format!("its base {} is gone", base.name)),
            },
            None => None,
        };
        if shown.parent_uuid != base {
            let [was, wanted] =
                [&shown.parent_uuid, &base].map(|it| it.as_deref().unwrap_or("nothing"));
            return wrong(format!("it was made from {was}, and not from {wanted}"));
        }
        let seal = Seal {
            format: FORMAT,
            uuid: shown.uuid,
        };
        Ok(vec![
            Action::Sync(self.folder.clone()),
            write(self.beside(name, "seal"), &seal),
        ])
    }

    fn abandon(&self, name: &SnapName) -> Vec<Action> {
        vec![
            Action::DeleteSubvolume(self.at(name)),
            Action::RemoveFile(self.beside(name, "seal")),
            Action::RemoveFile(self.beside(name, "json")),
        ]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        self.abandon(name)
    }

    fn view(&self, name: &SnapName, part: &Part) -> View {
        let mut path = self.at(name);
        if part.below != Path::new("") {
            path.push(&part.below);
        }
        let mut view = View::of(path);
        view.leave_out.clone_from(&part.leave_out);
        view
    }

    fn stream(&self) -> Option<&dyn Stream> {
        Some(self)
    }
}

impl Folder {
    fn no_room(&self, bytes: u64) -> Result<Option<Obstacle>> {
        let there = self.around();
        let fs =
            rustix::fs::statvfs(there).map_err(Error::io("look at the file system of", there))?;
        let free = fs.f_bavail.saturating_mul(fs.f_frsize);
        Ok((free < bytes).then(|| Obstacle {
            what: format!(
                "{} has room for {} MiB, and about {} MiB will come",
                there.display(),
                free >> 20,
                bytes >> 20
            ),
            why: "a stream that finds no room is cut, and begun anew".to_owned(),
            todo: "make room there, or receive elsewhere".to_owned(),
        }))
    }
}

/// What has landed is sent by the identity it came with: a stream carries the received uuid where there is one.
impl Stream for Folder {
    fn points(&self, sys: &dyn System) -> Result<Vec<Point>> {
        let mut all = self.all(sys)?;
        all.retain(|it| it.landed.label.is_some() && it.landed.whole == Whole::Base);
        all.sort_by_key(|it| it.shown.as_ref().map(|shown| shown.born));
        Ok(all.into_iter().map(|it| it.landed.point).collect())
    }

    /// It is for who had it sent here to know.
    fn part(&self) -> Part {
        Part::default()
    }

    fn obstacles(&self, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Obstacle>> {
        let points = self.points(sys)?;
        let wanted = [Some(&shipment.of), shipment.base.as_ref()];
        let gone = wanted
            .into_iter()
            .flatten()
            .filter(|it| !points.contains(it));
        Ok(gone
            .map(|it| stream::gone(&self.at(&it.name), &it.name))
            .collect())
    }

    fn estimate(&self, sys: &dyn System, shipment: &Shipment) -> Result<Option<u64>> {
        let path = |point: &Point| self.at(&point.name);
        stream::weigh(sys, &path(&shipment.of), shipment.base.as_ref().map(path)).map(Some)
    }

    fn send(&self, shipment: &Shipment) -> Sender {
        let path = |point: &Point| self.at(&point.name);
        Sender::Tool(stream::send(
            &path(&shipment.of),
            shipment.base.as_ref().map(path),
        ))
    }
}
