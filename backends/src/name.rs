//! Checked names. A value of these types is safe as a file name, a ZFS component, an LV name and an argument. And names
//! that are none of these: those of what is not whole yet.
//!
//! Must not know what the names are for.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `.NAME.WHAT` beside `path`, which ends in NAME. It is never a checked name, since those begin with no dot.
pub(crate) fn hidden_beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(what);
    path.with_file_name(name)
}

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {why}")]
pub struct NameError {
    text: String,
    what: &'static str,
    why: &'static str,
}

/// LVM allows 127 characters for a name with its volume group; this leaves room for the group.
const LONGEST: usize = 80;

fn check(text: &str, what: &'static str) -> Result<(), NameError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > LONGEST {
        "it is longer than 80 characters"
    } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it does not begin with a letter or a digit"
    } else if !text.chars().all(fits) {
        "it has other characters than letters, digits, '.', '_' and '-'"
    } else {
        return Ok(());
    };
    Err(NameError {
        text: text.to_owned(),
        what,
        why,
    })
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<$type, NameError> {
                check(&text, $what)?;
                Ok($type(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_name! {
    /// The name of a snapshot within its volume.
    SnapName, "snapshot name"
}
checked_name! {
    /// The name of what stands beside the data during a rollback, and after it.
    StageName, "stage name"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_tool_could_misread() {
        for bad in [
            "",
            "-r",
            "a b",
            "a/b",
            "a@b",
            ".hidden",
            "ä",
            &"x".repeat(81),
        ] {
            assert!(
                SnapName::try_from(bad.to_owned()).is_err(),
                "{bad:?} passed"
            );
        }
        assert!(SnapName::try_from("zeebe-snap-20261123T014500Z".to_owned()).is_ok());
    }
}
