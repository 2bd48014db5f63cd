//! Visits everything in a tree, by directory descriptors.
//!
//! The order is: a directory's own entries as the system lists them, then what is below each of its directories. So a
//! directory is visited before what is in it. Held at a time: a few descriptors, and of each directory on the way down
//! the names of its directories. It must not know what a visit is for.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::TreeError;
use super::beneath::Root;
use super::entry::Mtime;
use super::name::TreePath;
use super::pass::Pass;
use super::stat::{Stat, open_at, open_path};

/// Directories on the way down that stay open; the way back to those above goes by `..`.
const KEPT_OPEN: usize = 16;

/// A directory that is open.
#[derive(Debug)]
pub(crate) struct Dir {
    /// Its path below the root.
    pub path: TreePath,
    /// As it was when it was opened.
    pub stat: Stat,
    pub fd: OwnedFd,
    /// The directory of the same path in the other tree, where one is walked along.
    pub beside: Option<OwnedFd>,
}

impl Dir {
    /// The directory beside, where the walk is along one.
    pub(crate) fn target(&self) -> &OwnedFd {
        self.beside.as_ref().unwrap_or(&self.fd)
    }
}

/// One thing in the tree other than its root.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    /// The directory it is in.
    pub dir: &'a Arc<Dir>,
    /// Its name there.
    pub name: &'a CStr,
    pub stat: Stat,
}

impl Visit<'_> {
    /// Its path below the root.
    pub(crate) fn path(&self) -> TreePath {
        self.dir.path.join(self.name.to_bytes())
    }
}

/// Who walks.
pub(crate) trait Visitor {
    /// Called for everything below the root.
    fn visit(&mut self, visit: Visit<'_>) -> Result<(), TreeError>;

    /// Called for each directory, once all that lies in it itself was visited.
    fn listed(&mut self, dir: Arc<Dir>) -> Result<(), TreeError> {
        drop(dir);
        Ok(())
    }

    /// What to make of a thing that could not be looked at, or changed while it was.
    fn lost(&mut self, error: TreeError) -> Result<(), TreeError> {
        Err(error)
    }
}

impl<F: FnMut(Visit<'_>) -> Result<(), TreeError>> Visitor for F {
    fn visit(&mut self, visit: Visit<'_>) -> Result<(), TreeError> {
        self(visit)
    }
}

/// Visits all below `root`. Fails on a mount point or nested subvolume, and on a directory that changes while it is
/// listed. Ends early with [`TreeError::Interrupted`] once it is to stop.
///
/// A tree `beside` is walked along without a look at what is in it: a directory must be there by the time its visit
/// is over.
pub(crate) fn walk(
    root: &Root,
    beside: Option<&Root>,
    pass: &Pass<'_>,
    visitor: &mut dyn Visitor,
) -> Result<(), TreeError> {
    let mut lister = Lister {
        root,
        beside,
        pass,
        visitor,
        buffer: Vec::with_capacity(64 * 1024),
    };
    let top = lister.open(None, &Below::new(c".", &root.stat))?;
    let mut way: Vec<Level> = top.into_iter().collect();
    while let Some(here) = way.last_mut() {
        match here.below.pop() {
            Some(below) => {
                if let Some(level) = lister.open(Some(here), &below)? {
                    way.push(level);
                    if way.len() > KEPT_OPEN {
                        let far = way.len() - 1 - KEPT_OPEN;
                        lister.close(&mut way[far])?;
                    }
                }
            }
            None => {
                let left = way.pop();
                if let (Some(left), Some(back)) = (left, way.last_mut())
                    && let Err(error) = lister.up(&left, back)
                {
                    lister.visitor.lost(error)?;
                }
            }
        }
    }
    Ok(())
}

/// A directory on the way down.
struct Level {
    at: At,
    /// Directories in it that are still to be listed.
    below: Vec<Below>,
}

enum At {
    Open(Arc<Dir>),
    /// Closed because the way goes on far below.
    Far(Box<Far>),
}

struct Far {
    path: TreePath,
    stat: Stat,
    beside: Option<Stat>,
}

/// A directory that was visited and is still to be listed, and how to know it again.
struct Below {
    name: CString,
    ino: u64,
    ctime: Mtime,
}

impl Below {
    fn new(name: &CStr, stat: &Stat) -> Below {
        Below {
            name: name.to_owned(),
            ino: stat.ino,
            ctime: stat.ctime,
        }
    }
}

struct Lister<'a> {
    root: &'a Root,
    beside: Option<&'a Root>,
    pass: &'a Pass<'a>,
    visitor: &'a mut dyn Visitor,
    buffer: Vec<u8>,
}

impl Lister<'_> {
    /// Opens the directory `below` in `level`, and visits all that is in it. `None` is one that was lost.
    fn open(&mut self, level: Option<&Level>, below: &Below) -> Result<Option<Level>, TreeError> {
        let dir = match self.dir(level, below) {
            Ok(dir) => Arc::new(dir),
            Err(error) => return self.visitor.lost(error).map(|()| None),
        };
        if (dir.stat.ino, dir.stat.ctime) != (below.ino, below.ctime) {
            self.visitor.lost(self.root.changed(&dir.path))?;
        }
        let below = self.list(&dir)?;
        // A name that came or went meanwhile shows in the directory's own times.
        match Stat::of(&dir.fd) {
            Ok(now) if now.unchanged(&dir.stat) => {}
            Ok(_) => self.visitor.lost(self.root.changed(&dir.path))?,
            Err(errno) => return Err(self.root.failed("look at", &dir.path)(errno)),
        }
        self.visitor.listed(dir.clone())?;
        let at = At::Open(dir);
        Ok(Some(Level { at, below }))
    }

    fn dir(&self, level: Option<&Level>, below: &Below) -> Result<Dir, TreeError> {
        let root = self.root;
        let name = &below.name;
        let (path, from, beside) = match level {
            None => {
                let beside = self.beside.map(|beside| beside.fd.as_fd());
                (TreePath::root(), root.fd.as_fd(), beside)
            }
            Some(level) => match &level.at {
                At::Open(dir) => {
                    let beside = dir.beside.as_ref().map(AsFd::as_fd);
                    (dir.path.join(name.to_bytes()), dir.fd.as_fd(), beside)
                }
                At::Far(far) => return Err(root.changed(&far.path)),
            },
        };
        let fd = open_at(from, name, OFlags::DIRECTORY)
            .map_err(root.failed("open the directory", &path))?;
        let stat = Stat::of(&fd).map_err(root.failed("look at", &path))?;
        let beside = match (beside, self.beside) {
            (Some(fd), Some(root)) => Some(
                open_at(fd, name, OFlags::DIRECTORY)
                    .map_err(root.failed("open the directory", &path))?,
            ),
            _ => None,
        };
        Ok(Dir {
            path,
            stat,
            fd,
            beside,
        })
    }

    fn list(&mut self, dir: &Arc<Dir>) -> Result<Vec<Below>, TreeError> {
        let root = self.root;
        let is_root = dir.path == TreePath::root();
        let left_out = |name: &CStr| {
            let name = OsStr::from_bytes(name.to_bytes());
            is_root && self.pass.leave_out.iter().any(|out| out == name)
        };
        let mut below = Vec::new();
        let mut entries = RawDir::new(&dir.fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(root.failed("list", &dir.path))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || left_out(name) {
                continue;
            }
            if (self.pass.stop)() {
                return Err(TreeError::Interrupted);
            }
            let path = || dir.path.join(name.to_bytes());
            let stat = match Stat::at(&dir.fd, name) {
                Ok(stat) => stat,
                Err(errno) => {
                    self.visitor.lost(root.failed("look at", &path())(errno))?;
                    continue;
                }
            };
            if stat.dev != root.stat.dev || stat.mounted {
                return Err(root.other_volume(&path()));
            }
            self.visitor.visit(Visit { dir, name, stat })?;
            if stat.file_type == FileType::Directory {
                below.push(Below::new(name, &stat));
            }
        }
        Ok(below)
    }

    /// Closes a directory that is far above by now, keeping what it is known by.
    fn close(&self, level: &mut Level) -> Result<(), TreeError> {
        if let At::Open(dir) = &level.at {
            let beside = match (&dir.beside, self.beside) {
                (Some(fd), Some(root)) => {
                    Some(Stat::of(fd).map_err(root.failed("look at", &dir.path))?)
                }
                _ => None,
            };
            level.at = At::Far(Box::new(Far {
                path: dir.path.clone(),
                stat: dir.stat,
                beside,
            }));
        }
        Ok(())
    }

    /// Reopens the directory `back` above `left`, if it was closed, and sees that it is still the one that was left.
    fn up(&self, left: &Level, back: &mut Level) -> Result<(), TreeError> {
        let (At::Open(left), At::Far(far)) = (&left.at, &back.at) else {
            return Ok(());
        };
        let Far { path, stat, beside } = &**far;
        let fd = above(self.root, &left.fd, path, stat)?;
        let beside = match (&left.beside, self.beside, beside) {
            (Some(fd), Some(root), Some(stat)) => Some(above(root, fd, path, stat)?),
            _ => None,
        };
        back.at = At::Open(Arc::new(Dir {
            path: path.clone(),
            stat: *stat,
            fd,
            beside,
        }));
        Ok(())
    }
}

fn above(root: &Root, from: &OwnedFd, path: &TreePath, stat: &Stat) -> Result<OwnedFd, TreeError> {
    let fd = open_path(from, "..").map_err(root.failed("go back up to", path))?;
    let now = Stat::of(&fd).map_err(|errno: Errno| root.failed("look at", path)(errno))?;
    if now.same_inode(stat) {
        Ok(fd)
    } else {
        Err(root.changed(path))
    }
}
