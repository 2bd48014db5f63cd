//! Zeebe's own checksums of its snapshots, verified without a broker.
//!
//! Beside each snapshot is `<name>.checksum`, an SFV text: comments with `;`, then a line for each file of the snapshot with
//! its name and its CRC32C in hexadecimal, not padded (`SfvChecksumImpl.java`). A broker that starts ignores a snapshot
//! that does not match, and replays a log that may not reach back far enough. The value over all files, which a comment has,
//! is not looked at: there is one for each file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{content, partitions, snapshots};

/// A file of one of Zeebe's own snapshots that is not what Zeebe wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Below the data directory.
    pub path: PathBuf,
    /// What is the matter with it.
    pub what: What,
}

/// What is the matter with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Its checksum is another.
    Differs,
    /// It has a checksum and is not there.
    Missing,
    /// It is there and has no checksum.
    Unlisted,
    /// It is a list of checksums that does not read.
    NotAList,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Differs => "is not what Zeebe wrote: its checksum is another",
            What::Missing => "is missing",
            What::Unlisted => "is no part of the snapshot: it has no checksum",
            What::NotAList => "does not read as a list of checksums",
        };
        write!(f, "{} {what}", self.path.display())
    }
}

/// Reads every file of every whole snapshot below `data` and compares it with Zeebe's own checksum. An error is a file
/// that cannot be read. It takes as long as reading them takes: not for every look. `stop` ends it early, with an error.
pub fn verify_snapshots(data: &Path, stop: &dyn Fn() -> bool) -> Result<Vec<Damage>> {
    let mut damage = Vec::new();
    for partition in partitions(data)? {
        for snapshot in snapshots::list(&partition)? {
            let folder = snapshot.path(&partition);
            let list = folder.with_file_name(format!("{}.checksum", snapshot.name));
            let mut wrong = |path: &Path, what: What| {
                let path = path.strip_prefix(data).unwrap_or(path).to_owned();
                damage.push(Damage { path, what });
            };
            let Some(mut listed) = content(&list)?.as_deref().and_then(parse) else {
                wrong(&list, What::NotAList);
                continue;
            };
            let error = || format!("list {}", folder.display());
            let mut names: Vec<_> = fs::read_dir(&folder)
                .with_context(error)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<std::io::Result<_>>()
                .with_context(error)?;
            names.sort();
            for name in names {
                anyhow::ensure!(!stop(), "it was called off");
                let path = folder.join(&name);
                match name.to_str().and_then(|name| listed.remove(name)) {
                    None => wrong(&path, What::Unlisted),
                    Some(sum) if sum != crc(&path)? => wrong(&path, What::Differs),
                    Some(_) => {}
                }
            }
            for name in listed.keys() {
                wrong(&folder.join(name), What::Missing);
            }
        }
    }
    Ok(damage)
}

/// File names and their checksums; `None` where a line is neither comment nor that, or there is none.
fn parse(text: &[u8]) -> Option<BTreeMap<String, u32>> {
    let text = std::str::from_utf8(text).ok()?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(';'));
    let line = |line: &str| {
        let (name, sum) = line.rsplit_once(' ')?;
        Some((
            name.trim_end().to_owned(),
            u32::from_str_radix(sum, 16).ok()?,
        ))
    };
    let listed: BTreeMap<String, u32> = lines.map(line).collect::<Option<_>>()?;
    (!listed.is_empty()).then_some(listed)
}

fn crc(path: &Path) -> Result<u32> {
    let wrong = || format!("read {}", path.display());
    let mut file = File::open(path).with_context(wrong)?;
    let mut buffer = vec![0; 1 << 18];
    let mut sum = 0;
    loop {
        match file.read(&mut buffer).with_context(wrong)? {
            0 => return Ok(sum),
            count => sum = crc32c::crc32c_append(sum, &buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_not_padded() {
        // Of a broker 8.5.8.
        let text = b"; This is an SFC checksum file for all files in the given directory.\n\
            ; combinedValue = 3c9ebba4\n; number of files used for combined value = 2\n\
            000008.sst   55a6aac3\nzeebe.metadata   c99d201\n";
        let listed = parse(text).unwrap();
        assert_eq!(listed["zeebe.metadata"], 0x0c99_d201);
        assert_eq!(listed.len(), 2);
        assert_eq!(parse(b"; nothing\n"), None);
        assert_eq!(parse(b"a   b c x\n"), None);
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("raft-partition/partitions/1/snapshots");
        let folder = store.join("1-1-1-1");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(store.join("2-1-1-1")).unwrap();
        for (name, text) in [("a", "123456789"), ("b", "123456789"), ("c", "")] {
            fs::write(folder.join(name), text).unwrap();
        }
        // The check value of CRC-32C.
        let list = "a   e3069283\nb   e3069284\ngone   0\n";
        fs::write(store.join("1-1-1-1.checksum"), list).unwrap();
        let found = || verify_snapshots(dir.path(), &|| false).unwrap();
        let said: Vec<String> = found().iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(said.join("\n"), @r"
        raft-partition/partitions/1/snapshots/1-1-1-1/b is not what Zeebe wrote: its checksum is another
        raft-partition/partitions/1/snapshots/1-1-1-1/c is no part of the snapshot: it has no checksum
        raft-partition/partitions/1/snapshots/1-1-1-1/gone is missing
        ");
        fs::write(store.join("1-1-1-1.checksum"), "?").unwrap();
        assert_eq!(found()[0].what, What::NotAList);
        assert!(
            verify_snapshots(Path::new("/nowhere"), &|| false)
                .unwrap()
                .is_empty()
        );
    }
}
