//! Visits everything in a tree, by directory descriptors.
//!
//! The order is: a directory's own entries as the system lists them, then what is below each of its directories. So a
//! directory is visited before what is in it. Held at a time: a few descriptors, and of each directory on the way down
//! the names of its directories. It must not know what a visit is for.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::TreeError;
use super::beneath::Root;
use super::name::TreePath;
use super::pass::Pass;
use super::stat::{Stat, open_at, open_path};

/// Directories on the way down that stay open; the way back to those above goes by `..`.
const KEPT_OPEN: usize = 16;

/// One thing in the tree, while its directory is open.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    /// The directory it is in; for the root, the root itself.
    pub dir: BorrowedFd<'a>,
    /// Its name there; for the root, `.`.
    pub name: &'a CStr,
    /// Its path below the root.
    pub path: &'a TreePath,
    pub stat: Stat,
}

/// Calls `visit` for the root and everything below it. Fails on a mount point or nested subvolume, and on a directory
/// that changes while it is listed. Ends early with [`TreeError::Interrupted`] once it is to stop.
pub(crate) fn walk(
    root: &Root,
    pass: &Pass<'_>,
    visit: &mut dyn FnMut(Visit<'_>) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    visit(Visit {
        dir: root.fd.as_fd(),
        name: c".",
        path: &TreePath::root(),
        stat: root.stat,
    })?;
    let mut lister = Lister {
        root,
        pass,
        visit,
        buffer: Vec::with_capacity(64 * 1024),
    };
    let mut way = vec![lister.list(root.fd.as_fd(), c".", TreePath::root(), root.stat)?];
    while let Some(here) = way.last_mut() {
        match here.below.pop() {
            Some((name, stat)) => {
                let path = here.path.join(name.to_bytes());
                let fd = here.fd.as_ref().ok_or_else(|| root.changed(&here.path))?;
                let level = lister.list(fd.as_fd(), &name, path, stat)?;
                way.push(level);
                if way.len() > KEPT_OPEN {
                    let far = way.len() - 1 - KEPT_OPEN;
                    way[far].fd = None;
                }
            }
            None => {
                let left = way.pop();
                if let (Some(Level { fd: Some(left), .. }), Some(back)) = (left, way.last_mut())
                    && back.fd.is_none()
                {
                    back.fd = Some(up(root, &left, back)?);
                }
            }
        }
    }
    Ok(())
}

/// Reopens the directory above `from`, and sees that it is still the one that was left.
fn up(root: &Root, from: &OwnedFd, to: &Level) -> Result<OwnedFd, TreeError> {
    let fd = open_path(from, "..").map_err(root.failed("go back up to", &to.path))?;
    let stat = Stat::of(&fd).map_err(root.failed("look at", &to.path))?;
    if !stat.same_inode(&to.stat) {
        return Err(root.changed(&to.path));
    }
    Ok(fd)
}

/// A directory on the way down.
struct Level {
    path: TreePath,
    stat: Stat,
    /// `None` where it was closed because the way goes on far below.
    fd: Option<OwnedFd>,
    /// Directories in it that are still to be listed.
    below: Vec<(CString, Stat)>,
}

struct Lister<'a> {
    root: &'a Root,
    pass: &'a Pass<'a>,
    visit: &'a mut dyn FnMut(Visit<'_>) -> Result<(), TreeError>,
    buffer: Vec<u8>,
}

impl Lister<'_> {
    /// Opens the directory `name` in `dir`, and visits all that is in it. `expected` is how it was when it was visited.
    fn list(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: TreePath,
        expected: Stat,
    ) -> Result<Level, TreeError> {
        let root = self.root;
        let fd = open_at(dir, name, OFlags::DIRECTORY)
            .map_err(root.failed("open the directory", &path))?;
        let mut names = self.names(&fd).map_err(root.failed("list", &path))?;
        if path == TreePath::root() {
            let left_out = |name: &CString| {
                let name = OsStr::from_bytes(name.to_bytes());
                self.pass.leave_out.iter().any(|out| out == name)
            };
            names.retain(|name| !left_out(name));
        }
        let mut below = Vec::new();
        for name in names {
            if (self.pass.stop)() {
                return Err(TreeError::Interrupted);
            }
            let path = path.join(name.to_bytes());
            let stat = Stat::at(&fd, &name).map_err(root.failed("look at", &path))?;
            if stat.dev != root.stat.dev || stat.mounted {
                return Err(root.other_volume(&path));
            }
            (self.visit)(Visit {
                dir: fd.as_fd(),
                name: &name,
                path: &path,
                stat,
            })?;
            if stat.file_type == FileType::Directory {
                below.push((name, stat));
            }
        }
        // A name that came or went meanwhile shows in the directory's own times.
        if Stat::of(&fd).map_err(root.failed("look at", &path))? != expected {
            return Err(root.changed(&path));
        }
        Ok(Level {
            path,
            stat: expected,
            fd: Some(fd),
            below,
        })
    }

    fn names(&mut self, fd: &OwnedFd) -> Result<Vec<CString>, Errno> {
        let mut names = Vec::new();
        let mut entries = RawDir::new(fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}
