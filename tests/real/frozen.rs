//! A file system that is frozen (`fsfreeze`): who writes to it waits, however long, and cannot even be killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;
use crate::rig::tool;
use crate::wait::{seconds, until};

/// Thaws it when dropped.
#[derive(Debug)]
pub struct Frozen(PathBuf);

impl Frozen {
    /// Waits for a copy of broker 0's data to have begun, with a file of that name in it, and freezes the file system in the
    /// middle of it.
    pub fn in_the_clone_of(cluster: &Cluster, file: &str) -> Frozen {
        let store = cluster.place().store(0);
        let partial = until("the copy of a data directory", seconds(120), || {
            partial(&store).filter(|partial| partial.join(file).exists())
        });
        let root = cluster.place().root();
        tool(Command::new("fsfreeze").arg("-f").arg(&root));
        let frozen = Frozen(root);
        assert!(partial.exists(), "the copy was done too soon");
        frozen
    }

    /// Lets all go on.
    pub fn thaw(self) {}
}

impl Drop for Frozen {
    fn drop(&mut self) {
        tool(Command::new("fsfreeze").arg("-u").arg(&self.0));
    }
}

/// What is in the making: it has a name that no snapshot has.
pub fn partial(store: &Path) -> Option<PathBuf> {
    let entries = store.read_dir().ok()?;
    entries
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_name().to_str().unwrap().ends_with(".partial"))
        .map(|entry| entry.path())
}
