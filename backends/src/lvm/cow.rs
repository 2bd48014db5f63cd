//! Copy-on-write snapshots: their room is set aside when they are taken, and whatever is written to the volume afterwards is
//! first copied there. One whose room is used up is run over: nothing is left in it.

use super::origin::Origin;
use super::report::{Report, Row};
use crate::cmd::System;
use crate::{Error, Obstacle, Result, fstab};

/// The room of one: a fifth of the volume may change before it is run over. (Where the group has less, it is what there is:
/// `-l` with a share is an upper limit, lvcreate(8).)
pub const SIZE: &str = "20%ORIGIN";

/// With less than this share of the volume one is not worth taking.
const LEAST: f64 = 0.05;

/// So full, in percent, that it is time to let go of it or to give it more room.
const NEARLY_FULL: f64 = 80.0;

/// What is in the way of a snapshot of `origin`.
pub fn obstacles(sys: &dyn System, origin: &Origin) -> Result<Vec<Obstacle>> {
    let report = origin.report(sys)?;
    let lv = origin.lv(&origin.name);
    let row = report.of(&origin.uuid).ok_or_else(|| {
        Error::State(format!(
            "LVM knows of no volume {lv} any more that has the uuid {}",
            origin.uuid
        ))
    })?;
    let mut found = Vec::new();
    if row.is_merging() {
        found.push(Obstacle {
            what: format!("a snapshot is being merged into {lv}"),
            why: "LVM makes no other until that is done".to_owned(),
            todo: format!("wait, or see lvs -a -o+lv_merging,data_percent {lv}"),
        });
    }
    if let Some(health) = &row.health {
        found.push(Obstacle {
            what: format!("{lv} is not well: LVM says {health:?}"),
            why: "nothing may be changed before that is settled, lest data is lost".to_owned(),
            todo: format!("look at lvs -a -o+lv_health_status,devices {lv} and dmesg"),
        });
    }
    if (row.vg_free as f64) < row.size as f64 * LEAST {
        found.push(Obstacle {
            what: format!(
                "volume group {} has {} MiB free, and {lv} has {} MiB",
                origin.vg,
                row.vg_free >> 20,
                row.size >> 20
            ),
            why: format!(
                "a snapshot needs room for what changes while it lives: {SIZE} is wanted, and less than a twentieth is soon run over"
            ),
            todo: format!(
                "vgextend {}; or remove volumes; or keep the data in a thin pool",
                origin.vg
            ),
        });
    }
    found.extend(boots_another(origin)?);
    Ok(found)
}

/// A snapshot has the uuid and label of the file system, and a boot activates it with its volume.
fn boots_another(origin: &Origin) -> Result<Option<Obstacle>> {
    let by_content = |source: &String| {
        let words = [
            "UUID=",
            "LABEL=",
            "/dev/disk/by-uuid/",
            "/dev/disk/by-label/",
        ];
        words.iter().any(|word| source.starts_with(word))
    };
    let source = fstab::source_of(&origin.point)?.filter(by_content);
    Ok(source.map(|source| Obstacle {
        what: format!(
            "{} says that {source} is mounted at {}",
            fstab::PATH,
            origin.point.display()
        ),
        why: "a snapshot of it has that, too, and a boot may mount the wrong one".to_owned(),
        todo: format!("write /dev/{} there", origin.lv(&origin.name)),
    }))
}

/// What would be run over if `bytes` were written to `origin`: that which they come from, or another.
pub fn room(sys: &dyn System, origin: &Origin, bytes: u64) -> Result<Vec<Obstacle>> {
    let report = origin.report(sys)?;
    let size = report.of(&origin.uuid).map_or(0, |row| row.size);
    let of_it = |row: &&Row| row.origin.as_ref() == Some(&origin.uuid);
    let at_risk = report.rows.iter().filter(of_it).filter(|row| {
        let used = row.data_percent.unwrap_or_default() / 100.0;
        let free = (row.size as f64 * (1.0 - used)) as u64;
        // One as large as its volume, with what it needs for itself, cannot be run over.
        row.is_copy_on_write() && !row.invalid && row.size <= size && free < needs(bytes)
    });
    let obstacle = |row: &Row| Obstacle {
        what: format!(
            "{} has {} MiB, of which {} % are used",
            origin.lv(&row.name),
            row.size >> 20,
            row.data_percent.unwrap_or_default()
        ),
        why: format!(
            "to bring a snapshot back writes {} MiB, which would run this one over",
            bytes >> 20
        ),
        todo: format!(
            "lvextend -L +{}m {}",
            (needs(bytes) >> 20) + 1,
            origin.lv(&row.name)
        ),
    };
    Ok(at_risk.map(obstacle).collect())
}

/// What is written comes in chunks, and there are names and a journal to write, too.
fn needs(bytes: u64) -> u64 {
    bytes + bytes / 8 + (4 << 20)
}

/// Whether something is left in the snapshot `name`.
pub fn is_whole(sys: &dyn System, vg: &str, name: &str) -> Result<()> {
    match Report::ask(sys, vg)?.named(name) {
        Some(row) if row.invalid => Err(Error::State(run_over(&format!("{vg}/{name}"), row))),
        Some(_) => Ok(()),
        None => Err(Error::State(format!("there is no {vg}/{name}"))),
    }
}

fn run_over(lv: &str, row: &Row) -> String {
    format!(
        "snapshot {lv} was run over: more was written to its volume than the {} MiB that it had room for (or its room could not be written to), and nothing is left in it",
        row.size >> 20
    )
}

/// Tells of a snapshot of `origin` that was run over, or soon will be.
pub fn warn(origin: &Origin, row: &Row) {
    let lv = origin.lv(&row.name);
    if row.invalid {
        tracing::warn!("{}", run_over(&lv, row));
    } else if row.is_copy_on_write() && row.data_percent >= Some(NEARLY_FULL) {
        let used = row.data_percent.unwrap_or_default();
        tracing::warn!(
            "snapshot {lv} is {used} % full, and is lost at 100: lvextend -L +SIZE {lv}, or remove it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_needed_than_what_is_written() {
        assert_eq!(needs(0), 4 << 20);
        assert_eq!(needs(800 << 20), 904 << 20);
    }
}
