//! A logical volume mounted to be read: activated for as long as it is, and put away.
//!
//! Those who read one at the same time in this process share its activation. Must not know what it is a snapshot of.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use super::origin::Kind;
use super::report::Report;
use super::{cow, lvchange, names};
use crate::cmd::{System, quote};
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

/// How many read what, in this process.
static READERS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// How often it is tried to put one away, and how long it is waited in between: a child that is about to become another
/// program has our files for a moment.
const TRIES: usize = 20;
const BETWEEN: Duration = Duration::from_millis(100);

/// One volume.
#[derive(Debug)]
pub struct Reader {
    pub vg: String,
    pub name: String,
    pub fstype: String,
    pub kind: Kind,
}

impl Reader {
    fn lv(&self) -> String {
        format!("{}/{}", self.vg, self.name)
    }

    fn readers() -> MutexGuard<'static, BTreeMap<String, usize>> {
        READERS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn options(&self) -> &'static [&'static str] {
        options(&self.fstype).unwrap_or_default()
    }

    /// One that somebody else uses, as another of our programs that reads it, stays: it goes with that, or at the next boot.
    fn put_away(&self, sys: &dyn System) -> Result<()> {
        let away = lvchange(["-an"], &self.lv());
        let mut error = match sys.run(&away) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        for _ in 1..TRIES {
            sleep(BETWEEN);
            error = match sys.run(&away) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
        }
        let report = Report::ask(sys, &self.vg)?;
        match report.named(&self.name) {
            Some(row) if row.open => {
                tracing::warn!(%error, "{} is left active: somebody else uses it", self.lv());
                Ok(())
            }
            _ => Err(Error::Run(error)),
        }
    }
}

impl Attach for Reader {
    fn attach(&self, sys: &dyn System) -> Result<OwnedFd> {
        let mut readers = Reader::readers();
        // Counted first: what is counted is put away, however it ends here.
        let count = readers.entry(self.lv()).or_default();
        *count += 1;
        match self.kind {
            Kind::Thick => cow::is_whole(sys, &self.vg, &self.name)?,
            Kind::Thin if *count == 1 => {
                sys.run(&lvchange(["-ay", "-K"], &self.lv()))?;
            }
            Kind::Thin => {}
        }
        let node = names::node(&self.vg, &self.name);
        mount_apart(&node.to_string_lossy(), &self.fstype, self.options())
    }

    fn detach(&self, sys: &dyn System) -> Result<()> {
        let mut readers = Reader::readers();
        match readers.get_mut(&self.lv()) {
            Some(count) if *count > 1 => {
                *count -= 1;
                Ok(())
            }
            _ => {
                readers.remove(&self.lv());
                match self.kind {
                    // It may have been run over while it was read.
                    Kind::Thick => cow::is_whole(sys, &self.vg, &self.name),
                    Kind::Thin => self.put_away(sys),
                }
            }
        }
    }

    fn line(&self) -> String {
        let node = names::node(&self.vg, &self.name);
        let options: String = self
            .options()
            .iter()
            .map(|option| format!(",{option}"))
            .collect();
        let mount = format!(
            "mount -t {} -o ro{options} {} /mnt",
            self.fstype,
            quote(node.as_os_str())
        );
        match self.kind {
            Kind::Thick => mount,
            Kind::Thin => format!("{} && {mount}", lvchange(["-ay", "-K"], &self.lv())),
        }
    }
}
