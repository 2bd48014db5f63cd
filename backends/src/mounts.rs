//! What is mounted where: `/proc/self/mountinfo`, read and asked.
//!
//! Must not know any file system's own ways.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cmd::quote;
use crate::{Error, Obstacle, Result, fstab};

/// One mount (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// Which part of the file system is there: "/" or, for a bind or subvolume mount, a path in it.
    pub root: PathBuf,
    /// "btrfs", "ext4".
    pub fstype: String,
    /// The file system, as `major:minor`: the same for all mounts of it. (On btrfs stat(2) gives others, which differ from
    /// subvolume to subvolume.)
    pub device: String,
    /// What is mounted, in the file system's own words: "/dev/mapper/vg-data", "pool/dataset".
    pub source: String,
    /// What mount(8) takes after `-o` to mount it so again: of the mount, then of the file system.
    pub options: String,
    /// "shared:2", "master:1": where mounts and unmounts of others arrive.
    pub propagation: Vec<String>,
}

/// All mounts of this process's namespace, in the order they were made.
pub fn read() -> Result<Vec<Mount>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read(path).map_err(Error::io("read", path))?;
    parse(&text)
}

/// Reads the text of a mountinfo file.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>> {
    text.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Result<Mount> {
    let wrong = || Error::Answer {
        cmd: "/proc/self/mountinfo".to_owned(),
        line: String::from_utf8_lossy(line).into_owned(),
        expected: "at least ten fields, with a '-' among them",
    };
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-").ok_or_else(wrong)?;
    let (Some(before), Some([fstype, source, of_fs, ..])) =
        (fields[..dash].get(2..), fields.get(dash + 1..))
    else {
        return Err(wrong());
    };
    let [device, root, point, of_mount, propagation @ ..] = before else {
        return Err(wrong());
    };
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Ok(Mount {
        point: unescape(point),
        root: unescape(root),
        fstype: text(fstype),
        device: text(device),
        source: unescape(source).to_string_lossy().into_owned(),
        options: options(&text(of_mount), &text(of_fs)),
        propagation: propagation.iter().map(|field| text(field)).collect(),
    })
}

/// Both say whether it can be written; what either forbids is forbidden.
fn options(of_mount: &str, of_fs: &str) -> String {
    let all = || of_mount.split(',').chain(of_fs.split(','));
    let access = match all().any(|option| option == "ro") {
        true => "ro",
        false => "rw",
    };
    // The last is said by the kernel, and is not for it.
    let rest = all().filter(|option| !["", "ro", "rw", "seclabel"].contains(option));
    let all: Vec<&str> = std::iter::once(access).chain(rest).collect();
    all.join(",")
}

/// The kernel writes blank, tab, newline and backslash as `\ooo`.
pub(crate) fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether both paths, which have no symbolic links in them, are reached by one mount.
pub fn is_one(path: &Path, other: &Path) -> Result<bool> {
    let all = read()?;
    Ok(around(&all, path) == around(&all, other))
}

/// The mount that `path` is reached by, the last one if there are several at one point.
pub fn around<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let mounts = mounts.iter();
    mounts
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len())
}

/// Where else the folder `dir`, or a part of it, is mounted, as by a bind mount.
pub fn elsewhere<'a>(mounts: &'a [Mount], dir: &Path) -> Vec<&'a Mount> {
    let Some(here) = around(mounts, dir) else {
        return Vec::new();
    };
    let part = here.root.join(dir.strip_prefix(&here.point).unwrap_or(dir));
    let shows_it = |mount: &&Mount| {
        mount.device == here.device
            && mount.root.starts_with(&part)
            && !mount.point.starts_with(dir)
            // The kernel says so of a folder that is there no more.
            && !mount.root.as_os_str().as_bytes().ends_with(b"//deleted")
    };
    mounts.iter().filter(shows_it).collect()
}

/// The same, asked now.
pub fn points_elsewhere(dir: &Path) -> Result<Vec<PathBuf>> {
    let all = read()?;
    let points = elsewhere(&all, dir).into_iter();
    Ok(points.map(|mount| mount.point.clone()).collect())
}

/// The mount points below `dir`.
pub fn below<'a>(mounts: &'a [Mount], dir: &Path) -> Vec<&'a Mount> {
    let below = |mount: &&Mount| mount.point != dir && mount.point.starts_with(dir);
    mounts.iter().filter(below).collect()
}

/// What is mounted below a data directory is in the way of everything, and so is what should be mounted there and is not.
pub fn obstacles(data: &Path) -> Result<Vec<Obstacle>> {
    let all = read()?;
    let wanted = fstab::around(data)?.filter(|(_, at)| {
        let is_there = |mount: &Mount| mount.point.components().eq(at.components());
        !all.iter().any(is_there)
    });
    let is_missing = wanted.map(|(source, at)| {
        let at = at.components().collect::<PathBuf>();
        Obstacle {
            what: format!(
                "nothing is mounted at {}, where {} has {source}",
                at.display(),
                fstab::PATH
            ),
            why: "what is there now is not what the broker has after a boot".to_owned(),
            todo: format!("mount {}", quote(at.as_os_str())),
        }
    });
    let in_the_way = below(&all, data).into_iter().map(|mount| Obstacle {
        what: format!("{} is a mount point", mount.point.display()),
        why: "what is mounted below the data is not captured with it".to_owned(),
        todo: "keep all of the data directory on one volume".to_owned(),
    });
    Ok(is_missing.into_iter().chain(in_the_way).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18, a loop mount in a folder with a blank in its name.
    const RECORDED: &[u8] = b"29 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        139 29 0:39 / /srv/x\\040y/m rw,relatime shared:4 master:2 - btrfs /dev/loop0 rw,subvolid=5,subvol=/\n";

    #[test]
    fn reads_recorded_mounts() {
        let mounts = parse(RECORDED).unwrap();
        assert_eq!(mounts[1].point, Path::new("/srv/x y/m"));
        assert_eq!(mounts[1].fstype, "btrfs");
        assert_eq!(mounts[1].device, "0:39");
        assert_eq!(mounts[1].source, "/dev/loop0");
        assert_eq!(mounts[1].options, "rw,relatime,subvolid=5,subvol=/");
        assert_eq!(mounts[1].propagation, ["shared:4", "master:2"]);
        assert_eq!(below(&mounts, Path::new("/srv/x y")).len(), 1);
        assert!(below(&mounts, Path::new("/srv/x y/m")).is_empty());
    }

    #[test]
    fn finds_the_other_mounts_of_a_folder() {
        // Linux 6.18: the whole of a file system, two binds of a folder of it, one of which was removed since.
        let text = b"29 1 254:0 / / rw - ext4 /dev/vda rw\n\
            40 29 7:1 / /srv rw - xfs /dev/loop1 rw\n\
            41 29 7:1 /zeebe/data/raft /mnt/raft rw - xfs /dev/loop1 rw\n\
            42 29 7:1 /zeebe/data//deleted /mnt/gone rw - xfs /dev/loop1 rw\n\
            43 29 7:2 /zeebe/data /mnt/other rw - xfs /dev/loop2 rw\n";
        let mounts = parse(text).unwrap();
        let points = |dir: &str| -> Vec<_> {
            let found = elsewhere(&mounts, Path::new(dir));
            found.into_iter().map(|mount| mount.point.clone()).collect()
        };
        assert_eq!(points("/srv/zeebe/data"), [Path::new("/mnt/raft")]);
        assert_eq!(points("/srv/zeebe/data/raft"), [Path::new("/mnt/raft")]);
        assert!(points("/srv/zeebe/other").is_empty());
    }

    #[test]
    fn a_line_of_another_form_is_an_error() {
        assert!(parse(b"29 1 254:0 / / rw,relatime\n").is_err());
    }
}
