//! Clones a tree: with shared blocks where the file system has that, else by a copy.
//!
//! It must not know volumes, nor what the clone is for.

mod content;
mod copier;
mod crew;
mod feeder;

use std::io;
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, Mode as Bits, OFlags, ioctl_ficlone, syncfs};
use rustix::io::{Errno, retry_on_intr};

use self::copier::{Copier, Task};
use self::crew::Crew;
use self::feeder::Feeder;
use super::TreeError;
use super::attributes;
use super::beneath::Root;
use super::flags;
use super::inode::Inode;
use super::name::TreePath;
use super::partial::{MakeRoot, Place};
use super::pass::Pass;
use super::stat::openat;
use super::walk::walk;

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
    clone_into(from, to, None, pass, seal)
}

/// The same, with a root that `make` makes, where the file system has a kind of directory that is more than one.
pub(crate) fn clone_into(
    from: &Path,
    to: &Path,
    make: Option<MakeRoot<'_>>,
    pass: &Pass<'_>,
    seal: &mut dyn FnMut(&Cloned) -> io::Result<()>,
) -> Result<Cloned, TreeError> {
    let (place, from) = (Place::of(to)?, Root::open(from)?);
    if place.is_inside(&from, pass.leave_out)? {
        let path = to.to_owned();
        return Err(TreeError::Inside { path });
    }
    let root = place.make(make)?;
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
    let crew = &Crew::default();
    let mut feeder = Feeder::new(task, crew);
    let tally = thread::scope(|scope| {
        let work = || {
            let mut copier = Copier::new(task);
            crew.work(&mut copier);
            copier.tally
        };
        // A thread that cannot be had is one that the others work for.
        let workers: Vec<_> = (1..pass.threads.get())
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .inspect(|_| crew.join())
            .collect();
        let open = crew.open();
        if let Err(error) = walk(from, Some(to), pass, &mut feeder) {
            crew.fail(error);
        }
        drop(open);
        crew.work(&mut feeder.copier);
        let mut tally = feeder.copier.tally;
        for worker in workers {
            tally += worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        crew.verdict().map(|()| tally)
    })?;
    feeder.sockets.sort_unstable();
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
    retry_on_intr(|| syncfs(&to.fd))
        .map_err(to.failed("sync the file system of", &TreePath::root()))?;
    seal(&cloned).map_err(place.failed("write down the clone at"))?;
    place.reveal()?;
    // An immutable directory cannot be renamed, so this comes after.
    let settled = match root_flags {
        Some(flags) => attributes::set_flags(&to.fd, flags)
            .map_err(|lacking| from.not_kept(&TreePath::root(), lacking)),
        None => Ok(()),
    };
    if let Err(error) = settled.and_then(|()| place.sync()) {
        flags::loosen(&to.fd).map_err(place.failed("make removable"))?;
        place.hide()?;
        return Err(error);
    }
    Ok(cloned)
}

/// Whether files in `dir` can share their blocks. Says so of what is tried with two empty files without a name, which every
/// file system knows that shares blocks.
pub fn shares_blocks(dir: &Path) -> io::Result<bool> {
    let file = || {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        openat(CWD, dir, flags, Bits::RUSR | Bits::WUSR)
    };
    match file().and_then(|one| ioctl_ficlone(one, file()?)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::XDEV | Errno::NOSYS) => {
            Ok(false)
        }
        Err(errno) => Err(errno.into()),
    }
}
