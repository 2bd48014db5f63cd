//! Names as file systems have them: any bytes. How they are written as JSON and shown to a person.
//!
//! It must not know what they name.

use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes that are mostly text. JSON: a string, or `{"bytes": base64}` where they are not UTF-8.
/// Shown in double quotes, control characters, invisible ones and invalid UTF-8 escaped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteString(Vec<u8>);

impl From<Vec<u8>> for ByteString {
    fn from(bytes: Vec<u8>) -> Self {
        ByteString(bytes)
    }
}

impl Deref for ByteString {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(OsStr::from_bytes(&self.0), f)
    }
}

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Text(std::borrow::Cow<'a, str>),
    Bytes { bytes: String },
}

impl Serialize for ByteString {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => Written::Text(text.into()),
            Err(_) => Written::Bytes {
                bytes: STANDARD.encode(&self.0),
            },
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Written::deserialize(from)? {
            Written::Text(text) => Ok(ByteString(text.into_owned().into_bytes())),
            Written::Bytes { bytes } => STANDARD
                .decode(bytes)
                .map(ByteString)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// A path below a tree's root: names joined by `/`. The root itself is the empty path. It never leads out of the
/// tree: no name is empty, `.` or `..`, and none holds a NUL. Ordered by its bytes. Written as a [`ByteString`] is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "ByteString", into = "ByteString")]
pub struct TreePath(ByteString);

/// Bytes that are no [`TreePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a path inside a tree")]
pub struct NotATreePath(ByteString);

impl TreePath {
    /// The root's own path.
    pub fn root() -> Self {
        TreePath::default()
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path of `name` in the directory with this path. `name` comes from a directory, so it is one name.
    pub(crate) fn join(&self, name: &[u8]) -> TreePath {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        TreePath(ByteString(bytes))
    }

    /// The path of the directory that holds this, and the name in it. The root has neither.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&[], &self.0),
        })
    }

    /// As seen from outside, for messages.
    pub(crate) fn under(&self, root: &Path) -> std::path::PathBuf {
        if self.0.is_empty() {
            root.to_owned()
        } else {
            root.join(OsStr::from_bytes(&self.0))
        }
    }
}

impl TryFrom<ByteString> for TreePath {
    type Error = NotATreePath;
    fn try_from(bytes: ByteString) -> Result<Self, NotATreePath> {
        let good = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        if bytes.is_empty() || bytes.split(|b| *b == b'/').all(good) {
            Ok(TreePath(bytes))
        } else {
            Err(NotATreePath(bytes))
        }
    }
}

impl From<TreePath> for ByteString {
    fn from(path: TreePath) -> Self {
        path.0
    }
}

/// The root is shown as `"."`.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("\".\"")
        } else {
            self.0.fmt(f)
        }
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
