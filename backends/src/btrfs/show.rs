//! What `btrfs subvolume show` and `btrfs subvolume list` print. (JSON needs btrfs-progs 6.5; Debian 12 has 6.2.)

use crate::{Error, Result};

/// The part of `btrfs subvolume show` that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub uuid: String,
    pub parent_uuid: Option<String>,
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
    Ok(Shown {
        uuid: field("UUID")?.to_owned(),
        parent_uuid: Some(field("Parent UUID")?)
            .filter(|uuid| *uuid != "-")
            .map(str::to_owned),
        readonly: field("Flags")?
            .split_whitespace()
            .any(|flag| flag == "readonly"),
    })
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
        assert_eq!(parse_path(SNAPSHOT).unwrap(), "t/.z/snap");
        assert_eq!(parse_path(b"/\n\tName: \t\t\t<FS_TREE>\n").unwrap(), "");
        assert!(parse_path(b"\tName: \t\t\tsnap\n").is_err());
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
        for field in ["\tUUID", "Parent UUID", "Flags"] {
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
}
