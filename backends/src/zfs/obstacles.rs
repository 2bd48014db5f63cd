//! What would keep a dataset from being snapshotted or replaced, found before any broker is stopped for it.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::line::Line;
use super::tell::{self, number, text};
use super::{Properties, is_dataset};
use crate::cmd::{System, quote};
use crate::mounts;
use crate::namespaces;
use crate::{Error, Obstacle, Purpose, Result};

/// ZFS_MAX_DATASET_NAME_LEN, less the end of a C string.
const LONGEST: usize = 255;
/// What is kept has a name that ends in its stage's, and snapshots in it, and has a third name while it is renamed.
const STAGE: usize = 48;
const SNAPSHOT: usize = 48;

/// In the way of `purpose`, of a dataset that is mounted at `data`.
pub fn of_whole(
    sys: &dyn System,
    data: &Path,
    line: &Line,
    purpose: Purpose,
) -> Result<Vec<Obstacle>> {
    let mut found = mounts::obstacles(data)?;
    found.extend(of_the_pool(sys, line)?);
    found.extend(not_mounted(sys, data, line)?);
    if !found.is_empty() {
        return Ok(found);
    }
    if purpose == Purpose::Capture {
        found.extend(of_snapshots(sys, line)?);
        return Ok(found);
    }
    found.extend(of_mounts(data)?);
    found.extend(of_names(sys, line)?);
    found.extend(without_a_key(sys, line)?);
    found.extend(imported_elsewhere(sys, line)?);
    if purpose == Purpose::BringBack {
        found.extend(of_reservations(sys, line)?);
    }
    Ok(found)
}

/// A pool that cannot be written to. One that is degraded can.
pub fn of_the_pool(sys: &dyn System, line: &Line) -> Result<Vec<Obstacle>> {
    let pool = line.pool();
    let [health, readonly] = tell::pool(sys, ["health", "readonly"], pool)?;
    let mut found = Vec::new();
    if !["ONLINE", "DEGRADED"].contains(&health.as_str()) {
        found.push(Obstacle {
            what: format!("the pool {pool} is {health}"),
            why: "nothing can be written to it".to_owned(),
            todo: format!("zpool status {}", quote(pool.as_ref())),
        });
    } else if readonly == "on" {
        found.push(Obstacle {
            what: format!("the pool {pool} is imported read-only"),
            why: "nothing can be written to it".to_owned(),
            todo: "import it again without readonly=on".to_owned(),
        });
    }
    Ok(found)
}

const SPACE: [&str; 6] = [
    "available",
    "reservation",
    "refreservation",
    "usedbydataset",
    "keystatus",
    "mounted",
];

/// Of the dataset, and of what is around it.
fn space(sys: &dyn System, line: &Line) -> Result<(Properties, Properties)> {
    let around = line
        .live
        .rsplit_once('/')
        .map_or(line.live.as_str(), |(around, _)| around);
    let told = tell::get(sys, &SPACE, &["--", &line.live, around])?;
    let of = |name: &str| {
        let found = told.iter().find(|(told, _)| told == name);
        found.map(|(_, all)| all.clone()).unwrap_or_default()
    };
    Ok((of(&line.live), of(around)))
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// In the way of a snapshot.
pub fn of_snapshots(sys: &dyn System, line: &Line) -> Result<Vec<Obstacle>> {
    let live = &line.live;
    let (own, around) = space(sys, line)?;
    let (reserved, available) = (number(&own, "refreservation"), number(&around, "available"));
    // What is reserved for the data is promised once more as soon as all of it is in a snapshot too.
    let needed = reserved.min(number(&own, "usedbydataset"));
    let mut found = Vec::new();
    if needed > available {
        found.push(Obstacle {
            what: format!(
                "{live} has a refreservation of {} MiB, of which {} MiB are used; there are {} MiB free around it",
                mib(reserved), mib(needed), mib(available)
            ),
            why: "a snapshot keeps the room that is used, and the reservation wants it once more".to_owned(),
            todo: format!("make room, or lower it: zfs set refreservation=none {}", quote(live.as_ref())),
        });
    } else if available == 0 {
        found.push(Obstacle {
            what: format!("there is no room left around {live}"),
            why: "a snapshot needs a little, and all that is written after it needs more"
                .to_owned(),
            todo: "make room, or raise the quota".to_owned(),
        });
    }
    if live.len() + 1 + SNAPSHOT > LONGEST {
        found.push(too_long(live));
    }
    Ok(found)
}

fn too_long(live: &str) -> Obstacle {
    Obstacle {
        what: format!("the name {live} is {} bytes long", live.len()),
        why: format!("names of what is made of it are longer, and {LONGEST} is the most"),
        todo: "rename the dataset, or one around it".to_owned(),
    }
}

/// What is not mounted, and why that may be.
fn not_mounted(sys: &dyn System, data: &Path, line: &Line) -> Result<Option<Obstacle>> {
    let all = mounts::read()?;
    let is_it = |mount: &mounts::Mount| is_dataset(mount) && mount.source == line.live;
    if mounts::around(&all, data).is_some_and(|mount| mount.point == data && is_it(mount)) {
        return Ok(None);
    }
    let (own, _) = space(sys, line)?;
    let (live, data) = (&line.live, data.display());
    Ok(Some(match text(&own, "keystatus") {
        Some("unavailable") => Obstacle {
            what: format!("the key of the dataset {live} is not loaded"),
            why: format!("it is not mounted at {data}, and nothing can be made of its snapshots"),
            todo: format!("zfs load-key {0} && zfs mount {0}", quote(live.as_ref())),
        },
        _ => Obstacle {
            what: format!("the dataset {live} is not mounted at {data}"),
            why: "what is there now is not the data".to_owned(),
            todo: format!("zfs mount {}", quote(live.as_ref())),
        },
    }))
}

/// What is mounted, and could not be mounted again.
fn without_a_key(sys: &dyn System, line: &Line) -> Result<Option<Obstacle>> {
    let seen = line.look(sys)?;
    let is_missing = seen
        .named(&line.live)
        .is_some_and(|live| live.key_is_missing);
    Ok(is_missing.then(|| Obstacle {
        what: format!("the key of the dataset {} is not loaded", line.live),
        why: "it is mounted, and what takes its place could not be".to_owned(),
        todo: format!("zfs load-key {}", quote(line.live.as_ref())),
    }))
}

/// In the way of what is mounted changing.
fn of_mounts(data: &Path) -> Result<Vec<Obstacle>> {
    let at = statvfs(data).map_err(Error::io("look at the file system of", data))?;
    if at.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(vec![Obstacle {
            what: format!("{} is mounted read-only", data.display()),
            why: "a broker cannot work there, whatever is brought back".to_owned(),
            todo: "look into why it is; zfs get readonly tells if it is the dataset's own wish"
                .to_owned(),
        }]);
    }
    let all = mounts::read()?;
    let others = mounts::elsewhere(&all, data).into_iter();
    let others = others.map(|mount| Obstacle {
        what: format!(
            "{} is mounted at {}, too",
            data.display(),
            mount.point.display()
        ),
        why: "what is replaced would still be seen there".to_owned(),
        todo: format!(
            "if the broker works there, set `data` in cluster.toml to that; else umount {}",
            quote(mount.point.as_os_str())
        ),
    });
    let mut found: Vec<Obstacle> = others.collect();
    if let Some(here) = mounts::around(&all, data) {
        found.extend(namespaces::obstacles(here)?);
    }
    Ok(found)
}

/// In the way of the dataset getting another name.
fn of_names(sys: &dyn System, line: &Line) -> Result<Vec<Obstacle>> {
    let live = &line.live;
    let mut found = Vec::new();
    if live.len() + 1 + STAGE + ".between".len() + 1 + SNAPSHOT > LONGEST {
        found.push(too_long(live));
    }
    let seen = line.look(sys)?;
    let below = seen.below(live);
    if !below.is_empty() {
        found.push(Obstacle {
            what: format!("{live} has datasets below it: {}", below.join(", ")),
            why: "what takes its place has none, and they would be kept with what is replaced"
                .to_owned(),
            todo: "move them out of it (zfs rename)".to_owned(),
        });
    }
    Ok(found)
}

/// With another root the mount points told are not those that are set.
fn imported_elsewhere(sys: &dyn System, line: &Line) -> Result<Option<Obstacle>> {
    let pool = line.pool();
    let [altroot] = tell::pool(sys, ["altroot"], pool)?;
    Ok((altroot != "-").then(|| Obstacle {
        what: format!("the pool {pool} is imported below {altroot} (altroot)"),
        why: "it is mounted where a boot would not mount it".to_owned(),
        todo: "import it again without -R".to_owned(),
    }))
}

/// A clone gets what is reserved for the data, while the data is there still.
fn of_reservations(sys: &dyn System, line: &Line) -> Result<Option<Obstacle>> {
    let (own, around) = space(sys, line)?;
    let reserved = number(&own, "reservation").max(number(&own, "refreservation"));
    let available = number(&around, "available");
    Ok((reserved > available).then(|| Obstacle {
        what: format!(
            "{} reserves {} MiB, and there are {} MiB free around it",
            line.live,
            mib(reserved),
            mib(available)
        ),
        why: "what takes its place reserves as much, and what is replaced is kept".to_owned(),
        todo: "make room, or lower the reservation".to_owned(),
    }))
}
