//! The side that sends: the volume of a data directory, or a place where its snapshots have landed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::{Point, Stream};
use zeebe_snap_backends::{DRIVERS, Label, Landing, Obstacle, SnapName, Volume};

use super::{landed, place};
use crate::cmd::absolute;

/// See above.
#[derive(Debug)]
pub enum Side {
    Volume(Box<dyn Volume>),
    Place(Box<dyn Landing>),
}

impl Side {
    /// What `from` names: a place if something of ours has landed there, or if it is none of a directory's names.
    pub fn of(host: &Host, from: &Path) -> Result<Side> {
        if let Some(text) = from.to_str()
            && let Some(place) = place(host, text)?
        {
            let is_path = text.starts_with(['/', '.']) || from.exists();
            let has_landed = || {
                let landed = place.landed(host)?;
                anyhow::Ok(landed.iter().any(|it| it.label.is_some()))
            };
            if !is_path || has_landed()? {
                return Ok(Side::Place(place));
            }
        }
        volume(host, from).map(Side::Volume)
    }

    /// What names it, for people.
    pub fn title(&self) -> String {
        match self {
            Side::Volume(volume) => volume.id().title,
            Side::Place(place) => place.id().title,
        }
    }

    /// What sends.
    pub fn stream(&self) -> Result<&dyn Stream> {
        let (stream, hint) = match self {
            Side::Volume(volume) => (volume.stream(), "`zeebe-snap tree clone` copies its tree"),
            Side::Place(place) => (
                place.stream(),
                "`zeebe-snap stream extract` copies its tree",
            ),
        };
        match stream {
            Some(stream) => Ok(stream),
            None => bail!("{} has no streams\n  Hint: {hint}.", self.title()),
        }
    }

    /// A snapshot of ours; or why there is none of that name.
    pub fn find(&self, host: &Host, name: &SnapName) -> Result<Result<(Point, Label), Obstacle>> {
        match self {
            Side::Volume(volume) => of_volume(host, &**volume, name),
            Side::Place(place) => {
                let all = place.landed(host)?;
                let found = landed::find_whole(&all, &self.title(), name);
                Ok(found.map(|(it, label)| (it.point.clone(), label.clone())))
            }
        }
    }
}

fn of_volume(
    host: &Host,
    volume: &dyn Volume,
    name: &SnapName,
) -> Result<Result<(Point, Label), Obstacle>> {
    let title = volume.id().title;
    let obstacle = |what, why: &str, todo: String| {
        Ok(Err(Obstacle {
            what,
            why: why.to_owned(),
            todo,
        }))
    };
    let Some(found) = volume.find(host, name)? else {
        let all = volume.list(host)?;
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        return obstacle(
            format!("{title} has no snapshot {name}"),
            "only what is there can be sent",
            match names[..] {
                [] => "it has none at all".to_owned(),
                _ => format!("it has {}", names.join(", ")),
            },
        );
    };
    match &found.label {
        Some(label) => Ok(Ok((Point::of(&found), label.clone()))),
        None => obstacle(
            format!("the snapshot {name} of {title} is not one of ours"),
            "whoever made it may remove it at any time",
            "send one that zeebe-snap took".to_owned(),
        ),
    }
}

/// The volume that holds `data`.
fn volume(host: &Host, data: &Path) -> Result<Box<dyn Volume>> {
    let dir = match fs::canonicalize(data) {
        Ok(dir) => dir,
        // One that is gone may have snapshots.
        Err(_) => absolute(data.to_owned())?,
    };
    for driver in DRIVERS {
        if let Some(volume) = driver.detect(host, &dir)? {
            return Ok(volume);
        }
    }
    None.with_context(|| {
        format!("{dir:?} is on no volume that is known\n  Hint: give a data directory that exists.")
    })
}
