//! What changes a volume, as values: printed by a dry run, performed by whoever runs the plan.
//!
//! Whether an action is done already is asked of the volume before it is performed: a tool that runs twice, or two names
//! that change places twice, undo or spoil the first time. Must not decide anything: what is to be done was settled when
//! the action was made.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cmd::{Cmd, System, quote};
use crate::exchange::entries::{self, Mark};
use crate::exchange::{Exchanged, folder};
use crate::files::{self, OnDisk, remove_if_there, unfinished};
use crate::flush::flush;
use crate::name::hidden_beside;
use crate::tree::{self, MakeRoot, Pass};
use crate::{Error, Result, View, btrfs, store};

/// Whether to give up; asked often while something long is done, from any thread.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a tool.
    Run(Cmd),
    /// Writes all that the file system at the path has in memory (syncfs(2)).
    Sync(PathBuf),
    /// Makes a folder, and those above it, for the owner alone. One that is there already is left as it is.
    MakeDir(PathBuf),
    /// Writes a file for the owner alone: to a temporary name, synced, renamed, the folder synced.
    Write {
        /// Where.
        path: PathBuf,
        /// Its whole content.
        content: Vec<u8>,
    },
    /// Removes a file, and what a write of it that was cut left; one that is not there is not missed.
    RemoveFile(PathBuf),
    /// Removes a folder if nothing is in it any more.
    RemoveEmptyDir(PathBuf),
    /// Removes a folder of a [`store`] if nothing is in it any more but seals of staged trees that are gone.
    RemoveEmptyStore(PathBuf),
    /// Two names change places, so that at no moment one of them is gone (renameat2(2), RENAME_EXCHANGE). Where only one
    /// of them exists it moves to the other.
    SwapNames(PathBuf, PathBuf),
    /// A folder takes another name in the file system, which must be free; if it has that name already it is left.
    MoveTree {
        /// The name it has.
        from: PathBuf,
        /// The name it gets.
        to: PathBuf,
    },
    /// Writes down which folder a tree is that is about to be moved; of one that was moved that is left as it is.
    SealTree {
        /// The tree.
        tree: PathBuf,
        /// The file.
        seal: PathBuf,
        /// What the tree is known by.
        of: String,
    },
    /// Clones a tree (see [`tree::clone`]); the clone stands under its name when all of it is on disk, and not before.
    CloneTree {
        /// What is cloned.
        from: View,
        /// Where to.
        to: PathBuf,
        /// Whether the clone's root is to be a btrfs subvolume.
        subvolume: bool,
        /// The file in which is written down which folder the clone is.
        seal: PathBuf,
        /// What the snapshot that is cloned is known by; `None` where the clone is the snapshot.
        of: Option<String>,
    },
    /// Removes a tree, and what a clone or a removal that was cut left of it; one that is not there is not missed.
    RemoveTree(PathBuf),
    /// Deletes a btrfs subvolume, durably; a plain folder is left, and nothing there is not missed.
    DeleteSubvolume(PathBuf),
    /// Two folders exchange what is in them, entry by entry, journalled: a mount point cannot be renamed.
    ExchangeEntries {
        /// The data directory.
        data: PathBuf,
        /// The other folder, below it.
        stage: PathBuf,
        /// Names in `data` that stay.
        leave_out: Vec<OsString>,
        /// How it is to be afterwards.
        to: Exchanged,
    },
    /// Removes the journal of an exchange, which is over.
    ForgetExchange(PathBuf),
    /// What takes several commands, of which each depends on what the system says then. One that was cut is finished by
    /// another.
    Change(Arc<dyn Change>),
}

/// See [`Action::Change`]. Two that print the same are the same.
pub trait Change: fmt::Debug + Send + Sync {
    /// Does what is left of it to do.
    fn perform(&self, sys: &dyn System, stop: Stop<'_>) -> Result<()>;

    /// The commands, where nothing of it is done yet.
    fn lines(&self) -> Vec<String>;
}

impl PartialEq for dyn Change {
    fn eq(&self, other: &dyn Change) -> bool {
        self.lines() == other.lines()
    }
}

impl Eq for dyn Change {}

/// Each clone uses all cores.
static ONE_CLONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Action {
    /// Does it. A change to a folder is on disk when this returns. Only a clone can be given up.
    pub fn perform(&self, sys: &dyn System, stop: Stop<'_>) -> Result<()> {
        match self {
            Action::Run(cmd) => {
                sys.run(cmd)?;
                Ok(())
            }
            Action::Sync(path) => flush(path),
            Action::MakeDir(path) => make_dir(path),
            Action::Write { path, content } => write_durably(path, content),
            Action::RemoveFile(path) => remove_file(path),
            Action::RemoveEmptyDir(path) => remove_empty_dir(path),
            Action::RemoveEmptyStore(path) => {
                store::remove_orphans(path)?;
                remove_empty_dir(path)
            }
            Action::SwapNames(one, other) => swap_names(one, other),
            Action::MoveTree { from, to } => move_tree(from, to),
            Action::SealTree { tree, seal, of } => seal_tree(tree, seal, of),
            Action::CloneTree {
                from,
                to,
                subvolume,
                seal,
                of,
            } => {
                let _alone = ONE_CLONE_AT_A_TIME
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let pass = Pass {
                    leave_out: &from.leave_out,
                    stop,
                    ..Pass::new()
                };
                let create: MakeRoot<'_> =
                    &|root| btrfs::create_subvolume(sys, root).map_err(io::Error::other);
                let make = subvolume.then_some(create);
                let cloned = from.read(sys, |from| {
                    tree::clone_into(from, to, make, &pass, &mut |cloned| {
                        store::write_seal(seal, cloned.root, of.as_deref())
                            .map_err(io::Error::other)
                    })
                })??;
                tracing::debug!(?to, ?cloned, "cloned");
                Ok(())
            }
            Action::RemoveTree(path) => Ok(tree::remove(path)?),
            Action::DeleteSubvolume(path) => btrfs::delete_subvolume(sys, path),
            Action::ExchangeEntries {
                data,
                stage,
                leave_out,
                to,
            } => entries::exchange(data, stage, leave_out, *to),
            Action::ForgetExchange(stage) => entries::forget(stage),
            Action::Change(change) => change.perform(sys, stop),
        }
    }
}

/// Performs all, up to the first that fails.
pub fn perform_all(actions: &[Action], sys: &dyn System, stop: Stop<'_>) -> Result<()> {
    let mut actions = actions.iter();
    actions.try_for_each(|action| action.perform(sys, stop))
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(Error::State(format!(
                "{} is in the way: it is not a folder",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("look at", path)(error)),
    }
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(Error::io("make the folder", path))?;
    sync_parent(path)
}

/// Writes `content` to `path` so that after a power cut there is the old file or the new one, never a part.
pub fn write_durably(path: &Path, content: &[u8]) -> Result<()> {
    files::write_durably(&OnDisk, path, content)
}

pub(crate) fn remove_file(path: &Path) -> Result<()> {
    let either = remove_if_there(&OnDisk, &unfinished(path))? | remove_if_there(&OnDisk, path)?;
    if either { sync_parent(path) } else { Ok(()) }
}

fn remove_empty_dir(path: &Path) -> Result<()> {
    use io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match fs::remove_dir(path) {
        Ok(()) => sync_parent(path),
        Err(error) if matches!(error.kind(), NotFound | DirectoryNotEmpty) => Ok(()),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

fn sync_parent(path: &Path) -> Result<()> {
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes names in a folder durable.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let open = File::open(dir).map_err(Error::io("open", dir))?;
    open.sync_all().map_err(Error::io("sync", dir))
}

fn swap_names(one: &Path, other: &Path) -> Result<()> {
    let before = (Mark::of(one)?, Mark::of(other)?);
    if before == (None, None) {
        let text = format!("neither {} nor {} exists", one.display(), other.display());
        return Err(Error::State(text));
    }
    entries::change_places(one, other, (before.0.is_some(), before.1.is_some()))?;
    for (mark, path) in [(before.0, other), (before.1, one)] {
        mark.map_or(Ok(()), |mark| mark.put_times_back(path))?;
    }
    sync_parent(one)?;
    sync_parent(other)
}

fn move_tree(from: &Path, to: &Path) -> Result<()> {
    match (folder(from)?, folder(to)?) {
        (Some(_), None) => {
            entries::change_places(from, to, (true, false))?;
            sync_parent(from)?;
        }
        (None, Some(_)) => {}
        (Some(_), Some(_)) => {
            let (from, to) = (from.display(), to.display());
            let text = format!("{to} is in the way: {from} was to be moved there");
            return Err(Error::State(text));
        }
        (None, None) => {
            let text = format!("neither {} nor {} exists", from.display(), to.display());
            return Err(Error::State(text));
        }
    }
    // It may have been moved by one that was cut before this.
    sync_parent(to)
}

fn seal_tree(tree: &Path, seal: &Path, of: &str) -> Result<()> {
    match folder(tree)? {
        Some(root) => store::write_seal(seal, root, Some(of)),
        None if seal.exists() => Ok(()),
        None => Err(Error::State(format!("{} is gone", tree.display()))),
    }
}

/// A line that does the same in a POSIX shell, or as near as the usual tools come to it.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let q = |path: &Path| quote(path.as_os_str());
        match self {
            Action::Run(cmd) => cmd.fmt(f),
            Action::Sync(path) => write!(f, "sync -f {}", q(path)),
            Action::MakeDir(path) => write!(f, "mkdir -p -m 700 {}", q(path)),
            Action::Write { path, content } => {
                write!(
                    f,
                    "install -m 600 /dev/stdin {}   # {} bytes",
                    q(path),
                    content.len()
                )
            }
            Action::RemoveFile(path) => write!(f, "rm -f {}", q(path)),
            Action::RemoveEmptyDir(path) | Action::RemoveEmptyStore(path) => {
                write!(f, "rmdir --ignore-fail-on-non-empty {}", q(path))
            }
            Action::SwapNames(one, other) => write!(f, "mv --exchange {} {}", q(one), q(other)),
            Action::MoveTree { from, to } => write!(f, "mv -nT {} {}", q(from), q(to)),
            Action::SealTree { tree, seal, .. } => write!(
                f,
                "install -m 600 /dev/stdin {}   # which folder {} is",
                q(seal),
                q(tree)
            ),
            Action::CloneTree {
                from,
                to,
                subvolume,
                ..
            } => {
                let (attach, path) = from.line();
                if let Some(attach) = attach {
                    write!(f, "{attach} && ")?;
                }
                let (leave_out, from, to) = (&from.leave_out, q(&path), q(to));
                match subvolume {
                    true => write!(
                        f,
                        "btrfs subvolume create {to} && cp -a --reflink=auto {from}/. {to}/"
                    ),
                    false => write!(f, "cp -a --reflink=auto {from} {to}"),
                }?;
                without(f, "   # without ", leave_out)
            }
            Action::RemoveTree(path) => write!(f, "rm -rf {}", q(path)),
            Action::DeleteSubvolume(path) => write!(f, "btrfs subvolume delete {}", q(path)),
            Action::ExchangeEntries {
                data,
                stage,
                leave_out,
                ..
            } => {
                write!(
                    f,
                    "mv --exchange {}/* {}/   # each entry",
                    q(data),
                    q(stage)
                )?;
                without(f, ", without ", leave_out)
            }
            Action::ForgetExchange(stage) => {
                let all = hidden_beside(stage, "");
                write!(f, "rm -rf {}*   # the journal of the exchange", q(&all))
            }
            Action::Change(change) => f.write_str(&change.lines().join("\n")),
        }
    }
}

fn without(f: &mut fmt::Formatter<'_>, first: &str, names: &[OsString]) -> fmt::Result {
    let mut before = first;
    for name in names {
        write!(f, "{before}{}", quote(name))?;
        before = ", ";
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn names_change_places_or_move_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        let swap = Action::SwapNames(one.clone(), other.clone());
        let host = Host::new(&[]);
        assert!(swap.perform(&host, &|| false).is_err());
        fs::write(&one, "1").unwrap();
        swap.perform(&host, &|| false).unwrap();
        assert_eq!(
            (one.exists(), fs::read(&other).unwrap()),
            (false, b"1".to_vec())
        );
        fs::write(&one, "2").unwrap();
        swap.perform(&host, &|| false).unwrap();
        assert_eq!(
            (fs::read(&one).unwrap(), fs::read(&other).unwrap()),
            (b"1".to_vec(), b"2".to_vec())
        );
    }

    #[test]
    fn removing_what_is_gone_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(&[]);
        Action::RemoveFile(dir.path().join("gone"))
            .perform(&host, &|| false)
            .unwrap();
        Action::RemoveEmptyDir(dir.path().join("gone"))
            .perform(&host, &|| false)
            .unwrap();
        let full = dir.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("file"), "").unwrap();
        Action::RemoveEmptyDir(full.clone())
            .perform(&host, &|| false)
            .unwrap();
        assert!(full.join("file").exists());
    }
}
