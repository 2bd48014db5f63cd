//! Two folders change places by three renames, where the file system cannot exchange two names: there is a moment with no data
//! directory, and from wherever it was cut it can be finished in either direction.
//!
//! Must not know what is in them.

use std::path::{Path, PathBuf};

use super::Exchanged;
use super::entries::{Mark, between};
use super::stands::{Stands, folder};
use crate::action::{Change, Stop, sync_dir};
use crate::cmd::{Cmd, System};
use crate::renames;
use crate::renaming::{BESIDE, LIVE, Move, Places};
use crate::{Error, Result};

/// A data directory, and what is to take its place or did.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    pub data: PathBuf,
    pub stage: PathBuf,
    /// What stood there when it was looked at.
    pub was: Stands,
}

impl Folders {
    fn between(&self) -> PathBuf {
        between(&self.stage)
    }

    fn path(&self, place: &str) -> PathBuf {
        match place {
            LIVE => self.data.clone(),
            BESIDE => self.stage.clone(),
            _ => self.between(),
        }
    }

    fn places(&self) -> Result<Places> {
        let at = |path: &Path| -> Result<_> { Ok(folder(path)?.map(identity)) };
        Ok(Places {
            live: at(&self.data)?,
            beside: at(&self.stage)?,
            between: at(&self.between())?,
        })
    }

    /// Whether a folder has the third name, or the data directory has none.
    pub fn is_halfway(&self) -> Result<bool> {
        Ok(folder(&self.between())?.is_some())
    }

    /// Whether there are none but what was there, and what was `staged`, in an order that can be finished.
    pub fn are(&self, staged: Option<&Stands>) -> Result<bool> {
        let places = self.places()?;
        let known = [Some(&self.was), staged].map(|stands| stands.map(ToString::to_string));
        let all = [&places.live, &places.beside, &places.between];
        let is_known = |there: &&Option<String>| there.is_none() || known.contains(there);
        let is_old = |there: &str| there == self.was.to_string();
        let can_be = places.next(&is_old).is_some() && places.next(&|it| !is_old(it)).is_some();
        Ok(can_be && all.iter().all(is_known))
    }
}

/// As [`Stands`] says it.
fn identity(inode: crate::tree::Inode) -> String {
    Stands::Folder(inode).to_string()
}

/// They change places in one direction.
#[derive(Debug)]
pub(super) struct Steps {
    pub folders: Folders,
    pub to: Exchanged,
}

impl Steps {
    fn step(&self, from: &Path, to: &Path) -> Result<()> {
        let mark = Mark::of(from)?;
        renames::to_free(from, to).map_err(Error::io("rename", from))?;
        mark.map_or(Ok(()), |mark| mark.put_times_back(to))?;
        for path in [from, to] {
            sync_dir(path.parent().unwrap_or(path))?;
        }
        Ok(())
    }

    /// There is but one folder, which has one name or the other.
    fn alone(&self) -> Result<()> {
        let Folders { data, stage, .. } = &self.folders;
        let (from, to) = match self.to {
            Exchanged::Swapped => (stage, data),
            Exchanged::Back => (data, stage),
        };
        match (folder(from)?, folder(to)?) {
            (Some(_), None) => self.step(from, to),
            (None, Some(_)) => Ok(()),
            _ => Err(Error::State(format!(
                "{} was to be moved to {}: neither is there, or both are",
                from.display(),
                to.display()
            ))),
        }
    }
}

impl Change for Steps {
    fn perform(&self, _: &dyn System, _: Stop<'_>) -> Result<()> {
        let folders = &self.folders;
        if folders.was == Stands::Nothing {
            return self.alone();
        }
        let was = folders.was.to_string();
        let wanted = |it: &str| (it == was) == (self.to == Exchanged::Back);
        loop {
            let places = folders.places()?;
            let next = places.next(&wanted).ok_or_else(|| {
                Error::State(format!(
                    "{} and {} cannot change places: {places:?}",
                    folders.data.display(),
                    folders.stage.display()
                ))
            })?;
            match next {
                Move::Done => return Ok(()),
                Move::Away(to) => self.step(&folders.data, &folders.path(to))?,
                Move::Name(from, to) => self.step(&folders.path(from), &folders.path(to))?,
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let Folders { data, stage, .. } = &self.folders;
        let mv = |from: &Path, to: &Path| Cmd::new("mv").arg("-nT").args([from, to]).to_string();
        let between = self.folders.between();
        match (&self.folders.was, self.to) {
            (Stands::Nothing, Exchanged::Swapped) => vec![mv(stage, data)],
            (Stands::Nothing, Exchanged::Back) => vec![mv(data, stage)],
            _ => vec![mv(data, &between), mv(stage, data), mv(&between, stage)],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host::Host;

    /// Wherever it was cut, either direction can be taken.
    #[test]
    fn from_every_place_both_directions_can_be_finished() {
        let host = Host::new(&[]);
        for cut in 0..4 {
            for first in [Exchanged::Swapped, Exchanged::Back] {
                for then in [Exchanged::Swapped, Exchanged::Back] {
                    let dir = tempfile::tempdir().unwrap();
                    let [data, stage] = ["data", "stage"].map(|name| dir.path().join(name));
                    for path in [&data, &stage] {
                        fs::create_dir(path).unwrap();
                        fs::write(
                            path.join("is"),
                            path.file_name().unwrap().as_encoded_bytes(),
                        )
                        .unwrap();
                    }
                    let folders = Folders {
                        was: Stands::Folder(folder(&data).unwrap().unwrap()),
                        data: data.clone(),
                        stage: stage.clone(),
                    };
                    let staged = Stands::Folder(folder(&stage).unwrap().unwrap());
                    let go = |to| {
                        Steps {
                            folders: folders.clone(),
                            to,
                        }
                        .perform(&host, &|| false)
                        .unwrap()
                    };
                    if first == Exchanged::Back {
                        go(Exchanged::Swapped);
                    }
                    let third = between(&stage);
                    let steps = [(&data, &third), (&stage, &data), (&third, &stage)];
                    for (from, to) in &steps[..cut] {
                        fs::rename(from, to).unwrap();
                    }
                    assert_eq!(folders.is_halfway().unwrap(), cut == 1 || cut == 2);
                    assert!(folders.are(Some(&staged)).unwrap(), "{cut} {first:?}");
                    go(then);
                    let read = |path: &Path| fs::read_to_string(path.join("is")).unwrap();
                    let expected = match then {
                        Exchanged::Swapped => ("stage", "data"),
                        Exchanged::Back => ("data", "stage"),
                    };
                    assert_eq!((read(&data).as_str(), read(&stage).as_str()), expected);
                    assert!(!third.exists());
                }
            }
        }
    }

    #[test]
    fn somebody_elses_folder_is_not_moved() {
        let dir = tempfile::tempdir().unwrap();
        let [data, stage, other] = ["data", "stage", "other"].map(|name| dir.path().join(name));
        for path in [&data, &stage, &other] {
            fs::create_dir(path).unwrap();
        }
        let folders = Folders {
            was: Stands::Folder(folder(&data).unwrap().unwrap()),
            data: data.clone(),
            stage: stage.clone(),
        };
        let staged = Stands::Folder(folder(&stage).unwrap().unwrap());
        fs::rename(&data, between(&stage)).unwrap();
        assert!(folders.are(Some(&staged)).unwrap());
        fs::rename(&other, &data).unwrap();
        assert!(!folders.are(Some(&staged)).unwrap());
        let steps = Steps {
            folders,
            to: Exchanged::Swapped,
        };
        assert!(steps.perform(&Host::new(&[]), &|| false).is_err());
        insta::assert_snapshot!(steps.lines().join("\n").replace(dir.path().to_str().unwrap(), ""), @r"
        mv -nT /data /.stage.between
        mv -nT /stage /data
        mv -nT /.stage.between /stage
        ");
    }
}
