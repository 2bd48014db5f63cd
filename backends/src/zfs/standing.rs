//! What stands in a place where streams land, as the system tells it.
//!
//! Must not know how it came there.

use serde::{Deserialize, Serialize};

use super::line::LABEL;
use super::tell::{self, number, own, text};
use crate::cmd::System;
use crate::name::SnapName;
use crate::stream::{Form, Landed, Point, Whole};
use crate::{Label, Result};

/// Of the dataset around: what is about to land under a name, or was cut.
pub const AHEAD: &str = "zeebe-snap:ahead.";
/// Of what is received: that it is.
pub const LANDED: &str = "zeebe-snap:landed";

/// What is written down ahead.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ahead {
    pub name: SnapName,
    /// The identity of what is received.
    pub of: String,
    pub label: Label,
}

/// A snapshot that is there.
#[derive(Debug)]
pub struct There {
    pub name: String,
    pub guid: String,
    pub created: u64,
    pub label: Option<Label>,
}

/// All of a place.
#[derive(Debug, Default)]
pub struct Seen {
    /// The dataset around, if it is there: how many bytes there is room for.
    pub around: Option<u64>,
    /// Whether what is received there is, and is ours.
    pub volume: Option<bool>,
    /// With which it is gone on with what was cut.
    pub token: Option<String>,
    pub ahead: Vec<Ahead>,
    /// Oldest first.
    pub snapshots: Vec<There>,
}

/// Looks at the dataset `around`, and at the dataset `received` in it. One question where it is there: each is a process.
pub fn look(sys: &dyn System, around: &str, received: &str) -> Result<Seen> {
    let types = ["-d", "2", "-t", "filesystem,volume,snapshot"];
    let set_there = ["-s", "local,received,none", "--", around];
    let told = match tell::get(sys, &["all"], &[&types[..], &set_there].concat()) {
        Ok(told) => told,
        Err(_) if !is_there(sys, around)? => return Ok(Seen::default()),
        Err(error) => return Err(error),
    };
    let find = |name: &str| told.iter().find(|it| it.0 == name).map(|(_, all)| all);
    let ahead = find(around).into_iter().flatten();
    let ahead = ahead.filter(|(property, _)| property.starts_with(AHEAD));
    let volume = find(received);
    let snapshots = told.iter().filter_map(|(full, all)| {
        let (of, name) = full.split_once('@')?;
        (of == received).then(|| There {
            name: name.to_owned(),
            guid: text(all, "guid").unwrap_or_default().to_owned(),
            created: number(all, "createtxg"),
            label: own(all, LABEL).and_then(|label| serde_json::from_str(label).ok()),
        })
    });
    let mut snapshots: Vec<There> = snapshots.collect();
    snapshots.sort_by_key(|it| it.created);
    Ok(Seen {
        around: find(around).map(|all| number(all, "available")),
        volume: volume.map(|all| own(all, LANDED).is_some()),
        token: volume
            .and_then(|all| text(all, "receive_resume_token"))
            .map(str::to_owned),
        ahead: ahead
            .filter_map(|(_, value)| serde_json::from_str(&value.text).ok())
            .collect(),
        snapshots,
    })
}

fn is_there(sys: &dyn System, dataset: &str) -> Result<bool> {
    let pool = dataset.split('/').next().unwrap_or_default();
    let words = ["-r", "-t", "filesystem,volume", "--", pool];
    let all = tell::get(sys, &["guid"], &words)?;
    Ok(all.iter().any(|(name, _)| name == dataset))
}

pub fn point(name: SnapName, identity: String) -> Point {
    Point {
        name,
        identity,
        form: Form::Snapshot,
    }
}

impl Seen {
    /// All that carries a [`SnapName`], ours and others', whole and cut.
    pub fn landed(&self) -> Vec<Landed> {
        let newest = self.snapshots.last().map(|it| it.guid.as_str());
        let mut all = Vec::new();
        for it in &self.snapshots {
            let Ok(name) = SnapName::try_from(it.name.clone()) else {
                continue;
            };
            let cut = self
                .ahead
                .iter()
                .find(|ahead| ahead.name == name && ahead.of == it.guid);
            let (label, whole) = match (&it.label, cut) {
                (Some(label), _) if newest == Some(&it.guid) => (Some(label), Whole::Base),
                (Some(label), _) => (Some(label), Whole::Whole),
                // All of it is there, and nobody has looked at it.
                (None, Some(ahead)) => (Some(&ahead.label), Whole::Cut { resume: None }),
                (None, None) => (None, Whole::Whole),
            };
            all.push(Landed {
                point: point(name, it.guid.clone()),
                label: label.cloned(),
                whole,
            });
        }
        let is_there = |ahead: &&Ahead| !all.iter().any(|it| it.point.name == ahead.name);
        let cut: Vec<&Ahead> = self.ahead.iter().filter(is_there).collect();
        // There is one at most that has begun to flow.
        let token = self.token.clone().filter(|_| cut.len() == 1);
        let cut = cut.into_iter().map(|ahead| Landed {
            point: point(ahead.name.clone(), ahead.of.clone()),
            label: Some(ahead.label.clone()),
            whole: Whole::Cut {
                resume: token.clone(),
            },
        });
        let cut: Vec<Landed> = cut.collect();
        all.extend(cut);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SnapName {
        SnapName::try_from(text.to_owned()).unwrap()
    }

    fn there(name: &str, guid: &str, label: Option<Label>) -> There {
        There {
            name: name.to_owned(),
            guid: guid.to_owned(),
            created: 0,
            label,
        }
    }

    fn ahead(of: &str) -> Ahead {
        Ahead {
            name: name("s3"),
            of: of.to_owned(),
            label: Label::new(),
        }
    }

    #[test]
    fn what_has_no_label_counts_for_nothing() {
        let ours = || Some(Label::new());
        let told = |ahead: &[Ahead], last: There, token: Option<&str>| {
            let seen = Seen {
                around: Some(0),
                volume: Some(true),
                token: token.map(str::to_owned),
                ahead: ahead.to_vec(),
                snapshots: vec![there("s1", "A", ours()), last],
            };
            let all = seen.landed().into_iter();
            let all = all.map(|it| (it.point.identity, it.label.is_some(), it.whole));
            all.collect::<Vec<_>>()
        };
        let cut = |token: Option<&str>| Whole::Cut {
            resume: token.map(str::to_owned),
        };
        let (a, b) = (("A".to_owned(), true, Whole::Whole), "B".to_owned());
        let whole = told(&[], there("s3", "B", ours()), None);
        assert_eq!(whole, [a.clone(), (b.clone(), true, Whole::Base)]);
        // All of it is there, and nobody has looked at it yet.
        let unlooked = told(&[ahead("B")], there("s3", "B", None), None);
        assert_eq!(unlooked, [a.clone(), (b.clone(), true, cut(None))]);
        // Somebody else's, under the name and under another.
        let theirs = told(&[ahead("C")], there("s3", "B", None), None);
        assert_eq!(theirs, [a.clone(), (b.clone(), false, Whole::Whole)]);
        let begun = told(&[ahead("C")], there("s2", "B", ours()), Some("1-e6"));
        assert_eq!(begun[2], ("C".to_owned(), true, cut(Some("1-e6"))));
    }
}
