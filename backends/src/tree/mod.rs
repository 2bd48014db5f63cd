//! Directory trees: what is in one, told so exactly that a change of any part of it is found.
//!
//! [`digest`] lists a tree with a BLAKE3 hash of every file, [`compare`] names what differs between two listings.
//! A listing is a value: an [`Entry`] is one line of JSON, and [`content_hash`] and [`metadata_hash`] prove it by itself.
//!
//! Everything here works by directory descriptors and never follows a symbolic link, so names may hold any byte, and
//! trees may be deeper than the system's longest path. One tree lies on one file system; a mount point or a nested
//! subvolume below its root is an error, since a snapshot of the volume does not hold it.
//!
//! Not part of a listing: holes and preallocation, times other than mtime, inode numbers, inode flags (`chattr`, and
//! what btrfs shows as `btrfs.*` attributes), hard links from outside the tree, and sockets, which are named apart.
//!
//! It must not know volumes, snapshots, nor what the files mean.

mod attributes;
mod beneath;
mod clone;
mod compare;
mod digest;
mod entry;
mod flags;
mod hash;
mod inode;
mod link;
mod name;
mod partial;
mod pass;
mod remove;
mod stat;
mod walk;
mod weigh;
mod xattrs;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use crate::told;

pub use attributes::clone_attributes;
pub(crate) use attributes::timestamps;
pub(crate) use clone::clone_into;
pub use clone::{Cloned, clone, shares_blocks};
pub use compare::{Aspect, Difference, Field, compare};
pub use digest::{TreeDigest, digest};
pub use entry::{DeviceNumber, Entry, Kind, LinkGroup, Mode, Mtime};
pub use hash::{Hash, content_hash, metadata_hash};
pub use inode::Inode;
pub use name::{ByteString, NotATreePath, TreePath};
pub(crate) use partial::MakeRoot;
pub use pass::Pass;
pub use remove::remove;
pub use weigh::{Weight, weigh};

/// Why a tree could not be read. Paths are shown quoted, with what does not print escaped.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The system refused an operation, or the device failed. Nothing can be said about the tree.
    #[error("cannot {what} {path:?}")]
    Io {
        /// What was tried, as a verb: "read", "open".
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Something was written, replaced or renamed while it was read.
    #[error("{path:?} changed while it was read")]
    Changed {
        /// What changed.
        path: PathBuf,
    },
    /// A mount point or a nested subvolume below the root.
    #[error(
        "{path:?} is a mount point or a subvolume of its own, not part of the volume around it"
    )]
    OtherVolume {
        /// Where it is.
        path: PathBuf,
    },
    /// A clone of it would lack something that it has: its file system does not know it, or the system does not let
    /// this process set it.
    #[error("cannot keep {what} of {path:?}")]
    NotKept {
        /// What: "the owner", "the extended attribute "user.note"".
        what: String,
        /// Of what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The tree holds the place where its clone is made.
    #[error("the clone would be made inside what is cloned, in {path:?}")]
    Inside {
        /// Where it is.
        path: PathBuf,
    },
    /// Somebody else clones to the same place, or removes what is there.
    #[error("another clone or removal is at work in {path:?}")]
    Busy {
        /// Where.
        path: PathBuf,
    },
    /// A clone failed, and what it had made could not be removed either.
    #[error("{}; and {path:?} could not be removed: {}", told(.error), told(.removing))]
    Left {
        /// What is left.
        path: PathBuf,
        /// Why there is no clone.
        error: Box<TreeError>,
        /// Why it could not be removed.
        removing: Box<TreeError>,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}
