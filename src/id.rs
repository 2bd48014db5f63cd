//! Names of nodes, sets and runs, kept apart by type.

use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, ToSpan, Unit, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// A broker's node id, as Zeebe uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const FORM: &str = "%Y%m%dT%H%M%SZ";

/// Not a UTC time of the form `20261123T014500Z`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form 20261123T014500Z")]
pub struct NotAnId(String);

macro_rules! time_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text: a UTC time, whose order as text is its order in time.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The time it says.
            pub fn time(&self) -> Option<Timestamp> {
                parse(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<$type, NotAnId> {
                // Printed again, so that only the one form passes.
                match parse(text).filter(|time| print(*time) == text) {
                    Some(_) => Ok($type(text.to_owned())),
                    None => Err(NotAnId(text.to_owned())),
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NotAnId;
            fn try_from(text: String) -> Result<$type, NotAnId> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

time_id! {
    /// One run of a changing verb; its journal has this name.
    RunId
}
time_id! {
    /// One set: the run that made it gave it its id.
    SetId
}

fn print(time: Timestamp) -> String {
    time.strftime(FORM).to_string()
}

fn parse(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime(FORM, text).ok()?;
    civil
        .to_zoned_datetime(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

impl RunId {
    /// The id of a run that begins `now`. Ids only go up: where `newest` is not older than now (a clock that was set
    /// back, two runs in one second) the id is a second after it.
    pub fn after(now: Timestamp, newest: Option<&RunId>) -> RunId {
        let now = now.round(Unit::Second).unwrap_or(now);
        let next = newest
            .and_then(RunId::time)
            .and_then(|time| time.checked_add(1.second()).ok());
        RunId(print(next.map_or(now, |next| next.max(now))))
    }
}

impl From<RunId> for SetId {
    fn from(run: RunId) -> SetId {
        SetId(run.0)
    }
}

impl From<SetId> for RunId {
    fn from(set: SetId) -> RunId {
        RunId(set.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_form_is_an_id() {
        assert!("20261123T014500Z".parse::<SetId>().is_ok());
        for bad in [
            "",
            "latest",
            "20261123T014500",
            "20261323T014500Z",
            "2026-11-23T01:45:00Z",
            "20261123T014500Z ",
            "../x",
        ] {
            assert!(bad.parse::<SetId>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn ids_only_go_up() {
        let now: Timestamp = "2026-11-23T01:45:00.2Z".parse().unwrap();
        let first = RunId::after(now, None);
        assert_eq!(first.as_str(), "20261123T014500Z");
        assert_eq!(RunId::after(now, Some(&first)).as_str(), "20261123T014501Z");
        let later: RunId = "20270101T000000Z".parse().unwrap();
        assert_eq!(RunId::after(now, Some(&later)).as_str(), "20270101T000001Z");
    }
}
