//! What the backends ask of the system, asked of a machine in memory: which snapshots there are, where a rollback stands,
//! what is kept. Written anew from what the backends' pages say.
//!
//! Must not change anything.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use zeebe_snap_backends::{Kept, Label, Progress, SnapName, Snapshot, StageName, VolumeId};

use super::machine::Machine;
use super::tree::{Exchanging, Id, Thing, Tree, beside, hidden};
use super::volumes::{Lies, shape, uuid};

impl Machine {
    /// The seal of `path`: its root, and what it is of.
    pub fn seal(&self, path: &Path) -> Option<(Id, Option<String>)> {
        let seal: Value = serde_json::from_slice(self.things.file(&beside(path, "seal"))?).ok()?;
        Some((
            seal["root"].as_u64()?,
            seal["of"].as_str().map(str::to_owned),
        ))
    }

    pub fn sidecar(&self, path: &Path) -> Option<Value> {
        serde_json::from_slice(self.things.file(&beside(path, "json"))?).ok()
    }

    fn label_in(&self, path: &Path) -> Option<Label> {
        serde_json::from_value(self.sidecar(path)?["label"].clone()).ok()
    }

    pub fn find_snapshot(&self, id: &VolumeId, name: &SnapName) -> Result<Option<Snapshot>> {
        let shape = shape(id)?;
        let path = shape.snapshots.join(name.as_str());
        let Some(tree) = self.things.tree(&path) else {
            return Ok(None);
        };
        let (identity, ours) = match shape.lies {
            Lies::Nested | Lies::Shared => {
                let side = self.sidecar(&path);
                let parent = side.and_then(|side| side["parent_uuid"].as_str().map(str::to_owned));
                (
                    uuid(tree.id),
                    tree.frozen && parent.is_some() && parent == tree.parent.map(uuid),
                )
            }
            Lies::Folder | Lies::Mount => (
                format!("inode {}", tree.id),
                self.seal(&path) == Some((tree.id, None)),
            ),
        };
        Ok(Some(Snapshot {
            name: name.clone(),
            identity,
            label: self.label_in(&path).filter(|_| ours),
        }))
    }

    /// All that carry a name of snapshots.
    pub fn snapshots_of(&self, id: &VolumeId) -> Result<Vec<Snapshot>> {
        let shape = shape(id)?;
        let names = self.things.trees_in(&shape.snapshots).into_iter();
        let is_one = |name: &String| {
            let path = shape.snapshots.join(name);
            match shape.lies {
                Lies::Nested | Lies::Shared => {
                    self.things.tree(&path).is_some_and(|tree| tree.frozen)
                }
                Lies::Folder | Lies::Mount => self.seal(&path).is_none_or(|(_, of)| of.is_none()),
            }
        };
        let names = names
            .filter(is_one)
            .filter_map(|name| SnapName::try_from(name).ok());
        names
            .filter_map(|name| self.find_snapshot(id, &name).transpose())
            .collect()
    }

    pub fn progress(&self, id: &VolumeId, of: &str, stage: &StageName) -> Result<Progress> {
        let shape = shape(id)?;
        let path = shape.store.join(stage.as_str());
        let live = self.stands(shape.lies, &shape.data);
        let (live_tree, beside_tree) = (self.things.tree(&shape.data), self.things.tree(&path));
        let was = live == shape.was;
        let unclear =
            || Progress::Unclear(format!("{live}, beside {beside_tree:?}, was {}", shape.was));
        if shape.lies == Lies::Nested {
            let beside = self.stands(shape.lies, &path);
            let staged = |tree: Option<&Tree>| {
                tree.is_some_and(|tree| {
                    tree.subvolume
                        && (tree.parent.map(uuid).as_deref() == Some(of) || uuid(tree.id) == of)
                })
            };
            return Ok(match (was, beside_tree) {
                (true, None) => Progress::Untouched,
                (true, beside) if staged(beside) => Progress::Staged,
                (_, _) if staged(live_tree) && beside == shape.was => Progress::Swapped,
                _ => unclear(),
            });
        }
        let sealed = self
            .seal(&path)
            .filter(|(_, sealed)| sealed.as_deref() == Some(of))
            .map(|(root, _)| root);
        let is_staged = |tree: Option<&Tree>| tree.is_some() && tree.map(|tree| tree.id) == sealed;
        let exchange = match self.things.0.get(&hidden(&path, "exchange")) {
            Some(Thing::Exchange(exchange)) => Some(exchange),
            _ => None,
        };
        if was && beside_tree.is_none() {
            let over = exchange.is_none_or(|exchange| exchange.done && !exchange.to_swapped);
            return Ok(if over { Progress::Untouched } else { unclear() });
        }
        if shape.lies != Lies::Mount {
            let beside_was = self.stands(shape.lies, &path) == shape.was;
            return Ok(match () {
                () if was && is_staged(beside_tree) => Progress::Staged,
                () if is_staged(live_tree) && beside_was => Progress::Swapped,
                () => unclear(),
            });
        }
        let (Some(live), Some(beside)) = (live_tree, beside_tree) else {
            return Ok(unclear());
        };
        if !was || !is_staged(Some(beside)) {
            return Ok(unclear());
        }
        Ok(match exchange {
            None => Progress::Staged,
            Some(Exchanging { done: false, .. }) => Progress::Halfway,
            Some(it) if it.to_swapped && live.ids() == it.stage && beside.ids() == it.data => {
                Progress::Swapped
            }
            Some(it) if !it.to_swapped && beside.ids() == it.stage => Progress::Staged,
            Some(_) => unclear(),
        })
    }

    pub fn kept_of(&self, id: &VolumeId) -> Result<Vec<Kept>> {
        let shape = shape(id)?;
        let mut found = Vec::new();
        for name in self.things.trees_in(&shape.store) {
            let path = shape.store.join(&name);
            let Some(tree) = self.things.tree(&path) else {
                continue;
            };
            let is_kept = match shape.lies {
                Lies::Nested => {
                    let said = match tree.parent {
                        None => format!("subvolume {}", uuid(tree.id)),
                        Some(parent) => format!(
                            "subvolume {}, a snapshot of {}",
                            uuid(tree.id),
                            uuid(parent)
                        ),
                    };
                    self.sidecar(&path)
                        .is_some_and(|side| side["replaces"] == said.as_str())
                }
                Lies::Mount => {
                    matches!(self.things.0.get(&hidden(&path, "exchange")), Some(Thing::Exchange(it)) if it.done && it.to_swapped)
                }
                Lies::Folder | Lies::Shared => self
                    .seal(&path)
                    .is_some_and(|(root, of)| of.is_some() && root != tree.id),
            };
            let Some(name) = StageName::try_from(name).ok().filter(|_| is_kept) else {
                continue;
            };
            found.push(Kept {
                name,
                label: self.label_in(&path),
                identity: match shape.lies {
                    Lies::Nested => uuid(tree.id),
                    _ => format!("inode {}", tree.id),
                },
                path,
            });
        }
        Ok(found)
    }
}
