//! Small files that must survive a power cut: the few things that are done to them, and the order in which they are.
//!
//! Until a file is synced any part of it may be lost, and until its folder is, its name; and a new name can be on disk
//! before what it names. Must not know what is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::name::hidden_beside;
use crate::{Error, Result};

/// What is done to small files.
pub trait Files {
    /// Makes a file, for the owner alone; one that is there is an error.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// What is in the file is on disk when this returns.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// The file takes another name, and the place of what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// The file is no more.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in the folder are on disk when this returns.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Those of this machine.
#[derive(Debug, Clone, Copy)]
pub struct OnDisk;

impl Files for OnDisk {
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create_new(true).mode(0o600);
        options.open(path)?.write_all(content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// Writes `content` to `path` so that after a power cut there is the old file or the new one, never a part.
pub fn write_durably(files: &dyn Files, path: &Path, content: &[u8]) -> Result<()> {
    let new = unfinished(path);
    remove_if_there(files, &new)?;
    let written = files
        .create(&new, content)
        .map_err(Error::io("write", &new))
        .and_then(|()| files.sync(&new).map_err(Error::io("sync", &new)))
        .and_then(|()| {
            let renamed = files.rename(&new, path);
            renamed.map_err(Error::io("rename a file to", path))
        });
    if written.is_err() {
        // What is left of it is in nobody's way; that it could not be written is what is told.
        drop(remove_if_there(files, &new));
    }
    written?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    files.sync_dir(dir).map_err(Error::io("sync", dir))
}

/// Where a file is written before it is whole. One name for all tries, so that none is left behind for ever.
pub(crate) fn unfinished(path: &Path) -> std::path::PathBuf {
    hidden_beside(path, "new")
}

/// Removes a file if there is one; whether there was.
pub(crate) fn remove_if_there(files: &dyn Files, path: &Path) -> Result<bool> {
    match files.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests;
