//! Where a tree stands while it is not whole, being made or being removed: `.NAME.partial` beside its name.
//!
//! Whoever works there holds a lock on its root (flock(2)), so that two never meet, and what somebody left who was
//! killed can be told from what somebody works on. It must not know how a tree is made.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fsync, mkdirat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use super::TreeError;
use super::beneath::Root;
use super::remove;
use super::stat::{Stat, open_at, openat};
use crate::name::hidden_beside;
use crate::renames;

/// Makes an empty directory at a path, which only its owner can reach.
pub(crate) type MakeRoot<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

/// A name for a tree, and the one it has while it is not whole.
#[derive(Debug)]
pub(crate) struct Place {
    around: OwnedFd,
    name: OsString,
    partial: OsString,
    path: PathBuf,
    partial_path: PathBuf,
}

impl Place {
    /// The folder around `path` must exist.
    pub(crate) fn of(path: &Path) -> Result<Place, TreeError> {
        let Some(name) = path.file_name() else {
            return Err(failed("make or remove", path)(Errno::INVAL));
        };
        let around_path = around(path);
        let around = openat(
            CWD,
            around_path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed("open the directory", around_path))?;
        let partial_path = hidden_beside(path, "partial");
        Ok(Place {
            around,
            name: name.to_owned(),
            path: path.to_owned(),
            partial: partial_path.file_name().unwrap_or_default().to_owned(),
            partial_path,
        })
    }

    /// The tree under its name, if there is one.
    pub(crate) fn whole(&self) -> Result<Option<Root>, TreeError> {
        self.root(&self.name, &self.path)
    }

    /// Whether this is in `tree`, not below a name in its root that is left out. Nothing was made yet that would change
    /// the tree. Folders are known by what they are: one that is mounted nowhere has no path to be known by.
    pub(crate) fn is_inside(&self, tree: &Root, leave_out: &[OsString]) -> Result<bool, TreeError> {
        let around = around(&self.path);
        let around = around.canonicalize().map_err(failed("find", around))?;
        for above in around.ancestors() {
            let stat = Stat::at(CWD, above).map_err(failed("look at", above))?;
            if (stat.dev, stat.ino) == (tree.stat.dev, tree.stat.ino) {
                let way = around.strip_prefix(above).unwrap_or(&around);
                let first = way.components().next().map(Component::as_os_str);
                return Ok(!first.is_some_and(|first| leave_out.iter().any(|name| name == first)));
            }
        }
        Ok(false)
    }

    /// Makes an empty directory under the partial name, which is locked; by `by`, if that is given. Fails if there is
    /// something under the name. What was left under the partial name is removed first.
    pub(crate) fn make(&self, by: Option<MakeRoot<'_>>) -> Result<Locked, TreeError> {
        match Stat::at(&self.around, &self.name) {
            Ok(_) => return Err(failed("create", &self.path)(Errno::EXIST)),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("look at", &self.path)(errno)),
        }
        loop {
            self.clear()?;
            let made = match by {
                Some(by) => by(&self.partial_path),
                None => mkdirat(&self.around, &self.partial, Mode::RWXU).map_err(io::Error::from),
            };
            match made {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(failed("create the directory", &self.partial_path)(error));
                }
            }
            match self.lock() {
                Ok(Some(root)) => return Ok(root),
                // In between, another took it for one that was left.
                Ok(None) => {}
                Err(error @ TreeError::Busy { .. }) => return Err(error),
                Err(error) => return Err(self.not_left(error)),
            }
        }
    }

    /// `error`, and the empty directory under the partial name is removed.
    fn not_left(&self, error: TreeError) -> TreeError {
        match unlinkat(&self.around, &self.partial, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => error,
            Err(errno) => TreeError::Left {
                path: self.partial_path.clone(),
                error: Box::new(error),
                removing: Box::new(failed("remove", &self.partial_path)(errno)),
            },
        }
    }

    /// Removes what was left under the partial name.
    pub(crate) fn clear(&self) -> Result<(), TreeError> {
        match self.lock()? {
            Some(left) => self.remove(left),
            None => Ok(()),
        }
    }

    /// Removes `root`, which is under the partial name and locked. One that is not, because it has its name and could not
    /// be renamed back, is left alone.
    pub(crate) fn remove(&self, root: Locked) -> Result<(), TreeError> {
        match Stat::at(&self.around, &self.partial) {
            Ok(now) if now.same_inode(&root.stat) => {}
            Ok(_) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed("look at", &self.partial_path)(errno)),
        }
        loop {
            remove::empty(&root)?;
            match unlinkat(&self.around, &self.partial, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY) => {}
                Err(errno) => return Err(failed("remove", &self.partial_path)(errno)),
            }
        }
    }

    /// Gives the tree its name.
    pub(crate) fn reveal(&self) -> Result<(), TreeError> {
        self.rename(&self.partial, &self.name)
            .map_err(failed("rename to its name", &self.path))
    }

    /// Takes the name from the tree.
    pub(crate) fn hide(&self) -> Result<(), TreeError> {
        self.rename(&self.name, &self.partial)
            .map_err(failed("rename to its partial name", &self.path))
    }

    /// Makes renames and removals last.
    pub(crate) fn sync(&self) -> Result<(), TreeError> {
        retry_on_intr(|| fsync(&self.around))
            .map_err(failed("sync the directory around", &self.path))
    }

    /// Locks `root`, unless somebody else works on it.
    pub(crate) fn claim(&self, root: Root) -> Result<Locked, TreeError> {
        match retry_on_intr(|| flock(&root.fd, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Locked(root)),
            Err(Errno::WOULDBLOCK) => Err(TreeError::Busy {
                path: self.path.clone(),
            }),
            Err(errno) => Err(failed("lock", &self.path)(errno)),
        }
    }

    /// For `map_err`: the error of doing `what` to the path.
    pub(crate) fn failed<E: Into<io::Error>>(
        &self,
        what: &'static str,
    ) -> impl FnOnce(E) -> TreeError {
        failed(what, &self.path)
    }

    /// Where the tree stands while it is not whole.
    pub(crate) fn partial_path(&self) -> &Path {
        &self.partial_path
    }

    /// The tree under the partial name, locked; `None` if there is none, or none any more.
    fn lock(&self) -> Result<Option<Locked>, TreeError> {
        let Some(root) = self.root(&self.partial, &self.partial_path)? else {
            return Ok(None);
        };
        let root = self.claim(root)?;
        match Stat::at(&self.around, &self.partial) {
            Ok(now) if now.same_inode(&root.stat) => Ok(Some(root)),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("look at", &self.partial_path)(errno)),
        }
    }

    fn root(&self, name: &OsStr, path: &Path) -> Result<Option<Root>, TreeError> {
        match open_at(&self.around, name, OFlags::DIRECTORY) {
            Ok(fd) => Root::new(fd, path).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("open the directory", path)(errno)),
        }
    }

    fn rename(&self, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
        renames::to_free_at(&self.around, from, &self.around, to)
    }
}

/// The folder that `path` is in.
fn around(path: &Path) -> &Path {
    match path.parent() {
        Some(around) if around != Path::new("") => around,
        _ => Path::new("."),
    }
}

/// A tree that nobody else works on as long as this is there.
pub(crate) struct Locked(Root);

impl Deref for Locked {
    type Target = Root;

    fn deref(&self) -> &Root {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // To close it is not enough: a program that another thread just starts has a copy of the descriptor for a moment,
        // and the lock with it. What cannot be let go of here is let go of by the close, a little later.
        flock(&self.0.fd, FlockOperation::Unlock).ok();
    }
}

fn failed<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> TreeError {
    let path = path.to_owned();
    move |error| TreeError::Io {
        what,
        path,
        source: error.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_let_go_of_whoever_has_a_copy_of_the_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(&folder.path().join("tree")).unwrap();
        let locked = place.make(None).unwrap();
        // As a program has that is just being started.
        let _copy = locked.fd.try_clone().unwrap();
        assert!(matches!(place.clear(), Err(TreeError::Busy { .. })));
        drop(locked);
        place.clear().unwrap();
    }
}
