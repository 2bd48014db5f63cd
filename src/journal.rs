//! The journal of a run: what was to be done, what was begun, what is done. One JSON object a line, only ever added to.
//!
//! It is written before and after each step, so that whoever comes after a crash knows what the dead run still owes. What
//! that is, `plan::recovery` computes. Must not know what any step means.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::protocol::{Fault, Performed};
use crate::id::RunId;
use crate::plan::{Plan, Step};

/// Goes up when entries change their meaning; a reader refuses a higher one.
pub const FORMAT: u32 = 1;

/// The mode of a journal that is closed: nothing is added to it any more.
const CLOSED: u32 = 0o400;

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub enum Entry {
    /// What is to be done from here on. The first line is one; each recovery adds one.
    Plan {
        format: u32,
        at: Timestamp,
        plan: Plan,
    },
    /// The steps of a stage begin.
    Begun {
        plan: usize,
        stage: usize,
        at: Timestamp,
    },
    /// A step is done.
    Done {
        no: StepNo,
        performed: Box<Performed>,
    },
    /// A step failed, or what became of it is not known.
    Failed { no: StepNo, fault: Fault },
    /// Nothing is owed any more.
    Closed { at: Timestamp },
}

/// A step's place in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepNo {
    /// The how-manieth plan of the journal.
    pub plan: usize,
    /// The stage of that plan.
    pub stage: usize,
    /// The step of that stage.
    pub step: usize,
}

/// The plans of a journal, in order.
pub fn plans(entries: &[Entry]) -> Vec<&Plan> {
    fn plan(entry: &Entry) -> Option<&Plan> {
        match entry {
            Entry::Plan { plan, .. } => Some(plan),
            _ => None,
        }
    }
    entries.iter().filter_map(plan).collect()
}

/// The steps of a stage of a plan.
pub fn steps<'a>(plans: &[&'a Plan], plan: usize, stage: usize) -> &'a [Step] {
    let stage = plans.get(plan).and_then(|plan| plan.stages.get(stage));
    stage.map_or(&[], |stage| &stage.steps)
}

/// The step at `no`.
pub fn step<'a>(plans: &[&'a Plan], no: StepNo) -> Option<&'a Step> {
    steps(plans, no.plan, no.stage).get(no.step)
}

/// All that is done, in order, over all plans.
pub fn done(entries: &[Entry]) -> impl Iterator<Item = (&Step, &Performed)> {
    let plans = plans(entries);
    entries.iter().filter_map(move |entry| match entry {
        Entry::Done { no, performed } => Some((step(&plans, *no)?, &**performed)),
        _ => None,
    })
}

/// Whether nothing is owed any more.
pub fn is_closed(entries: &[Entry]) -> bool {
    matches!(entries.last(), Some(Entry::Closed { .. }))
}

/// How certain a line must be before the run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives the end of this process.
    Written,
    /// It survives a power cut.
    Synced,
}

/// Where lines go.
pub trait Log: std::fmt::Debug {
    /// Adds a line.
    fn append(&mut self, entry: &Entry, durability: Durability) -> Result<()>;
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal<'a> {
    log: &'a mut dyn Log,
    entries: Vec<Entry>,
    /// Why no more lines are written.
    broken: Option<String>,
}

impl<'a> Journal<'a> {
    /// Goes on with `entries`, which `log` holds already.
    pub fn new(log: &'a mut dyn Log, entries: Vec<Entry>) -> Journal<'a> {
        Journal {
            log,
            entries,
            broken: None,
        }
    }

    /// What it holds.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds a line; one that cannot be written is given back. After one none is: what is on disk is always how the run
    /// began. (A sync that succeeds after one that failed says nothing of the lines before: fsync(2), EIO.)
    pub fn add(
        &mut self,
        entry: Entry,
        durability: Durability,
    ) -> Result<(), (Box<Entry>, anyhow::Error)> {
        if let Some(why) = &self.broken {
            return Err((Box::new(entry), anyhow!("{why}")));
        }
        match self.log.append(&entry, durability) {
            Ok(()) => {
                self.entries.push(entry);
                Ok(())
            }
            Err(error) => {
                self.broken = Some(format!("{error:#}"));
                Err((Box::new(entry), error))
            }
        }
    }

    /// Keeps a line in memory only.
    pub fn remember(&mut self, entry: Entry) {
        self.entries.push(entry);
    }
}

/// The journals of one state folder, in `<state>/runs/`.
#[derive(Debug, Clone)]
pub struct Runs {
    dir: PathBuf,
}

/// The file of one run's journal.
#[derive(Debug)]
pub struct RunFile {
    file: File,
    path: PathBuf,
    /// The length of all whole lines, in bytes.
    length: u64,
}

impl Log for RunFile {
    fn append(&mut self, entry: &Entry, durability: Durability) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let path = self.path.clone();
        let wrong = || format!("write the journal {}", path.display());
        if let Err(error) = self.write(&line, entry, durability) {
            // Half a line must not stand before a whole one; and what the run was told is not written must not be read later.
            self.file.set_len(self.length).with_context(wrong)?;
            return Err(error).with_context(wrong);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

impl RunFile {
    fn write(&mut self, line: &[u8], entry: &Entry, durability: Durability) -> io::Result<()> {
        self.file.write_all(line)?;
        // So that one whose end is lost later is still known to be closed.
        if let Entry::Closed { .. } = entry {
            let closed = fs::Permissions::from_mode(CLOSED);
            self.file.set_permissions(closed)?;
        }
        match durability {
            Durability::Synced => self.file.sync_data(),
            Durability::Written => Ok(()),
        }
    }
}

impl Runs {
    /// The journals in `state_dir`.
    pub fn new(state_dir: &Path) -> Runs {
        Runs {
            dir: state_dir.join("runs"),
        }
    }

    /// Whether a run's journal is closed, whatever is left of it. One that is not may still say that it is.
    pub fn is_closed(&self, run: &RunId) -> Result<bool> {
        let path = self.path(run);
        let meta = fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        Ok(meta.permissions().mode() & 0o777 == CLOSED)
    }

    /// The file of a run's journal.
    pub fn path(&self, run: &RunId) -> PathBuf {
        self.dir.join(format!("{run}.jsonl"))
    }

    /// All runs, oldest first.
    pub fn list(&self) -> Result<Vec<RunId>> {
        let listing = match fs::read_dir(&self.dir) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("list {}", self.dir.display()));
            }
        };
        let mut runs = Vec::new();
        for entry in listing {
            let name = entry
                .with_context(|| format!("list {}", self.dir.display()))?
                .file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            runs.extend(id.and_then(|id| id.parse().ok()));
        }
        runs.sort();
        Ok(runs)
    }

    /// Begins a journal.
    pub fn create(&self, run: &RunId) -> Result<RunFile> {
        let wrong = || format!("make the journal {}", self.path(run).display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(wrong)?;
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(run))
            .with_context(wrong)?;
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .with_context(wrong)?;
        Ok(RunFile {
            file,
            path: self.path(run),
            length: 0,
        })
    }

    /// Reads a journal.
    pub fn read(&self, run: &RunId) -> Result<Vec<Entry>> {
        let path = self.path(run);
        let text =
            fs::read(&path).with_context(|| format!("read the journal {}", path.display()))?;
        parse(&text).with_context(|| format!("read the journal {}", path.display()))
    }

    /// Reads a journal, to go on with it. A last line that was cut is cut off.
    pub fn reopen(&self, run: &RunId) -> Result<(RunFile, Vec<Entry>)> {
        let path = self.path(run);
        let entries = self.read(run)?;
        let text =
            fs::read(&path).with_context(|| format!("read the journal {}", path.display()))?;
        let wrong = || format!("open the journal {}", path.display());
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(wrong)?;
        let length = whole(&text).len() as u64;
        file.set_len(length).with_context(wrong)?;
        Ok((
            RunFile {
                file,
                path: path.clone(),
                length,
            },
            entries,
        ))
    }
}

/// The part of `text` that is whole lines.
fn whole(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    &text[..end]
}

/// Reads the text of a journal. A last line that was cut by a crash is left out; any other line that does not read is
/// an error, since what it said is not known.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (index, line) in whole(text)
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .enumerate()
    {
        #[derive(Deserialize)]
        struct Head {
            format: Option<u32>,
        }
        let head: Head = serde_json::from_slice(line)
            .with_context(|| format!("line {} does not read", index + 1))?;
        if head.format.is_some_and(|format| format > FORMAT) {
            bail!("it was written by a newer zeebe-snap: use that");
        }
        entries.push(
            serde_json::from_slice(line)
                .with_context(|| format!("line {} does not read", index + 1))?,
        );
    }
    Ok(entries)
}
