//! Volumes in memory: the actions that the backends plan are performed on what stands there, one change after another.
//!
//! The actions are the program's own; performing them is written anew here, from what the backends' pages say. Must not
//! know sets, runs or services.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use zeebe_snap_backends::VolumeId;
use zeebe_snap_backends::action::Action;

use super::machine::{Machine, Moment};
use super::tree::{Entry, Exchanging, Id, Thing, Tree, hidden};

/// How a data directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    /// A btrfs subvolume inside a bigger mount.
    Nested,
    /// A folder that is copied.
    Folder,
    /// A mount point that is copied.
    Mount,
    /// A folder in a btrfs subvolume that others lie in.
    Shared,
}

/// The subvolume that brokers share.
pub const SHARED: &str = "/vol";

/// What a volume id says, as far as it is needed here.
pub struct Shape {
    pub lies: Lies,
    pub data: PathBuf,
    pub was: Value,
    /// Where trees are staged and kept.
    pub store: PathBuf,
    /// Where snapshots are.
    pub snapshots: PathBuf,
}

/// Reads a volume id.
pub fn shape(id: &VolumeId) -> Result<Shape> {
    let path = |value: &Value| value.as_str().map(PathBuf::from).context("a path");
    let detail = &id.detail;
    if detail["lies"] == "nested" {
        let data = path(&detail["data"])?;
        let store = store_beside(&data);
        return Ok(Shape {
            lies: Lies::Nested,
            was: detail["was"].clone(),
            snapshots: store.clone(),
            store,
            data,
        });
    }
    let (lies, exchange) = match detail["lies"] == "within" {
        true => (Lies::Shared, &detail["exchange"]),
        false if detail["by"] == "entry" => (Lies::Mount, detail),
        false => (Lies::Folder, detail),
    };
    let data = path(&exchange["data"])?;
    Ok(Shape {
        store: match lies {
            Lies::Mount => data.join(".zeebe-snap"),
            _ => store_beside(&data),
        },
        snapshots: match lies {
            Lies::Shared => path(&detail["subvolume"])?.join(".zeebe-snap"),
            Lies::Mount => data.join(".zeebe-snap"),
            _ => store_beside(&data),
        },
        was: exchange["was"].clone(),
        lies,
        data,
    })
}

fn store_beside(data: &Path) -> PathBuf {
    let around = data.parent().unwrap_or(data).join(".zeebe-snap");
    around.join(data.file_name().unwrap_or_default())
}

fn inode(id: Id) -> Value {
    json!({ "ino": id, "born": null })
}

pub fn uuid(id: Id) -> String {
    format!("uuid-{id}")
}

impl Machine {
    /// The id that the backends would give the volume at `data` now.
    pub fn volume_id(&self, lies: Lies, data: &Path) -> VolumeId {
        let (backend, title) = match lies {
            Lies::Nested => ("btrfs", "btrfs subvolume"),
            Lies::Shared => ("btrfs", "folder"),
            Lies::Folder => ("copy", "folder"),
            Lies::Mount => ("copy", "mount"),
        };
        let was = self.stands(lies, data);
        let part = data.strip_prefix(SHARED).unwrap_or(Path::new(""));
        let exchange = json!({
            "data": data, "by": if lies == Lies::Mount { "entry" } else { "name" }, "was": was,
        });
        VolumeId {
            backend: backend.to_owned(),
            title: format!("{title} {}", data.display()),
            detail: match lies {
                Lies::Nested => json!({ "lies": "nested", "data": data, "was": was }),
                Lies::Shared => {
                    json!({
                        "lies": "within", "subvolume": SHARED, "uuid": uuid(self.root_of_shared()), "part": part,
                        "exchange": exchange,
                    })
                }
                Lies::Folder | Lies::Mount => exchange,
            },
        }
    }

    fn root_of_shared(&self) -> Id {
        self.things
            .tree(Path::new(SHARED))
            .map_or(0, |tree| tree.id)
    }

    /// What stands at `path`, as an id of the backends says it.
    pub fn stands(&self, lies: Lies, path: &Path) -> Value {
        let Some(tree) = self.things.tree(path) else {
            return json!("nothing");
        };
        match lies {
            Lies::Nested if tree.subvolume => {
                json!({ "subvolume": { "uuid": uuid(tree.id), "parent_uuid": tree.parent.map(uuid) } })
            }
            Lies::Mount => {
                json!({ "mount": { "root": inode(tree.id), "part": "/", "fstype": "ext4" } })
            }
            _ => json!({ "folder": inode(tree.id) }),
        }
    }

    fn new_id(&mut self) -> Id {
        self.newest_id += 1;
        self.newest_id
    }

    /// A tree with new entries that say the same.
    pub fn copy_of(&mut self, tree: &Tree) -> Tree {
        let entries = tree.entries.map(|entry| Entry {
            id: self.new_id(),
            worked: false,
            ..entry
        });
        Tree {
            id: self.new_id(),
            parent: None,
            subvolume: false,
            frozen: false,
            entries,
        }
    }

    pub fn perform_all(&mut self, actions: &[Action]) -> Result<()> {
        actions.iter().try_for_each(|action| self.perform(action))
    }

    /// A change that is whole or not at all.
    fn change(&mut self) -> Result<()> {
        self.op(Moment::Within)
    }

    pub fn perform(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Sync(_) | Action::MakeDir(_) | Action::RemoveEmptyDir(_) => {}
            Action::Write { path, content } => {
                self.change()?;
                self.things.write(path, content.clone());
            }
            Action::RemoveFile(path) => {
                if self.things.has(path) {
                    self.change()?;
                    self.things.0.remove(path);
                }
            }
            Action::RemoveEmptyStore(folder) => self.remove_orphans(folder)?,
            Action::SwapNames(one, other) => {
                ensure!(
                    self.things.has(one) || self.things.has(other),
                    "neither name is there"
                );
                self.change()?;
                self.things.swap(one, other);
            }
            Action::MoveTree { from, to } => match (self.things.has(from), self.things.has(to)) {
                (true, false) => {
                    self.change()?;
                    self.things.rename(from, to)?;
                }
                (false, true) => {}
                _ => bail!("{} cannot become {}", from.display(), to.display()),
            },
            Action::SealTree { tree, seal, of } => match self.things.tree(tree).map(|tree| tree.id)
            {
                Some(root) => {
                    self.change()?;
                    self.write_seal(seal, root, Some(of));
                }
                None => ensure!(self.things.has(seal), "{} is gone", tree.display()),
            },
            Action::Change(change) => bail!("no volume here plans {change:?}"),
            Action::CloneTree {
                from,
                to,
                seal,
                of,
                subvolume,
                ..
            } => {
                ensure!(!self.things.has(to), "{} is there already", to.display());
                let from = &from.path;
                let source = self.things.tree(from).cloned();
                let mut tree = self
                    .copy_of(&source.with_context(|| format!("{} is not there", from.display()))?);
                tree.subvolume = *subvolume;
                let partial = hidden(to, "partial");
                let root = tree.id;
                self.change()?;
                self.things.0.insert(partial.clone(), Thing::Tree(tree));
                self.change()?;
                self.write_seal(seal, root, of.as_deref());
                self.change()?;
                self.things.rename(&partial, to)?;
            }
            Action::RemoveTree(path) => {
                let partial = hidden(path, "partial");
                if self.things.has(&partial) {
                    self.change()?;
                    self.things.0.remove(&partial);
                }
                if self.things.has(path) {
                    self.change()?;
                    self.things.rename(path, &partial)?;
                    self.change()?;
                    self.things.0.remove(&partial);
                } else if self.things.0.keys().any(|at| at.starts_with(path)) {
                    // A folder of small files.
                    self.change()?;
                    self.things.remove_all(path);
                }
            }
            Action::DeleteSubvolume(path) => {
                if self.things.tree(path).is_some_and(|tree| tree.subvolume) {
                    self.change()?;
                    self.things.remove_all(path);
                }
            }
            Action::Run(cmd) => {
                let words = cmd
                    .arguments()
                    .iter()
                    .map(|word| word.to_string_lossy().into_owned());
                let words: Vec<String> = words.collect();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                match words[..] {
                    ["subvolume", "snapshot", "-r", from, to] => {
                        self.snapshot(from.as_ref(), to.as_ref(), true)?
                    }
                    ["subvolume", "snapshot", from, to] => {
                        self.snapshot(from.as_ref(), to.as_ref(), false)?
                    }
                    ["subvolume", "delete", path] => {
                        ensure!(self.things.has(path.as_ref()), "{path} is no subvolume");
                        self.change()?;
                        self.things.remove_all(path.as_ref());
                    }
                    _ => bail!("nobody knows {cmd}"),
                }
            }
            Action::ExchangeEntries {
                data, stage, to, ..
            } => {
                let swapped = *to == zeebe_snap_backends::exchange::Exchanged::Swapped;
                self.exchange(data, stage, swapped)?;
            }
            Action::ForgetExchange(stage) => {
                if self.things.has(&hidden(stage, "exchange")) {
                    self.change()?;
                    self.things.0.remove(&hidden(stage, "exchange"));
                }
            }
        }
        Ok(())
    }

    fn write_seal(&mut self, path: &Path, root: Id, of: Option<&str>) {
        self.things
            .write(path, json!({ "root": root, "of": of }).to_string());
    }

    fn snapshot(&mut self, from: &Path, to: &Path, frozen: bool) -> Result<()> {
        ensure!(!self.things.has(to), "{} is there already", to.display());
        let source = self
            .things
            .tree(from)
            .cloned()
            .with_context(|| format!("{} is not there", from.display()))?;
        self.change()?;
        let ours = from.join(".zeebe-snap");
        let inside = self
            .things
            .0
            .iter()
            .filter(|(path, _)| path.starts_with(from) && !path.starts_with(&ours));
        let inside: Vec<(PathBuf, Thing)> = inside
            .map(|(path, thing)| (path.clone(), thing.clone()))
            .collect();
        for (path, thing) in inside {
            let at = to.join(path.strip_prefix(from)?);
            let thing = match thing {
                Thing::Tree(tree) => Thing::Tree(self.copy_of(&tree)),
                other => other,
            };
            self.things
                .0
                .insert(if path == from { to.to_owned() } else { at }, thing);
        }
        let tree = self.things.tree_mut(to).context("it was just made")?;
        (tree.parent, tree.subvolume, tree.frozen) = (Some(source.id), true, frozen);
        Ok(())
    }

    /// Seals of staged trees that took the place of nothing.
    fn remove_orphans(&mut self, folder: &Path) -> Result<()> {
        let seals = self
            .things
            .0
            .keys()
            .filter(|path| path.parent() == Some(folder));
        let seals: Vec<PathBuf> = seals
            .filter(|path| path.extension().is_some_and(|it| it == "seal"))
            .cloned()
            .collect();
        for seal in seals {
            let of_a_stage = self
                .seal(&seal.with_extension(""))
                .is_some_and(|(_, of)| of.is_some());
            let alone = !self.things.has(&seal.with_extension(""))
                && !self.things.has(&seal.with_extension("json"));
            if alone && of_a_stage {
                self.change()?;
                self.things.0.remove(&seal);
            }
        }
        Ok(())
    }

    fn exchange(&mut self, data: &Path, stage: &Path, swapped: bool) -> Result<()> {
        let journal = hidden(stage, "exchange");
        let ids = |path: &Path| self.things.tree(path).map(Tree::ids).context("a tree");
        let (in_data, in_stage) = (ids(data)?, ids(stage)?);
        let begun = match self.things.0.get(&journal) {
            Some(Thing::Exchange(begun)) => Some(begun.clone()),
            _ => None,
        };
        let mut begun = match begun {
            Some(begun) if !begun.done || begun.to_swapped || !swapped => Exchanging {
                to_swapped: swapped,
                done: false,
                ..begun
            },
            _ => Exchanging {
                to_swapped: swapped,
                done: false,
                data: in_data,
                stage: in_stage,
            },
        };
        self.change()?;
        self.things
            .0
            .insert(journal.clone(), Thing::Exchange(begun.clone()));
        let wanted = if swapped { begun.stage } else { begun.data };
        for (index, wanted) in wanted.into_iter().enumerate() {
            let here = self.things.tree(data).context("data")?.entries[index];
            let there = self.things.tree(stage).context("stage")?.entries[index];
            if here.id == wanted {
                continue;
            }
            ensure!(there.id == wanted, "somebody else has changed the entries");
            self.change()?;
            self.things.tree_mut(data).context("data")?.entries[index] = there;
            self.things.tree_mut(stage).context("stage")?.entries[index] = here;
        }
        self.change()?;
        begun.done = true;
        self.things.0.insert(journal, Thing::Exchange(begun));
        Ok(())
    }
}
