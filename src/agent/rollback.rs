//! Data staged, swapped, put back and let go of. Each step asks the system whether it is done, before and after it.

use anyhow::{Context, Result, bail, ensure};
use zeebe_snap_backends::{Action, Kept, Label, Progress, Rollback, StageName, VolumeId};

use super::Job;
use super::volumes::{ALREADY, DONE, Done, Work, open_source};
use crate::id::NodeId;
use crate::plan::{Source, Staged};
use crate::process::holders;

impl Work<'_> {
    fn rollback(&self) -> Result<&dyn Rollback> {
        self.volume
            .rollback()
            .with_context(|| format!("{} cannot be brought back in place", self.volume.id()))
    }

    fn progress(&self, of: &str, stage: &StageName) -> Result<Progress> {
        Ok(self.rollback()?.progress(&*self.tools, of, stage)?)
    }

    fn expect(&self, of: &str, stage: &StageName, wanted: &Progress) -> Result<()> {
        let progress = self.progress(of, stage)?;
        ensure!(
            progress == *wanted,
            "{} should be {wanted:?} and is {progress:?}",
            self.volume.id()
        );
        Ok(())
    }

    fn kept(&self, name: &StageName) -> Result<Option<Kept>> {
        let kept = self.rollback()?.kept(&*self.tools)?;
        Ok(kept.into_iter().find(|kept| kept.name == *name))
    }
}

pub fn stage(
    job: &Job<'_>,
    node: NodeId,
    id: &VolumeId,
    source: &Source,
    stage: &StageName,
    label: &Label,
) -> Done {
    let work = Work::begin(job, node, id)?;
    let view = open_source(job, source)?.view(&source.snapshot.name);
    let of = &source.snapshot.identity;
    match work.progress(of, stage)? {
        Progress::Staged => return Ok(ALREADY),
        Progress::Untouched => work.do_all(&work.rollback()?.stage(
            &source.snapshot,
            &view,
            stage,
            label,
        ))?,
        other => bail!("{id} is not as it was: {other:?}"),
    }
    work.expect(of, stage, &Progress::Staged)?;
    Ok(DONE)
}

pub fn take_kept(
    job: &Job<'_>,
    node: NodeId,
    id: &VolumeId,
    kept: &Kept,
    stage: &StageName,
    label: &Label,
) -> Done {
    let work = Work::begin(job, node, id)?;
    let found = work.kept(&kept.name)?;
    let found = found.with_context(|| format!("{id} keeps nothing called {}", kept.name))?;
    ensure!(
        found.identity == kept.identity,
        "what {id} keeps as {} is not what it was",
        kept.name
    );
    work.do_all(&work.rollback()?.take_kept(kept, stage, label))?;
    work.expect(&kept.identity, stage, &Progress::Staged)?;
    Ok(DONE)
}

/// The reverse, after whatever it left when it was cut.
pub fn put_back(
    job: &Job<'_>,
    node: NodeId,
    id: &VolumeId,
    kept: &StageName,
    stage: &StageName,
) -> Done {
    let work = Work::begin(job, node, id)?;
    work.do_all(&work.rollback()?.put_back(kept, stage))?;
    ensure!(
        work.kept(kept)?.is_some(),
        "{id} should keep {kept} again and does not"
    );
    Ok(DONE)
}

pub fn forget_kept(job: &Job<'_>, node: NodeId, id: &VolumeId, kept: &StageName) -> Done {
    let work = Work::begin(job, node, id)?;
    ensure!(
        work.kept(kept)?.is_none(),
        "{id} still keeps {kept}; it was left"
    );
    work.do_all(&work.rollback()?.forget_kept(kept))?;
    Ok(DONE)
}

/// Destroys what is kept, if it is just that.
pub fn release(job: &Job<'_>, node: NodeId, id: &VolumeId, kept: &Kept) -> Done {
    let work = Work::begin(job, node, id)?;
    let rollback = work.rollback()?;
    let Some(found) = work.kept(&kept.name)? else {
        // What a release that was cut has left.
        work.do_all(&rollback.clear(&kept.name))?;
        return Ok(ALREADY);
    };
    ensure!(
        found.identity == kept.identity,
        "what {id} keeps as {} is not what it was; it was left",
        kept.name
    );
    work.do_all(&rollback.discard(&kept.name))?;
    ensure!(
        work.kept(&kept.name)?.is_none(),
        "{id} still keeps {}",
        kept.name
    );
    Ok(DONE)
}

pub fn swap(job: &Job<'_>, staged: &Staged) -> Done {
    let work = Work::begin(job, staged.node, &staged.volume)?;
    let actions = work.rollback()?.swap(&staged.stage);
    exchange(
        &work,
        staged,
        &actions,
        [&Progress::Staged, &Progress::Swapped],
    )
}

pub fn swap_back(job: &Job<'_>, staged: &Staged) -> Done {
    let work = Work::begin(job, staged.node, &staged.volume)?;
    // Nothing was staged: nothing can have been swapped.
    if work.progress(&staged.of, &staged.stage)? == Progress::Untouched {
        return Ok(ALREADY);
    }
    let actions = work.rollback()?.reverse(&staged.stage);
    exchange(
        &work,
        staged,
        &actions,
        [&Progress::Swapped, &Progress::Staged],
    )
}

fn exchange(
    work: &Work<'_>,
    staged: &Staged,
    actions: &[Action],
    [from, to]: [&Progress; 2],
) -> Done {
    let id = &staged.volume;
    let progress = work.progress(&staged.of, &staged.stage)?;
    if progress == *to {
        return Ok(ALREADY);
    }
    ensure!(
        progress == *from || progress == Progress::Halfway,
        "{id} is not as it was: {progress:?}"
    );
    let held = holders(&[work.volume.data().to_owned()])?;
    if let Some(holder) = held.iter().flatten().next() {
        bail!("{id} is held by {holder}; it was not swapped");
    }
    work.do_all(actions)?;
    work.expect(&staged.of, &staged.stage, to)?;
    Ok(DONE)
}

pub fn discard(job: &Job<'_>, staged: &Staged) -> Done {
    let (id, stage) = (&staged.volume, &staged.stage);
    let work = Work::begin(job, staged.node, id)?;
    let rollback = work.rollback()?;
    let is_there = match work.progress(&staged.of, stage)? {
        Progress::Untouched => false,
        Progress::Staged => true,
        other => bail!("{id}: what is staged cannot be removed: {other:?}"),
    };
    work.do_all(&match is_there {
        true => rollback.discard(stage),
        false => rollback.clear(stage),
    })?;
    work.expect(&staged.of, stage, &Progress::Untouched)?;
    Ok(if is_there { DONE } else { ALREADY })
}
