//! btrfs: a data directory that is a subvolume of its own, reached inside a bigger mount.
//!
//! Snapshots and what a rollback keeps stand beside the data, in `.zeebe-snap/<name of the data directory>/`, each with a
//! sidecar file that says what it is. A swap exchanges two names of one mount, so nothing is unmounted.
//!
//! Must not know sets or brokers: what a label says is its writer's business.

mod place;
mod show;

use std::path::Path;

use crate::action::Action;
use crate::cmd::{Cmd, System};
use crate::name::{SnapName, StageName};
use crate::{
    Driver, Error, Kept, Label, Obstacle, Progress, Purpose, Result, Rollback, Snapshot, View,
    Volume, VolumeId, mounts,
};
use place::{Place, Stands};
use show::Shown;

/// The driver.
#[derive(Debug)]
pub struct Btrfs;

impl Driver for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn detect(&self, sys: &dyn System, dir: &Path) -> Result<Option<Box<dyn Volume>>> {
        let Some(place) = Place::find(dir)? else {
            return Ok(None);
        };
        let was = place.stands(sys, dir)?;
        Ok(Some(Box::new(Subvolume { place, was })))
    }

    fn open(&self, id: &VolumeId) -> Result<Box<dyn Volume>> {
        let subvolume: Subvolume =
            serde_json::from_value(id.detail.clone()).map_err(|error| Error::Id {
                backend: id.backend.clone(),
                why: error.to_string(),
            })?;
        Ok(Box::new(subvolume))
    }
}

/// A subvolume that holds a data directory.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Subvolume {
    #[serde(flatten)]
    place: Place,
    /// What stood at the data directory's path when it was looked at.
    was: Stands,
}

fn btrfs<const N: usize>(words: [&str; N]) -> Cmd {
    Cmd::new("btrfs").args(words)
}

impl Subvolume {
    /// The label of what stands at `path`, if this program made it there: the sidecar names the subvolume it was taken
    /// of, and `path` must be a snapshot of just that.
    fn label(&self, shown: &Shown, sidecar: &Path) -> Result<Option<Label>> {
        Ok(place::read_sidecar(sidecar)?
            .filter(|side| side.parent_uuid.is_some() && side.parent_uuid == shown.parent_uuid)
            .map(|side| side.label))
    }
}

impl Subvolume {
    /// A commit of its own (`delete -C`) can wait for the file system's next, up to 30 s; a sync does not (both measured
    /// with brokers writing beside it).
    fn delete(&self, name: &str) -> Vec<Action> {
        vec![
            Action::Run(btrfs(["subvolume", "delete"]).arg(self.place.of(name))),
            Action::Sync(self.place.folder()),
        ]
    }
}

impl Volume for Subvolume {
    fn id(&self) -> VolumeId {
        VolumeId {
            backend: Btrfs.name().to_owned(),
            title: format!("btrfs subvolume {}", self.place.data.display()),
            detail: serde_json::json!({ "data": self.place.data, "was": self.was }),
        }
    }

    fn data(&self) -> &Path {
        &self.place.data
    }

    fn obstacles(&self, sys: &dyn System, purpose: Purpose) -> Result<Vec<Obstacle>> {
        let data = self.place.data.display();
        let mut found = Vec::new();
        let all = mounts::read()?;
        for mount in mounts::at_or_below(&all, &self.place.data) {
            found.push(Obstacle {
                what: format!("{} is a mount point", mount.point.display()),
                why: "a mount below the data is not in its snapshot, and a mounted data directory cannot be swapped by a \
                      rename; neither is built yet"
                    .to_owned(),
                todo: "use a subvolume inside a mount, such as /srv/zeebe/data below a mount at /srv".to_owned(),
            });
        }
        if purpose == Purpose::Capture {
            match &self.was {
                Stands::Subvolume { .. } => {
                    let list = sys.run(&btrfs(["subvolume", "list", "-o"]).arg(&self.place.data))?;
                    for nested in show::parse_list(&list)? {
                        found.push(Obstacle {
                            what: format!("{data} has the subvolume {nested} inside it"),
                            why: "a snapshot shows a nested subvolume as an empty folder".to_owned(),
                            todo: "move it out of the data directory, or make it a plain folder".to_owned(),
                        });
                    }
                }
                Stands::Folder { .. } => found.push(Obstacle {
                    what: format!("{data} is a plain folder on btrfs, not a subvolume"),
                    why: "only a whole subvolume can be snapshotted; a folder beside others is not built yet".to_owned(),
                    todo: format!("with the broker stopped: mv {data} {data}.old; btrfs subvolume create {data}; \
                                   cp -a --reflink=always {data}.old/. {data}/; rm -rf {data}.old"),
                }),
                Stands::Nothing => found.push(Obstacle {
                    what: format!("{data} does not exist"),
                    why: "there is nothing to back up".to_owned(),
                    todo: "correct `data` in cluster.toml, or restore a set".to_owned(),
                }),
            }
        }
        Ok(found)
    }

    fn list(&self, sys: &dyn System) -> Result<Vec<Snapshot>> {
        let mut snapshots = Vec::new();
        for name in self.place.entries::<SnapName>()? {
            let path = self.place.of(name.as_str());
            let Some(shown) = self.place.shown(sys, &path)? else {
                continue;
            };
            // What a rollback staged or keeps is writable and stands here too.
            if shown.readonly {
                let label = self.label(&shown, &self.place.sidecar(name.as_str()))?;
                snapshots.push(Snapshot {
                    name,
                    identity: shown.uuid,
                    label,
                });
            }
        }
        snapshots.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(snapshots)
    }

    fn find(&self, sys: &dyn System, name: &SnapName) -> Result<Option<Snapshot>> {
        let path = self.place.of(name.as_str());
        let Some(shown) = self.place.shown(sys, &path)? else {
            // A snapshot would be made inside a folder of its name.
            return match self.place.stands(sys, &path)? {
                Stands::Nothing => Ok(None),
                other => Err(Error::State(format!("{} is {other}", path.display()))),
            };
        };
        let label = match shown.readonly {
            true => self.label(&shown, &self.place.sidecar(name.as_str()))?,
            false => None,
        };
        Ok(Some(Snapshot {
            name: name.clone(),
            identity: shown.uuid,
            label,
        }))
    }

    fn prepare(&self, name: &SnapName, label: &Label) -> Vec<Action> {
        vec![
            Action::MakeDir(self.place.folder()),
            self.place
                .write_sidecar(name.as_str(), label, self.was.uuid()),
        ]
    }

    fn snapshot(&self, name: &SnapName) -> Vec<Action> {
        let cmd = btrfs(["subvolume", "snapshot", "-r"])
            .arg(&self.place.data)
            .arg(self.place.of(name.as_str()));
        vec![Action::Run(cmd)]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        self.delete(name.as_str())
    }

    fn unprepare(&self, name: &SnapName) -> Vec<Action> {
        self.place.forget(name.as_str())
    }

    fn view(&self, name: &SnapName) -> View {
        View {
            path: self.place.of(name.as_str()),
            open: Vec::new(),
            close: Vec::new(),
        }
    }

    fn rollback(&self) -> Option<&dyn Rollback> {
        Some(self)
    }
}

impl Rollback for Subvolume {
    fn stage(&self, from: &SnapName, stage: &StageName, label: &Label) -> Vec<Action> {
        let copy = btrfs(["subvolume", "snapshot"])
            .arg(self.place.of(from.as_str()))
            .arg(self.place.of(stage.as_str()));
        // The label is for what is kept after the swap; where there is no data nothing will be.
        let sidecar = (self.was != Stands::Nothing)
            .then(|| self.place.write_sidecar(stage.as_str(), label, None));
        sidecar.into_iter().chain([Action::Run(copy)]).collect()
    }

    fn swap(&self, stage: &StageName) -> Vec<Action> {
        vec![Action::SwapNames(
            self.place.data.clone(),
            self.place.of(stage.as_str()),
        )]
    }

    fn reverse(&self, stage: &StageName) -> Vec<Action> {
        self.swap(stage)
    }

    fn discard(&self, stage: &StageName) -> Vec<Action> {
        let mut actions = self.delete(stage.as_str());
        actions.extend(self.place.forget(stage.as_str()));
        actions
    }

    fn progress(&self, sys: &dyn System, from: &Snapshot, stage: &StageName) -> Result<Progress> {
        let live = self.place.stands(sys, &self.place.data)?;
        let beside = self.place.stands(sys, &self.place.of(stage.as_str()))?;
        // The copy is known by what it was taken of; the old data by what it was when the plan was made.
        let copy = |stands: &Stands| stands.parent() == Some(&from.identity) && *stands != self.was;
        Ok(match (&live, &beside) {
            (live, Stands::Nothing) if *live == self.was => Progress::Untouched,
            (live, beside) if *live == self.was && copy(beside) => Progress::Staged,
            (live, beside) if copy(live) && *beside == self.was => Progress::Swapped,
            _ => Progress::Unclear(format!(
                "{} is {live}, {} is {beside}; expected were {} and a snapshot of {}",
                self.place.data.display(),
                self.place.of(stage.as_str()).display(),
                self.was,
                from.identity
            )),
        })
    }

    fn kept(&self, sys: &dyn System) -> Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for name in self.place.entries::<StageName>()? {
            let path = self.place.of(name.as_str());
            let frozen = self
                .place
                .shown(sys, &path)?
                .is_some_and(|shown| shown.readonly);
            if !frozen {
                let label =
                    place::read_sidecar(&self.place.sidecar(name.as_str()))?.map(|side| side.label);
                kept.push(Kept { name, path, label });
            }
        }
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subvolume() -> Subvolume {
        Subvolume {
            place: Place {
                data: "/srv/zeebe 0/data".into(),
            },
            was: Stands::Subvolume {
                uuid: "26cadf4a".into(),
                parent_uuid: None,
            },
        }
    }

    fn lines(actions: Vec<Action>) -> String {
        actions.iter().map(|action| format!("{action}\n")).collect()
    }

    #[test]
    fn builders_print_the_commands_an_admin_would_type() {
        let snap = SnapName::try_from("zeebe-snap-20261123T014500Z".to_owned()).unwrap();
        let stage = StageName::try_from("restore-20261124T120000Z".to_owned()).unwrap();
        let volume = subvolume();
        insta::assert_snapshot!(lines(volume.prepare(&snap, &Label::new())), @r"
        mkdir -p -m 700 '/srv/zeebe 0/.zeebe-snap/data'
        install -m 600 /dev/stdin '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z.json'   # 49 bytes
        ");
        insta::assert_snapshot!(lines(volume.snapshot(&snap)), @"btrfs subvolume snapshot -r '/srv/zeebe 0/data' '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z'");
        insta::assert_snapshot!(lines(volume.destroy(&snap)), @r"
        btrfs subvolume delete '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z'
        sync -f '/srv/zeebe 0/.zeebe-snap/data'
        ");
        insta::assert_snapshot!(lines(volume.stage(&snap, &stage, &Label::new())), @r"
        install -m 600 /dev/stdin '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z.json'   # 43 bytes
        btrfs subvolume snapshot '/srv/zeebe 0/.zeebe-snap/data/zeebe-snap-20261123T014500Z' '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z'
        ");
        insta::assert_snapshot!(lines(volume.swap(&stage)), @"mv --exchange '/srv/zeebe 0/data' '/srv/zeebe 0/.zeebe-snap/data/restore-20261124T120000Z'");
    }

    #[test]
    fn an_id_opens_as_the_same_volume() {
        let volume = subvolume();
        assert_eq!(crate::open(&volume.id()).unwrap().id(), volume.id());
    }
}
