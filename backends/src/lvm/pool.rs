//! What is in the way of one more volume in a thin pool. A pool that is not well is left as it is: what is done to it then is
//! for a person to decide.

use super::names;
use super::origin::Origin;
use super::report::{Report, Row};
use crate::cmd::{Cmd, System};
use crate::{Error, Obstacle, Result, View};

/// With this much of it used, in percent, a pool that nobody extends is too full: what a broker writes after a snapshot takes
/// room again.
const NEARLY_FULL: f64 = 90.0;

/// `thin_pool_autoextend_threshold` is at least this (lvm.conf(5)).
const LOWEST_THRESHOLD: f64 = 50.0;

/// What is in the way of a snapshot of `origin`, or of one of its snapshots.
pub fn obstacles(sys: &dyn System, origin: &Origin) -> Result<Vec<Obstacle>> {
    let report = origin.report(sys)?;
    in_pool(sys, &origin.vg, pool_of(origin, &report)?)
}

/// What is in the way of another volume in `pool` of the group `vg`.
pub fn in_pool(sys: &dyn System, vg: &str, pool: &Row) -> Result<Vec<Obstacle>> {
    let lv = format!("{vg}/{}", pool.name);
    if let Some(obstacle) = not_well(sys, vg, pool)? {
        return Ok(vec![obstacle]);
    }
    let used = [pool.data_percent, pool.metadata_percent];
    let [data, metadata] = used.map(Option::unwrap_or_default);
    let threshold = match data.max(metadata) >= LOWEST_THRESHOLD {
        true => threshold(sys)?,
        false => 100.0,
    };
    let limit = threshold.min(NEARLY_FULL);
    let mut found = Vec::new();
    if data >= limit {
        found.push(Obstacle {
            what: format!("thin pool {lv} is {data} % full"),
            why: match threshold < 100.0 {
                true => format!("LVM makes no snapshot in one that is over its threshold of {threshold} %"),
                false => "it is not extended by itself, and when it is full all that is written to any volume in it fails".to_owned(),
            },
            todo: format!("lvextend -L +SIZE {lv}; or remove snapshots"),
        });
    }
    let limit = limit.min(metadata_limit(pool.metadata_size));
    if metadata >= limit {
        found.push(Obstacle {
            what: format!("the metadata of thin pool {lv} are {metadata} % full"),
            why: format!(
                "LVM makes no snapshot over {limit:.0} %, and when they are full the pool breaks"
            ),
            todo: format!("lvextend --poolmetadatasize +SIZE {lv}; or remove snapshots"),
        });
    }
    Ok(found)
}

/// What is in the way of any change to `pool`.
pub fn not_well(sys: &dyn System, vg: &str, pool: &Row) -> Result<Option<Obstacle>> {
    match sick(pool, &format!("{vg}/{}", pool.name)) {
        Some(obstacle) => Ok(Some(obstacle)),
        None => out_of_step(sys, vg, pool),
    }
}

/// The pool that `origin` is in.
fn pool_of<'a>(origin: &Origin, report: &'a Report) -> Result<&'a Row> {
    let pool = report.of(&origin.uuid).and_then(|row| row.pool.as_deref());
    pool.and_then(|name| report.named(name)).ok_or_else(|| {
        Error::State(format!(
            "LVM knows of no thin volume {} any more that has the uuid {}",
            origin.lv(&origin.name),
            origin.uuid
        ))
    })
}

/// Whether `bytes` more, a copy of `from`, find room in the pool of `origin`.
pub fn room(
    sys: &dyn System,
    origin: &Origin,
    from: &View,
    bytes: u64,
) -> Result<Option<Obstacle>> {
    let report = origin.report(sys)?;
    let pool = pool_of(origin, &report)?;
    let free = free(pool.size, pool.data_percent);
    Ok((bytes > free).then(|| Obstacle {
        what: format!(
            "{from} holds {} MiB, and thin pool {} has {} MiB free",
            bytes >> 20,
            origin.lv(&pool.name),
            free >> 20
        ),
        why: "when a pool is full all that is written to any volume in it fails".to_owned(),
        todo: format!(
            "lvextend -L +SIZE {}; or remove snapshots",
            origin.lv(&pool.name)
        ),
    }))
}

/// Whether what a stream of about `bytes` writes finds room in `pool` of the group `vg`, with what has to be known of it.
pub fn room_for_stream(vg: &str, pool: &Row, bytes: u64) -> Vec<Obstacle> {
    let lv = format!("{vg}/{}", pool.name);
    let chunks = bytes.div_ceil(pool.chunk_size.max(1));
    let parts = [
        (bytes, pool.size, pool.data_percent, "", "lvextend -L +SIZE"),
        (
            chunks * METADATA_OF_A_CHUNK,
            pool.metadata_size,
            pool.metadata_percent,
            " of metadata",
            "lvextend --poolmetadatasize +SIZE",
        ),
    ];
    let short = parts
        .into_iter()
        .map(|(needs, size, used, what, todo)| (needs, free(size, used), what, todo))
        .filter(|(needs, free, ..)| needs > free);
    short
        .map(|(needs, free, what, todo)| Obstacle {
            what: format!(
                "thin pool {lv} has {} MiB{what} free, and about {} MiB will come",
                free >> 20,
                needs >> 20
            ),
            why: "when a pool is full all that is written to any volume in it fails".to_owned(),
            todo: format!("{todo} {lv}; or remove snapshots; or receive elsewhere"),
        })
        .collect()
}

/// Bytes of metadata for a chunk that is mapped, as thin-provisioning.txt of the kernel has it.
const METADATA_OF_A_CHUNK: u64 = 48;

fn free(size: u64, used: Option<f64>) -> u64 {
    (size as f64 * (1.0 - used.unwrap_or_default() / 100.0)) as u64
}

/// LVM wants 4 MiB free, or a quarter if that is less (pool_metadata_min_threshold() in its source).
fn metadata_limit(size: u64) -> f64 {
    let wanted = (4 << 20) as f64 * 100.0 / size.max(1) as f64;
    100.0 - wanted.min(25.0)
}

/// What LVM itself says is wrong.
fn sick(pool: &Row, lv: &str) -> Option<Obstacle> {
    let what = match (&pool.health, pool.check_needed) {
        (Some(health), _) => format!("thin pool {lv} is not well: LVM says {health:?}"),
        (None, true) => format!("thin pool {lv} has to be checked"),
        (None, false) => return None,
    };
    Some(Obstacle {
        what,
        why: "nothing may be changed in it before that is settled, lest data is lost".to_owned(),
        todo: format!(
            "look at lvs -a -o+lv_health_status,data_percent,metadata_percent {lv} and dmesg; see lvmthin(7)"
        ),
    })
}

/// LVM and the kernel count the changes of a pool; where the two differ LVM refuses to change it.
fn out_of_step(sys: &dyn System, vg: &str, pool: &Row) -> Result<Option<Obstacle>> {
    // One that has failed says no number; LVM says that it has.
    let kernels = status(sys, vg, pool)?.map(|it| it.transaction);
    let lvms = pool.transaction;
    let name = &pool.name;
    Ok((kernels.is_some() && kernels != lvms).then(|| Obstacle {
        what: format!(
            "thin pool {vg}/{name} is at transaction {}, and LVM expects {}",
            kernels.unwrap_or_default(),
            lvms.unwrap_or_default()
        ),
        why: "a change to it was cut, and LVM refuses to make another".to_owned(),
        todo: "do not repair it blindly; see \"transaction_id\" in lvmthin(7), and keep a copy of the data first".to_owned(),
    }))
}

/// What the kernel says of a pool.
#[derive(Debug, PartialEq, Eq)]
pub struct Status {
    /// How many changes it has seen.
    transaction: u64,
    /// Whether a snapshot of its metadata is held.
    pub metadata_held: bool,
}

/// What the kernel says of `pool`, which is active; `None` where it has failed. One that never had a volume is a device of
/// its own name (LVM 2.03.16).
pub fn status(sys: &dyn System, vg: &str, pool: &Row) -> Result<Option<Status>> {
    let suffix = match pool.transaction {
        Some(0) => "",
        _ => "-tpool",
    };
    let device = names::device(vg, &pool.name, suffix);
    let cmd = Cmd::new("dmsetup").args(["status", "--target", "thin-pool", &device]);
    let answer = sys.run(&cmd)?;
    parse_status(&answer).ok_or_else(|| Error::Answer {
        cmd: cmd.to_string(),
        line: String::from_utf8_lossy(&answer).chars().take(200).collect(),
        expected: "… thin-pool TRANSACTION …",
    })
}

/// Of `dmsetup status` of a thin pool; the inner is `None` where it has failed.
fn parse_status(output: &[u8]) -> Option<Option<Status>> {
    let text = std::str::from_utf8(output).ok()?;
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "thin-pool");
    match words.nth(1)? {
        "Fail" | "Error" => Some(None),
        number => {
            let transaction = number.parse().ok()?;
            // After how much of the metadata is used, and of the data: the block where a snapshot is.
            let held = words.nth(2)?;
            Some(Some(Status {
                transaction,
                metadata_held: held != "-",
            }))
        }
    }
}

/// How full a pool may be, in percent, before it is extended; 100 is never.
fn threshold(sys: &dyn System) -> Result<f64> {
    let name = "activation/thin_pool_autoextend_threshold";
    let cmd = Cmd::new("lvmconfig").args(["--type", "full", name]);
    let answer = sys.run(&cmd)?;
    parse_threshold(&answer).ok_or_else(|| Error::Answer {
        cmd: cmd.to_string(),
        line: String::from_utf8_lossy(&answer).chars().take(200).collect(),
        expected: "thin_pool_autoextend_threshold=…",
    })
}

fn parse_threshold(output: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(output).ok()?;
    text.trim().split_once('=')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_recorded_answers() {
        // `dmsetup status --target thin-pool`, dmsetup 1.02.185, Linux 6.1.
        let status = b"0 1228800 thin-pool 3 119/1024 1033/9600 - rw discard_passdown queue_if_no_space - 256 \n";
        let said = |metadata_held| {
            Some(Some(Status {
                transaction: 3,
                metadata_held,
            }))
        };
        assert_eq!(parse_status(status), said(false));
        let held = b"0 1228800 thin-pool 3 119/1024 1033/9600 121 rw discard_passdown queue_if_no_space - 256 \n";
        assert_eq!(parse_status(held), said(true));
        assert_eq!(parse_status(b"0 1228800 thin-pool Fail\n"), Some(None));
        assert_eq!(parse_status(b"0 1228800 linear\n"), None);
        // `lvmconfig --type full activation/thin_pool_autoextend_threshold`, LVM 2.03.16.
        assert_eq!(
            parse_threshold(b"thin_pool_autoextend_threshold=100\n"),
            Some(100.0)
        );
        assert_eq!(parse_threshold(b""), None);
    }

    #[test]
    fn metadata_are_kept_free_as_lvm_wants_it() {
        assert_eq!(metadata_limit(4 << 20), 75.0);
        assert_eq!(metadata_limit(16 << 20), 75.0);
        assert_eq!(metadata_limit(64 << 20), 93.75);
    }
}
