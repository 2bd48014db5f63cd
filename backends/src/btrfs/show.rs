//! What `btrfs subvolume show` and `btrfs subvolume list` print. (JSON needs btrfs-progs 6.5; Debian 12 has 6.2.)

use crate::{Error, Result};

/// The part of `btrfs subvolume show` that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub uuid: String,
    pub parent_uuid: Option<String>,
    /// Of the subvolume that was sent, where this is what was received of it. A frozen snapshot of such a one inherits it.
    pub received_uuid: Option<String>,
    /// The transaction that made it: of two subvolumes of a file system the later has the higher.
    pub born: u64,
    pub readonly: bool,
}

/// Reads the output of `btrfs subvolume show PATH`.
pub fn parse_show(output: &[u8]) -> Result<Shown> {
    let text = String::from_utf8_lossy(output);
    let field = |name: &'static str| {
        let value = text
            .lines()
            .filter_map(|line| line.trim_start().split_once(':'))
            .find(|(key, _)| *key == name);
        value
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Error::Answer {
                cmd: "btrfs subvolume show".to_owned(),
                line: text.chars().take(200).collect(),
                expected: name,
            })
    };
    let uuid = |name| Ok::<_, Error>(Some(field(name)?).filter(|uuid| *uuid != "-"));
    let born = field("Gen at creation")?;
    Ok(Shown {
        uuid: field("UUID")?.to_owned(),
        parent_uuid: uuid("Parent UUID")?.map(str::to_owned),
        received_uuid: uuid("Received UUID")?.map(str::to_owned),
        born: born.parse().map_err(|_| Error::Answer {
            cmd: "btrfs subvolume show".to_owned(),
            line: format!("Gen at creation: {born}"),
            expected: "a number",
        })?,
        readonly: field("Flags")?
            .split_whitespace()
            .any(|flag| flag == "readonly"),
    })
}

/// A uuid as btrfs shows it, of its 16 bytes.
pub fn uuid_text(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Some(parts.join("-"))
}

/// The first line of `btrfs subvolume show PATH`: where the subvolume lies from the top of the file system, which itself is "/".
pub fn parse_path(output: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(output);
    match text.lines().next() {
        Some(line) if !line.is_empty() && !line.starts_with('\t') => {
            Ok(line.trim_start_matches('/').to_owned())
        }
        line => Err(Error::Answer {
            cmd: "btrfs subvolume show".to_owned(),
            line: line.unwrap_or_default().chars().take(200).collect(),
            expected: "a path",
        }),
    }
}

/// Reads the output of `btrfs subvolume list -o PATH`: the paths of the subvolumes, from the top of the file system.
pub fn parse_list(output: &[u8]) -> Result<Vec<String>> {
    let text = String::from_utf8_lossy(output);
    text.lines()
        .map(|line| match line.split_once(" path ") {
            Some((_, path)) if line.starts_with("ID ") => Ok(path.to_owned()),
            _ => Err(Error::Answer {
                cmd: "btrfs subvolume list -o".to_owned(),
                line: line.chars().take(200).collect(),
                expected: "ID … path …",
            }),
        })
        .collect()
}

/// Reads the output of `btrfs subvolume list -uR PATH`: of each subvolume of the file system the uuid, the received uuid if it
/// has one, and the path from the top of the file system.
pub fn parse_uuids(output: &[u8]) -> Result<Vec<(String, Option<String>, String)>> {
    let text = String::from_utf8_lossy(output);
    let read = |line: &str| {
        let (_, rest) = line.split_once(" received_uuid ")?;
        let (received, rest) = rest.split_once(" uuid ")?;
        let (uuid, path) = rest.split_once(" path ")?;
        let received = Some(received.trim()).filter(|uuid| *uuid != "-");
        Some((
            uuid.trim().to_owned(),
            received.map(str::to_owned),
            path.to_owned(),
        ))
    };
    text.lines()
        .map(|line| {
            read(line).ok_or_else(|| Error::Answer {
                cmd: "btrfs subvolume list -uR".to_owned(),
                line: line.chars().take(200).collect(),
                expected: "ID … received_uuid … uuid … path …",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `btrfs subvolume show`, btrfs-progs 6.2, of a read-only snapshot.
    const SNAPSHOT: &[u8] = b"t/.z/snap\n\tName: \t\t\tsnap\n\tUUID: \t\t\t619bf1db-192f-5c44-8aa5-6515c6d2f467\n\
        \tParent UUID: \t\t26cadf4a-213e-d448-b240-581e0efbdba8\n\tReceived UUID: \t\t-\n\
        \tCreation time: \t\t2026-11-23 13:22:00 +0000\n\tSubvolume ID: \t\t264\n\tGeneration: \t\t10\n\
        \tGen at creation: \t10\n\tParent ID: \t\t5\n\tTop level ID: \t\t5\n\tFlags: \t\t\treadonly\n\
        \tSend transid: \t\t0\n\tSend time: \t\t2026-11-23 13:22:00 +0000\n\tReceive transid: \t0\n\
        \tReceive time: \t\t-\n\tSnapshot(s):\n";

    #[test]
    fn reads_a_recorded_snapshot() {
        let shown = parse_show(SNAPSHOT).unwrap();
        assert_eq!(shown.uuid, "619bf1db-192f-5c44-8aa5-6515c6d2f467");
        assert_eq!(
            shown.parent_uuid.as_deref(),
            Some("26cadf4a-213e-d448-b240-581e0efbdba8")
        );
        assert!(shown.readonly);
        assert_eq!((shown.received_uuid, shown.born), (None, 10));
        assert_eq!(parse_path(SNAPSHOT).unwrap(), "t/.z/snap");
        assert_eq!(parse_path(b"/\n\tName: \t\t\t<FS_TREE>\n").unwrap(), "");
        assert!(parse_path(b"\tName: \t\t\tsnap\n").is_err());
    }

    #[test]
    fn reads_a_recorded_received_one() {
        // `btrfs subvolume show`, btrfs-progs 6.2, of what `btrfs receive` made.
        let shown = parse_show(
            b"full/s1\n\tName: \t\t\ts1\n\tUUID: \t\t\t4655b777-6f9d-664b-8248-32ac424f959c\n\
            \tParent UUID: \t\t-\n\tReceived UUID: \t\t6f7eacb2-c489-214a-a040-f8a6a5cffb20\n\
            \tCreation time: \t\t2026-11-29 04:08:47 +0000\n\tSubvolume ID: \t\t260\n\tGeneration: \t\t9\n\
            \tGen at creation: \t8\n\tParent ID: \t\t5\n\tTop level ID: \t\t5\n\tFlags: \t\t\treadonly\n\
            \tSend transid: \t\t7\n\tSend time: \t\t2026-11-29 04:08:47 +0000\n\tReceive transid: \t8\n\
            \tReceive time: \t\t2026-11-29 04:08:47 +0000\n\tSnapshot(s):\n",
        )
        .unwrap();
        assert_eq!(
            shown.received_uuid.as_deref(),
            Some("6f7eacb2-c489-214a-a040-f8a6a5cffb20")
        );
        assert_eq!((shown.parent_uuid, shown.born), (None, 8));
    }

    #[test]
    fn no_parent_and_no_flags_are_dashes() {
        let text = String::from_utf8_lossy(SNAPSHOT);
        let plain = text
            .replace("26cadf4a-213e-d448-b240-581e0efbdba8", "-")
            .replace("readonly", "-");
        let shown = parse_show(plain.as_bytes()).unwrap();
        assert_eq!((shown.parent_uuid, shown.readonly), (None, false));
    }

    #[test]
    fn a_field_that_is_missing_is_an_error() {
        let text = String::from_utf8_lossy(SNAPSHOT);
        for field in [
            "\tUUID",
            "Parent UUID",
            "Received UUID",
            "Gen at creation",
            "Flags",
        ] {
            let without = text.replace(field, "Other");
            assert!(parse_show(without.as_bytes()).is_err(), "{field}");
        }
    }

    #[test]
    fn reads_a_recorded_list() {
        // `btrfs subvolume list -o`, btrfs-progs 6.2.
        let list = b"ID 257 gen 10 top level 256 path b0/data\nID 265 gen 12 top level 257 path b0/da ta/x\n";
        assert_eq!(parse_list(list).unwrap(), ["b0/data", "b0/da ta/x"]);
        assert!(parse_list(b"ERROR: not a subvolume\n").is_err());
    }

    #[test]
    fn reads_recorded_uuids() {
        // `btrfs subvolume list -uR`, btrfs-progs 6.2.
        let list = b"ID 256 gen 7 top level 5 received_uuid -                                    uuid f2279137-6db2-ad4f-8a20-7c865203660b path c 1/s1\n\
            ID 260 gen 10 top level 5 received_uuid 6f7eacb2-c489-214a-a040-f8a6a5cffb20 uuid 4655b777-6f9d-664b-8248-32ac424f959c path full/s1x\n";
        let text = |texts: [&str; 2]| (texts[0].to_owned(), texts[1].to_owned());
        let (one, one_path) = text(["f2279137-6db2-ad4f-8a20-7c865203660b", "c 1/s1"]);
        let (other, other_path) = text(["4655b777-6f9d-664b-8248-32ac424f959c", "full/s1x"]);
        let received = "6f7eacb2-c489-214a-a040-f8a6a5cffb20".to_owned();
        assert_eq!(
            parse_uuids(list).unwrap(),
            [(one, None, one_path), (other, Some(received), other_path)]
        );
        assert!(parse_uuids(b"ID 256 gen 7 top level 5 path c1/s1\n").is_err());
    }
}
