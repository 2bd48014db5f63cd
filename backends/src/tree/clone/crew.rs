//! The threads of a clone: who goes through the source hands out batches, others make them. What is handed out and not
//! yet made is bounded, so memory and open directories are.
//!
//! It must not know how a thing is made.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::copier::{Copier, Item};
use crate::tree::TreeError;
use crate::tree::walk::Dir;

/// As many batches wait at most. Each keeps a directory of both trees open.
const WAITING: usize = 64;

/// A directory whose own things are being made. Whoever drops the last of them finishes the directory.
#[derive(Debug)]
pub(super) struct Filling(pub Arc<Dir>);

/// Things to be made in one directory.
#[derive(Debug)]
pub(super) struct Batch {
    pub dir: Arc<Filling>,
    pub items: Vec<Item>,
}

impl Batch {
    /// Makes all of it.
    pub(super) fn make(self, copier: &mut Copier<'_>) -> Result<(), TreeError> {
        for item in &self.items {
            copier.make(&self.dir.0, item)?;
        }
        finish(self.dir, copier)
    }
}

/// Finishes the directory, if nobody else has something to make in it.
pub(super) fn finish(dir: Arc<Filling>, copier: &Copier<'_>) -> Result<(), TreeError> {
    match Arc::into_inner(dir) {
        Some(Filling(dir)) => copier.finish(&dir),
        None => Ok(()),
    }
}

/// See [`Crew::open`].
#[derive(Debug)]
pub(super) struct Open<'c>(&'c Crew);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.news.notify_all();
    }
}

/// What is handed out.
#[derive(Debug, Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    news: Condvar,
    /// As in `state`, to be asked often.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Batch>,
    workers: usize,
    /// Nothing more comes.
    closed: bool,
    /// The first error of all. Work ends.
    failed: Option<TreeError>,
}

impl Crew {
    /// Hands out `batch`, or gives it back where too many wait.
    pub(super) fn hand_out(&self, batch: Batch) -> Option<Batch> {
        let mut state = self.state();
        if state.workers == 0 || state.waiting.len() >= WAITING {
            return Some(batch);
        }
        state.waiting.push_back(batch);
        drop(state);
        self.news.notify_one();
        None
    }

    /// Makes batches until there are none and nothing more comes.
    pub(super) fn work(&self, copier: &mut Copier<'_>) {
        while let Some(batch) = self.next() {
            if let Err(error) = batch.make(copier) {
                self.fail(error);
            }
        }
    }

    /// A worker is there, from now on.
    pub(super) fn join(&self) {
        self.state().workers += 1;
    }

    /// Once what this gives is dropped, nothing more comes. So workers end even when the one who hands out panics.
    pub(super) fn open(&self) -> Open<'_> {
        Open(self)
    }

    /// Ends all work. The first to say why is heard.
    pub(super) fn fail(&self, error: TreeError) {
        let mut state = self.state();
        state.failed.get_or_insert(error);
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.failed.store(true, Ordering::Relaxed);
        self.news.notify_all();
        drop(dropped);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Why work ended early, if it did.
    pub(super) fn verdict(&self) -> Result<(), TreeError> {
        self.state().failed.take().map_or(Ok(()), Err)
    }

    fn next(&self) -> Option<Batch> {
        let mut state = self.state();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(batch) = state.waiting.pop_front() {
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            state = self
                .news
                .wait(state)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
