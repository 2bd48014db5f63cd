//! A thin volume that is not active by itself, activated for as long as somebody reads or writes it, and put away.
//!
//! Those who use one at the same time in this process share its activation. Must not know what it is used for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use super::report::Report;
use super::{lvchange, names};
use crate::cmd::{Cmd, System};
use crate::{Error, Result};

/// One volume.
#[derive(Debug, Clone)]
pub struct Active {
    pub vg: String,
    pub name: String,
}

/// How many use what, in this process.
static USERS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// How often it is tried to put one away, and how long it is waited in between: a child that is about to become another
/// program has our files for a moment.
const TRIES: usize = 20;
const BETWEEN: Duration = Duration::from_millis(100);

impl Active {
    pub fn lv(&self) -> String {
        format!("{}/{}", self.vg, self.name)
    }

    pub fn node(&self) -> PathBuf {
        names::node(&self.vg, &self.name)
    }

    /// What activates it.
    pub fn cmd(&self) -> Cmd {
        lvchange(["-ay", "-K"], &self.lv())
    }

    /// Lets `work` have the device. What it says goes first; what could not be put away afterwards is an error only if it says
    /// that all is well.
    pub fn with<T>(&self, sys: &dyn System, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let said = self.up(sys).and_then(|()| work(&self.node()));
        match (said, self.down(sys)) {
            (Ok(_), Err(error)) => Err(error),
            (Err(error), Err(second)) => {
                tracing::warn!(error = %second, "{} could not be put away", self.lv());
                Err(error)
            }
            (said, Ok(())) => said,
        }
    }

    /// Activates it. However that ends, [`Active::down`] is owed.
    pub fn up(&self, sys: &dyn System) -> Result<()> {
        let mut users = users();
        let count = users.entry(self.lv()).or_default();
        *count += 1;
        if *count == 1 {
            sys.run(&self.cmd())?;
        }
        Ok(())
    }

    /// The last of those who use it puts it away.
    pub fn down(&self, sys: &dyn System) -> Result<()> {
        let mut users = users();
        match users.get_mut(&self.lv()) {
            Some(count) if *count > 1 => {
                *count -= 1;
                Ok(())
            }
            _ => {
                users.remove(&self.lv());
                self.put_away(sys)
            }
        }
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

fn users() -> MutexGuard<'static, BTreeMap<String, usize>> {
    USERS.lock().unwrap_or_else(PoisonError::into_inner)
}
