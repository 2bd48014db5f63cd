//! What has landed at a place: found by its name, or why it is of no use.

use zeebe_snap_backends::stream::{Landed, Whole};
use zeebe_snap_backends::{Label, Obstacle, SnapName};

use crate::report::nearest;

/// What stands at `place` as `name`.
pub fn find<'a>(all: &'a [Landed], place: &str, name: &SnapName) -> Result<&'a Landed, Obstacle> {
    let found = all.iter().find(|it| it.point.name == *name);
    found.ok_or_else(|| {
        let names = all.iter().map(|it| it.point.name.as_str());
        Obstacle {
            what: format!("{place} has no snapshot {name}"),
            why: "it has not landed there, or was destroyed".to_owned(),
            todo: format!(
                "{}; `zeebe-snap stream list` shows all",
                nearest(name.as_str(), names)
            ),
        }
    })
}

/// The same, if it is whole and ours, with its label.
pub fn find_whole<'a>(
    all: &'a [Landed],
    place: &str,
    name: &SnapName,
) -> Result<(&'a Landed, &'a Label), Obstacle> {
    let it = find(all, place, name)?;
    match (&it.label, &it.whole) {
        (Some(label), Whole::Base | Whole::Whole) => Ok((it, label)),
        (Some(_), Whole::Cut { .. }) => Err(Obstacle {
            what: format!("{name} of {place} was cut"),
            why: "not all of it is there".to_owned(),
            todo: "send it again, and it is gone on with or begun anew".to_owned(),
        }),
        (None, _) => Err(Obstacle {
            what: format!("{name} of {place} is not one of ours"),
            why: "whether it is whole is not known, and whoever made it may remove it at any time"
                .to_owned(),
            todo: "send one that zeebe-snap took, or copy this one by hand".to_owned(),
        }),
    }
}

/// The word for scripts.
pub fn state(whole: &Whole) -> &'static str {
    match whole {
        Whole::Base => "base",
        Whole::Whole => "whole",
        Whole::Cut { .. } => "cut",
    }
}
