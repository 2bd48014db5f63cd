use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use zeebe_snap_backends::tree;

use super::{load, print, print_json};
use crate::agent::protocol::Locking;
use crate::catalog::Catalog;
use crate::exit::Exit;
use crate::id::{NodeId, SetId};
use crate::plan::Step;
use crate::report::progress::Progress;
use crate::report::table::many;
use crate::world::{Places, Real};
use crate::zeebe::data::Damage;

/// Digest a set's snapshots again and name everything that is not as it was captured
///
/// The checksums that Zeebe keeps of its own snapshots are verified, too: where these fail and the set is as it was captured,
/// the data was damaged before the backup.
#[derive(Debug, Args)]
pub struct Verify {
    /// A set's id, or `latest` for the newest complete one
    set: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What was found of one member.
#[derive(Debug, Serialize)]
struct Member {
    node_id: NodeId,
    entries: usize,
    differences: Vec<tree::Difference>,
    /// What of Zeebe's own snapshots in it fails Zeebe's own checksums.
    zeebe_damage: Vec<Damage>,
    error: Option<String>,
}

impl Member {
    fn differs(&self) -> bool {
        !self.differences.is_empty() || self.error.is_some()
    }

    fn text(&self) -> String {
        let node = self.node_id;
        let mut text = match (&self.error, self.differences.len()) {
            (Some(error), _) => format!("broker {node}: {error}\n"),
            (None, 0) => format!(
                "broker {node}: {} entries, each as it was captured\n",
                self.entries
            ),
            (None, found) => format!(
                "broker {node}: {}\n",
                many(found, "difference", "differences")
            ),
        };
        for difference in &self.differences {
            text.push_str(&format!("  {difference}\n"));
        }
        for damage in &self.zeebe_damage {
            text.push_str(&format!("  {damage}\n"));
        }
        text
    }
}

/// How a verification ended, from the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// All is as it was captured and as Zeebe wrote it.
    Equal,
    /// All is as it was captured, and was not as Zeebe wrote it even then.
    DamagedBefore,
    /// Something is not as it was captured.
    Differs,
}

impl Verdict {
    fn of(members: &[Member]) -> Verdict {
        let of = |member: &Member| match (member.differs(), member.zeebe_damage.is_empty()) {
            (true, _) => Verdict::Differs,
            (false, false) => Verdict::DamagedBefore,
            (false, true) => Verdict::Equal,
        };
        members.iter().map(of).max().unwrap_or(Verdict::Equal)
    }

    fn text(self, set: &SetId) -> String {
        match self {
            Verdict::Equal => format!("Set {set} is what was captured.\n"),
            Verdict::Differs => format!("Set {set} is NOT what was captured.\n"),
            Verdict::DamagedBefore => format!(
                "Set {set} is what was captured, but Zeebe's own checksums do not hold: the data was damaged before the backup.\n\
                 Hint: look at the disks of these brokers; a broker ignores such a snapshot when it starts, so try an earlier set with `zeebe-snap verify` before you rely on this one.\n"
            ),
        }
    }
}

impl Verify {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let cluster = load(places)?;
        let catalog = Catalog::new(&places.state_dir);
        let manifest = catalog.find(&self.set)?;
        let set = &manifest.origin.set;
        let progress = Progress::new();
        let world = Real::open(places, &cluster, Locking::Reads, progress.clone())?;
        let mut members = Vec::new();
        for broker in &manifest.origin.brokers {
            let want = catalog.read_listing(&manifest, broker.node)?;
            let source = manifest
                .source(broker.node)
                .context("a member has no snapshot")?;
            progress.say(format!("verify broker {}", broker.node));
            let name = source.snapshot.name.clone();
            let step = Step::Verify {
                node: broker.node,
                set: set.clone(),
                source,
                staged: None,
            };
            let listing = world.listing(step);
            let damage = listing.and_then(|have| {
                let damage = world.damage(broker.volume.clone(), name)?;
                Ok((tree::compare(&want, &have), damage))
            });
            // A snapshot that is gone or another's is a difference, too.
            let (differences, zeebe_damage, error) = match damage {
                Ok((differences, damage)) => (differences, damage, None),
                Err(error) => (Vec::new(), Vec::new(), Some(format!("{error:#}"))),
            };
            members.push(Member {
                node_id: broker.node,
                entries: want.len(),
                differences,
                zeebe_damage,
                error,
            });
        }
        progress.clear();
        world.close();
        let verdict = Verdict::of(&members);
        if self.json {
            print_json(
                &json!({ "format": 1, "verb": "verify", "result": verdict, "set": set, "members": members }),
            )?;
        } else {
            let text: String = members.iter().map(Member::text).collect();
            print(&(text + &verdict.text(set)))?;
        }
        Ok(match verdict {
            Verdict::Equal => Exit::Done,
            Verdict::DamagedBefore | Verdict::Differs => Exit::Differs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeebe::data::checksum::What;

    fn member(damage: bool, error: bool) -> Member {
        let path = "raft-partition/partitions/1/snapshots/25-1-156-7/000008.sst".into();
        let damage = damage.then_some(Damage {
            path,
            what: What::Differs,
        });
        Member {
            node_id: NodeId(1),
            entries: 40,
            differences: Vec::new(),
            zeebe_damage: damage.into_iter().collect(),
            error: error.then(|| "it is gone".to_owned()),
        }
    }

    #[test]
    fn damage_of_before_the_backup_is_said_as_that() {
        let members = [member(false, false), member(true, false)];
        let verdict = Verdict::of(&members);
        let text: String = members.iter().map(Member::text).collect();
        let set = "20261123T014500Z".parse().unwrap();
        insta::assert_snapshot!(text + &verdict.text(&set), @r"
        broker 1: 40 entries, each as it was captured
        broker 1: 40 entries, each as it was captured
          raft-partition/partitions/1/snapshots/25-1-156-7/000008.sst is not what Zeebe wrote: its checksum is another
        Set 20261123T014500Z is what was captured, but Zeebe's own checksums do not hold: the data was damaged before the backup.
        Hint: look at the disks of these brokers; a broker ignores such a snapshot when it starts, so try an earlier set with `zeebe-snap verify` before you rely on this one.
        ");
        insta::assert_snapshot!(serde_json::to_string(&members[1]).unwrap(), @r#"{"node_id":1,"entries":40,"differences":[],"zeebe_damage":[{"path":"raft-partition/partitions/1/snapshots/25-1-156-7/000008.sst","what":"differs"}],"error":null}"#);
        let gone = [member(true, false), member(false, true)];
        assert_eq!(Verdict::of(&gone), Verdict::Differs);
        assert_eq!(Verdict::of(&members[..1]), Verdict::Equal);
    }
}
