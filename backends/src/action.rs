//! What changes a volume, as values: printed by a dry run, performed by whoever runs the plan.
//!
//! Whether an action is done already is asked of the volume before it is performed: a tool that runs twice, or two names
//! that change places twice, undo or spoil the first time. Must not decide anything: what is to be done was settled when
//! the action was made.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use crate::cmd::{Cmd, System, quote};
use crate::{Error, Result};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a tool.
    Run(Cmd),
    /// Writes all that the file system at the path has in memory (syncfs(2)).
    Sync(PathBuf),
    /// Makes a folder, and those above it, for the owner alone. One that is there already is left as it is.
    MakeDir(PathBuf),
    /// Writes a file for the owner alone: to a temporary name, synced, renamed, the folder synced.
    Write {
        /// Where.
        path: PathBuf,
        /// Its whole content.
        content: Vec<u8>,
    },
    /// Removes a file; one that is not there is not missed.
    RemoveFile(PathBuf),
    /// Removes a folder if nothing is in it any more.
    RemoveEmptyDir(PathBuf),
    /// Two names change places, so that at no moment one of them is gone (renameat2(2), RENAME_EXCHANGE). Where only one
    /// of them exists it moves to the other.
    SwapNames(PathBuf, PathBuf),
}

impl Action {
    /// Does it. A change to a folder is on disk when this returns.
    pub fn perform(&self, sys: &dyn System) -> Result<()> {
        match self {
            Action::Run(cmd) => {
                sys.run(cmd)?;
                Ok(())
            }
            Action::Sync(path) => {
                let dir = File::open(path).map_err(Error::io("open", path))?;
                rustix::fs::syncfs(dir).map_err(Error::io("sync the file system of", path))
            }
            Action::MakeDir(path) => make_dir(path),
            Action::Write { path, content } => write_durably(path, content),
            Action::RemoveFile(path) => match fs::remove_file(path) {
                Ok(()) => sync_parent(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(Error::io("remove", path)(error)),
            },
            Action::RemoveEmptyDir(path) => match fs::remove_dir(path) {
                Ok(()) => sync_parent(path),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    Ok(())
                }
                Err(error) => Err(Error::io("remove", path)(error)),
            },
            Action::SwapNames(one, other) => swap_names(one, other),
        }
    }
}

/// Performs all, up to the first that fails.
pub fn perform_all(actions: &[Action], sys: &dyn System) -> Result<()> {
    actions.iter().try_for_each(|action| action.perform(sys))
}

fn make_dir(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(Error::State(format!(
                "{} is in the way: it is not a folder",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("look at", path)(error)),
    }
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(Error::io("make the folder", path))?;
    sync_parent(path)
}

/// Writes `content` to `path` so that after a power cut there is the old file or the new one, never a part.
pub fn write_durably(path: &Path, content: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file =
        tempfile::NamedTempFile::new_in(dir).map_err(Error::io("make a file in", dir))?;
    file.write_all(content).map_err(Error::io("write", path))?;
    file.as_file().sync_all().map_err(Error::io("sync", path))?;
    file.persist(path)
        .map_err(|error| Error::io("rename a file to", path)(error.error))?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let open = File::open(dir).map_err(Error::io("open", dir))?;
    open.sync_all().map_err(Error::io("sync", dir))
}

fn swap_names(one: &Path, other: &Path) -> Result<()> {
    let there = |path: &Path| match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", path)(error)),
    };
    let rename = |from: &Path, to: &Path, flags| {
        rustix::fs::renameat_with(CWD, from, CWD, to, flags).map_err(Error::io("rename", from))
    };
    match (there(one)?, there(other)?) {
        (true, true) => rename(one, other, RenameFlags::EXCHANGE)?,
        (true, false) => rename(one, other, RenameFlags::NOREPLACE)?,
        (false, true) => rename(other, one, RenameFlags::NOREPLACE)?,
        (false, false) => {
            let text = format!("neither {} nor {} exists", one.display(), other.display());
            return Err(Error::State(text));
        }
    }
    sync_parent(one)?;
    sync_parent(other)
}

/// A line that does the same in a POSIX shell, or as near as the usual tools come to it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let q = |path: &Path| quote(path.as_os_str());
        match self {
            Action::Run(cmd) => cmd.fmt(f),
            Action::Sync(path) => write!(f, "sync -f {}", q(path)),
            Action::MakeDir(path) => write!(f, "mkdir -p -m 700 {}", q(path)),
            Action::Write { path, content } => {
                write!(
                    f,
                    "install -m 600 /dev/stdin {}   # {} bytes",
                    q(path),
                    content.len()
                )
            }
            Action::RemoveFile(path) => write!(f, "rm -f {}", q(path)),
            Action::RemoveEmptyDir(path) => {
                write!(f, "rmdir --ignore-fail-on-non-empty {}", q(path))
            }
            Action::SwapNames(one, other) => write!(f, "mv --exchange {} {}", q(one), q(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn names_change_places_or_move_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let swap = Action::SwapNames(one.clone(), other.clone());
        let host = Host::new(&[]);
        assert!(swap.perform(&host).is_err());
        fs::write(&one, "1").unwrap();
        swap.perform(&host).unwrap();
        assert_eq!(
            (one.exists(), fs::read(&other).unwrap()),
            (false, b"1".to_vec())
        );
        fs::write(&one, "2").unwrap();
        swap.perform(&host).unwrap();
        assert_eq!(
            (fs::read(&one).unwrap(), fs::read(&other).unwrap()),
            (b"1".to_vec(), b"2".to_vec())
        );
    }

    #[test]
    fn removing_what_is_gone_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(&[]);
        Action::RemoveFile(dir.path().join("gone"))
            .perform(&host)
            .unwrap();
        Action::RemoveEmptyDir(dir.path().join("gone"))
            .perform(&host)
            .unwrap();
        let full = dir.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("file"), "").unwrap();
        Action::RemoveEmptyDir(full.clone()).perform(&host).unwrap();
        assert!(full.join("file").exists());
    }
}
