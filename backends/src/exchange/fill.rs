//! Filling an empty folder with a captured tree: a clone of it is staged, compared by whoever had it staged, and then takes the
//! folder's place; in a mount point its entries move there, journalled. So what is in the folder is whole, or known to be on its
//! way.
//!
//! Must not know how the captured tree came to be, nor what is in it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use super::{Exchange, Stands};
use crate::action::Action;
use crate::cmd::System;
use crate::{Error, Obstacle, Progress, Result, Rollback, StageName, View, mounts};

/// A folder that is to be filled: a new one, an empty one, or a mount point with nothing in it but the file system's own.
#[derive(Debug)]
pub struct Fill {
    exchange: Exchange,
    stage: StageName,
}

/// What is in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filled {
    /// Nothing. What is staged, if anything, is of no use.
    Not,
    /// Some entries of the tree, or all: it was cut. [`Fill::put`] does what is left.
    Begun,
    /// The tree. What [`Fill::end`] does is left.
    Done,
    /// Other things, which have these names.
    Otherwise(Vec<OsString>),
}

impl Fill {
    /// Of the folder at `path` (absolute, symbolic links resolved), where a clone is staged as `stage`. The folder around it
    /// must be there.
    pub fn of(path: &Path, stage: StageName) -> Result<Fill> {
        let exchange = Exchange::of(path)?;
        Ok(Fill { exchange, stage })
    }

    /// What is in it, of a tree that is known by `of` or of others.
    pub fn filled(&self, sys: &dyn System, of: &str) -> Result<Filled> {
        let names = match self.exchange.was {
            Stands::Nothing => Vec::new(),
            _ => listed(&self.exchange.data, &self.exchange.leave_out())?,
        };
        if names.is_empty() {
            return Ok(Filled::Not);
        }
        let is_not_of_it = Ok(Filled::Otherwise(names));
        match &self.exchange.was {
            Stands::Mount { .. } => match self.exchange.progress(sys, of, &self.stage)? {
                Progress::Halfway | Progress::Swapped => Ok(Filled::Begun),
                // All is moved, and the journal is gone.
                Progress::Staged if listed(&self.staged(), &[])?.is_empty() => Ok(Filled::Done),
                _ => is_not_of_it,
            },
            Stands::Folder(root) => {
                let seal = self.exchange.store().read_seal(self.stage.as_str())?;
                let is_it =
                    seal.is_some_and(|seal| seal.root == *root && seal.of.as_deref() == Some(of));
                if is_it {
                    Ok(Filled::Done)
                } else {
                    is_not_of_it
                }
            }
            Stands::Nothing => is_not_of_it,
        }
    }

    /// What stands in the way of filling it with what `from` shows.
    pub fn obstacles(&self, sys: &dyn System, from: &View) -> Result<Vec<Obstacle>> {
        let mut found = mounts::obstacles(&self.exchange.data)?;
        if found.is_empty() {
            found = self.exchange.obstacles(slice::from_ref(from))?;
        }
        if found.is_empty() {
            found.extend(self.exchange.room(sys, from)?);
        }
        Ok(found)
    }

    /// Stages a clone of what `from` shows, which is known by `of`, after what is left of an older one is removed.
    pub fn stage(&self, of: &str, from: &View) -> Result<Vec<Action>> {
        let store = self.exchange.store();
        let seal = store.read_seal(self.stage.as_str())?;
        let mut actions = match seal.is_some() || fs::symlink_metadata(self.staged()).is_ok() {
            true => self.clear(),
            false => Vec::new(),
        };
        actions.push(Action::MakeDir(store.folder().to_owned()));
        actions.push(Action::CloneTree {
            from: from.clone(),
            to: self.staged(),
            subvolume: self.exchange.subvolume,
            seal: store.seal(self.stage.as_str()),
            of: Some(of.to_owned()),
        });
        Ok(actions)
    }

    /// Where the clone is staged.
    pub fn staged(&self) -> PathBuf {
        self.exchange.store().of(self.stage.as_str())
    }

    /// Removes what is staged.
    pub fn clear(&self) -> Vec<Action> {
        self.exchange.clear(&self.stage)
    }

    /// Lets the staged clone take the folder's place, or does what is left of that. What somebody has put into the folder
    /// meanwhile stays, there or at [`Fill::staged`].
    pub fn put(&self) -> Vec<Action> {
        let data = &self.exchange.data;
        let mut actions = match self.exchange.was {
            Stands::Mount { .. } => self.exchange.swap(&self.stage),
            Stands::Folder(_) | Stands::Nothing => vec![
                Action::RemoveEmptyDir(data.clone()),
                Action::MoveTree {
                    from: self.staged(),
                    to: data.clone(),
                },
            ],
        };
        actions.extend(self.end());
        actions
    }

    /// Removes what is written of it. The seal, by which all else is known, goes after that.
    pub fn end(&self) -> Vec<Action> {
        let store = self.exchange.store();
        let mut actions = match self.exchange.was {
            Stands::Mount { .. } => vec![Action::ForgetExchange(self.staged())],
            Stands::Folder(_) | Stands::Nothing => Vec::new(),
        };
        actions.push(Action::RemoveFile(store.seal(self.stage.as_str())));
        actions.push(Action::RemoveEmptyDir(self.staged()));
        actions.extend(store.remove_if_empty());
        actions
    }
}

/// The names in a folder, but for these.
fn listed(folder: &Path, leave_out: &[OsString]) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let name = entry.map_err(Error::io("list", folder))?.file_name();
        if !leave_out.contains(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::perform_all;
    use crate::host::Host;

    const OF: &str = "619bf1db";

    struct World(tempfile::TempDir);

    impl World {
        fn new() -> World {
            let world = World(tempfile::tempdir().unwrap());
            fs::create_dir(world.path("tree")).unwrap();
            fs::write(world.path("tree/file"), "captured").unwrap();
            world
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn fill(&self) -> Fill {
            let stage = StageName::try_from("extract".to_owned()).unwrap();
            Fill::of(&self.path("data"), stage).unwrap()
        }

        fn filled(&self, of: &str) -> Filled {
            self.fill().filled(&Host::new(&[]), of).unwrap()
        }

        fn stage(&self) -> Vec<Action> {
            let view = View::of(self.path("tree"));
            self.fill().stage(OF, &view).unwrap()
        }

        /// And nothing else is left of it but folders.
        #[track_caller]
        fn is_filled(&self) {
            let file = fs::read_to_string(self.path("data/file"));
            assert_eq!(file.unwrap(), "captured");
            let left = fs::read_dir(self.path(".zeebe-snap/data"));
            assert_eq!(left.map_or(0, |left| left.count()), 0);
        }
    }

    fn perform(actions: &[Action]) -> Result<()> {
        perform_all(actions, &Host::new(&[]), &|| false)
    }

    #[test]
    fn wherever_it_was_cut_the_next_one_makes_it_whole() {
        for was_there in [false, true] {
            let mut cut = 0;
            loop {
                let world = World::new();
                if was_there {
                    fs::create_dir(world.path("data")).unwrap();
                }
                let mut all = world.stage();
                all.extend(world.fill().put());
                perform(&all[..cut]).unwrap();
                let filled = world.filled(OF);
                assert_eq!(filled == Filled::Not, !world.path("data/file").exists());
                if filled == Filled::Not {
                    perform(&world.stage()).unwrap();
                    perform(&world.fill().put()).unwrap();
                }
                if filled == Filled::Done {
                    perform(&world.fill().end()).unwrap();
                }
                world.is_filled();
                cut += 1;
                if cut > all.len() {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_somebody_puts_there_is_left() {
        let world = World::new();
        fs::create_dir(world.path("data")).unwrap();
        perform(&world.stage()).unwrap();
        let fill = world.fill();
        fs::write(world.path("data/other"), "").unwrap();
        let other = Filled::Otherwise(vec!["other".into()]);
        assert_eq!(world.filled(OF), other);
        assert!(perform(&fill.put()).is_err());
        assert_eq!(world.filled(OF), other);
        perform(&fill.clear()).unwrap();
        assert!(!world.path(".zeebe-snap").exists());
    }

    #[test]
    fn what_is_of_another_is_told_from_it() {
        let world = World::new();
        perform(&world.stage()).unwrap();
        perform(&world.fill().put()[..2]).unwrap();
        assert_eq!(world.filled(OF), Filled::Done);
        let file = Filled::Otherwise(vec!["file".into()]);
        assert_eq!(world.filled("another"), file);
    }
}
