//! A tree's root as a descriptor, and opening what lies beneath it by names, however deep.
//!
//! It must not know what is done with what was opened.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use super::TreeError;
use super::attributes::Lacking;
use super::name::TreePath;
use super::stat::{Stat, open_at, open_path};

/// The root of a tree.
#[derive(Debug)]
pub(crate) struct Root {
    pub fd: OwnedFd,
    pub stat: Stat,
    path: PathBuf,
}

impl Root {
    /// Opens `path`, which must be a directory and not a symbolic link to one.
    pub(crate) fn open(path: &Path) -> Result<Root, TreeError> {
        let fd = open_at(CWD, path, OFlags::DIRECTORY)
            .map_err(failed("open the directory", path.to_owned()))?;
        Root::new(fd, path)
    }

    /// Of the open directory at `path`.
    pub(crate) fn new(fd: OwnedFd, path: &Path) -> Result<Root, TreeError> {
        let path = path.to_owned();
        match Stat::of(&fd) {
            Ok(stat) => Ok(Root { fd, stat, path }),
            Err(errno) => Err(failed("look at", path)(errno)),
        }
    }

    /// For `map_err`: the error of doing `what` to `path`.
    pub(crate) fn failed<E: Into<io::Error>>(
        &self,
        what: &'static str,
        path: &TreePath,
    ) -> impl FnOnce(E) -> TreeError {
        move |error| failed(what, path.under(&self.path))(error)
    }

    /// The error of not being able to say of a copy of `path` what is said of `path`.
    pub(crate) fn not_kept(&self, path: &TreePath, lacking: Lacking) -> TreeError {
        TreeError::NotKept {
            what: lacking.what,
            path: path.under(&self.path),
            source: lacking.source,
        }
    }

    /// The error of having seen `path` change.
    pub(crate) fn changed(&self, path: &TreePath) -> TreeError {
        TreeError::Changed {
            path: path.under(&self.path),
        }
    }

    /// The error of `path` being where a clone of this tree is made.
    pub(crate) fn inside(&self, path: &TreePath) -> TreeError {
        TreeError::Inside {
            path: path.under(&self.path),
        }
    }

    /// The error of `path` lying on another volume.
    pub(crate) fn other_volume(&self, path: &TreePath) -> TreeError {
        TreeError::OtherVolume {
            path: path.under(&self.path),
        }
    }
}

fn failed<E: Into<io::Error>>(what: &'static str, path: PathBuf) -> impl FnOnce(E) -> TreeError {
    move |error| TreeError::Io {
        what,
        path,
        source: error.into(),
    }
}

/// Opens things beneath a root, one name at a time, so that no path is too long and no symbolic link is followed. It
/// keeps the directory it was in last: neighbours cost one call. One descriptor, for one thread.
#[derive(Debug)]
pub(crate) struct Beneath<'r> {
    root: &'r Root,
    /// Path of the directory kept, never empty.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'r> Beneath<'r> {
    pub(crate) fn new(root: &'r Root) -> Beneath<'r> {
        Beneath { root, last: None }
    }

    /// Opens `path` for reading; the root itself is `.`.
    pub(crate) fn open(&mut self, path: &TreePath) -> Result<OwnedFd, Errno> {
        match path.split() {
            None => open_at(&self.root.fd, ".", OFlags::empty()),
            Some((dir, name)) => open_at(self.dir(dir)?, name, OFlags::empty()),
        }
    }

    /// The directory at `path`, to look things up in.
    pub(crate) fn dir(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        if path.is_empty() {
            return Ok(self.root.fd.as_fd());
        }
        let (mut fd, rest) = match self.last.take() {
            Some((kept, fd)) => match path.strip_prefix(kept.as_slice()) {
                Some([]) => (Some(fd), &[][..]),
                Some([b'/', rest @ ..]) => (Some(fd), rest),
                _ => (None, path),
            },
            None => (None, path),
        };
        for name in rest.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let from = fd.as_ref().map_or(self.root.fd.as_fd(), AsFd::as_fd);
            fd = Some(open_path(from, name)?);
        }
        // A path that is not empty has a name in it, so there is a descriptor by now.
        let fd = fd.ok_or(Errno::NOENT)?;
        Ok(self.last.insert((path.to_vec(), fd)).1.as_fd())
    }
}
