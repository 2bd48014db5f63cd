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

mod beneath;
mod compare;
mod digest;
mod entry;
mod hash;
mod link;
mod name;
mod pass;
mod stat;
mod walk;
mod xattrs;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use compare::{Aspect, Difference, Field, compare};
pub use digest::{TreeDigest, digest};
pub use entry::{DeviceNumber, Entry, Kind, LinkGroup, Mode, Mtime};
pub use hash::{Hash, content_hash, metadata_hash};
pub use name::{ByteString, NotATreePath, TreePath};
pub use pass::Pass;

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
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}
