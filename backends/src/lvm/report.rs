//! What `lvs` says of a volume group.
//!
//! Fields of segments are asked for too, so that a volume of several has several rows: they say the same of what is used.

use serde::Deserialize;

use super::names;
use super::tags::Marks;
use crate::cmd::{Cmd, System};
use crate::{Error, Result};

/// What is asked for (lvs(8)). Unknown, as of a volume that is not active, is empty or `-1`.
const FIELDS: &str = "lv_name,lv_uuid,lv_attr,lv_layout,pool_lv,origin_uuid,lv_size,lv_metadata_size,data_percent,metadata_percent,\
    transaction_id,thin_id,chunk_size,lv_device_open,lv_health_status,lv_check_needed,lv_snapshot_invalid,lv_tags,vg_free";

/// One logical volume.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub uuid: String,
    /// "Vwi-aotz--", lvs(8).
    attr: String,
    /// "thin,sparse", "linear".
    layout: String,
    /// Of what it is a snapshot. For a thin one that is not what it belongs to.
    pub origin: Option<String>,
    /// The thin pool it is in.
    pub pool: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Of a thin pool's metadata.
    pub metadata_size: u64,
    /// How much of a thin pool is used, or of a copy-on-write snapshot.
    pub data_percent: Option<f64>,
    /// How much of a thin pool's metadata is.
    pub metadata_percent: Option<f64>,
    /// Of a thin pool: what LVM believes it has come to; of a volume in it: what it had come to when that was made.
    pub transaction: Option<u64>,
    /// The number of a thin volume in its pool.
    pub thin_id: Option<u32>,
    /// Of a thin pool, in bytes.
    pub chunk_size: u64,
    /// Whether it is in use; unknown is not.
    pub open: bool,
    /// What is wrong with it, in LVM's words.
    pub health: Option<String>,
    pub check_needed: bool,
    /// A copy-on-write snapshot that was run over: nothing is left in it.
    pub invalid: bool,
    pub marks: Marks,
    /// All that is written on it.
    pub tags: Vec<String>,
    /// Of its group, in bytes.
    pub vg_free: u64,
}

impl Row {
    pub fn is_thin(&self) -> bool {
        self.layout.split(',').any(|word| word == "thin") && self.pool.is_some()
    }

    pub fn is_pool(&self) -> bool {
        let mut words = self.layout.split(',');
        words.any(|word| word == "thin") && words.any(|word| word == "pool")
    }

    pub fn is_active(&self) -> bool {
        self.attr.chars().nth(4) == Some('a')
    }

    /// Of a thin pool: whether what was in a chunk before cannot be seen in it any more.
    pub fn zeroes(&self) -> bool {
        self.attr.chars().nth(7) == Some('z')
    }

    /// Whether it is a copy-on-write snapshot, of which there can be none.
    pub fn is_copy_on_write(&self) -> bool {
        self.attr.starts_with(['s', 'S'])
    }

    /// Whether a snapshot is being merged into it.
    pub fn is_merging(&self) -> bool {
        self.attr.starts_with('O')
    }

    /// Whether nobody can write to it. (What `lv_permissions` says is "unknown" where it is not active.)
    pub fn is_frozen(&self) -> bool {
        self.attr.chars().nth(1) == Some('r')
    }
}

/// All of a volume group.
#[derive(Debug)]
pub struct Report {
    pub rows: Vec<Row>,
}

impl Report {
    pub fn ask(sys: &dyn System, vg: &str) -> Result<Report> {
        let cmd = command(vg);
        parse(&sys.run(&cmd)?).map_err(|why| Error::Answer {
            cmd: cmd.to_string(),
            line: why,
            expected: "a report in JSON with the fields asked for",
        })
    }

    pub fn named(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    pub fn of(&self, uuid: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.uuid == uuid)
    }
}

fn command(vg: &str) -> Cmd {
    let words = ["-a", "--reportformat", "json", "--units", "b", "--nosuffix"];
    let cmd = Cmd::new("lvs").args(words).arg("--binary");
    cmd.args(["-o", FIELDS]).arg(vg)
}

#[derive(Deserialize)]
struct Answer {
    report: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    lv: Vec<Said>,
}

/// Numbers are texts (LVM before 2.03.17 has no other form).
#[derive(Deserialize)]
struct Said {
    lv_name: String,
    lv_uuid: String,
    lv_attr: String,
    lv_layout: String,
    pool_lv: String,
    origin_uuid: String,
    lv_size: String,
    lv_metadata_size: String,
    data_percent: String,
    metadata_percent: String,
    transaction_id: String,
    thin_id: String,
    chunk_size: String,
    lv_device_open: String,
    lv_health_status: String,
    lv_check_needed: String,
    lv_snapshot_invalid: String,
    lv_tags: String,
    vg_free: String,
}

/// What does not fit, if something does not.
fn parse(output: &[u8]) -> Result<Report, String> {
    let answer: Answer = serde_json::from_slice(output).map_err(|error| error.to_string())?;
    let mut rows: Vec<Row> = Vec::new();
    for said in answer.report.into_iter().flat_map(|part| part.lv) {
        if rows.last().is_none_or(|row| row.uuid != said.lv_uuid) {
            rows.push(row(said)?);
        }
    }
    Ok(Report { rows })
}

fn row(said: Said) -> Result<Row, String> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let percent = |text: &str| match text {
        "" | "-1" => Ok(None),
        _ => text
            .parse()
            .map(Some)
            .map_err(|_| format!("percent {text:?}")),
    };
    let number = |text: &str| match text {
        "" | "-1" => Ok(None),
        _ => text
            .parse()
            .map(Some)
            .map_err(|_| format!("number {text:?}")),
    };
    let tags: Vec<String> = said.lv_tags.split(',').map(str::to_owned).collect();
    let tags: Vec<String> = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
    Ok(Row {
        name: names::visible(&said.lv_name).to_owned(),
        uuid: said.lv_uuid,
        attr: said.lv_attr,
        layout: said.lv_layout,
        origin: some(said.origin_uuid),
        pool: some(said.pool_lv),
        size: number(&said.lv_size)?.unwrap_or_default(),
        metadata_size: number(&said.lv_metadata_size)?.unwrap_or_default(),
        data_percent: percent(&said.data_percent)?,
        metadata_percent: percent(&said.metadata_percent)?,
        transaction: number(&said.transaction_id)?,
        thin_id: number(&said.thin_id)?.and_then(|id| u32::try_from(id).ok()),
        chunk_size: number(&said.chunk_size)?.unwrap_or_default(),
        open: said.lv_device_open == "1",
        health: some(said.lv_health_status),
        check_needed: said.lv_check_needed == "1",
        invalid: said.lv_snapshot_invalid == "1",
        vg_free: number(&said.vg_free)?.unwrap_or_default(),
        marks: Marks::read(&tags),
        tags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Label;

    /// `lvs -a --reportformat json --units b --nosuffix --binary -o …`, LVM 2.03.16, Linux 6.1: a thin volume with a snapshot and
    /// what was staged of it; a linear volume of two segments with a copy-on-write snapshot.
    const RECORDED: &[u8] = include_bytes!("report/recorded.json");

    #[test]
    fn reads_a_recorded_group() {
        let report = parse(RECORDED).unwrap();
        let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "cow",
                "data",
                "lvol0_pmspare",
                "pool",
                "pool_tdata",
                "pool_tmeta",
                "restore-1.u69ZCfWU",
                "two",
                "zeebe-snap-1.u69ZCfWU",
            ]
        );
        let data = report.named("data").unwrap();
        assert!(data.is_thin() && data.open && !data.is_frozen());
        assert_eq!(data.pool.as_deref(), Some("pool"));
        let set = |set: &str| Label::from([("set".to_owned(), set.to_owned())]);
        assert_eq!(data.marks.kept, [("restore-1".to_owned(), set("2"))].into());

        let snapshot = report.of("m3tkQs-BEHe-NcSx-K5lU-tyd7-h23O-Kzajn9").unwrap();
        assert!(snapshot.is_thin() && !snapshot.open && snapshot.is_frozen());
        assert_eq!(snapshot.marks.label["odd"], "größe");
        assert_eq!(snapshot.marks.volume.as_ref(), Some(&data.uuid));

        // The number of the change that made it is the one before.
        assert_eq!((data.thin_id, data.transaction), (Some(1), Some(0)));
        assert_eq!((snapshot.thin_id, snapshot.transaction), (Some(2), Some(1)));

        let staged = report.named("restore-1.u69ZCfWU").unwrap();
        assert!(!staged.is_frozen());
        assert_eq!(staged.marks.of.as_ref(), Some(&snapshot.uuid));

        let pool = report.named("pool").unwrap();
        assert!(pool.is_pool() && !pool.is_thin() && !pool.check_needed);
        assert!(pool.is_active() && pool.zeroes() && !data.is_pool() && !snapshot.is_active());
        assert_eq!((pool.chunk_size, pool.thin_id), (65_536, None));
        assert_eq!(
            (pool.data_percent, pool.metadata_percent),
            (Some(10.6), Some(11.43))
        );
        assert_eq!((pool.size, pool.metadata_size), (637_534_208, 4 << 20));
        assert_eq!((pool.transaction, &pool.health), (Some(3), &None));

        let two = report.named("two").unwrap();
        assert!(!two.is_thin() && !two.is_copy_on_write() && !two.is_merging());
        let cow = report.named("cow").unwrap();
        assert!(cow.is_copy_on_write() && cow.is_frozen() && !cow.invalid);
        assert_eq!(cow.origin.as_ref(), Some(&two.uuid));
        assert_eq!((cow.size, cow.vg_free), (46_137_344, 1_237_319_680));
    }

    #[test]
    fn what_is_not_said_is_an_error() {
        let text = String::from_utf8_lossy(RECORDED);
        for field in FIELDS.split(',') {
            let without = text.replace(&format!("\"{field}\""), "\"other\"");
            assert!(parse(without.as_bytes()).is_err(), "{field}");
        }
        assert!(parse(text.replace("10.60", "much").as_bytes()).is_err());
        assert!(parse(b"").is_err());
    }
}
