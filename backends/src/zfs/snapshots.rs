//! Snapshots of a line: read, destroyed, held, wherever they are now.
//!
//! Must not know how the data is brought back.

use std::os::fd::OwnedFd;

use super::line::{Found, Line};
use super::{tell, zfs};
use crate::action::{Change, Stop};
use crate::cmd::{Cmd, System};
use crate::name::SnapName;
use crate::view::{Attach, mount_apart};
use crate::{Error, Result};

/// What is to be done to a snapshot of a line.
#[derive(Debug)]
pub struct Snapshots {
    pub line: Line,
    pub name: SnapName,
}

impl Snapshots {
    /// What it is called as long as nothing was promoted.
    fn full(&self) -> String {
        format!("{}@{}", self.line.live, self.name)
    }

    fn find(&self, sys: &dyn System) -> Result<Option<Found>> {
        self.line.find(sys, &self.name)
    }

    fn must_find(&self, sys: &dyn System) -> Result<Found> {
        self.find(sys)?
            .ok_or_else(|| Error::State(format!("{} is gone", self.full())))
    }
}

impl Attach for Snapshots {
    fn attach(&self, sys: &dyn System) -> Result<OwnedFd> {
        mount_apart(&self.must_find(sys)?.full, "zfs", &[])
    }

    fn detach(&self, _: &dyn System) -> Result<()> {
        Ok(())
    }

    fn line(&self) -> String {
        Cmd::new("mount")
            .args(["-t", "zfs"])
            .arg(self.full())
            .arg("/mnt")
            .to_string()
    }
}

/// A dataset beside the data, to be read.
#[derive(Debug)]
pub struct Beside(pub String);

impl Attach for Beside {
    fn attach(&self, _: &dyn System) -> Result<OwnedFd> {
        mount_apart(&self.0, "zfs", &[])
    }

    fn detach(&self, _: &dyn System) -> Result<()> {
        Ok(())
    }

    fn line(&self) -> String {
        Cmd::new("mount")
            .args(["-t", "zfs", "-o", "ro,zfsutil"])
            .arg(&self.0)
            .arg("/mnt")
            .to_string()
    }
}

/// Destroys a snapshot of ours.
#[derive(Debug)]
pub struct Destroy(pub Snapshots);

impl Change for Destroy {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Some(found) = self.0.find(sys)? else {
            return Ok(());
        };
        let full = &found.full;
        if found.snapshot.label.is_none() {
            return Err(Error::State(format!("{full} is not ours: it stays")));
        }
        if found.holds > 0 {
            let tags = tell::holds(sys, full)?.join(", ");
            return Err(Error::State(format!(
                "{full} is held, and stays: {tags} (zfs holds; zfs release lets go of it)"
            )));
        }
        let seen = self.0.line.look(sys)?;
        let is_ours = |name: &&String| seen.ours().any(|member| member.name == **name);
        let others: Vec<&str> = found
            .clones
            .iter()
            .filter(|name| !is_ours(name))
            .map(String::as_str)
            .collect();
        if !others.is_empty() {
            return Err(Error::State(format!(
                "{full} stays: somebody's datasets are clones of it, and would go with it: {}",
                others.join(", ")
            )));
        }
        // What is kept, or staged, and is a clone of it needs its blocks: it goes with the last of them. (zfs-destroy(8))
        let cmd = match found.clones.is_empty() {
            true => zfs(["destroy"]),
            false => zfs(["destroy", "-d"]),
        };
        sys.run(&cmd.arg(full))?;
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        vec![zfs(["destroy"]).arg(self.0.full()).to_string()]
    }
}

/// Sees to it that a snapshot is held with a tag, or not.
#[derive(Debug)]
pub struct Hold {
    pub snapshot: Snapshots,
    pub tag: String,
    pub held: bool,
}

impl Hold {
    fn cmd(&self, full: &str) -> Cmd {
        let verb = if self.held { "hold" } else { "release" };
        zfs([verb]).arg(&self.tag).arg(full)
    }
}

impl Change for Hold {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let found = match self.snapshot.find(sys)? {
            Some(found) => found,
            // With a hold it could not have gone.
            None if !self.held => return Ok(()),
            None => self.snapshot.must_find(sys)?,
        };
        let is_held = tell::holds(sys, &found.full)?.contains(&self.tag);
        if is_held != self.held {
            sys.run(&self.cmd(&found.full))?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        vec![self.cmd(&self.snapshot.full()).to_string()]
    }
}

impl crate::Hold for Line {
    fn hold(&self, snap: &SnapName, tag: &str) -> Vec<crate::Action> {
        self.change_hold(snap, tag, true)
    }

    fn release(&self, snap: &SnapName, tag: &str) -> Vec<crate::Action> {
        self.change_hold(snap, tag, false)
    }

    fn holds(&self, sys: &dyn System, snap: &SnapName) -> Result<Vec<String>> {
        let found = self.snapshot(snap).must_find(sys)?;
        tell::holds(sys, &found.full)
    }
}

impl Line {
    /// The snapshot called `name`.
    pub fn snapshot(&self, name: &SnapName) -> Snapshots {
        Snapshots {
            line: self.clone(),
            name: name.clone(),
        }
    }

    fn change_hold(&self, snap: &SnapName, tag: &str, held: bool) -> Vec<crate::Action> {
        let hold = Hold {
            snapshot: self.snapshot(snap),
            tag: tag.to_owned(),
            held,
        };
        vec![crate::Action::Change(std::sync::Arc::new(hold))]
    }
}
