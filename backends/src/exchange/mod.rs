//! Bringing a data directory back by a clone of a captured tree: staged in its `.zeebe-snap`, then exchanged with what is
//! there, by one rename. A mount point cannot be renamed: there the entries are exchanged one by one, journalled, so that
//! nothing is unmounted and what a boot mounts stays right.
//!
//! Must not know how the captured tree came to be, nor whose it is.

pub(crate) mod entries;
mod fill;
mod obstacles;
mod room;
mod stands;
mod steps;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::cmd::System;
use crate::renames;
use crate::store::{self, Store};
use crate::{
    Error, Kept, Label, Obstacle, Progress, Result, Rollback, SnapName, Snapshot, StageName, View,
    VolumeId, btrfs,
};
use entries::{Journal, Listing};
pub use fill::{Fill, Filled};
pub use room::weigh;
pub use stands::{Stands, folder};
use steps::{Folders, Steps};

/// How a data directory and a staged tree change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    /// Their names do.
    Name,
    /// Their names do, with a third in between: the file system cannot exchange two.
    Steps,
    /// Their entries do.
    Entry,
}

/// How two folders are after an exchange of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exchanged {
    /// The staged tree's entries are in the data directory.
    Swapped,
    /// They are where they were staged.
    Back,
}

/// A data directory that is brought back so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// The data directory.
    pub data: PathBuf,
    by: By,
    /// What stood there when it was looked at.
    pub was: Stands,
    /// Whether it is a btrfs subvolume inside a bigger mount, and so is to be one again.
    #[serde(default, skip_serializing_if = "is_false")]
    subvolume: bool,
    /// What has the snapshot that is staged, where that is of another volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A snapshot of another volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Source {
    volume: VolumeId,
    snapshot: SnapName,
}

impl Exchange {
    /// Of `data`, as it stands. Snapshots are with what is staged and kept.
    pub fn of(data: &Path) -> Result<Exchange> {
        let was = Stands::at(data)?;
        let subvolume = matches!(was, Stands::Folder(_)) && btrfs::is_subvolume_root(data)?;
        let exchange = Exchange {
            subvolume,
            ..Exchange::new(data, was)
        };
        let around = exchange.around();
        let open = std::fs::File::open(around).map_err(Error::io("open", around))?;
        Ok(match exchange.by {
            By::Name if renames::on_old_zfs(open) => Exchange {
                by: By::Steps,
                ..exchange
            },
            _ => exchange,
        })
    }

    /// Of `data`, where `was` stands.
    pub(crate) fn new(data: &Path, was: Stands) -> Exchange {
        let by = match was {
            Stands::Mount { .. } => By::Entry,
            Stands::Nothing | Stands::Folder(_) => By::Name,
        };
        Exchange {
            data: data.to_owned(),
            by,
            was,
            subvolume: false,
            source: None,
        }
    }

    /// The same, receiving a snapshot of another volume.
    #[must_use]
    pub fn receiving(self, volume: &VolumeId, snapshot: &SnapName) -> Exchange {
        let source = Source {
            volume: volume.clone(),
            snapshot: snapshot.clone(),
        };
        Exchange {
            source: Some(source),
            ..self
        }
    }

    /// What is received, if this is of another volume's snapshot.
    pub fn receives(&self) -> Result<Option<View>> {
        let view = |source: &Source| Ok(crate::open(&source.volume)?.view(&source.snapshot));
        self.source.as_ref().map(view).transpose()
    }

    /// Where trees are staged and kept.
    pub fn store(&self) -> Store {
        match self.by {
            By::Name | By::Steps => Store::beside(&self.data),
            By::Entry => Store::inside(&self.data),
        }
    }

    /// Names in the data directory's root that are not the broker's.
    pub fn leave_out(&self) -> Vec<OsString> {
        match &self.was {
            // fsck(8) makes it anew in the root of a file system.
            Stands::Mount { fstype, .. } if fstype.starts_with("ext") => {
                vec![store::NAME.into(), "lost+found".into()]
            }
            // It is shown with `snapdir=visible`.
            Stands::Mount { fstype, .. } if fstype == "zfs" => {
                vec![store::NAME.into(), ".zfs".into()]
            }
            Stands::Mount { .. } => vec![store::NAME.into()],
            Stands::Nothing | Stands::Folder(_) => Vec::new(),
        }
    }

    /// A folder of the file system that trees are staged on, which is there.
    pub fn around(&self) -> &Path {
        match self.by {
            By::Name | By::Steps => self.data.parent().unwrap_or(&self.data),
            By::Entry => &self.data,
        }
    }

    /// What stands in the way of bringing any of `sources` back.
    pub fn obstacles(&self, sources: &[View]) -> Result<Vec<Obstacle>> {
        obstacles::of_swaps(self, sources)
    }

    /// What stands in the way of a clone that takes no one's place.
    pub fn obstacles_of_clones(&self) -> Result<Vec<Obstacle>> {
        obstacles::of_clones(self)
    }

    /// The data directory, and what is staged at `stage`.
    fn folders(&self, stage: &Path) -> Folders {
        Folders {
            data: self.data.clone(),
            stage: stage.to_owned(),
            was: self.was.clone(),
        }
    }

    fn replaces(&self) -> Option<String> {
        (self.was != Stands::Nothing).then(|| self.was.to_string())
    }

    /// Removes what is written of `stage`.
    fn forget(&self, stage: &StageName) -> Vec<Action> {
        let store = self.store();
        let mut actions = match self.by {
            By::Name | By::Steps => Vec::new(),
            By::Entry => vec![Action::ForgetExchange(store.of(stage.as_str()))],
        };
        actions.extend(store.forget(stage.as_str()));
        actions
    }

    fn exchange(&self, stage: &StageName, to: Exchanged) -> Vec<Action> {
        let (data, stage) = (self.data.clone(), self.store().of(stage.as_str()));
        vec![match self.by {
            By::Name => Action::SwapNames(data, stage),
            By::Steps => Action::Change(Arc::new(Steps {
                folders: self.folders(&stage),
                to,
            })),
            By::Entry => Action::ExchangeEntries {
                data,
                stage,
                leave_out: self.leave_out(),
                to,
            },
        }]
    }
}

impl Rollback for Exchange {
    fn stage(&self, from: &Snapshot, view: &View, stage: &StageName, label: &Label) -> Vec<Action> {
        let store = self.store();
        let mut actions = store.begin_stage(stage, label, self.replaces());
        actions.push(Action::CloneTree {
            from: view.clone(),
            to: store.of(stage.as_str()),
            subvolume: self.subvolume,
            seal: store.seal(stage.as_str()),
            of: Some(from.identity.clone()),
        });
        actions
    }

    fn staged(&self, stage: &StageName) -> Option<PathBuf> {
        Some(self.store().of(stage.as_str()))
    }

    fn swap(&self, stage: &StageName) -> Vec<Action> {
        self.exchange(stage, Exchanged::Swapped)
    }

    fn reverse(&self, stage: &StageName) -> Vec<Action> {
        self.exchange(stage, Exchanged::Back)
    }

    fn discard(&self, stage: &StageName) -> Vec<Action> {
        self.clear(stage)
    }

    /// What cannot be removed is still kept: all that is written of it goes after it.
    fn clear(&self, stage: &StageName) -> Vec<Action> {
        let mut actions = vec![Action::RemoveTree(self.store().of(stage.as_str()))];
        actions.extend(self.forget(stage));
        actions
    }

    /// What was staged is known by the seal of its clone.
    fn progress(&self, _: &dyn System, of: &str, stage: &StageName) -> Result<Progress> {
        let store = self.store();
        let path = store.of(stage.as_str());
        let (live, beside) = (Stands::at(&self.data)?, Stands::at(&path)?);
        let seal = store.read_seal(stage.as_str())?;
        let of_this = seal.filter(|seal| seal.of.as_deref() == Some(of));
        let staged = of_this.map(|seal| Stands::Folder(seal.root));
        let unclear = || {
            let expected = staged
                .as_ref()
                .map_or_else(|| format!("a tree of {of}"), ToString::to_string);
            Progress::Unclear(format!(
                "{} is {live}, {} is {beside}; expected were {} and {expected}",
                self.data.display(),
                path.display(),
                self.was,
            ))
        };
        let folders = self.folders(&path);
        if self.by == By::Steps && folders.is_halfway()? {
            let known = folders.are(staged.as_ref())?;
            return Ok(if known { Progress::Halfway } else { unclear() });
        }
        if live == self.was && beside == Stands::Nothing {
            // One that was taken back is removed, tree first.
            return Ok(match Journal::read(&path)? {
                Some(journal) if !journal.is_over() => unclear(),
                _ => Progress::Untouched,
            });
        }
        let is_staged = |stands: &Stands| staged.as_ref() == Some(stands);
        Ok(match self.by {
            By::Name | By::Steps if live == self.was && is_staged(&beside) => Progress::Staged,
            By::Name | By::Steps if is_staged(&live) && beside == self.was => Progress::Swapped,
            By::Entry if live == self.was && is_staged(&beside) => match Journal::read(&path)? {
                None => Progress::Staged,
                Some(journal) => {
                    let data = Listing::of(&self.data, &self.leave_out())?;
                    journal
                        .stands(&data, &Listing::of(&path, &[])?)
                        .unwrap_or_else(unclear)
                }
            },
            By::Name | By::Steps | By::Entry => unclear(),
        })
    }

    fn kept(&self, _: &dyn System) -> Result<Vec<Kept>> {
        let store = self.store();
        let mut kept = Vec::new();
        for name in store.entries::<StageName>()? {
            let path = store.of(name.as_str());
            let seal = store.read_seal(name.as_str())?;
            let Some(seal) = seal.filter(|seal| seal.of.is_some()) else {
                continue;
            };
            let Some(root) = folder(&path)? else {
                continue;
            };
            // Until it has been swapped, what stands there is what was staged.
            let is_kept = match self.by {
                By::Name | By::Steps => root != seal.root,
                By::Entry => Journal::read(&path)?.is_some_and(|journal| journal.has_swapped()),
            };
            if is_kept {
                kept.push(Kept {
                    label: store.read_sidecar(name.as_str())?.map(|side| side.label),
                    identity: root.to_string(),
                    name,
                    path,
                });
            }
        }
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(kept)
    }

    fn keeps_nothing(&self) -> bool {
        self.was == Stands::Nothing
    }

    /// Until the rename the new name has only small files, and by then all of them.
    fn take_kept(&self, kept: &Kept, stage: &StageName, label: &Label) -> Vec<Action> {
        let store = self.store();
        let mut actions = store.begin_stage(stage, label, self.replaces());
        actions.push(Action::SealTree {
            tree: kept.path.clone(),
            seal: store.seal(stage.as_str()),
            of: kept.identity.clone(),
        });
        actions.push(Action::MoveTree {
            from: kept.path.clone(),
            to: store.of(stage.as_str()),
        });
        actions
    }

    fn put_back(&self, kept: &StageName, stage: &StageName) -> Vec<Action> {
        let store = self.store();
        let mut actions = vec![Action::MoveTree {
            from: store.of(stage.as_str()),
            to: store.of(kept.as_str()),
        }];
        actions.extend(self.forget(stage));
        actions
    }

    fn forget_kept(&self, kept: &StageName) -> Vec<Action> {
        self.forget(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Inode;

    fn lines(actions: Vec<Action>) -> String {
        actions.iter().map(|action| format!("{action}\n")).collect()
    }

    fn stage(name: &str) -> StageName {
        StageName::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn what_is_kept_gets_its_name_last() {
        let was = Stands::Mount {
            root: Inode { ino: 2, born: None },
            part: "/".into(),
            fstype: "ext4".to_owned(),
        };
        let exchange = Exchange::new(Path::new("/srv/data"), was);
        let kept = Kept {
            name: stage("restore-1"),
            path: "/srv/data/.zeebe-snap/restore-1".into(),
            label: None,
            identity: "inode 12".to_owned(),
        };
        let (kept_as, undone) = (&kept.name, &stage("undo-2"));
        insta::assert_snapshot!(lines(exchange.take_kept(&kept, undone, &Label::new())), @r"
        mkdir -p -m 700 /srv/data/.zeebe-snap
        install -m 600 /dev/stdin /srv/data/.zeebe-snap/undo-2.json   # 67 bytes
        install -m 600 /dev/stdin /srv/data/.zeebe-snap/undo-2.seal   # which folder /srv/data/.zeebe-snap/restore-1 is
        mv -nT /srv/data/.zeebe-snap/restore-1 /srv/data/.zeebe-snap/undo-2
        ");
        insta::assert_snapshot!(lines(exchange.put_back(kept_as, undone)), @r"
        mv -nT /srv/data/.zeebe-snap/undo-2 /srv/data/.zeebe-snap/restore-1
        rm -rf /srv/data/.zeebe-snap/.undo-2.*   # the journal of the exchange
        rm -f /srv/data/.zeebe-snap/undo-2.seal
        rm -f /srv/data/.zeebe-snap/undo-2.json
        rmdir --ignore-fail-on-non-empty /srv/data/.zeebe-snap
        ");
        insta::assert_snapshot!(lines(exchange.forget_kept(kept_as)), @r"
        rm -rf /srv/data/.zeebe-snap/.restore-1.*   # the journal of the exchange
        rm -f /srv/data/.zeebe-snap/restore-1.seal
        rm -f /srv/data/.zeebe-snap/restore-1.json
        rmdir --ignore-fail-on-non-empty /srv/data/.zeebe-snap
        ");
    }

    #[test]
    fn what_is_received_is_cloned_out_of_the_other_volume() {
        let exchange = Exchange {
            subvolume: true,
            ..Exchange::new(Path::new("/srv/data"), Stands::Nothing)
        };
        let view = View::of("/mnt/other disk".into()).without(vec!["lost+found".into()]);
        let from = Snapshot {
            name: SnapName::try_from("zeebe-snap-1".to_owned()).unwrap(),
            identity: "619bf1db".to_owned(),
            label: None,
        };
        insta::assert_snapshot!(lines(exchange.stage(&from, &view, &stage("restore-1"), &Label::new())), @r"
        mkdir -p -m 700 /srv/.zeebe-snap/data
        btrfs subvolume create /srv/.zeebe-snap/data/restore-1 && cp -a --reflink=auto '/mnt/other disk'/. /srv/.zeebe-snap/data/restore-1/   # without lost+found
        ");
    }
}
