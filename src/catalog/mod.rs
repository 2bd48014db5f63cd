//! The catalog: the sets this machine knows, in `<state>/sets/<SET>/`.
//!
//! A set is listed once it is captured (`captured.json`) and good once it is complete (`manifest.json`, written last). One
//! that is being destroyed is listed no more (`forgotten.json`). A folder with none of these is a set that did not come to
//! be. Must not know how a set is made or restored.

pub mod lost;
pub mod manifest;
mod papers;

use std::fs::{self, DirBuilder};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use zeebe_snap_backends::action::{sync_dir, write_durably};
use zeebe_snap_backends::tree::Entry;

use crate::agent::protocol::KeptFile;
use crate::id::{NodeId, SetId};
use crate::plan::Known;
use crate::report::nearest;
use manifest::{Manifest, SetState};

/// A set was named that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSuchSet(String);

/// What is written of a set does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "set {0} cannot be used as it is; `zeebe-snap recover --catalog` takes it in again from the hosts"
)]
pub struct Damaged(pub SetId);

/// The sets of one state folder.
#[derive(Debug, Clone)]
pub struct Catalog {
    sets: PathBuf,
}

const COMPLETE: &str = "manifest.json";
const CAPTURED: &str = "captured.json";
const FORGOTTEN: &str = "forgotten.json";

impl Catalog {
    /// The catalog in `state_dir`.
    pub fn new(state_dir: &Path) -> Catalog {
        Catalog {
            sets: state_dir.join("sets"),
        }
    }

    fn dir(&self, set: &SetId) -> PathBuf {
        self.sets.join(set.as_str())
    }

    /// All sets, oldest first: the manifest of each, or why it does not read.
    pub fn list(&self) -> Result<Vec<(SetId, Result<Manifest>)>> {
        let mut found = Vec::new();
        for set in self.ids()? {
            if let Some(manifest) = self.read(&set).transpose() {
                found.push((set, manifest));
            }
        }
        Ok(found)
    }

    /// The sets that have a folder, oldest first.
    fn ids(&self) -> Result<Vec<SetId>> {
        let listing = match fs::read_dir(&self.sets) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("list {}", self.sets.display()));
            }
        };
        let mut found = Vec::new();
        for entry in listing {
            let entry = entry.with_context(|| format!("list {}", self.sets.display()))?;
            let name = entry.file_name();
            found.extend(name.to_str().and_then(|name| name.parse::<SetId>().ok()));
        }
        found.sort();
        Ok(found)
    }

    /// The manifest of `set`; `None` if there is no such set, or it did not come to be.
    pub fn read(&self, set: &SetId) -> Result<Option<Manifest>> {
        for (name, state) in [
            (COMPLETE, SetState::Complete),
            (CAPTURED, SetState::Captured),
        ] {
            let Some(manifest) = self.read_as(set, name)? else {
                continue;
            };
            ensure!(
                manifest.state() == state,
                "{} lacks what its name promises",
                self.dir(set).join(name).display()
            );
            return Ok(Some(manifest));
        }
        Ok(None)
    }

    fn read_as(&self, set: &SetId, name: &str) -> Result<Option<Manifest>> {
        let path = self.dir(set).join(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let manifest =
            Manifest::parse(&text).with_context(|| format!("read {}", path.display()))?;
        ensure!(
            manifest.origin.set == *set,
            "{} is of another set, {}",
            path.display(),
            manifest.origin.set
        );
        Ok(Some(manifest))
    }

    /// Of which Zeebe the newest set of each broker and data directory is.
    pub fn known(&self) -> Result<Known> {
        let mut known = Known::new();
        for (_, manifest) in self.list()? {
            let brokers = manifest.map(|manifest| manifest.origin.brokers);
            for of in brokers.unwrap_or_default() {
                let version = of.zeebe.map(|learned| learned.version);
                known.extend(version.map(|version| ((of.node, of.data), version)));
            }
        }
        Ok(known)
    }

    /// Sets that are not listed any more and not all gone.
    pub fn half_forgotten(&self) -> Result<Vec<SetId>> {
        let mut found = self.ids()?;
        found.retain(|set| self.dir(set).join(FORGOTTEN).exists());
        Ok(found)
    }

    /// The newest complete set of those that read.
    pub fn newest(&self) -> Result<Option<Manifest>> {
        let all = self.list()?.into_iter().rev();
        let mut complete = all
            .filter_map(|(_, manifest)| manifest.ok())
            .filter(|manifest| manifest.state() == SetState::Complete);
        Ok(complete.next())
    }

    /// The newest id that has a folder.
    pub fn newest_id(&self) -> Result<Option<SetId>> {
        Ok(self.ids()?.pop())
    }

    /// Whether anything says what `set` is, or was, be it damaged.
    pub fn has(&self, set: &SetId) -> bool {
        let dir = self.dir(set);
        [COMPLETE, CAPTURED, FORGOTTEN]
            .iter()
            .any(|name| dir.join(name).exists())
    }

    /// The set that a person wants destroyed; also one that an earlier attempt has left half gone.
    pub fn find_to_forget(&self, name: &str) -> Result<Manifest> {
        if let Ok(set) = name.parse()
            && let Some(manifest) = self.read_as(&set, FORGOTTEN)?
        {
            return Ok(manifest);
        }
        self.find(name)
    }

    /// Takes a set off the list, for good. One of which nothing is left is off it.
    pub fn unlist(&self, set: &SetId) -> Result<()> {
        let dir = self.dir(set);
        if !dir.exists() {
            return Ok(());
        }
        let forgotten = dir.join(FORGOTTEN);
        for name in [COMPLETE, CAPTURED] {
            match fs::rename(dir.join(name), &forgotten) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result.with_context(|| format!("rename {name} of {}", dir.display()))?,
            }
        }
        sync_dir(&dir)?;
        ensure!(forgotten.exists(), "there is no set {set}");
        Ok(())
    }

    /// The set a person names: an id, or `latest` for the newest complete one. One that is not there is [`NoSuchSet`].
    pub fn find(&self, name: &str) -> Result<Manifest> {
        let sets = self.list()?;
        if name == "latest" {
            for (set, manifest) in sets.into_iter().rev() {
                match manifest {
                    Ok(manifest) if manifest.state() == SetState::Complete => return Ok(manifest),
                    // An older one is not what was meant.
                    Err(error) if self.dir(&set).join(COMPLETE).exists() => {
                        return Err(error.context(Damaged(set)));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            let text = "there is no complete set; see `zeebe-snap list`";
            return Err(NoSuchSet(text.to_owned()).into());
        }
        if let Ok(set) = name.parse::<SetId>()
            && let Some(manifest) = self.read(&set).with_context(|| Damaged(set.clone()))?
        {
            return Ok(manifest);
        }
        let near = nearest(name, sets.iter().map(|(set, _)| set.as_str()));
        Err(NoSuchSet(format!("there is no set {name}; {near}")).into())
    }

    fn make(&self, set: &SetId) -> Result<PathBuf> {
        let dir = self.dir(set);
        if !dir.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .with_context(|| format!("make {}", dir.display()))?;
            sync_dir(&self.sets)?;
        }
        Ok(dir)
    }

    /// Keeps a config file of `node`.
    pub fn keep_config(
        &self,
        set: &SetId,
        node: NodeId,
        number: usize,
        path: &Path,
        content: &[u8],
    ) -> Result<KeptFile> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let kept_as = format!("node-{node}-config-{number}-{name}");
        write_durably(&self.make(set)?.join(&kept_as), content)?;
        Ok(KeptFile {
            path: path.to_owned(),
            kept_as,
            blake3: blake3::hash(content).to_string(),
        })
    }

    /// A config file that was kept.
    pub fn read_config(&self, set: &SetId, kept_as: &str) -> Result<Vec<u8>> {
        let path = self.dir(set).join(kept_as);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    }

    fn listing(&self, set: &SetId, node: NodeId) -> PathBuf {
        self.dir(set).join(papers::listing(node))
    }

    /// Keeps the listing of a member: one entry a line.
    pub fn keep_listing(&self, set: &SetId, node: NodeId, entries: &[Entry]) -> Result<()> {
        self.make(set)?;
        let mut text = Vec::new();
        {
            let mut out = BufWriter::new(&mut text);
            for entry in entries {
                serde_json::to_writer(&mut out, entry)?;
                out.write_all(b"\n")?;
            }
            out.flush()?;
        }
        Ok(write_durably(&self.listing(set, node), &text)?)
    }

    /// The listing of a member, which must be the one its manifest means.
    pub fn read_listing(&self, manifest: &Manifest, node: NodeId) -> Result<Vec<Entry>> {
        let path = self.listing(&manifest.origin.set, node);
        let wrong = || format!("read {}", path.display());
        let text = fs::read(&path).with_context(wrong);
        let text = text.with_context(|| Damaged(manifest.origin.set.clone()))?;
        let checked = papers::check_listing(manifest, node, &text).with_context(wrong);
        checked.with_context(|| Damaged(manifest.origin.set.clone()))
    }

    /// Writes down that a set is captured.
    pub fn record(&self, manifest: &Manifest) -> Result<()> {
        let dir = self.make(&manifest.origin.set)?;
        Ok(write_durably(&dir.join(CAPTURED), &manifest.print()?)?)
    }

    /// Writes the manifest, which makes a set complete.
    pub fn complete(&self, manifest: &Manifest) -> Result<()> {
        ensure!(
            manifest.state() == SetState::Complete,
            "set {} lacks a digest",
            manifest.origin.set
        );
        let dir = self.make(&manifest.origin.set)?;
        write_durably(&dir.join(COMPLETE), &manifest.print()?)?;
        match fs::remove_file(dir.join(CAPTURED)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("remove {CAPTURED} of {}", dir.display()))
            }
        }
    }

    /// Removes what is kept of a set that did not come to be, or is no more.
    pub fn forget(&self, set: &SetId) -> Result<()> {
        let dir = self.dir(set);
        ensure!(
            !dir.join(COMPLETE).exists(),
            "set {set} is complete; it was not removed"
        );
        match fs::remove_dir_all(&dir) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("remove {}", dir.display())),
        }
    }
}
