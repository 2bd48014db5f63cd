//! Snapshots of a dataset, sent with `zfs send`, and what a stream says of itself.
//!
//! All of it is sent raw (`-w`): as it is on disk, encrypted where it is, compressed and in large blocks where they are. A
//! chain that is not always sent so cannot be gone on with. A base is told by its guid, and may be a bookmark. What a
//! promotion moved to another dataset is not sent from there.

use super::line::{LABEL, Line, OF};
use super::tell::{self, number, text};
use super::zfs;
use crate::cmd::{Cmd, System};
use crate::name::SnapName;
use crate::stream::{Form, Head, Point, Shipment};
use crate::{Error, Result};

/// `zfs send` of what `dataset` has.
pub fn send(dataset: &str, shipment: &Shipment) -> Cmd {
    options(zfs(["send"]), dataset, shipment)
}

fn options(cmd: Cmd, dataset: &str, shipment: &Shipment) -> Cmd {
    if let Some(token) = &shipment.resume {
        // It says all the rest.
        return cmd.args(["-t", token]);
    }
    let cmd = cmd.arg("-w");
    let cmd = match &shipment.base {
        Some(base) => {
            let mark = match base.form {
                Form::Snapshot => '@',
                Form::Bookmark => '#',
            };
            cmd.arg("-i").arg(format!("{mark}{}", base.name))
        }
        None => cmd,
    };
    cmd.arg(format!("{dataset}@{}", shipment.of.name))
}

/// What the tool does not count: records that have no data (2.1.11; 36 KiB for a few small files).
const RECORDS: u64 = 64 << 10;

/// How many bytes [`send`] will write, as the tool has it.
pub fn estimate(sys: &dyn System, dataset: &str, shipment: &Shipment) -> Result<Option<u64>> {
    let said = sys.run(&options(zfs(["send", "-nvP"]), dataset, shipment))?;
    Ok(size(&said).map(|size| size + RECORDS))
}

fn size(said: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(said);
    let mut sizes = text.lines().filter_map(|line| line.strip_prefix("size\t"));
    let size: u64 = sizes.next()?.trim().parse().ok()?;
    // Of a stream that goes on near its end, it counts below zero (2.1.11).
    Some(size.cast_signed().max(0).unsigned_abs())
}

/// The snapshots of the data that are ours, and its bookmarks, oldest first. Of what has both, the snapshot.
pub fn points(sys: &dyn System, line: &Line) -> Result<Vec<Point>> {
    let properties = ["guid", "createtxg", "defer_destroy", OF, LABEL];
    let words = ["-d", "1", "-t", "snapshot,bookmark", "--", &line.live];
    let mut found: Vec<(u64, Point)> = Vec::new();
    for (full, all) in tell::get(sys, &properties, &words)? {
        let (form, name) = match (full.split_once('@'), full.split_once('#')) {
            (Some((_, name)), _) => (Form::Snapshot, name),
            (_, Some((_, name))) => (Form::Bookmark, name),
            _ => continue,
        };
        // A bookmark cannot say whose it is. It is of use only if what has the same guid is ours on the other side.
        let is_ours = form == Form::Bookmark || line.label(&all).is_some();
        let is_there = text(&all, "defer_destroy") != Some("on");
        if let (true, true, Ok(name), Some(guid)) = (
            is_ours,
            is_there,
            SnapName::try_from(name.to_owned()),
            text(&all, "guid"),
        ) {
            let point = Point {
                name,
                identity: guid.to_owned(),
                form,
            };
            found.push((number(&all, "createtxg"), point));
        }
    }
    found.sort_by_key(|(created, point)| (*created, point.form == Form::Snapshot));
    found.dedup_by(|later, first| {
        let same = later.1.identity == first.1.identity;
        if same {
            first.1.clone_from(&later.1);
        }
        same
    });
    Ok(found.into_iter().map(|(_, point)| point).collect())
}

/// What both kinds of volume do alike: each has a `line`, and says what part of it the data is.
macro_rules! sends {
    ($volume:ty) => {
        impl crate::Stream for $volume {
            fn points(&self, sys: &dyn System) -> Result<Vec<crate::stream::Point>> {
                super::stream::points(sys, &self.line)
            }

            fn part(&self) -> crate::stream::Part {
                self.part_of_it()
            }

            // What is gone `zfs send` refuses, naming it; and a landing, another one of that name.
            fn obstacles(
                &self,
                _: &dyn System,
                _: &crate::stream::Shipment,
            ) -> Result<Vec<Obstacle>> {
                Ok(Vec::new())
            }

            fn estimate(
                &self,
                sys: &dyn System,
                shipment: &crate::stream::Shipment,
            ) -> Result<Option<u64>> {
                super::stream::estimate(sys, &self.line.live, shipment)
            }

            fn send(&self, shipment: &crate::stream::Shipment) -> crate::stream::pipe::Sender {
                let cmd = super::stream::send(&self.line.live, shipment);
                crate::stream::pipe::Sender::Tool(cmd)
            }

            fn mark(&self, of: &crate::stream::Point, to: &VolumeId) -> Vec<crate::Action> {
                let mark = super::mark::Mark::new(&self.line.live, of, to);
                vec![crate::Action::Change(std::sync::Arc::new(mark))]
            }
        }
    };
}
pub(super) use sends;

/// The first record (zfs_ioctl.h, `dmu_replay_record`): DRR_BEGIN, and what is in it, in the byte order of the sender.
pub fn head(first: &[u8]) -> Result<Head> {
    let wrong = |why: &str| Error::State(format!("it is not a stream of zfs send: {why}"));
    let part = |at: usize| -> Option<[u8; 8]> { first.get(at..at + 8)?.try_into().ok() };
    let magic = part(8).ok_or_else(|| wrong("it is too short"))?;
    let read: fn([u8; 8]) -> u64 = match (u64::from_le_bytes(magic), u64::from_be_bytes(magic)) {
        (MAGIC, _) => u64::from_le_bytes,
        (_, MAGIC) => u64::from_be_bytes,
        _ => return Err(wrong("it does not begin as one")),
    };
    let number = |at: usize| part(at).map(read).ok_or_else(|| wrong("it is too short"));
    // DMU_GET_STREAM_HDRTYPE: a substream is one snapshot, a compound stream (-R, -p) is not.
    if number(16)? & 3 != SUBSTREAM {
        return Err(wrong(
            "it is of several snapshots, or has properties (-R, -p)",
        ));
    }
    let (to, from) = (number(40)?, number(48)?);
    let name = first.get(56..312).ok_or_else(|| wrong("it is too short"))?;
    let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8_lossy(&name).into_owned();
    let name = name.rsplit('@').next().unwrap_or_default().to_owned();
    Ok(Head {
        name: SnapName::try_from(name).map_err(|error| wrong(&error.to_string()))?,
        identity: to.to_string(),
        base: (from != 0).then(|| from.to_string()),
    })
}

/// DMU_BACKUP_MAGIC.
const MAGIC: u64 = 0x2_F5BA_CBAC;
/// DMU_SUBSTREAM.
const SUBSTREAM: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, form: Form) -> Point {
        Point {
            name: SnapName::try_from(name.to_owned()).unwrap(),
            identity: "1".to_owned(),
            form,
        }
    }

    #[test]
    fn prints_what_is_sent() {
        let line = |base: Option<Form>, resume: Option<&str>| {
            let shipment = Shipment {
                of: point("zeebe-snap-2", Form::Snapshot),
                base: base.map(|form| point("zeebe-snap-1", form)),
                resume: resume.map(str::to_owned),
            };
            send("tank/data one", &shipment).to_string()
        };
        insta::assert_snapshot!(line(None, None), @"zfs send -w 'tank/data one@zeebe-snap-2'");
        insta::assert_snapshot!(line(Some(Form::Snapshot), None), @"zfs send -w -i @zeebe-snap-1 'tank/data one@zeebe-snap-2'");
        insta::assert_snapshot!(line(Some(Form::Bookmark), None), @"zfs send -w -i '#zeebe-snap-1' 'tank/data one@zeebe-snap-2'");
        insta::assert_snapshot!(line(Some(Form::Snapshot), Some("1-e604ea4bf")), @"zfs send -t 1-e604ea4bf");
    }

    /// OpenZFS 2.1.11: `zfs send -nvP -w -i '#zeebe-snap-1' 'zeebesnaptesth/data one@zeebe-snap-2'`.
    #[test]
    fn reads_the_size() {
        let said = b"incremental\tzeebesnaptesth/data one#zeebe-snap-1\tzeebesnaptesth/data one@zeebe-snap-2\t7280\nsize\t7280\n";
        assert_eq!(size(said), Some(7280));
        assert_eq!(size(b"size\t18446744073709000000\n"), Some(0));
        assert_eq!(size(b"full\tx@y\n"), None);
    }

    /// OpenZFS 2.1.11: the beginning of `zfs send -w -i @zeebe-snap-1 'zeebesnaptesth/data one@zeebe-snap-2'`.
    fn recorded() -> Vec<u8> {
        let numbers: [u64; 7] = [
            0x0000_0000_0000_0000,
            0x0000_0002_f5ba_cbac,
            0x0000_0000_010c_0011,
            0x0000_0000_6b0b_c673,
            0x0000_000c_0000_0002,
            0xf53a_28d0_92f0_7ac7,
            0x706f_867f_add4_e23c,
        ];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
        bytes.extend(b"zeebesnaptesth/data one@zeebe-snap-2");
        bytes.resize(320, 0);
        bytes
    }

    #[test]
    fn reads_what_a_stream_says_of_itself() {
        let read = head(&recorded()).unwrap();
        assert_eq!(read.name.as_str(), "zeebe-snap-2");
        assert_eq!(read.identity, "17670480964225104583");
        assert_eq!(read.base.as_deref(), Some("8101842137598190140"));
        // Of a machine of the other byte order.
        let mut swapped = recorded();
        for number in swapped[..56].chunks_mut(8) {
            number.reverse();
        }
        assert_eq!(head(&swapped).unwrap(), read);
        // Of several, as `zfs send -p` begins.
        let mut compound = recorded();
        compound[16] = 2;
        let mut other = recorded();
        other[8] = 0;
        for (stream, why) in [
            (&compound[..], "-R, -p"),
            (&other, "begin"),
            (&recorded()[..100], "short"),
        ] {
            let error = head(stream).unwrap_err().to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
