//! Goes through the source: makes directories and further names of files itself, and hands out all other things.
//!
//! It must not know how a thing is made.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, linkat};
use rustix::io::Errno;

use super::copier::{Copier, Item, Task};
use super::crew::{Batch, Crew, Filling, finish};
use crate::tree::TreeError;
use crate::tree::beneath::Beneath;
use crate::tree::entry::Mtime;
use crate::tree::name::TreePath;
use crate::tree::walk::{Dir, Visit, Visitor};

/// So many things of one directory are handed out at a time, or fewer that hold so many bytes. Two threads that make
/// things in one directory wait for each other, so most directories should be one batch.
const MANY: usize = 128;
const MUCH: u64 = 4 * 1024 * 1024;

pub(super) struct Feeder<'a> {
    task: &'a Task<'a>,
    crew: &'a Crew,
    pub copier: Copier<'a>,
    pub beneath: Beneath<'a>,
    pub entries: u64,
    pub sockets: Vec<TreePath>,
    /// The directory that is gone through, and what is to be handed out of it.
    filling: Option<Arc<Filling>>,
    items: Vec<Item>,
    bytes: u64,
    links: HashMap<u64, First>,
}

/// The first name of a file that has more.
struct First {
    path: TreePath,
    ctime: Mtime,
    /// How many names are still to be seen, if they all are in this tree.
    more: u32,
}

impl<'a> Feeder<'a> {
    pub(super) fn new(task: &'a Task<'a>, crew: &'a Crew) -> Feeder<'a> {
        Feeder {
            task,
            crew,
            copier: Copier::new(task),
            beneath: Beneath::new(task.to),
            entries: 1,
            sockets: Vec::new(),
            filling: None,
            items: Vec::new(),
            bytes: 0,
            links: HashMap::new(),
        }
    }

    fn hand_out(&mut self, dir: &Arc<Dir>) -> Result<(), TreeError> {
        if self.items.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let filling = self
            .filling
            .get_or_insert_with(|| Arc::new(Filling(dir.clone())));
        let batch = Batch {
            dir: filling.clone(),
            items: std::mem::take(&mut self.items),
        };
        match self.crew.hand_out(batch) {
            Some(batch) => batch.make(&mut self.copier),
            None => Ok(()),
        }
    }

    /// Makes `name` the first or a further name of a file that has several. Says whether it is still to be filled.
    fn linked(&mut self, visit: &Visit<'_>) -> Result<bool, TreeError> {
        let Visit { dir, name, stat } = visit;
        if let Some(first) = self.links.get_mut(&stat.ino) {
            if first.ctime != stat.ctime {
                return Err(self.task.from.changed(&visit.path()));
            }
            let (around, other) = first.path.split().unwrap_or_default();
            let linked = self
                .beneath
                .dir(around)
                .and_then(|around| linkat(around, other, dir.target(), *name, AtFlags::empty()));
            linked.map_err(|errno| self.task.to.failed("link", &visit.path())(errno))?;
            first.more -= 1;
            if first.more == 0 {
                self.links.remove(&stat.ino);
            }
            return Ok(false);
        }
        // By the time its next name comes it must be there.
        let fill = stat.file_type == FileType::RegularFile;
        if fill {
            self.task.make_file(dir, name, stat)?;
        } else {
            self.copier.make(dir, &item(visit))?;
        }
        let first = First {
            path: visit.path(),
            ctime: stat.ctime,
            more: stat.nlink - 1,
        };
        self.links.insert(stat.ino, first);
        Ok(fill)
    }
}

fn item(visit: &Visit<'_>) -> Item {
    Item {
        name: visit.name.to_owned(),
        stat: visit.stat,
        made: false,
    }
}

impl Visitor for Feeder<'_> {
    fn visit(&mut self, visit: Visit<'_>) -> Result<(), TreeError> {
        let task = self.task;
        let Visit { dir, name, stat } = visit;
        if self.crew.has_failed() {
            // Why is known there.
            return Err(TreeError::Interrupted);
        }
        let mut item = item(&visit);
        match stat.file_type {
            FileType::Directory => {
                if (stat.dev, stat.ino) == (task.to.stat.dev, task.to.stat.ino) {
                    return Err(task.from.inside(&visit.path()));
                }
                self.entries += 1;
                return task.make_dir(dir, name);
            }
            FileType::Socket => {
                self.sockets.push(visit.path());
                return Ok(());
            }
            FileType::Unknown => {
                let path = visit.path();
                return Err(task.from.failed("tell what it is:", &path)(Errno::NOTSUP));
            }
            _ => self.entries += 1,
        }
        if stat.nlink > 1 {
            if !self.linked(&visit)? {
                return Ok(());
            }
            item.made = true;
        }
        self.items.push(item);
        self.bytes += stat.size;
        if self.items.len() >= MANY || self.bytes >= MUCH {
            self.hand_out(dir)?;
        }
        Ok(())
    }

    fn listed(&mut self, dir: Arc<Dir>) -> Result<(), TreeError> {
        self.hand_out(&dir)?;
        let filling = self.filling.take();
        finish(
            filling.unwrap_or_else(|| Arc::new(Filling(dir))),
            &self.copier,
        )
    }
}
