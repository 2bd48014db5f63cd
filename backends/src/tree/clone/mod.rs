//! Clones a tree: with shared blocks where the file system has that, else by a copy.
//!
//! It must not know volumes, nor what the clone is for.

mod content;
mod copier;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode as Bits, OFlags, ioctl_ficlone, linkat, openat, syncfs,
};
use rustix::io::Errno;

use self::copier::{Copier, Item, Task};
use super::TreeError;
use super::attributes;
use super::beneath::{Beneath, Root};
use super::entry::Mtime;
use super::inode::Inode;
use super::name::TreePath;
use super::partial::Place;
use super::pass::Pass;
use super::walk::{Dir, Visit, Visitor, walk};

/// What was cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloned {
    /// The clone's root.
    pub root: Inode,
    /// How many names there are in the clone, its root among them.
    pub entries: u64,
    /// How many regular files there are; the names of one file count once.
    pub files: u64,
    /// How many bytes they hold, holes included.
    pub bytes: u64,
    /// How many of those are in files that share their blocks with the source.
    pub shared: u64,
    /// Sockets in the source. They cannot be cloned: whoever listened on them is gone.
    pub sockets: Vec<TreePath>,
}

/// Clones the tree at `from` to `to`, which must not exist; the folder around it must. Progress is bytes of content.
///
/// Kept: content with its holes, hard links among the names of the tree, symbolic links, pipes, device nodes, names of
/// any bytes, owners and groups as numbers, modes, ACLs, extended attributes, access and modification times, and inode
/// flags. A flag about how a file system keeps its blocks (NOCOW, compression) is passed over where the target's has no
/// such thing; whatever else the target does not take is [`TreeError::NotKept`]. Not kept: sockets, preallocation,
/// change times, project quotas.
///
/// The source must be at rest: what changes while it is cloned is [`TreeError::Changed`]. A mount point below it is
/// [`TreeError::OtherVolume`]. `to` may be inside `from` below a name that is left out.
///
/// The clone is built in `.NAME.partial` beside `to`, synced with all its file system, told to `seal`, who writes down
/// durably what a whole clone is, and then gets its name. So what has the name is whole and sealed. After an error, be
/// it that of `seal`, nothing is left; what a killed clone left is removed by the next one to the same place.
pub fn clone(
    from: &Path,
    to: &Path,
    pass: &Pass<'_>,
    seal: &mut dyn FnMut(&Cloned) -> io::Result<()>,
) -> Result<Cloned, TreeError> {
    let from = Root::open(from)?;
    let place = Place::of(to)?;
    let root = place.make()?;
    match complete(&from, &root, &place, pass, seal) {
        Ok(cloned) => Ok(cloned),
        Err(error) => match place.remove(root).and_then(|()| place.sync()) {
            Ok(()) => Err(error),
            Err(removing) => Err(TreeError::Left {
                path: place.partial_path().to_owned(),
                error: Box::new(error),
                removing: Box::new(removing),
            }),
        },
    }
}

fn complete(
    from: &Root,
    to: &Root,
    place: &Place,
    pass: &Pass<'_>,
    seal: &mut dyn FnMut(&Cloned) -> io::Result<()>,
) -> Result<Cloned, TreeError> {
    let task = &Task::new(from, to, pass)?;
    let mut feeder = Feeder {
        task,
        copier: Copier::new(task),
        links: HashMap::new(),
        beneath: Beneath::new(to),
        entries: 1,
        sockets: Vec::new(),
    };
    walk(from, Some(to), pass, &mut feeder)?;
    feeder.sockets.sort_unstable();
    let tally = feeder.copier.tally;
    let cloned = Cloned {
        root: Inode::of_open(&to.fd).map_err(to.failed("look at", &TreePath::root()))?,
        entries: feeder.entries,
        files: tally.files,
        bytes: tally.bytes,
        shared: tally.shared,
        sockets: feeder.sockets,
    };
    let mut root_flags = None;
    for (path, flags) in task.take_late() {
        let not_kept = |lacking| from.not_kept(&path, lacking);
        if path == TreePath::root() {
            root_flags = Some(flags);
        } else {
            let fd = feeder
                .beneath
                .open(&path)
                .map_err(to.failed("open", &path))?;
            attributes::set_flags(&fd, flags).map_err(not_kept)?;
        }
    }
    syncfs(&to.fd).map_err(to.failed("sync the file system of", &TreePath::root()))?;
    seal(&cloned).map_err(place.failed("write down the clone at"))?;
    place.reveal()?;
    if let Some(flags) = root_flags
        && let Err(lacking) = attributes::set_flags(&to.fd, flags)
    {
        place.hide()?;
        return Err(from.not_kept(&TreePath::root(), lacking));
    }
    place.sync()?;
    Ok(cloned)
}

/// Whether files in `dir` can share their blocks. Says so of what is tried with two empty files without a name.
pub fn shares_blocks(dir: &Path) -> io::Result<bool> {
    let file = || {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        openat(CWD, dir, flags, Bits::RUSR | Bits::WUSR)
    };
    match ioctl_ficlone(file()?, file()?) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::XDEV | Errno::NOSYS) => {
            Ok(false)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Goes through the source, makes directories and further names of files, and hands out the rest.
struct Feeder<'a> {
    task: &'a Task<'a>,
    copier: Copier<'a>,
    links: HashMap<u64, First>,
    beneath: Beneath<'a>,
    entries: u64,
    sockets: Vec<TreePath>,
}

/// The first name of a file that has more.
struct First {
    path: TreePath,
    ctime: Mtime,
    /// How many names are still to be seen, some perhaps not in this tree.
    more: u32,
}

impl Visitor for Feeder<'_> {
    fn visit(&mut self, visit: Visit<'_>) -> Result<(), TreeError> {
        let Visit { dir, name, stat } = visit;
        if (stat.dev, stat.ino) == (self.task.to.stat.dev, self.task.to.stat.ino) {
            return Err(self.task.from.inside(&visit.path()));
        }
        match stat.file_type {
            FileType::Directory => self.task.make_dir(dir, name)?,
            FileType::Socket => {
                self.sockets.push(visit.path());
                return Ok(());
            }
            FileType::Unknown => {
                let path = visit.path();
                return Err(self.task.from.failed("tell what it is:", &path)(
                    Errno::NOTSUP,
                ));
            }
            _ if stat.nlink > 1 && self.linked(&visit)? => {}
            _ => {
                let item = Item {
                    name: name.to_owned(),
                    stat,
                    made: false,
                };
                self.copier.make(dir, &item)?;
            }
        }
        self.entries += 1;
        Ok(())
    }

    fn listed(&mut self, dir: Arc<Dir>) -> Result<(), TreeError> {
        self.copier.finish(&dir)
    }
}

impl Feeder<'_> {
    /// Gives a file that is there by another name this one, too. Says no of one that is new.
    fn linked(&mut self, visit: &Visit<'_>) -> Result<bool, TreeError> {
        let Visit { dir, name, stat } = visit;
        let Some(first) = self.links.get_mut(&stat.ino) else {
            let first = First {
                path: visit.path(),
                ctime: stat.ctime,
                more: stat.nlink - 1,
            };
            self.links.insert(stat.ino, first);
            return Ok(false);
        };
        if first.ctime != stat.ctime {
            return Err(self.task.from.changed(&visit.path()));
        }
        let (to, path) = (self.task.to, visit.path());
        let (around, other) = first.path.split().unwrap_or_default();
        self.beneath
            .dir(around)
            .and_then(|around| {
                let beside = dir.beside.as_ref().unwrap_or(&dir.fd);
                linkat(around, other, beside, *name, AtFlags::empty())
            })
            .map_err(to.failed("link", &path))?;
        first.more -= 1;
        if first.more == 0 {
            self.links.remove(&stat.ino);
        }
        Ok(true)
    }
}
