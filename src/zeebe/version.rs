//! Zeebe versions and which of them may start on whose data.

use std::cmp::Ordering;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version such as `8.5.8` or `8.6.0-alpha3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    /// Empty for a release.
    pre: String,
}

/// Not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version such as 8.5.8")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Version, NotAVersion> {
        let wrong = || NotAVersion(text.to_owned());
        let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = numbers.split('.').map(str::parse::<u32>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Version {
                major,
                minor,
                patch,
                pre: pre.to_owned(),
            }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = NotAVersion;
    fn try_from(text: String) -> Result<Version, NotAVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.pre.is_empty() {
            Ok(())
        } else {
            write!(f, "-{}", self.pre)
        }
    }
}

/// A version, and how it was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// The version.
    pub version: Version,
    /// "management API", "install", "cluster.toml".
    pub from: String,
}

impl Version {
    /// Which of the two is newer; a pre-release comes before its release.
    pub fn compare(&self, other: &Version) -> Ordering {
        let numbers = |version: &Version| (version.major, version.minor, version.patch);
        let release = |version: &Version| version.pre.is_empty();
        numbers(self)
            .cmp(&numbers(other))
            .then_with(|| release(self).cmp(&release(other)))
            .then_with(|| self.pre.cmp(&other.pre))
    }

    /// Whether it is of this minor or a later one.
    pub fn is_since(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// Why a broker of this version may not start on data of `source`; `None` if it may.
    ///
    /// Zeebe refuses some of these by itself and accepts a downgrade, deleting snapshots it cannot read
    /// (`zeebe/engine/…/migration/VersionCompatibilityCheck.java`, 8.5.4; a downgrade was tried from 8.6.0 to 8.5.8).
    pub fn refuses(&self, source: &Version) -> Option<String> {
        let rule =
            "Zeebe starts on data of the same version, a higher patch of it, or the next minor";
        if self == source {
            None
        } else if !self.pre.is_empty() || !source.pre.is_empty() {
            Some(format!(
                "{self} cannot take data of {source}: a pre-release goes with no other version"
            ))
        } else if self.major != source.major || self.minor > source.minor + 1 {
            Some(format!("{self} cannot take data of {source}: {rule}"))
        } else if (self.minor, self.patch) < (source.minor, source.patch) {
            Some(format!(
                "{self} is lower than {source}, whose data it would damage: {rule}"
            ))
        } else {
            None
        }
    }
}

/// The version of the distribution at `install`, by the name of its broker's library
/// (`lib/zeebe-broker-8.5.8.jar`); `None` where there is none or more than one.
pub fn installed(install: &Path) -> Option<Version> {
    let names = fs::read_dir(install.join("lib"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut versions = names.filter_map(|name| {
        let rest = name
            .strip_prefix("zeebe-broker-")
            .or(name.strip_prefix("camunda-zeebe-"))?;
        rest.strip_suffix(".jar")?.parse().ok()
    });
    let first: Version = versions.next()?;
    versions.all(|version| version == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(target: &str, source: &str) -> bool {
        let version = |text: &str| text.parse::<Version>().unwrap();
        version(target).refuses(&version(source)).is_none()
    }

    #[test]
    fn the_same_a_higher_patch_and_the_next_minor_pass() {
        assert!(may("8.5.8", "8.5.8") && may("8.5.9", "8.5.8") && may("8.6.0", "8.5.8"));
        assert!(may("8.6.0-alpha3", "8.6.0-alpha3"));
    }

    #[test]
    fn all_else_is_refused() {
        for (target, source) in [
            ("8.5.7", "8.5.8"),
            ("8.5.8", "8.6.0"),
            ("8.7.0", "8.5.8"),
            ("9.0.0", "8.9.0"),
            ("7.9.9", "8.0.0"),
            ("8.6.0-alpha3", "8.5.8"),
            ("8.6.0", "8.6.0-alpha3"),
        ] {
            assert!(!may(target, source), "{target} on {source} passed");
        }
    }

    #[test]
    fn text_that_is_no_version_is_refused() {
        for bad in ["", "8", "8.5", "8.5.x", "8.5.8.1", "v8.5.8"] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?} passed");
        }
    }
}
