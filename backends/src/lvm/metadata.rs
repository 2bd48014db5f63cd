//! What the metadata of a thin pool say: which chunks of a volume are mapped, and which differ from those of another.
//!
//! The tools read a snapshot of the metadata, of which a pool has one at most; it is held for as long as they read, which is
//! soon over. A tag on the pool says that it is one of ours who holds it. A lock on the device of the metadata says that he
//! lives, and goes with him: what one that died has left, the next one lets go of. What somebody else holds is left alone.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::report::{Report, Row};
use super::{names, pool, tags};
use crate::cmd::{Cmd, RunError, System};
use crate::stream::blocks::delta::{self, Changes};
use crate::{Error, Obstacle, Result};

/// The metadata of one pool, which is active.
#[derive(Debug, Clone)]
pub struct Metadata {
    pub vg: String,
    pub pool: String,
}

impl Metadata {
    /// What makes `base` into `of`, two volumes of the pool; or all that is mapped of `of`.
    pub fn changes(&self, sys: &dyn System, of: &Row, base: Option<&Row>) -> Result<Changes> {
        let [of_id, base_id] = [Some(of), base].map(|row| row.and_then(|row| row.thin_id));
        let (Some(id), true) = (of_id, base.is_some() == base_id.is_some()) else {
            let lv = format!("{}/{}", self.vg, of.name);
            return Err(Error::State(format!(
                "LVM knows no number of {lv} in its pool"
            )));
        };
        let answer = self.holding(sys, || Ok(sys.run(&self.tool(id, base_id))?))?;
        match base_id {
            Some(_) => delta::parse_delta(&answer, of.size),
            None => delta::parse_dump(&answer, id, of.size),
        }
    }

    /// With an option behind `-m`, which may take a number.
    fn tool(&self, of: u32, base: Option<u32>) -> Cmd {
        let of = of.to_string();
        let cmd = match base {
            Some(base) => Cmd::new("thin_delta")
                .args(["-m", "--thin1", &base.to_string()])
                .args(["--thin2", &of]),
            None => Cmd::new("thin_dump").args(["-m", "--dev-id", &of]),
        };
        cmd.arg(self.node())
    }

    /// What is in the way of reading them. What one of ours left is not.
    pub fn obstacles(&self, sys: &dyn System, pool: &Row) -> Result<Vec<Obstacle>> {
        let lv = self.lv();
        for tool in ["thin_delta", "thin_dump"] {
            let obstacle = match sys.run(&Cmd::new(tool).arg("-V")) {
                Err(RunError::Start { .. }) => Obstacle {
                    what: format!("{tool} is not installed"),
                    why: "it tells which chunks of a thin volume there are to be sent".to_owned(),
                    todo: "install thin-provisioning-tools (Debian) or device-mapper-persistent-data (Fedora); or send an archive, or \
                           a copy of the tree: zeebe-snap tree clone"
                        .to_owned(),
                },
                _ => continue,
            };
            return Ok(vec![obstacle]);
        }
        if !pool.is_active() {
            return Ok(vec![Obstacle {
                what: format!("thin pool {lv} is not active"),
                why: "nothing in it can be read then".to_owned(),
                todo: format!("lvchange -ay {lv}"),
            }]);
        }
        if let Some(obstacle) = pool::not_well(sys, &self.vg, pool)? {
            return Ok(vec![obstacle]);
        }
        let is_theirs = self.is_held(sys, pool)? && !pool.marks.holds;
        Ok(is_theirs.then(|| self.is_taken()).into_iter().collect())
    }

    fn is_taken(&self) -> Obstacle {
        Obstacle {
            what: format!(
                "somebody else holds the metadata snapshot of thin pool {}",
                self.lv()
            ),
            why: "a pool has one at most, and what changed in it is read there".to_owned(),
            todo: format!(
                "wait for who reads it; if nobody does: {}",
                self.message(RELEASE)
            ),
        }
    }

    fn lv(&self) -> String {
        format!("{}/{}", self.vg, self.pool)
    }

    fn node(&self) -> PathBuf {
        names::mapper(&names::device(&self.vg, &self.pool, "_tmeta"))
    }

    fn message(&self, message: &str) -> Cmd {
        let device = names::device(&self.vg, &self.pool, "-tpool");
        Cmd::new("dmsetup").args(["message", &device, "0", message])
    }

    fn tag(&self, word: &str) -> Cmd {
        let cmd = Cmd::new("lvchange").args([word, tags::HOLDS]);
        cmd.arg(self.lv())
    }

    fn is_held(&self, sys: &dyn System, pool: &Row) -> Result<bool> {
        let status = pool::status(sys, &self.vg, pool)?;
        Ok(status.is_some_and(|status| status.metadata_held))
    }

    /// Lets `read` have the metadata snapshot. What it says goes first.
    fn holding<T>(&self, sys: &dyn System, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        self.let_go(sys)?;
        sys.run(&self.tag("--addtag"))?;
        let said = match sys.run(&self.message(RESERVE)) {
            Ok(_) => read(),
            Err(error) => {
                // Whoever holds it now, it is not us.
                if let Err(second) = sys.run(&self.tag("--deltag")) {
                    tracing::warn!(error = %second, "a tag is left on {}", self.lv());
                }
                return Err(Error::Run(error));
            }
        };
        match (said, self.let_go(sys)) {
            (Ok(_), Err(error)) => Err(error),
            (Err(error), Err(second)) => {
                tracing::warn!(error = %second, "the metadata snapshot of {} is still held", self.lv());
                Err(error)
            }
            (said, Ok(())) => said,
        }
    }

    /// One of ours at a time.
    fn lock(&self) -> Result<File> {
        let node = self.node();
        let file = File::open(&node).map_err(Error::io("open", &node))?;
        flock(&file, FlockOperation::LockExclusive).map_err(Error::io("lock", &node))?;
        Ok(file)
    }

    /// Lets go of what one of ours holds, which is us or is dead: the lock is ours.
    fn let_go(&self, sys: &dyn System) -> Result<()> {
        let report = Report::ask(sys, &self.vg)?;
        let pool = report
            .named(&self.pool)
            .ok_or_else(|| Error::State(format!("there is no thin pool {} any more", self.lv())))?;
        let is_ours = pool.marks.holds;
        match (self.is_held(sys, pool)?, is_ours) {
            (true, false) => return Err(Error::State(self.is_taken().what)),
            (true, true) => {
                sys.run(&self.message(RELEASE))?;
            }
            (false, _) => {}
        }
        if is_ours {
            sys.run(&self.tag("--deltag"))?;
        }
        Ok(())
    }
}

/// Messages of the kernel's thin pool (thin-provisioning.txt).
const RESERVE: &str = "reserve_metadata_snap";
const RELEASE: &str = "release_metadata_snap";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_is_asked() {
        let metadata = Metadata {
            vg: "vg-0".to_owned(),
            pool: "pool".to_owned(),
        };
        insta::assert_snapshot!(metadata.tool(7, Some(3)).to_string(), @"thin_delta -m --thin1 3 --thin2 7 /dev/mapper/vg--0-pool_tmeta");
        insta::assert_snapshot!(metadata.tool(7, None).to_string(), @"thin_dump -m --dev-id 7 /dev/mapper/vg--0-pool_tmeta");
        insta::assert_snapshot!(metadata.message(RESERVE).to_string(), @"dmsetup message vg--0-pool-tpool 0 reserve_metadata_snap");
        insta::assert_snapshot!(metadata.tag("--addtag").to_string(), @"lvchange --addtag zeebe-snap.holds-metadata vg-0/pool");
    }
}
