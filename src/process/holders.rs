//! Who has a file of a data directory open or mapped. The proof that a broker is down rests on this page.
//!
//! Files are known by the device and inode that stat(2) gives for `/proc/PID/map_files/*` and `/proc/PID/fd/*`: names fail
//! under bind mounts and in containers, and the device numbers in `/proc/PID/maps` are not stat's on btrfs (both tried).
//!
//! A process with more capabilities than this one cannot be looked into (ptrace(2), access mode checking): an init outside
//! a container that lacks some, for one. Where there is such a process the kernel itself is asked, file by file, whether
//! anybody has it open for writing; that counts every process there is.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Holder, gone, holder, writers};

/// Which files a scan looks for.
#[derive(Debug)]
struct Wanted<'a> {
    data: &'a Path,
    device: u64,
    /// The directory is the root of its device: every file of it counts, deleted ones too.
    whole_device: bool,
    /// The files below it, looked up when a file of the device first turns up.
    inodes: Option<BTreeSet<u64>>,
}

impl<'a> Wanted<'a> {
    /// `None` where there is no such directory, and so nobody holds it.
    fn new(data: &'a Path) -> Result<Option<Wanted<'a>>> {
        let device = |path: &Path| match fs::metadata(path) {
            Ok(meta) => Ok(Some(meta.dev())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("look at {}", path.display())),
        };
        let Some(own) = device(data)? else {
            return Ok(None);
        };
        let above = data.parent().map(device).transpose()?.flatten();
        Ok(Some(Wanted {
            data,
            device: own,
            whole_device: above != Some(own),
            inodes: None,
        }))
    }

    fn has(&mut self, device: u64, inode: u64) -> Result<bool> {
        if device != self.device {
            return Ok(false);
        }
        if self.whole_device {
            return Ok(true);
        }
        if self.inodes.is_none() {
            let mut inodes = BTreeSet::new();
            below(self.data, &mut |_, meta| {
                inodes.insert(meta.ino());
                Ok(())
            })?;
            self.inodes = Some(inodes);
        }
        Ok(self
            .inodes
            .as_ref()
            .is_some_and(|inodes| inodes.contains(&inode)))
    }
}

/// Calls `visit` for everything below `dir` on the same device. What goes away meanwhile is passed over.
fn below(dir: &Path, visit: &mut dyn FnMut(&Path, &Metadata) -> Result<()>) -> Result<()> {
    let device = match fs::metadata(dir) {
        Ok(meta) => meta.dev(),
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {}", dir.display())),
    };
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        let listing = match fs::read_dir(&dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(listing) => listing,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error).with_context(|| format!("list {}", dir.display())),
        };
        for entry in listing {
            let path = entry.path();
            let meta = match entry.metadata() {
                Ok(meta) if meta.dev() == device => meta,
                Ok(_) => continue,
                Err(error) if gone(&error) => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("look at {}", path.display()));
                }
            };
            visit(&path, &meta)?;
            if meta.is_dir() {
                pending.push(path);
            }
        }
    }
    Ok(())
}

/// Who has a file of each of `folders` open or mapped, in one pass over all processes. This process does not count.
///
/// A file that is open for writing by nobody who can be seen is an error that names it. Needs root.
pub fn holders(folders: &[PathBuf]) -> Result<Vec<Vec<Holder>>> {
    let mut wanted = folders
        .iter()
        .map(|folder| Wanted::new(folder))
        .collect::<Result<Vec<_>>>()?;
    let mut found: Vec<Vec<Holder>> = vec![Vec::new(); folders.len()];
    let mut hidden = Vec::new();
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry.context("list /proc")?.file_name();
        let pid = name.to_str().filter(|name| *name != own);
        let Some(pid) = pid.and_then(|name| name.parse().ok()) else {
            continue;
        };
        let mut holds = vec![false; folders.len()];
        if look_into_all(pid, &mut wanted, &mut holds)? == Sight::Hidden {
            hidden.extend(holder(pid)?);
        }
        if holds.contains(&true)
            && let Some(holder) = holder(pid)?
        {
            for (index, _) in holds.iter().enumerate().filter(|(_, holds)| **holds) {
                found[index].push(holder.clone());
            }
        }
    }
    if !hidden.is_empty() {
        for (folder, _) in folders
            .iter()
            .zip(&found)
            .filter(|(_, held)| held.is_empty())
        {
            no_hidden_writer(folder, &hidden)?;
        }
    }
    Ok(found)
}

/// What could be seen of a process, from the least to the most telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sight {
    /// It has no files at all: a kernel thread, or one whose first thread has ended.
    Nothing,
    /// All its files.
    Whole,
    /// Not all its files.
    Hidden,
}

/// A process whose first thread has ended shows its files with its other threads only.
fn look_into_all(pid: i32, wanted: &mut [Option<Wanted<'_>>], holds: &mut [bool]) -> Result<Sight> {
    let sight = look_into_thread(pid, wanted, holds)?;
    if sight != Sight::Nothing {
        return Ok(sight);
    }
    let tasks = format!("/proc/{pid}/task");
    let listing = match fs::read_dir(&tasks).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(listing) => listing,
        Err(error) if gone(&error) => return Ok(Sight::Nothing),
        Err(error) => return Err(error).with_context(|| format!("list {tasks}")),
    };
    let mut sight = Sight::Nothing;
    for entry in listing {
        let thread = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(thread) = thread.filter(|thread| *thread != pid) {
            sight = sight.max(look_into_thread(thread, wanted, holds)?);
        }
    }
    Ok(sight)
}

fn look_into_thread(
    thread: i32,
    wanted: &mut [Option<Wanted<'_>>],
    holds: &mut [bool],
) -> Result<Sight> {
    let of = |kind: &str| PathBuf::from(format!("/proc/{thread}/{kind}"));
    let mapped = look_into(&of("map_files"), wanted, holds)?;
    Ok(mapped.max(look_into(&of("fd"), wanted, holds)?))
}

fn look_into(dir: &Path, wanted: &mut [Option<Wanted<'_>>], holds: &mut [bool]) -> Result<Sight> {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let listing = match fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(listing) => listing,
        Err(error) if gone(&error) => return Ok(Sight::Nothing),
        Err(error) if denied(&error) => return Ok(Sight::Hidden),
        Err(error) => return Err(error).with_context(|| format!("list {}", dir.display())),
    };
    let mut sight = if listing.is_empty() {
        Sight::Nothing
    } else {
        Sight::Whole
    };
    for entry in listing {
        let path = entry.path();
        // This follows the link to the file itself, under whatever name and in whatever namespace it was opened.
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if gone(&error) => continue,
            Err(error) if denied(&error) => {
                sight = Sight::Hidden;
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
        };
        for (wanted, holds) in wanted.iter_mut().zip(holds.iter_mut()) {
            if let Some(wanted) = wanted.as_mut().filter(|_| !*holds) {
                *holds = wanted.has(meta.dev(), meta.ino())?;
            }
        }
    }
    Ok(sight)
}

fn no_hidden_writer(folder: &Path, hidden: &[Holder]) -> Result<()> {
    let mut written = None;
    below(folder, &mut |path, meta| {
        if written.is_none() && meta.is_file() && writers::has_writer(path)? {
            written = Some(path.to_owned());
        }
        Ok(())
    })?;
    let Some(path) = written else { return Ok(()) };
    let names: Vec<String> = hidden.iter().map(ToString::to_string).collect();
    bail!(
        "{} is open for writing, by a process that cannot be looked into: {}",
        path.display(),
        names.join(", ")
    )
}
