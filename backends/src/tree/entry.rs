//! What a listing says of one thing in a tree, and how that is written as one line of JSON.
//!
//! It must not know how the tree is read.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::hash::Hash;
use super::name::{ByteString, TreePath};

/// One thing in a tree. JSON: one flat object,
/// `{"path":"a/b","kind":"file","size":5,"blake3":"…","mode":"0644","uid":0,"gid":0,"mtime":[1700000000,0]}`,
/// and where there are any, `"link":0` and `"xattrs":[["user.a","value"]]`. Fields may be added in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is below the root.
    pub path: TreePath,
    /// What it is, and its content.
    #[serde(flatten)]
    pub kind: Kind,
    /// Permissions.
    pub mode: Mode,
    /// Owner, as a number.
    pub uid: u32,
    /// Group, as a number.
    pub gid: u32,
    /// When its content was last changed.
    pub mtime: Mtime,
    /// Which hard links it belongs to, if another name in this tree is the same file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkGroup>,
    /// Extended attributes. ACLs are `system.posix_acl_*`. JSON: pairs in order of name, since a name is any bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "pairs")]
    pub xattrs: BTreeMap<ByteString, ByteString>,
}

/// What an entry is. A socket is none: it has no content, and whoever listened on it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes, holes included.
        size: u64,
        /// Hash of those bytes; a hole reads as zeros.
        blake3: Hash,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// What it says, whether or not that exists.
        target: ByteString,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    Char {
        /// Which one.
        rdev: DeviceNumber,
    },
    /// A block device.
    Block {
        /// Which one.
        rdev: DeviceNumber,
    },
}

impl Kind {
    /// The word for it, as in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::File { .. } => "file",
            Kind::Dir => "dir",
            Kind::Symlink { .. } => "symlink",
            Kind::Fifo => "fifo",
            Kind::Char { .. } => "char",
            Kind::Block { .. } => "block",
        }
    }
}

/// Major and minor number. JSON: `[major, minor]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl From<(u32, u32)> for DeviceNumber {
    fn from((major, minor): (u32, u32)) -> Self {
        DeviceNumber { major, minor }
    }
}

impl From<DeviceNumber> for (u32, u32) {
    fn from(it: DeviceNumber) -> Self {
        (it.major, it.minor)
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Number of a group of hard links: 0 for the group of the first path that has one, then 1, and so on. So equal trees
/// have equal numbers, whatever their inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkGroup(pub u64);

/// Permission bits with setuid, setgid and sticky; at most 07777. JSON and for people: octal, `"4755"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(u16);

impl Mode {
    /// The permission bits of `st_mode`.
    pub fn from_bits(st_mode: u16) -> Mode {
        Mode(st_mode & 0o7777)
    }

    /// As chmod(2) takes them.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        match u16::from_str_radix(&text, 8) {
            // The parser would take a sign.
            Ok(bits) if bits <= 0o7777 && !text.starts_with('+') => Ok(Mode(bits)),
            _ => Err(serde::de::Error::custom(format!(
                "{text:?} is not an octal mode"
            ))),
        }
    }
}

/// A point in time since 1970-01-01 UTC. JSON: `[seconds, nanoseconds]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(i64, u32)", into = "(i64, u32)")]
pub struct Mtime {
    /// Whole seconds, rounded towards the past.
    pub seconds: i64,
    /// Nanoseconds past that, less than a second.
    pub nanoseconds: u32,
}

impl TryFrom<(i64, u32)> for Mtime {
    type Error = &'static str;
    fn try_from((seconds, nanoseconds): (i64, u32)) -> Result<Self, Self::Error> {
        if nanoseconds < 1_000_000_000 {
            Ok(Mtime {
                seconds,
                nanoseconds,
            })
        } else {
            Err("a second has fewer nanoseconds")
        }
    }
}

impl From<Mtime> for (i64, u32) {
    fn from(it: Mtime) -> Self {
        (it.seconds, it.nanoseconds)
    }
}

/// As `@seconds.nanoseconds`, which `date -d` and `touch -d` read, except before 1970, where theirs counts backwards.
impl fmt::Display for Mtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}.{:09}", self.seconds, self.nanoseconds)
    }
}

/// A map as a list of pairs: JSON's own keys must be text.
mod pairs {
    use super::{BTreeMap, ByteString, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<ByteString, ByteString>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<ByteString, ByteString>, D::Error> {
        let pairs = Vec::<(ByteString, ByteString)>::deserialize(from)?;
        let count = pairs.len();
        let map: BTreeMap<_, _> = pairs.into_iter().collect();
        if map.len() == count {
            Ok(map)
        } else {
            Err(serde::de::Error::custom(
                "an extended attribute is there twice",
            ))
        }
    }
}
