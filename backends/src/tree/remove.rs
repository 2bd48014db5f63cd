//! Removes a tree: any depth, immutable or not, never across a mount point.
//!
//! It must not know what the tree was for.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, chmodat, fchmod, seek, unlinkat,
};
use rustix::io::Errno;

use super::TreeError;
use super::beneath::Root;
use super::flags;
use super::name::TreePath;
use super::partial::Place;
use super::pass::Pass;
use super::stat::{Stat, open_at, open_path};
use super::walk::{Visit, walk};

/// Directories on the way down that stay open; the way back to those above goes by `..`.
const KEPT_OPEN: usize = 16;

/// Removes the tree at `path`, durably. It is renamed to `.NAME.partial` first, so that a half removed tree never
/// stands under its name; one that a removal or a clone left there when it was killed is removed, too. Nothing there
/// is not an error. A mount point or a subvolume below is one, found before anything is removed.
pub fn remove(path: &Path) -> Result<(), TreeError> {
    let place = match Place::of(path) {
        Err(TreeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(());
        }
        place => place?,
    };
    place.clear()?;
    if let Some(root) = place.whole()? {
        let root = place.claim(root)?;
        walk(&root, None, &Pass::new(), &mut |_: Visit<'_>| Ok(()))?;
        // An immutable directory cannot be renamed.
        flags::loosen(&root.fd).map_err(place.failed("make removable"))?;
        place.hide()?;
        place.remove(root)?;
    }
    place.sync()
}

/// Removes all that is below `root`.
pub(crate) fn empty(root: &Root) -> Result<(), TreeError> {
    let remover = Remover { root };
    let top = Level {
        name: c".".to_owned(),
        path: TreePath::root(),
        fd: None,
        stat: root.stat,
        below: Vec::new(),
    };
    let mut way = vec![remover.open(root.fd.as_fd(), top)?];
    while let Some(here) = way.last_mut() {
        let fd = here.fd.as_ref().ok_or_else(|| root.changed(&here.path))?;
        if let Some(name) = here.below.pop() {
            let level = Level {
                path: here.path.join(name.to_bytes()),
                name,
                fd: None,
                stat: root.stat,
                below: Vec::new(),
            };
            let level = remover.open(fd.as_fd(), level)?;
            way.push(level);
            if way.len() > KEPT_OPEN {
                let far = way.len() - 1 - KEPT_OPEN;
                way[far].fd = None;
            }
        } else if let Some(done) = way.pop()
            && let Some(back) = way.last_mut()
        {
            remover.leave(&done, back)?;
        }
    }
    Ok(())
}

/// A directory on the way down. Nothing is left in it but directories.
struct Level {
    name: CString,
    path: TreePath,
    stat: Stat,
    fd: Option<OwnedFd>,
    below: Vec<CString>,
}

struct Remover<'r> {
    root: &'r Root,
}

impl Remover<'_> {
    /// Opens the directory of `level` in `dir`, and removes all in it but its directories, which it notes.
    fn open(&self, dir: impl AsFd, mut level: Level) -> Result<Level, TreeError> {
        let root = self.root;
        let open = || open_at(&dir, &level.name, OFlags::DIRECTORY);
        let fd = match open() {
            // Its owner may let himself in.
            Err(Errno::ACCESS) => {
                chmodat(&dir, &level.name, Mode::RWXU, AtFlags::empty()).and_then(|()| open())
            }
            fd => fd,
        }
        .map_err(root.failed("open the directory", &level.path))?;
        level.stat = Stat::of(&fd).map_err(root.failed("look at", &level.path))?;
        let is_root = level.path == TreePath::root();
        if level.stat.dev != root.stat.dev || (level.stat.mounted && !is_root) {
            return Err(root.other_volume(&level.path));
        }
        if level.stat.mode.bits() & 0o300 != 0o300 {
            fchmod(&fd, Mode::RWXU).map_err(root.failed("make removable", &level.path))?;
        }
        flags::loosen(&fd).map_err(root.failed("make removable", &level.path))?;
        // Until a listing shows directories alone: a directory that shrinks while it is listed may pass over names.
        while self.unlink_all(&fd, &mut level)? {
            seek(&fd, SeekFrom::Start(0)).map_err(root.failed("list", &level.path))?;
        }
        level.fd = Some(fd);
        Ok(level)
    }

    /// Says whether there was anything to remove.
    fn unlink_all(&self, fd: &OwnedFd, level: &mut Level) -> Result<bool, TreeError> {
        level.below.clear();
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut some = false;
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(self.root.failed("list", &level.path))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = || level.path.join(name.to_bytes());
            let file_type = match entry.file_type() {
                FileType::Unknown => match Stat::at(fd, name) {
                    Ok(stat) => stat.file_type,
                    Err(errno) => return Err(self.root.failed("look at", &path())(errno)),
                },
                known => known,
            };
            if file_type == FileType::Directory {
                level.below.push(name.to_owned());
            } else {
                some = true;
                if let Err(errno) = unlink(fd, name) {
                    return Err(self.root.failed("remove", &path())(errno));
                }
            }
        }
        Ok(some)
    }

    /// Removes the directory `done` from `back`, which is opened again if it was closed.
    fn leave(&self, done: &Level, back: &mut Level) -> Result<(), TreeError> {
        let root = self.root;
        if let (None, Some(from)) = (&back.fd, &done.fd) {
            let fd = open_path(from, "..").map_err(root.failed("go back up to", &back.path))?;
            let stat = Stat::of(&fd).map_err(root.failed("look at", &back.path))?;
            if !stat.same_inode(&back.stat) {
                return Err(root.changed(&back.path));
            }
            back.fd = Some(fd);
        }
        let fd = back.fd.as_ref().ok_or_else(|| root.changed(&back.path))?;
        unlinkat(fd, &done.name, AtFlags::REMOVEDIR).map_err(root.failed("remove", &done.path))
    }
}

fn unlink(dir: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        // It may be immutable. Only files are among what can be opened for that.
        Err(Errno::PERM) => {
            let file = open_at(dir, name, OFlags::empty()).map_err(|_| Errno::PERM)?;
            if flags::loosen(&file)? {
                unlinkat(dir, name, AtFlags::empty())
            } else {
                Err(Errno::PERM)
            }
        }
        Err(errno) => Err(errno),
    }
}
