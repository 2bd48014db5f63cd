//! What stands beside a volume that is brought back: staged or kept, under the name of its stage. Each of these asks LVM what
//! is left to do, and touches nothing that does not carry our mark.

use super::origin::{Origin, remove};
use super::report::Row;
use super::{seat, tags};
use crate::action::{Change, Stop};
use crate::cmd::{Cmd, System};
use crate::name::StageName;
use crate::{Error, Kept, Label, Result};

/// The data is told what it is once it is kept as `stage`.
pub fn mark_live(origin: &Origin, stage: &StageName, label: &Label) -> Cmd {
    let tags = tags::of_kept(&origin.lineage, stage.as_str(), label);
    let cmd = tags::each(Cmd::new("lvchange"), "--addtag", &tags);
    cmd.arg(origin.lv(&origin.name))
}

/// What is kept is staged as `stage`.
#[derive(Debug)]
pub struct Take {
    pub origin: Origin,
    pub kept: Kept,
    pub stage: StageName,
    pub label: Label,
}

/// What is staged or kept under `stage` goes, and what is written of it.
#[derive(Debug)]
pub struct Discard {
    pub origin: Origin,
    pub stage: String,
}

/// What is written of `stage` goes, but not from what is kept under it.
#[derive(Debug)]
pub struct Forget {
    pub origin: Origin,
    pub stage: String,
}

/// What was kept as `kept` and is staged as `stage` takes its name again.
#[derive(Debug)]
pub struct PutBack {
    pub origin: Origin,
    pub kept: String,
    pub stage: String,
}

impl Take {
    fn mark(&self) -> Cmd {
        mark_live(&self.origin, &self.stage, &self.label)
    }

    fn rename(&self, from: &str) -> Cmd {
        let to = self.origin.name_of(self.stage.as_str());
        seat::rename(&self.origin.vg, from, &to)
    }
}

impl Change for Take {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Take { origin, kept, .. } = self;
        let report = origin.report(sys)?;
        let is_it = |row: &&Row| origin.has(row) && row.uuid == kept.identity;
        let found = report.rows.iter().find(is_it);
        let row = found.ok_or_else(|| Error::State(format!("{} is gone", kept.path.display())))?;
        sys.run(&self.mark())?;
        if row.name != origin.name_of(self.stage.as_str()) {
            sys.run(&self.rename(&row.name))?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let from = self.origin.name_of(self.kept.name.as_str());
        vec![self.mark().to_string(), self.rename(&from).to_string()]
    }
}

impl Change for Discard {
    fn perform(&self, sys: &dyn System, stop: Stop<'_>) -> Result<()> {
        let Discard { origin, stage } = self;
        let name = origin.name_of(stage);
        if let Some(row) = origin.report(sys)?.named(&name) {
            let is_ours =
                row.marks.staged.as_ref() == Some(stage) || row.marks.kept.contains_key(stage);
            if !is_ours || !origin.has(row) {
                return Err(Error::State(format!(
                    "{} has no mark of ours for {stage}; it was left",
                    origin.lv(&name)
                )));
            }
            sys.run(&remove(&origin.lv(&name)))?;
        }
        let (origin, stage) = (origin.clone(), stage.clone());
        Forget { origin, stage }.perform(sys, stop)
    }

    fn lines(&self) -> Vec<String> {
        let Discard { origin, stage } = self;
        let gone = remove(&origin.lv(&origin.name_of(stage)));
        let mut lines = vec![gone.to_string()];
        lines.extend(untag_line(origin, stage));
        lines
    }
}

impl Change for Forget {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Forget { origin, stage } = self;
        let name = origin.name_of(stage);
        for row in &origin.report(sys)?.rows {
            if !origin.has(row) || row.name == name {
                continue;
            }
            let about = tags::about(&row.tags, stage, &row.uuid);
            if !about.is_empty() {
                sys.run(&untag(origin, row, &about))?;
            }
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        untag_line(&self.origin, &self.stage)
    }
}

impl Change for PutBack {
    fn perform(&self, sys: &dyn System, stop: Stop<'_>) -> Result<()> {
        let PutBack {
            origin,
            kept,
            stage,
        } = self;
        let [from, to] = [stage, kept].map(|name| origin.name_of(name));
        let report = origin.report(sys)?;
        if let Some(row) = report.named(&from) {
            if !origin.has(row) || !row.marks.kept.contains_key(kept) {
                return Err(Error::State(format!(
                    "{} was not kept as {kept}; it was left",
                    origin.lv(&from)
                )));
            }
            sys.run(&seat::rename(&origin.vg, &from, &to))?;
        }
        let (origin, stage) = (origin.clone(), stage.clone());
        Forget { origin, stage }.perform(sys, stop)
    }

    fn lines(&self) -> Vec<String> {
        let PutBack {
            origin,
            kept,
            stage,
        } = self;
        let [from, to] = [stage, kept].map(|name| origin.name_of(name));
        let mut lines = vec![seat::rename(&origin.vg, &from, &to).to_string()];
        lines.extend(untag_line(origin, stage));
        lines
    }
}

fn untag(origin: &Origin, row: &Row, about: &[String]) -> Cmd {
    let cmd = tags::each(Cmd::new("lvchange"), "--deltag", about);
    cmd.arg(origin.lv(&row.name))
}

/// It is not known here what else the tags say.
fn untag_line(origin: &Origin, stage: &str) -> Vec<String> {
    let first = tags::of_kept(&origin.lineage, stage, &Label::new());
    let cmd = tags::each(Cmd::new("lvchange"), "--deltag", &first[1..]);
    let cmd = cmd.arg(origin.lv(&origin.name));
    vec![format!("{cmd}   # and whatever else is written of it")]
}
