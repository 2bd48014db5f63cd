//! The datasets that one data directory's history lies in: what it is now, what was staged to take its place, and what that
//! replaced. A promotion (zfs-promote(8)) moves snapshots from one of them to another, so they are looked for in all.
//!
//! Such a line is known by the guid of the dataset it began with. A clone of ours says of which line it is, in a property
//! that is its own. A snapshot of ours says so, too, and what is written in its label. Must not know how a dataset is
//! mounted, nor where the data lies in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tell::{self, Told, number, own, text};
use super::zfs;
use crate::cmd::{Cmd, System};
use crate::name::{SnapName, StageName};
use crate::{Error, Label, Result, Snapshot};

/// Of a clone of ours: the guid of the dataset that its line began with.
pub const LINE: &str = "zeebe-snap:line";
/// Of a clone of ours: the guid of the snapshot that it was made of.
pub const MADE_OF: &str = "zeebe-snap:made-of";
/// Of a clone of ours: that it is in the making.
pub const UNFINISHED: &str = "zeebe-snap:unfinished";
/// Of a snapshot: what is the same in the labels of all that were taken in one call.
pub const LABEL: &str = "zeebe-snap:label";
/// Of a snapshot that was taken here: the lines it was taken of, each with what is its own in its label.
pub const OF: &str = "zeebe-snap:of";

/// Of a dataset that is or was the data: the label of what replaces it under that stage.
pub fn kept_as(stage: &StageName) -> String {
    named("zeebe-snap:kept.", stage.as_str())
}

/// A property for each name. (Those of properties have no capital letters.)
pub fn named(property: &str, name: &str) -> String {
    let mut property = property.to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => property.push(byte.into()),
            _ => property.push_str(&format!("_{byte:02x}")),
        }
    }
    property
}

/// What a line is known by, and the name that its data has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The name of the dataset that is the data.
    pub live: String,
    /// The guid of the dataset that it began with.
    pub began: String,
}

/// A dataset of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub guid: String,
    /// The snapshot that it is a clone of.
    pub origin: Option<String>,
    pub unfinished: bool,
    /// So many bytes can be added to it.
    pub available: u64,
    /// Where its key is, if it has one of its own, or shares one within the line alone.
    pub own_key: Option<String>,
    /// Whether it is encrypted, and its key is not loaded.
    pub key_is_missing: bool,
    /// Whether it is of this line.
    pub is_ours: bool,
}

/// The pool's datasets, as they were looked at.
#[derive(Debug)]
pub struct Seen<'a> {
    line: &'a Line,
    all: Vec<Member>,
}

/// A snapshot, wherever it is in the line.
#[derive(Debug, Clone)]
pub struct Found {
    /// `DATASET@NAME`.
    pub full: String,
    pub snapshot: Snapshot,
    /// In the order in which they were taken.
    created: u64,
    /// How many holds there are.
    pub holds: u64,
    /// The names of the datasets that are clones of it.
    pub clones: Vec<String>,
}

/// The dataset that a snapshot is of.
pub fn dataset_of(snapshot: &str) -> &str {
    snapshot
        .split_once('@')
        .map_or(snapshot, |(dataset, _)| dataset)
}

impl Line {
    pub fn pool(&self) -> &str {
        self.live.split('/').next().unwrap_or(&self.live)
    }

    /// The name of what is staged or kept under `stage`.
    pub fn beside(&self, stage: &StageName) -> String {
        format!("{}.{stage}", self.live)
    }

    /// Looks at all datasets of the pool.
    pub fn look<'a>(&'a self, sys: &dyn System) -> Result<Seen<'a>> {
        let properties = [
            "guid",
            "origin",
            "available",
            "encryptionroot",
            "keylocation",
            "keystatus",
            LINE,
            UNFINISHED,
        ];
        let types = "filesystem,volume";
        let told = tell::get(sys, &properties, &["-r", "-t", types, "--", self.pool()])?;
        let is_ours = |all: &BTreeMap<_, _>| {
            text(all, "guid") == Some(&self.began) || own(all, LINE) == Some(&self.began)
        };
        let keys: BTreeMap<String, String> = told
            .iter()
            .filter(|(_, all)| is_ours(all))
            .filter_map(|(name, all)| Some((name.clone(), text(all, "keylocation")?.to_owned())))
            .collect();
        let member = |(name, all): (String, BTreeMap<_, _>)| {
            let guid = text(&all, "guid").unwrap_or_default().to_owned();
            let root = text(&all, "encryptionroot");
            Member {
                own_key: root.and_then(|root| keys.get(root).cloned()),
                available: number(&all, "available"),
                key_is_missing: text(&all, "keystatus") == Some("unavailable"),
                is_ours: is_ours(&all),
                unfinished: own(&all, UNFINISHED).is_some(),
                origin: text(&all, "origin").map(str::to_owned),
                name,
                guid,
            }
        };
        Ok(Seen {
            line: self,
            all: told.into_iter().map(member).collect(),
        })
    }

    /// All snapshots of the line that carry a [`SnapName`], oldest first.
    pub fn snapshots(&self, sys: &dyn System) -> Result<Vec<Found>> {
        self.look(sys)?.snapshots(sys)
    }

    /// The same, without where they are.
    pub fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        let found = self.snapshots(sys)?.into_iter();
        Ok(found.map(|found| found.snapshot).collect())
    }

    /// The snapshot called `name`: the data's own, if there are several.
    pub fn find(&self, sys: &dyn System, name: &SnapName) -> Result<Option<Found>> {
        let mut found = self.snapshots(sys)?;
        found.retain(|found| found.snapshot.name == *name);
        let live = found
            .iter()
            .position(|found| dataset_of(&found.full) == self.live);
        Ok(match live {
            Some(at) => Some(found.swap_remove(at)),
            None => found.pop(),
        })
    }

    /// Takes the snapshot `name` of all these lines at one instant, each with its label.
    pub fn take(lines: &[(&Line, &Label)], name: &SnapName) -> Cmd {
        let mut shared = lines
            .first()
            .map_or_else(Label::new, |first| first.1.clone());
        shared.retain(|key, value| lines.iter().all(|line| line.1.get(key) == Some(value)));
        let own = |label: &Label| -> Label {
            let own = label.iter().filter(|(key, _)| !shared.contains_key(*key));
            own.map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let of: BTreeMap<&str, Label> = lines
            .iter()
            .map(|(line, label)| (line.began.as_str(), own(label)))
            .collect();
        let cmd = zfs(["snapshot"]);
        let cmd = set(cmd, LABEL, &json(&shared));
        let mut cmd = set(cmd, OF, &json(&of));
        let mut named: Vec<&str> = Vec::new();
        for (line, _) in lines {
            if !named.contains(&line.live.as_str()) {
                named.push(&line.live);
                cmd = cmd.arg(format!("{}@{name}", line.live));
            }
        }
        cmd
    }

    pub fn label(&self, all: &BTreeMap<String, tell::Value>) -> Option<Label> {
        let mut of: BTreeMap<String, Label> = serde_json::from_str(own(all, OF)?).ok()?;
        let mut label: Label = serde_json::from_str(own(all, LABEL)?).ok()?;
        label.extend(of.remove(&self.began)?);
        Some(label)
    }

    fn found(&self, told: Told) -> Vec<Found> {
        let read = |(full, all): (String, BTreeMap<String, tell::Value>)| {
            let (dataset, name) = full.split_once('@')?;
            let name = SnapName::try_from(name.to_owned()).ok()?;
            let label = self.label(&all);
            // One that is to go as soon as nothing is a clone of it any more has been destroyed.
            let is_gone = text(&all, "defer_destroy") == Some("on");
            if is_gone || (label.is_none() && dataset != self.live) {
                return None;
            }
            let clones = text(&all, "clones").unwrap_or_default();
            Some(Found {
                snapshot: Snapshot {
                    name,
                    identity: text(&all, "guid")?.to_owned(),
                    label,
                },
                created: number(&all, "createtxg"),
                holds: number(&all, "userrefs"),
                clones: clones
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect(),
                full,
            })
        };
        let mut found: Vec<Found> = told.into_iter().filter_map(read).collect();
        found.sort_by_key(|found| found.created);
        found
    }
}

impl Seen<'_> {
    /// The dataset with this name, whosever it is.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.all.iter().find(|member| member.name == name)
    }

    /// Those of the line, the data first.
    pub fn ours(&self) -> impl Iterator<Item = &Member> {
        let is_live = |member: &&Member| member.name == self.line.live;
        let live = self.all.iter().filter(is_live);
        let others = self
            .all
            .iter()
            .filter(move |member| member.is_ours && !is_live(member));
        live.chain(others)
    }

    /// Datasets below `name`.
    pub fn below(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{name}/");
        let names = self.all.iter().map(|member| member.name.as_str());
        names.filter(|below| below.starts_with(&prefix)).collect()
    }

    /// The dataset of the line that `member` is a clone of a snapshot of.
    pub fn holds_origin_of(&self, member: &Member) -> Option<&Member> {
        let dataset = dataset_of(member.origin.as_deref()?);
        self.ours().find(|other| other.name == dataset)
    }

    /// Those of the line that are clones of a snapshot of `of`.
    pub fn clones_of<'a>(&'a self, of: &'a Member) -> impl Iterator<Item = &'a Member> {
        let is_one = move |member: &&Member| {
            member
                .origin
                .as_deref()
                .is_some_and(|origin| dataset_of(origin) == of.name)
        };
        self.ours().filter(is_one)
    }

    /// The datasets that snapshots of the line may be in: its own, and those that they came from. (Somebody may have promoted
    /// a clone of the data.)
    fn may_have(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.ours().map(|member| member.name.as_str()).collect();
        let mut at = 0;
        while let Some(name) = names.get(at) {
            let origin = self.named(name).and_then(|member| member.origin.as_deref());
            if let Some(origin) = origin.map(dataset_of)
                && !names.contains(&origin)
            {
                names.push(origin);
            }
            at += 1;
        }
        names
    }

    fn snapshots(&self, sys: &dyn System) -> Result<Vec<Found>> {
        let names = self.may_have();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let told = snapshots_of(sys, &names)?;
        Ok(self.line.found(told))
    }

    /// What is kept, each with the label that it was given before it was replaced, and under the stage that its name ends in.
    pub fn kept(&self, sys: &dyn System) -> Result<Vec<(StageName, &Member, Option<Label>)>> {
        let others: Vec<&Member> = self
            .ours()
            .filter(|member| member.name != self.line.live)
            .collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let names = others.iter().map(|member| member.name.as_str());
        let words: Vec<&str> = ["-s", "local,received", "--"]
            .into_iter()
            .chain(names)
            .collect();
        let told = tell::get(sys, &["all"], &words)?;
        let mut found = Vec::new();
        for (name, all) in &told {
            let Some(member) = others.iter().find(|member| member.name == *name) else {
                continue;
            };
            for (at, _) in name.match_indices('.') {
                let Ok(stage) = StageName::try_from(name[at + 1..].to_owned()) else {
                    continue;
                };
                if let Some(label) = own(all, &kept_as(&stage)) {
                    let label = serde_json::from_str(label).ok();
                    found.push((stage, *member, label));
                    break;
                }
            }
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}

/// The snapshots of these datasets.
pub fn snapshots_of(sys: &dyn System, datasets: &[&str]) -> Result<Told> {
    let properties = [
        "guid",
        "createtxg",
        "userrefs",
        "defer_destroy",
        "clones",
        LABEL,
        OF,
    ];
    let mut words = vec!["-d", "1", "-t", "snapshot", "--"];
    words.extend(datasets);
    tell::get(sys, &properties, &words)
}

/// Adds a property to a command that takes `-o`.
pub fn set(cmd: Cmd, property: &str, value: &str) -> Cmd {
    cmd.arg("-o").arg(format!("{property}={value}"))
}

/// On one line, with no tab in it.
pub fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The guid of the one dataset that is called so.
pub fn guid(sys: &dyn System, name: &str) -> Result<String> {
    let told = tell::get(sys, &["guid"], &["--", name])?;
    let found = told.first().and_then(|(_, all)| text(all, "guid"));
    found
        .map(str::to_owned)
        .ok_or_else(|| Error::State(format!("{name} has no guid")))
}
