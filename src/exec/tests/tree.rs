//! What stands at the paths of a machine in memory: trees of two entries, and small files.
//!
//! Must not know what a broker, a snapshot or a step is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// What tells a tree or an entry from any other, for ever: an inode and its birth, a UUID.
pub type Id = u64;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A folder with data in it.
    Tree(Tree),
    /// A small file.
    File(Vec<u8>),
    /// What is written down of an exchange of entries.
    Exchange(Exchanging),
}

/// A folder with data in it. Half of what it should be is two entries of different times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    pub id: Id,
    /// The subvolume it is a snapshot of.
    pub parent: Option<Id>,
    pub subvolume: bool,
    pub frozen: bool,
    pub entries: [Entry; 2],
}

/// One file, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub id: Id,
    /// The broker that wrote it.
    pub node: u32,
    /// When.
    pub time: u32,
    /// A broker has been at work on it in this run.
    pub worked: bool,
}

/// The journal of an exchange of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanging {
    pub to_swapped: bool,
    pub done: bool,
    pub data: [Id; 2],
    pub stage: [Id; 2],
}

impl Tree {
    /// The time that all of it is of, and the broker.
    pub fn of(&self) -> Option<(u32, u32)> {
        let [a, b] = self.entries;
        ((a.node, a.time) == (b.node, b.time)).then_some((a.node, a.time))
    }

    pub fn ids(&self) -> [Id; 2] {
        self.entries.map(|entry| entry.id)
    }
}

/// All that stands somewhere. Folders that hold nothing are not told from none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Things(pub BTreeMap<PathBuf, Thing>);

impl Things {
    pub fn tree(&self, path: &Path) -> Option<&Tree> {
        match self.0.get(path) {
            Some(Thing::Tree(tree)) => Some(tree),
            _ => None,
        }
    }

    pub fn tree_mut(&mut self, path: &Path) -> Option<&mut Tree> {
        match self.0.get_mut(path) {
            Some(Thing::Tree(tree)) => Some(tree),
            _ => None,
        }
    }

    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        match self.0.get(path) {
            Some(Thing::File(content)) => Some(content),
            _ => None,
        }
    }

    pub fn has(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    pub fn write(&mut self, path: &Path, content: impl Into<Vec<u8>>) {
        self.0.insert(path.to_owned(), Thing::File(content.into()));
    }

    /// What is at `path` and below it.
    pub fn remove_all(&mut self, path: &Path) {
        self.0.retain(|at, _| !at.starts_with(path));
    }

    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        match self.0.remove(from) {
            Some(thing) if !self.has(to) => self.0.insert(to.to_owned(), thing),
            _ => bail!("{} cannot become {}", from.display(), to.display()),
        };
        Ok(())
    }

    /// Two names change places; where only one of them exists it moves to the other.
    pub fn swap(&mut self, one: &Path, other: &Path) {
        let (at_one, at_other) = (self.0.remove(one), self.0.remove(other));
        self.0.extend(at_one.map(|thing| (other.to_owned(), thing)));
        self.0.extend(at_other.map(|thing| (one.to_owned(), thing)));
    }

    /// The names in `folder` that trees have and that begin with no dot.
    pub fn trees_in(&self, folder: &Path) -> Vec<String> {
        let named = self.0.iter().filter(|(path, thing)| {
            path.parent() == Some(folder) && matches!(thing, Thing::Tree(_))
        });
        let names = named.filter_map(|(path, _)| path.file_name()?.to_str());
        let names = names.filter(|name| !name.starts_with('.'));
        names.map(str::to_owned).collect()
    }
}

/// `.NAME.WHAT` beside `path`: what is not whole, and what is written of an exchange.
pub fn hidden(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

/// `NAME.WHAT` beside `path`: sidecars and seals.
pub fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{what}"))
}
