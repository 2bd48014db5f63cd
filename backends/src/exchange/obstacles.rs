//! What would keep names or entries from changing places, found before any broker is stopped for it.
//!
//! Must not know what is brought back, nor from where.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, RenameFlags, StatVfsMountFlags, StatxAttributes, StatxFlags, renameat_with,
    statvfs, statx,
};
use rustix::io::Errno;

use super::{By, Exchange};
use crate::cmd::quote;
use crate::mounts::{self, Mount};
use crate::{Error, Obstacle, Result, View};

/// Of these it is known that they can give a name that must be free, and exchange two; or, of ZFS, how to do without.
const RENAME_WELL: &[&str] = &["btrfs", "ext3", "ext4", "f2fs", "tmpfs", "xfs", "zfs"];

/// What is in the way of giving a clone a name of its own.
pub fn of_clones(exchange: &Exchange) -> Result<Vec<Obstacle>> {
    Place::of(exchange)?.all(RenameFlags::NOREPLACE)
}

/// What is in the way of an exchange with any of `sources`, or a clone of it.
pub fn of_swaps(exchange: &Exchange, sources: &[View]) -> Result<Vec<Obstacle>> {
    let place = Place::of(exchange)?;
    let mut found = place.all(RenameFlags::EXCHANGE)?;
    if !found.is_empty() {
        // Nothing can be moved there at all.
        return Ok(found);
    }
    for path in moved(exchange, sources)? {
        found.extend(fixed(&path)?);
    }
    if exchange.by != By::Entry {
        found.extend(place.shown_elsewhere(&exchange.data));
    }
    Ok(found)
}

/// What changes places, and the folders in which it does.
fn moved(exchange: &Exchange, sources: &[View]) -> Result<Vec<PathBuf>> {
    let data = &exchange.data;
    let live = View::of(data.clone()).without(exchange.leave_out());
    let mut paths = match exchange.by {
        By::Name | By::Steps => vec![exchange.around().to_owned()],
        By::Entry => vec![data.clone()],
    };
    // Of what has to be attached a clone is moved, and not it itself.
    for view in sources.iter().chain([&live]) {
        let Some(path) = view.standing() else {
            continue;
        };
        match exchange.by {
            By::Name | By::Steps => paths.push(path.to_owned()),
            By::Entry => paths.extend(entries(path, view)?),
        }
    }
    Ok(paths)
}

fn entries(dir: &Path, view: &View) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        if !view.leave_out.contains(&entry.file_name()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// An inode with one of these flags (chattr(1)) keeps its name, and so does what is in a folder with one.
fn fixed(path: &Path) -> Result<Option<Obstacle>> {
    let itself = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let attributes = match statx(CWD, path, itself, StatxFlags::TYPE) {
        Ok(found) => found.stx_attributes,
        // A broker that is at work removes things.
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Error::io("look at", path)(error)),
    };
    let (what, flag) = if attributes.contains(StatxAttributes::IMMUTABLE) {
        ("immutable", "-i")
    } else if attributes.contains(StatxAttributes::APPEND) {
        ("append-only", "-a")
    } else {
        return Ok(None);
    };
    Ok(Some(Obstacle {
        what: format!("{} is {what}", path.display()),
        why: "the system does not let it be moved, so nothing can take its place".to_owned(),
        todo: format!(
            "chattr {flag} {}; what is in a read-only snapshot has to be brought back by hand",
            quote(path.as_os_str())
        ),
    }))
}

/// The file system in which names change places.
struct Place {
    /// A folder of it that is not ours.
    around: PathBuf,
    /// Where trees are staged and kept, whether it is there or not.
    store: PathBuf,
    mounts: Vec<Mount>,
}

impl Place {
    fn of(exchange: &Exchange) -> Result<Place> {
        Ok(Place {
            around: exchange.around().to_owned(),
            store: exchange.store().folder().to_owned(),
            mounts: mounts::read()?,
        })
    }

    /// What is in the way of all renames, and of those with `flag`.
    fn all(&self, flag: RenameFlags) -> Result<Vec<Obstacle>> {
        let around = &self.around;
        let at = statvfs(around).map_err(Error::io("look at the file system of", around))?;
        if at.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Ok(vec![Obstacle {
                what: format!("{} is mounted read-only", around.display()),
                why: "snapshots, and what is staged and kept, are written there".to_owned(),
                todo: "look into why it is (the kernel does that after an error, too); mount it writable"
                    .to_owned(),
            }]);
        }
        if let Some(obstacle) = self.other_volume()? {
            return Ok(vec![obstacle]);
        }
        Ok(self.cannot_rename(flag)?.into_iter().collect())
    }

    /// The store is ours, and somebody may have mounted or linked it elsewhere for its size.
    fn other_volume(&self) -> Result<Option<Obstacle>> {
        let store = match self.store.canonicalize() {
            Ok(store) => store,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("find", &self.store)(error)),
        };
        let mount_of = |path: &Path| mounts::around(&self.mounts, path);
        let is_beside = mount_of(&store) == mount_of(&self.around);
        Ok((!is_beside).then(|| Obstacle {
            what: format!(
                "{} is on another volume than {}",
                self.store.display(),
                self.around.display()
            ),
            why: "a folder cannot be moved from one volume to another".to_owned(),
            todo: "make it a plain folder, with all that is in it".to_owned(),
        }))
    }

    fn cannot_rename(&self, flag: RenameFlags) -> Result<Option<Obstacle>> {
        let fstype = mounts::around(&self.mounts, &self.around).map_or("", |mount| &mount.fstype);
        if RENAME_WELL.contains(&fstype) || self.can_rename(flag)? {
            return Ok(None);
        }
        let (what, why) = match flag == RenameFlags::EXCHANGE {
            true => (
                "exchange two names",
                "there would be a moment with no data directory, and a host may fail then",
            ),
            false => (
                "give a name only if it is free",
                "a snapshot gets its name when it is whole, and must not take another's",
            ),
        };
        Ok(Some(Obstacle {
            what: format!(
                "the file system of {} ({fstype}) cannot {what}",
                self.around.display()
            ),
            why: why.to_owned(),
            todo: "keep the data directory on btrfs, ext4, xfs or ZFS".to_owned(),
        }))
    }

    /// Says so of what is tried with two empty folders, which are removed.
    fn can_rename(&self, flag: RenameFlags) -> Result<bool> {
        let dir = match self.store.is_dir() {
            true => &self.store,
            false => &self.around,
        };
        let trial = tempfile::Builder::new()
            .prefix(".zeebe-snap-trial-")
            .tempdir_in(dir)
            .map_err(Error::io("make a folder in", dir))?;
        let [one, other] = ["one", "other"].map(|name| trial.path().join(name));
        fs::create_dir(&one).map_err(Error::io("make the folder", &one))?;
        if flag == RenameFlags::EXCHANGE {
            fs::create_dir(&other).map_err(Error::io("make the folder", &other))?;
        }
        let done = renameat_with(CWD, &one, CWD, &other, flag);
        trial
            .close()
            .map_err(Error::io("remove a folder in", dir))?;
        match done {
            Ok(()) => Ok(true),
            // renameat2(2).
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(Error::io("rename a folder in", dir)(error)),
        }
    }

    /// A mount stays with the folder it shows, whatever becomes of its name.
    fn shown_elsewhere(&self, data: &Path) -> Vec<Obstacle> {
        let others = mounts::elsewhere(&self.mounts, data).into_iter();
        others
            .map(|mount| Obstacle {
                what: format!(
                    "{} is mounted at {}, too",
                    data.display(),
                    mount.point.display()
                ),
                why: "what is replaced would still be seen there".to_owned(),
                todo: format!(
                    "if the broker works there, set `data` in cluster.toml to that; else umount {}",
                    quote(mount.point.as_os_str())
                ),
            })
            .collect()
    }
}
