//! Volumes snapshotted and digested. Each step asks the system whether it is done, before and after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::tree::TreeError;
use zeebe_snap_backends::{
    Action, Error, Hold, Label, SnapName, Snapshot, StageName, View, Volume, VolumeId, tree,
};

use super::Job;
use super::post::Taken;
use super::protocol::{Answer, Fact, Outcome};
use crate::id::NodeId;
use crate::plan::{Captured, Source};

pub(super) type Done = Result<(Outcome, Fact)>;

pub(super) const DONE: (Outcome, Fact) = (Outcome::Done, Fact::None);
pub(super) const ALREADY: (Outcome, Fact) = (Outcome::AlreadyDone, Fact::None);

/// A listing goes over the pipe in parts of this many entries.
const ENTRIES_AT_ONCE: usize = 500;

/// A volume, and the turn to work on it.
pub(super) struct Work<'a> {
    job: Job<'a>,
    pub volume: Box<dyn Volume>,
    pub tools: Arc<Host>,
    _turn: Taken<'a>,
}

impl<'a> Work<'a> {
    pub fn begin(job: &Job<'a>, node: NodeId, id: &VolumeId) -> Result<Work<'a>> {
        let (turn, tools) = job.posts.of(node)?.volume(job.posts)?;
        job.still_wanted()?;
        Ok(Work {
            job: *job,
            volume: zeebe_snap_backends::open(id)?,
            tools,
            _turn: turn,
        })
    }

    pub fn do_all(&self, actions: &[Action]) -> Result<()> {
        let called_off = || self.job.still_wanted().is_err();
        perform_all(actions, &*self.tools, &called_off).or_else(|error| {
            if matches!(error, Error::Tree(TreeError::Interrupted)) {
                self.job.still_wanted()?;
            }
            Err(error.into())
        })
    }
}

pub fn prepare(job: &Job<'_>, node: NodeId, id: &VolumeId, name: &SnapName, label: &Label) -> Done {
    let work = Work::begin(job, node, id)?;
    ensure!(
        work.volume.find(&*work.tools, name)?.is_none(),
        "{id} has a snapshot {name} already"
    );
    work.do_all(&work.volume.prepare(name, label))?;
    Ok(DONE)
}

/// Takes no turn: it changes nothing and may take long.
pub fn flush(id: &VolumeId) -> Done {
    let volume = zeebe_snap_backends::open(id)?;
    Action::Sync(volume.data().to_owned()).perform(&Host::new(&[]), &|| false)?;
    Ok(DONE)
}

/// Takes the snapshot of `first`, and of those `with` it in the same call.
pub fn snapshot(job: &Job<'_>, first: &Captured, with: &[Captured], name: &SnapName) -> Done {
    let others = with.iter();
    let begin = |of: &Captured| Work::begin(job, of.node, &of.volume);
    let work = begin(first)?;
    let all: Vec<Work<'_>> = others.map(begin).collect::<Result<_>>()?;
    let begun = Instant::now();
    // Pages that a killed process wrote through mmap are in no snapshot before this.
    for work in [&work].into_iter().chain(&all) {
        work.do_all(&[Action::Sync(work.volume.data().to_owned())])?;
    }
    let sync = begun.elapsed();
    let take = match with {
        [] => work.volume.snapshot(name, &first.label),
        _ => {
            let joint = work.volume.joint();
            let joint =
                joint.with_context(|| format!("{} takes no snapshot with others", first.volume))?;
            let pair = |of: &Captured| (of.volume.clone(), of.label.clone());
            let pairs: Vec<_> = [first].into_iter().chain(with).map(pair).collect();
            joint.snapshot(&pairs, name)?
        }
    };
    work.do_all(&take)?;
    let snapshot = begun.elapsed() - sync;
    let taken = |work: &Work<'_>, of: &Captured| -> Result<String> {
        let id = &of.volume;
        let found = work.volume.find(&*work.tools, name)?;
        let found =
            found.with_context(|| format!("{id} has no snapshot {name} after it was taken"))?;
        ensure!(
            found.label.as_ref() == Some(&of.label),
            "snapshot {name} of {id} does not carry our label"
        );
        Ok(found.identity)
    };
    let others = all.iter().zip(with);
    let others = others.map(|(work, of)| Ok((of.node, taken(work, of)?)));
    let fact = Fact::Snapshot {
        identity: taken(&work, first)?,
        with: others.collect::<Result<_>>()?,
        sync,
        snapshot,
    };
    Ok((Outcome::Done, fact))
}

/// The system itself keeps the snapshot from then on; whoever destroys it for us lets go of it first.
pub fn hold(job: &Job<'_>, node: NodeId, id: &VolumeId, name: &SnapName) -> Done {
    let work = Work::begin(job, node, id)?;
    let hold = work.volume.hold();
    let hold = hold.with_context(|| format!("{id} has no holds"))?;
    if is_held(&work, hold, name)? {
        return Ok(ALREADY);
    }
    work.do_all(&hold.hold(name, name.as_str()))?;
    Ok(DONE)
}

fn is_held(work: &Work<'_>, hold: &dyn Hold, name: &SnapName) -> Result<bool> {
    let tags = hold.holds(&*work.tools, name)?;
    Ok(tags.iter().any(|tag| tag == name.as_str()))
}

pub fn destroy(job: &Job<'_>, node: NodeId, id: &VolumeId, name: &SnapName, label: &Label) -> Done {
    let work = Work::begin(job, node, id)?;
    let found = work.volume.find(&*work.tools, name)?;
    if let Some(found) = &found {
        if found.label.as_ref() != Some(label) {
            let by_hand = work.volume.destroy(name).into_iter();
            let by_hand = by_hand.chain(work.volume.unprepare(name));
            let by_hand: Vec<String> = by_hand.map(|action| action.to_string()).collect();
            bail!(
                "snapshot {name} of {id} is not ours, or what is written beside it does not read; it was left. \
                 If it is no longer wanted: {}",
                by_hand.join("; ")
            );
        }
        if let Some(hold) = work.volume.hold()
            && is_held(&work, hold, name)?
        {
            work.do_all(&hold.release(name, name.as_str()))?;
        }
        work.do_all(&work.volume.destroy(name))?;
        ensure!(
            work.volume.find(&*work.tools, name)?.is_none(),
            "snapshot {name} of {id} is still there"
        );
    }
    work.do_all(&work.volume.unprepare(name))?;
    Ok(if found.is_some() { DONE } else { ALREADY })
}

/// Digests the tree of the snapshot `name`.
pub fn digest(job: &Job<'_>, id: &VolumeId, name: &SnapName) -> Done {
    let volume = zeebe_snap_backends::open(id)?;
    found(job, &*volume, name)?;
    digest_view(job, &volume.view(name))
}

fn found(job: &Job<'_>, volume: &dyn Volume, name: &SnapName) -> Result<Snapshot> {
    volume
        .find(&*job.posts.desk.tools, name)?
        .with_context(|| format!("{} has no snapshot {name}", volume.id()))
}

/// Digests a snapshot, which has to be just that one, or the copy that is staged of it.
pub fn verify(job: &Job<'_>, source: &Source, staged: Option<&(VolumeId, StageName)>) -> Done {
    let volume = open_source(job, source)?;
    let Some((id, stage)) = staged else {
        return digest_view(job, &volume.view(&source.snapshot.name));
    };
    let volume = zeebe_snap_backends::open(id)?;
    let staged = volume
        .rollback()
        .and_then(|rollback| rollback.staged(stage));
    let staged = staged.with_context(|| format!("{id} stages nothing to be read"))?;
    digest_view(job, &View::of(staged))
}

/// The volume that has just this snapshot.
pub fn open_source(job: &Job<'_>, source: &Source) -> Result<Box<dyn Volume>> {
    let (id, snapshot) = (&source.volume, &source.snapshot);
    let volume = zeebe_snap_backends::open(id)?;
    ensure!(
        found(job, &*volume, &snapshot.name)?.identity == snapshot.identity,
        "snapshot {} of {id} is not the one of the set: another was put in its place",
        snapshot.name
    );
    Ok(volume)
}

fn digest_view(job: &Job<'_>, view: &View) -> Done {
    let tools = &*job.posts.desk.tools;
    let digested = view.read(tools, |path| {
        tree::digest(
            path,
            &tree::Pass {
                leave_out: &view.leave_out,
                stop: &|| job.quitting.load(Ordering::SeqCst),
                progress: &|bytes| job.mouth.say(Answer::Hashed(bytes)),
                ..tree::Pass::new()
            },
        )
    });
    let digest = digested?.with_context(|| format!("digest {view}"))?;
    let fact = Fact::Digest {
        content: digest.content.to_string(),
        metadata: digest.metadata.to_string(),
        entries: digest.entries.len() as u64,
        bytes: digest.bytes,
    };
    for part in digest.entries.chunks(ENTRIES_AT_ONCE) {
        job.mouth.say(Answer::Entries(part.to_vec()));
    }
    Ok((Outcome::Done, fact))
}

/// Sends config files.
pub fn read_files(job: &Job<'_>, files: &[PathBuf]) -> Done {
    for path in files {
        let content = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        job.mouth.say(Answer::File {
            path: path.clone(),
            content,
        });
    }
    Ok(DONE)
}
