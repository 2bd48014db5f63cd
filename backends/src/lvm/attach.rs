//! A logical volume mounted to be read, where it has to be activated for as long as it is.
//!
//! Must not know what it is a snapshot of.

use std::os::fd::OwnedFd;

use super::active::Active;
use super::cow;
use super::origin::Kind;
use crate::cmd::{Cmd, System, quote};
use crate::view::{Attach, mount_apart};
use crate::{Error, Result};

/// The file systems that can be read with nothing written, and how: the log is left alone, and on xfs the uuid, which is that
/// of the data. (All of it is on disk: a snapshot freezes what is mounted.)
const READ: &[(&str, &[&str])] = &[
    ("ext2", &[]),
    ("ext3", &["noload"]),
    ("ext4", &["noload"]),
    ("xfs", &["norecovery", "nouuid"]),
];

/// How that kind of file system is read, if it can be.
pub fn options(fstype: &str) -> Option<&'static [&'static str]> {
    let of = READ.iter().find(|(kind, _)| *kind == fstype);
    of.map(|(_, options)| *options)
}

/// One volume.
#[derive(Debug)]
pub struct Reader {
    pub active: Active,
    /// What is on it; `None` where it has to be looked at.
    pub fstype: Option<String>,
    pub kind: Kind,
}

impl Reader {
    /// What is on it, by itself.
    fn look(&self, sys: &dyn System) -> Result<String> {
        let blkid = Cmd::new("blkid").args(["-p", "-o", "value", "-s", "TYPE"]);
        let said = sys.run(&blkid.arg(self.active.node()))?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }
}

impl Attach for Reader {
    fn attach(&self, sys: &dyn System) -> Result<OwnedFd> {
        let Active { vg, name } = &self.active;
        match self.kind {
            Kind::Thick => cow::is_whole(sys, vg, name)?,
            Kind::Thin => self.active.up(sys)?,
        }
        let fstype = match &self.fstype {
            Some(fstype) => fstype.clone(),
            None => self.look(sys)?,
        };
        let options = options(&fstype).ok_or_else(|| {
            Error::State(format!(
                "{} has a file system {fstype:?}, which cannot be read with nothing written",
                self.active.lv()
            ))
        })?;
        mount_apart(&self.active.node().to_string_lossy(), &fstype, options)
    }

    fn detach(&self, sys: &dyn System) -> Result<()> {
        let Active { vg, name } = &self.active;
        match self.kind {
            // It may have been run over while it was read.
            Kind::Thick => cow::is_whole(sys, vg, name),
            Kind::Thin => self.active.down(sys),
        }
    }

    fn line(&self) -> String {
        let node = self.active.node();
        let (kind, options) = match &self.fstype {
            Some(fstype) => (format!(" -t {fstype}"), options(fstype).unwrap_or_default()),
            None => (String::new(), &[][..]),
        };
        let options: String = options.iter().map(|option| format!(",{option}")).collect();
        let mount = format!(
            "mount{kind} -o ro{options} {} /mnt",
            quote(node.as_os_str())
        );
        match self.kind {
            Kind::Thick => mount,
            Kind::Thin => format!("{} && {mount}", self.active.cmd()),
        }
    }
}
