//! What stands beside the data: a clone that is staged, and what a rollback replaced and keeps. Made, renamed, destroyed.
//!
//! Must not know how the two change places.

use super::line::{
    LINE, Line, MADE_OF, Member, Seen, UNFINISHED, json, kept_as, set, snapshots_of,
};
use super::tell::{self, text};
use super::zfs;
use crate::action::{Change, Stop};
use crate::cmd::{Cmd, System};
use crate::name::StageName;
use crate::{Error, Kept, Label, Result, Snapshot};

/// Properties that a clone has from its origin or gets from us.
const NOT_CARRIED: &[&str] = &[
    "canmount",
    "encryption",
    "keyformat",
    "keylocation",
    "pbkdf2iters",
];

/// What has less room than that is full.
const ROOM: u64 = 4 << 20;

fn change_label(line: &Line, stage: &StageName, label: &Label) -> Cmd {
    zfs(["set"])
        .arg(format!("{}={}", kept_as(stage), json(label)))
        .arg(&line.live)
}

fn forget_label(line: &Line, stage: &StageName) -> Cmd {
    zfs(["inherit"]).arg(kept_as(stage)).arg(&line.live)
}

/// Stages a clone of a snapshot, and writes down what is to be known of the data once that has replaced it.
#[derive(Debug)]
pub struct Stage {
    pub line: Line,
    pub from: Snapshot,
    pub stage: StageName,
    pub label: Label,
}

impl Stage {
    fn clone_cmd(&self, full: &str, more: &[(String, String)]) -> Cmd {
        let mut cmd = zfs(["clone"]);
        cmd = set(cmd, "canmount", "noauto");
        cmd = set(cmd, LINE, &self.line.began);
        cmd = set(cmd, MADE_OF, &self.from.identity);
        for (property, value) in more {
            cmd = set(cmd, property, value);
        }
        cmd.arg(full).arg(self.line.beside(&self.stage))
    }

    /// What was set on the data's dataset itself.
    fn carried(&self, sys: &dyn System) -> Result<Vec<(String, String)>> {
        let words = ["-s", "local,received", "--", &self.line.live];
        let told = tell::get(sys, &["all"], &words)?;
        let all = told.into_iter().flat_map(|(_, all)| all);
        let wanted = |property: &str| {
            !NOT_CARRIED.contains(&property) && !property.starts_with("zeebe-snap:")
        };
        let carried = all.filter(|(property, _)| wanted(property));
        Ok(carried
            .map(|(property, value)| (property, value.text))
            .collect())
    }
}

impl Change for Stage {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Stage { line, from, .. } = self;
        let beside = line.beside(&self.stage);
        let found = line.snapshots(sys)?;
        let found = found
            .iter()
            .find(|found| found.snapshot.identity == from.identity);
        let full = found.map(|found| found.full.clone()).ok_or_else(|| {
            Error::State(format!(
                "the snapshot {} ({}) of {} is gone",
                from.name, from.identity, line.live
            ))
        })?;
        let seen = line.look(sys)?;
        if let Some(part) = seen
            .named(&beside)
            .filter(|member| member.is_ours && member.unfinished)
        {
            sys.run(&zfs(["destroy"]).arg(&part.name))?;
        }
        sys.run(&change_label(line, &self.stage, &self.label))?;
        let mut properties = self.carried(sys)?;
        let delegations = tell::delegations(sys, &line.live)?;
        if delegations.is_empty() {
            sys.run(&self.clone_cmd(&full, &properties))?;
            return Ok(());
        }
        properties.push((UNFINISHED.to_owned(), "yes".to_owned()));
        sys.run(&self.clone_cmd(&full, &properties))?;
        for words in delegations {
            sys.run(&zfs(["allow"]).args(words).arg(&beside))?;
        }
        sys.run(&zfs(["inherit", UNFINISHED]).arg(&beside))?;
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let full = format!("{}@{}", self.line.live, self.from.name);
        let clone = self.clone_cmd(&full, &[]);
        vec![
            change_label(&self.line, &self.stage, &self.label).to_string(),
            format!("{clone}   # with what was set, and is delegated, on the dataset itself"),
        ]
    }
}

/// Destroys what is staged or kept, if it is there.
#[derive(Debug)]
pub struct Discard {
    pub line: Line,
    pub stage: StageName,
}

impl Discard {
    /// What depends on it is made to depend on it no more: what it holds that others came from moves to them.
    fn free(&self, sys: &dyn System, name: &str) -> Result<()> {
        loop {
            let seen = self.line.look(sys)?;
            let Some(member) = seen.named(name) else {
                return Ok(());
            };
            let Some(clone) = seen.clones_of(member).next() else {
                break;
            };
            sys.run(&zfs(["promote"]).arg(&clone.name))?;
        }
        match load_key(&self.line.look(sys)?, &self.line) {
            Some(cmd) => sys.run(&cmd).map(drop).map_err(Into::into),
            None => Ok(()),
        }
    }

    /// Its snapshots would go with it.
    fn refuse_snapshots(&self, sys: &dyn System, name: &str) -> Result<()> {
        let told = snapshots_of(sys, &[name])?.into_iter();
        let is_there =
            |all: &std::collections::BTreeMap<_, _>| text(all, "defer_destroy") != Some("on");
        let left: Vec<String> = told
            .filter(|(_, all)| is_there(all))
            .map(|(full, _)| full)
            .collect();
        match left[..] {
            [] => Ok(()),
            _ => Err(Error::State(format!(
                "{name} is not let go of: there are snapshots in it, which would be lost with it: {}. \
                 Those of sets go with their sets; destroy others with zfs destroy",
                left.join(", ")
            ))),
        }
    }
}

impl Change for Discard {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Discard { line, stage } = self;
        let name = line.beside(stage);
        let seen = line.look(sys)?;
        if let Some(member) = seen.named(&name) {
            if !member.is_ours {
                return Err(Error::State(format!("{name} is not ours: it stays")));
            }
            self.free(sys, &name)?;
            self.refuse_snapshots(sys, &name)?;
            sys.run(&zfs(["destroy"]).arg(&name))?;
        }
        forget(sys, &seen, line, stage)
    }

    fn lines(&self) -> Vec<String> {
        let destroy = zfs(["destroy"]).arg(self.line.beside(&self.stage));
        vec![
            destroy.to_string(),
            forget_label(&self.line, &self.stage).to_string(),
        ]
    }
}

/// Removes what is written of `stage` on the data's dataset, if that is there.
fn forget(sys: &dyn System, seen: &Seen<'_>, line: &Line, stage: &StageName) -> Result<()> {
    if seen.named(&line.live).is_some() {
        sys.run(&forget_label(line, stage))?;
    }
    Ok(())
}

/// Removes what is written of `kept`, which is the data again.
#[derive(Debug)]
pub struct Forget {
    pub line: Line,
    pub kept: StageName,
}

impl Change for Forget {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        forget(sys, &self.line.look(sys)?, &self.line, &self.kept)
    }

    fn lines(&self) -> Vec<String> {
        vec![forget_label(&self.line, &self.kept).to_string()]
    }
}

/// Stages what is kept.
#[derive(Debug)]
pub struct Take {
    pub line: Line,
    pub kept: Kept,
    pub stage: StageName,
    pub label: Label,
}

impl Take {
    fn rename(&self, from: &str) -> Cmd {
        rename(from, &self.line.beside(&self.stage))
    }
}

impl Change for Take {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let (line, kept) = (&self.line, &self.kept);
        let seen = line.look(sys)?;
        let is_it = |member: &&Member| member.is_ours && member.guid == kept.identity;
        let found = seen.ours().find(is_it);
        let found =
            found.ok_or_else(|| Error::State(format!("{} is gone", kept.path.display())))?;
        sys.run(&change_label(line, &self.stage, &self.label))?;
        if found.name != line.beside(&self.stage) {
            sys.run(&self.rename(&found.name))?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        vec![
            change_label(&self.line, &self.stage, &self.label).to_string(),
            self.rename(&self.kept.path.to_string_lossy()).to_string(),
        ]
    }
}

/// What was taken is kept as it was.
#[derive(Debug)]
pub struct PutBack {
    pub line: Line,
    pub kept: StageName,
    pub stage: StageName,
}

impl Change for PutBack {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let PutBack { line, kept, stage } = self;
        let seen = line.look(sys)?;
        let name = line.beside(stage);
        if let Some(member) = seen.named(&name) {
            if !member.is_ours {
                return Err(Error::State(format!("{name} is not ours: it stays")));
            }
            sys.run(&rename(&name, &line.beside(kept)))?;
        }
        forget(sys, &seen, line, stage)
    }

    fn lines(&self) -> Vec<String> {
        let PutBack { line, kept, stage } = self;
        vec![
            rename(&line.beside(stage), &line.beside(kept)).to_string(),
            forget_label(line, stage).to_string(),
        ]
    }
}

/// With `-u` nothing is mounted or unmounted for it.
pub fn rename(from: &str, to: &str) -> Cmd {
    zfs(["rename", "-u"]).args([from, to])
}

/// What the data's dataset depends on is moved to it, a step at a time: snapshots are then where they were, under its name, and
/// what it replaced can go.
///
/// If that has a key of its own, it is not loaded any more afterwards: what is mounted stays so, and cannot be mounted again
/// (2.1.11). So one that is asked for is left where it is. And so are the snapshots of what has filled its quota: they could
/// not be moved back.
pub fn promotion(sys: &dyn System, line: &Line) -> Result<Vec<Cmd>> {
    let seen = line.look(sys)?;
    let live = seen.named(&line.live);
    let holder = live.and_then(|live| seen.holds_origin_of(live));
    let is_asked_for = live.and_then(|live| live.own_key.as_deref()) == Some("prompt");
    let holder = holder.filter(|holder| !is_asked_for && holder.available > ROOM);
    Ok(match holder {
        Some(_) => vec![promote(&line.live)],
        None => load_key(&seen, line).into_iter().collect(),
    })
}

/// Where it can be loaded with nobody there.
fn load_key(seen: &Seen<'_>, line: &Line) -> Option<Cmd> {
    let live = seen.named(&line.live)?;
    let location = live.own_key.as_deref().filter(|_| live.key_is_missing)?;
    (location != "prompt").then(|| zfs(["load-key", &line.live]))
}

pub fn promote(live: &str) -> Cmd {
    zfs(["promote", live])
}

/// The guid of a dataset's origin is not asked for: a promotion changes it.
pub fn made_of(sys: &dyn System, name: &str) -> Result<Option<String>> {
    let told = tell::get(sys, &[MADE_OF], &["--", name])?;
    let all = told.first().map(|(_, all)| all);
    Ok(all
        .and_then(|all| tell::own(all, MADE_OF))
        .map(str::to_owned))
}
