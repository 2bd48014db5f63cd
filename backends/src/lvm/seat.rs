//! The data directory that a volume is mounted at, and what is mounted there instead when names change places.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::report::Report;
use super::{lvchange, names, place};
use crate::Result;
use crate::cmd::{Cmd, System};
use crate::mounts;
use crate::renaming::Named;

/// A mount point, and how it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub vg: String,
    pub data: PathBuf,
    pub fstype: String,
    /// For mount(8).
    pub options: String,
}

impl Seat {
    fn lv(&self, name: &str) -> String {
        format!("{}/{name}", self.vg)
    }
}

impl Named for Seat {
    fn identity(&self, sys: &dyn System, name: &str) -> Result<Option<String>> {
        let report = Report::ask(sys, &self.vg)?;
        Ok(report.named(name).map(|row| row.uuid.clone()))
    }

    fn identities(&self, sys: &dyn System, names: [&str; 3]) -> Result<[Option<String>; 3]> {
        let report = Report::ask(sys, &self.vg)?;
        Ok(names.map(|name| report.named(name).map(|row| row.uuid.clone())))
    }

    fn made_of(&self, sys: &dyn System, name: &str) -> Result<Option<String>> {
        let report = Report::ask(sys, &self.vg)?;
        Ok(report.named(name).and_then(|row| row.marks.of.clone()))
    }

    fn mounted(&self, _: &dyn System) -> Result<Option<String>> {
        let Some(mount) = place::mounted(&self.data)? else {
            return Ok(None);
        };
        Ok(Some(match place::of(&mount.device)? {
            Some(device) => device.uuid,
            None => format!("device {} ({})", mount.device, mount.source),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> Vec<Cmd> {
        vec![rename(&self.vg, from, to)]
    }

    fn elsewhere(&self) -> Result<Vec<PathBuf>> {
        mounts::points_elsewhere(&self.data)
    }

    fn unmount(&self) -> Vec<Cmd> {
        vec![Cmd::new("umount").arg(&self.data)]
    }

    /// So that a look-up by the file system's uuid finds the other one alone, by a boot too.
    fn set_aside(&self, name: &str) -> Vec<Cmd> {
        let lv = self.lv(name);
        vec![lvchange(["-an"], &lv), lvchange(["-ky"], &lv)]
    }

    fn take_up(&self, live: &str) -> Vec<Cmd> {
        vec![lvchange(["-kn"], &self.lv(live))]
    }

    fn mount(&self, live: &str) -> Vec<Cmd> {
        let mount = Cmd::new("mount").args(["-t", &self.fstype, "-o", &self.options]);
        vec![
            lvchange(["-ay"], &self.lv(live)),
            mount.arg(names::node(&self.vg, live)).arg(&self.data),
        ]
    }
}

/// Gives one another name, which is free.
pub fn rename(vg: &str, from: &str, to: &str) -> Cmd {
    Cmd::new("lvrename").args([vg, from, to])
}
