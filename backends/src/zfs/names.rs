//! Datasets by their names, and the data directory that one of them is mounted at.
//!
//! Must not know what they hold.

use std::path::PathBuf;

use super::line::{self, Line, UNFINISHED};
use super::tell::{self, own, text};
use super::whole::Mounting;
use super::{beside, is_dataset, zfs};
use crate::Result;
use crate::cmd::{Cmd, System};
use crate::mounts;
use crate::renaming::Named;

/// See [`Named`].
#[derive(Debug, Clone)]
pub struct Names {
    pub data: PathBuf,
    pub line: Line,
    pub mounting: Mounting,
    /// What the data's dataset said of its being mounted.
    pub canmount: String,
}

impl Names {
    fn set_canmount(name: &str, value: &str) -> Vec<Cmd> {
        vec![zfs(["set"]).arg(format!("canmount={value}")).arg(name)]
    }
}

impl Named for Names {
    fn identity(&self, sys: &dyn System, name: &str) -> Result<Option<String>> {
        let [identity, ..] = self.identities(sys, [name, "", ""])?;
        Ok(identity)
    }

    /// One that is in the making is none.
    fn identities(&self, sys: &dyn System, names: [&str; 3]) -> Result<[Option<String>; 3]> {
        let around = self
            .line
            .live
            .rsplit_once('/')
            .map_or("", |(around, _)| around);
        let words = ["-d", "1", "-t", "filesystem,volume", "--", around];
        let told = tell::get(sys, &["guid", UNFINISHED], &words)?;
        Ok(names.map(|name| {
            let all = told
                .iter()
                .find(|(told, _)| told == name)
                .map(|(_, all)| all);
            let all = all.filter(|all| own(all, UNFINISHED).is_none());
            all.and_then(|all| text(all, "guid")).map(str::to_owned)
        }))
    }

    fn made_of(&self, sys: &dyn System, name: &str) -> Result<Option<String>> {
        beside::made_of(sys, name)
    }

    fn mounted(&self, sys: &dyn System) -> Result<Option<String>> {
        let all = mounts::read()?;
        let at = all.iter().rev().find(|mount| mount.point == self.data);
        let whole = at.filter(|mount| is_dataset(mount) && mount.root == std::path::Path::new("/"));
        // The kernel tells the name that it has now, whatever it was when it was mounted (2.1.11).
        whole
            .map(|mount| line::guid(sys, &mount.source))
            .transpose()
    }

    fn rename(&self, from: &str, to: &str) -> Vec<Cmd> {
        vec![beside::rename(from, to)]
    }

    fn elsewhere(&self) -> Result<Vec<PathBuf>> {
        mounts::points_elsewhere(&self.data)
    }

    fn unmount(&self) -> Vec<Cmd> {
        vec![Cmd::new("umount").arg(&self.data)]
    }

    /// Else both would be mounted there at the next import of the pool, one over the other (2.1.11, three of three times).
    fn set_aside(&self, name: &str) -> Vec<Cmd> {
        Names::set_canmount(name, "noauto")
    }

    fn take_up(&self, live: &str) -> Vec<Cmd> {
        Names::set_canmount(live, &self.canmount)
    }

    fn mount(&self, live: &str) -> Vec<Cmd> {
        vec![match &self.mounting {
            Mounting::Property => zfs(["mount", live]),
            Mounting::Legacy { options } => Cmd::new("mount")
                .args(["-t", "zfs", "-o", options, live])
                .arg(&self.data),
        }]
    }

    fn settle(&self, sys: &dyn System, _: &str) -> Result<Vec<Cmd>> {
        beside::promotion(sys, &self.line)
    }

    fn settling(&self, live: &str) -> Vec<Cmd> {
        vec![beside::promote(live)]
    }
}
