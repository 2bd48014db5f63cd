//! Makes one thing in the target as it is in the source. One copier for one thread.
//!
//! It must not know the order in which the tree is gone through.

use std::ffi::{CStr, CString};
use std::ops::AddAssign;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::fs::{
    AtFlags, FileType, IFlags, Mode as Bits, OFlags, mkdirat, mknodat, readlinkat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;

use super::content::{BUFFER, Stopped, Ways};
use crate::tree::TreeError;
use crate::tree::attributes::{self, Lacking, Made};
use crate::tree::beneath::Root;
use crate::tree::entry::Mode;
use crate::tree::flags;
use crate::tree::name::TreePath;
use crate::tree::pass::Pass;
use crate::tree::stat::{Stat, open_at, openat};
use crate::tree::walk::Dir;

/// What all copiers of a clone share.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub from: &'a Root,
    pub to: &'a Root,
    pub pass: &'a Pass<'a>,
    ways: Ways,
    /// Owner of what is made, and the mode of what is made with all permissions.
    made: Made,
    /// Flags for when everything else is done: of files that may get more names, and of the root.
    late: Mutex<Vec<(TreePath, IFlags)>>,
}

impl<'a> Task<'a> {
    /// `to` is empty.
    pub(super) fn new(
        from: &'a Root,
        to: &'a Root,
        pass: &'a Pass<'a>,
    ) -> Result<Task<'a>, TreeError> {
        attributes::reset(&to.fd).map_err(|lacking| from.not_kept(&TreePath::root(), lacking))?;
        // The process's umask cannot be asked for, only seen; the owner depends on mount options, too.
        let trial = c"trial";
        let made = mkdirat(&to.fd, trial, Bits::from_raw_mode(0o777)).and_then(|()| {
            let made = Made::of(&Stat::at(&to.fd, trial)?);
            unlinkat(&to.fd, trial, AtFlags::REMOVEDIR)?;
            Ok(made)
        });
        let made = made.map_err(to.failed("create things in", &TreePath::root()))?;
        Ok(Task {
            from,
            to,
            pass,
            ways: Ways::new(),
            made,
            late: Mutex::default(),
        })
    }

    /// Creates the directory `name` beside `dir`, open to its owner alone.
    pub(super) fn make_dir(&self, dir: &Dir, name: &CStr) -> Result<(), TreeError> {
        mkdirat(dir.target(), name, Bits::RWXU)
            .map_err(|errno| self.to.failed("create the directory", &at(dir, name))(errno))
    }

    /// Creates the file `name` beside `dir`, with nothing in it.
    pub(super) fn make_file(
        &self,
        dir: &Dir,
        name: &CStr,
        stat: &Stat,
    ) -> Result<OwnedFd, TreeError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(
            dir.target(),
            name,
            flags,
            attributes::bits(self.plain(stat)),
        )
        .map_err(|errno| self.to.failed("create", &at(dir, name))(errno))
    }

    /// What is to be done when everything is in place, by path.
    pub(super) fn take_late(&self) -> Vec<(TreePath, IFlags)> {
        std::mem::take(&mut *self.late.lock().unwrap_or_else(|late| late.into_inner()))
    }

    fn late(&self, path: TreePath, flags: IFlags) {
        let mut late = self.late.lock().unwrap_or_else(|late| late.into_inner());
        late.push((path, flags));
    }

    /// The permissions of `stat` that a thing can be made with.
    fn plain(&self, stat: &Stat) -> Mode {
        Mode::from_bits(stat.mode.bits() & 0o777)
    }

    /// What is said of a thing that was made with `mode`.
    fn made(&self, mode: Mode) -> Made {
        Made {
            mode: Mode::from_bits(mode.bits() & self.made.mode.bits()),
            ..self.made
        }
    }

    fn not_kept(&self, dir: &Dir, name: &CStr) -> impl FnOnce(Lacking) -> TreeError {
        move |lacking| self.from.not_kept(&at(dir, name), lacking)
    }

    /// For `map_err`: of doing `what` to `name` in the source.
    fn failed(
        &self,
        what: &'static str,
        dir: &Dir,
        name: &CStr,
    ) -> impl FnOnce(Errno) -> TreeError {
        move |errno| self.from.failed(what, &at(dir, name))(errno)
    }
}

fn at(dir: &Dir, name: &CStr) -> TreePath {
    dir.path.join(name.to_bytes())
}

/// One thing to be made.
#[derive(Debug)]
pub(super) struct Item {
    pub name: CString,
    pub stat: Stat,
    /// The file is there, with nothing in it.
    pub made: bool,
}

/// What was done.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub files: u64,
    pub bytes: u64,
    pub shared: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Tally) {
        self.files += more.files;
        self.bytes += more.bytes;
        self.shared += more.shared;
    }
}

#[derive(Debug)]
pub(super) struct Copier<'a> {
    task: &'a Task<'a>,
    buffer: Vec<u8>,
    pub tally: Tally,
}

impl<'a> Copier<'a> {
    pub(super) fn new(task: &'a Task<'a>) -> Copier<'a> {
        Copier {
            task,
            buffer: vec![0; BUFFER],
            tally: Tally::default(),
        }
    }

    /// Makes `item` of the directory `dir`.
    pub(super) fn make(&mut self, dir: &Dir, item: &Item) -> Result<(), TreeError> {
        if (self.task.pass.stop)() {
            return Err(TreeError::Interrupted);
        }
        match item.stat.file_type {
            FileType::RegularFile => self.file(dir, item),
            FileType::Symlink => self.symlink(dir, item),
            _ => self.node(dir, item),
        }
    }

    fn file(&mut self, dir: &Dir, item: &Item) -> Result<(), TreeError> {
        let (task, Item { name, stat, made }) = (self.task, item);
        let from =
            open_at(&dir.fd, name, OFlags::empty()).map_err(task.failed("open", dir, name))?;
        let flags = attributes::flags(&from).map_err(task.not_kept(dir, name))?;
        let to = match made {
            false => task.make_file(dir, name, stat)?,
            true => {
                let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                openat(dir.target(), name, flags, Bits::empty())
                    .map_err(|errno| task.to.failed("open", &at(dir, name))(errno))?
            }
        };
        if !flags.is_empty() {
            // btrfs takes NOCOW of an empty file alone, and shares blocks with it only where both have it.
            attributes::set_flags(&to, flags - flags::LATE).map_err(task.not_kept(dir, name))?;
        }
        let size = stat.size;
        let shared = task
            .ways
            .copy(&from, &to, size, &mut self.buffer, task.pass)
            .map_err(|stopped| match stopped {
                Stopped::Failed(what, errno) => task.failed(what, dir, name)(errno),
                Stopped::Short => task.from.changed(&at(dir, name)),
                Stopped::Interrupted => TreeError::Interrupted,
            })?;
        attributes::keep(&from, stat, &to, task.made(task.plain(stat)))
            .map_err(task.not_kept(dir, name))?;
        if flags.intersects(flags::LATE) {
            if stat.nlink > 1 {
                task.late(at(dir, name), flags);
            } else {
                attributes::set_flags(&to, flags).map_err(task.not_kept(dir, name))?;
            }
        }
        self.tally.files += 1;
        self.tally.bytes += size;
        if shared {
            self.tally.shared += size;
        }
        self.unchanged(dir, name, stat, Stat::of(&from))
    }

    fn symlink(&self, dir: &Dir, item: &Item) -> Result<(), TreeError> {
        let (task, Item { name, stat, .. }) = (self.task, item);
        let points_to = readlinkat(&dir.fd, name, Vec::new()).map_err(task.failed(
            "read the link",
            dir,
            name,
        ))?;
        symlinkat(points_to, dir.target(), name)
            .map_err(|errno| task.to.failed("create the link", &at(dir, name))(errno))?;
        self.keep_at(dir, name, stat)
    }

    /// A pipe or a device.
    fn node(&self, dir: &Dir, item: &Item) -> Result<(), TreeError> {
        let (task, Item { name, stat, .. }) = (self.task, item);
        let rdev = rustix::fs::makedev(stat.rdev.major, stat.rdev.minor);
        let mode = attributes::bits(task.plain(stat));
        mknodat(dir.target(), name, stat.file_type, mode, rdev)
            .map_err(|errno| task.to.failed("create", &at(dir, name))(errno))?;
        self.keep_at(dir, name, stat)
    }

    fn keep_at(&self, dir: &Dir, name: &CStr, stat: &Stat) -> Result<(), TreeError> {
        let task = self.task;
        let to = dir.target();
        attributes::keep_at(&dir.fd, name, stat, to, task.made(task.plain(stat)))
            .map_err(task.not_kept(dir, name))?;
        self.unchanged(dir, name, stat, Stat::at(&dir.fd, name))
    }

    fn unchanged(
        &self,
        dir: &Dir,
        name: &CStr,
        before: &Stat,
        now: Result<Stat, Errno>,
    ) -> Result<(), TreeError> {
        match now {
            Ok(now) if now.unchanged(before) => Ok(()),
            Ok(_) | Err(Errno::NOENT) => Err(self.task.from.changed(&at(dir, name))),
            Err(errno) => Err(self.task.failed("look at", dir, name)(errno)),
        }
    }

    /// Says of the directory beside `dir`, in which everything is made by now, what is said of `dir`.
    pub(super) fn finish(&self, dir: &Dir) -> Result<(), TreeError> {
        let task = self.task;
        let not_kept = |lacking| task.from.not_kept(&dir.path, lacking);
        let to = dir.target();
        let is_root = dir.path == TreePath::root();
        let flags = attributes::flags(&dir.fd).map_err(not_kept)?;
        if !flags.is_empty() {
            attributes::set_flags(to, flags - flags::LATE).map_err(not_kept)?;
        }
        let made = match is_root {
            // Its owner and group may be those of the folder around it.
            true => Made {
                mode: Mode::from_bits(0o700),
                ..Made::of(&task.to.stat)
            },
            false => task.made(Mode::from_bits(0o700)),
        };
        attributes::keep(&dir.fd, &dir.stat, to, made).map_err(not_kept)?;
        if flags.intersects(flags::LATE) {
            // The root is still to be renamed.
            if is_root {
                task.late(TreePath::root(), flags);
            } else {
                attributes::set_flags(to, flags).map_err(not_kept)?;
            }
        }
        match Stat::of(&dir.fd) {
            Ok(now) if now.unchanged(&dir.stat) => Ok(()),
            Ok(_) => Err(task.from.changed(&dir.path)),
            Err(errno) => Err(task.from.failed("look at", &dir.path)(errno)),
        }
    }
}
