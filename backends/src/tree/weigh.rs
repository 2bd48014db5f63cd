//! How much room a tree takes.
//!
//! It must not know what is in the files.

use std::collections::HashSet;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::TreeError;
use super::beneath::Root;
use super::pass::Pass;
use super::walk::{Visit, Visitor, walk};

/// What a tree weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weight {
    /// How many names there are, the root's among them.
    pub entries: u64,
    /// Bytes allocated on the file system, as du(1) tells them: of hard links once, holes not counted.
    pub allocated: u64,
}

/// Weighs the tree at `root`. It may be written to meanwhile: what changes counts as it was or as it is, and what goes
/// away may be left out. Progress is not told.
pub fn weigh(root: &Path, pass: &Pass<'_>) -> Result<Weight, TreeError> {
    let root = &Root::open(root)?;
    let mut scale = Scale {
        weight: Weight {
            entries: 1,
            allocated: root.stat.allocated,
        },
        linked: HashSet::new(),
    };
    walk(root, None, pass, &mut scale)?;
    Ok(scale.weight)
}

struct Scale {
    weight: Weight,
    /// What has other names and was counted.
    linked: HashSet<u64>,
}

impl Visitor for Scale {
    fn visit(&mut self, Visit { stat, .. }: Visit<'_>) -> Result<(), TreeError> {
        self.weight.entries += 1;
        let shared = stat.nlink > 1 && stat.file_type != FileType::Directory;
        if !shared || self.linked.insert(stat.ino) {
            self.weight.allocated += stat.allocated;
        }
        Ok(())
    }

    fn lost(&mut self, error: TreeError) -> Result<(), TreeError> {
        match error {
            TreeError::Changed { .. } => Ok(()),
            // Gone, or something that is no directory took the name of one.
            TreeError::Io { ref source, .. } => match Errno::from_io_error(source) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                _ => Err(error),
            },
            error => Err(error),
        }
    }
}
