//! A dataset below which streams land: what is received is the dataset `volume` in it, which is never mounted.
//!
//! What is about to land is written down on the dataset around, in a property, before the first byte flows; a snapshot that
//! landed has its label when it is whole, and that property goes then. What has no label and was written down was cut. Nothing
//! is ever overwritten: `zfs receive` runs without `-F`, and starts only from the newest snapshot.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::line::{LABEL, json, named};
use super::snapshots::Beside;
use super::standing::{self, AHEAD, Ahead, Seen, There};
use super::stream;
use super::tell::{self, number};
use super::{Zfs, zfs};
use crate::action::{Action, Change, Stop};
use crate::cmd::{Cmd, System, quote};
use crate::name::SnapName;
use crate::stream::pipe::{Receiver, Sender};
use crate::stream::{Head, Landed, Landing, Part, Point, Shipment, Stream, Whole};
use crate::{Driver, Error, Label, Obstacle, Result, View, VolumeId};

/// The kernel has a folder in it for each pool that is imported (module/os/linux/spl/spl-kstat.c, spa_stats.c).
const POOLS: &str = "/proc/spl/kstat/zfs";

/// The dataset around.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Place {
    around: String,
}

impl Place {
    pub fn new(around: &str) -> Place {
        Place {
            around: around.to_owned(),
        }
    }

    fn pool(&self) -> &str {
        self.around.split('/').next().unwrap_or_default()
    }

    /// Whether it is the name of a dataset, there or not, of a pool that is there.
    pub fn is_of_a_pool(&self) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:/ ".contains(c);
        let parts_fit = self
            .around
            .split('/')
            .all(|part| !part.is_empty() && part != "..");
        let begins = self.around.starts_with(|c: char| c.is_ascii_alphabetic());
        begins
            && parts_fit
            && self.around.chars().all(fits)
            && Path::new(POOLS).join(self.pool()).is_dir()
    }

    fn volume(&self) -> String {
        format!("{}/volume", self.around)
    }

    fn full(&self, name: &SnapName) -> String {
        format!("{}@{name}", self.volume())
    }

    fn look(&self, sys: &dyn System) -> Result<Seen> {
        standing::look(sys, &self.around, &self.volume())
    }

    fn write_ahead(&self, ahead: &Ahead) -> Cmd {
        let property = named(AHEAD, ahead.name.as_str());
        zfs(["set"])
            .arg(format!("{property}={}", json(ahead)))
            .arg(&self.around)
    }

    fn forget_ahead(&self, name: &SnapName) -> Cmd {
        zfs(["inherit"])
            .arg(named(AHEAD, name.as_str()))
            .arg(&self.around)
    }

    /// Nobody writes to it, so nothing is lost.
    fn back_to(&self, name: &str) -> Cmd {
        zfs(["rollback"]).arg(format!("{}@{name}", self.volume()))
    }

    /// Makes it, if it is not there.
    fn make(&self) -> Cmd {
        zfs([
            "create",
            "-p",
            "-o",
            "canmount=off",
            "-o",
            "mountpoint=none",
        ])
        .arg(&self.around)
    }
}

/// Removes what landed under a name, or was cut; and the dataset itself with the last.
#[derive(Debug)]
struct Remove {
    place: Place,
    name: SnapName,
}

impl Change for Remove {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Remove { place, name } = self;
        let seen = place.look(sys)?;
        let ahead = seen.ahead.iter().find(|ahead| ahead.name == *name);
        let there = seen.snapshots.iter().find(|it| it.name == name.as_str());
        let is_ours =
            |it: &There| it.label.is_some() || ahead.is_some_and(|ahead| ahead.of == it.guid);
        let volume = place.volume();
        if let Some(it) = there {
            if !is_ours(it) {
                return Err(Error::State(format!(
                    "{} is not ours: it stays",
                    place.full(name)
                )));
            }
            sys.run(&zfs(["destroy"]).arg(place.full(name)))?;
            // What was in it is still in the dataset, and a stream starts only from what its newest snapshot has.
            if let [.., before, last] = &seen.snapshots[..]
                && last.name == name.as_str()
            {
                sys.run(&place.back_to(&before.name))?;
            }
        } else if ahead.is_some() && seen.token.is_some() {
            sys.run(&zfs(["receive", "-A"]).arg(&volume))?;
        }
        let seen = place.look(sys)?;
        if seen.volume == Some(true) && seen.snapshots.is_empty() && seen.token.is_none() {
            sys.run(&zfs(["destroy"]).arg(&volume))?;
        }
        if ahead.is_some() {
            sys.run(&place.forget_ahead(name))?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let destroy = zfs(["destroy"]).arg(self.place.full(&self.name));
        vec![
            destroy.to_string(),
            self.place.forget_ahead(&self.name).to_string(),
        ]
    }
}

impl Landing for Place {
    fn id(&self) -> VolumeId {
        VolumeId {
            backend: Zfs.name().to_owned(),
            title: format!("zfs dataset {}", self.around),
            detail: serde_json::to_value(self).unwrap_or_default(),
        }
    }

    fn landed(&self, sys: &dyn System) -> Result<Vec<Landed>> {
        Ok(self.look(sys)?.landed())
    }

    fn obstacles(
        &self,
        sys: &dyn System,
        shipment: &Shipment,
        bytes: Option<u64>,
    ) -> Result<Vec<Obstacle>> {
        let seen = self.look(sys)?;
        let mut found = Vec::new();
        let volume = self.volume();
        let newest = seen.snapshots.last();
        let is_newest = |base: &Point| newest.is_some_and(|it| it.guid == base.identity);
        match &shipment.base {
            Some(base) if !is_newest(base) => found.push(Obstacle {
                what: match newest {
                    None => format!("the base {} ({}) is not in {volume}", base.name, base.identity),
                    Some(it) => format!("the newest snapshot of {volume} is {}, and not {}", it.name, base.name),
                },
                why: "a stream can start from the newest only".to_owned(),
                todo: "send another one, or all of it to another place".to_owned(),
            }),
            None if seen.volume.is_some() && shipment.resume.is_none() => found.push(Obstacle {
                what: format!("the dataset {volume} is there already"),
                why: "nothing in it is known to both sides, so all would have to be sent, and nothing is overwritten".to_owned(),
                todo: format!("receive elsewhere, or: zfs destroy -r {}", quote(volume.as_ref())),
            }),
            _ => {}
        }
        if let Some(it) = seen
            .snapshots
            .iter()
            .find(|it| it.name == shipment.of.name.as_str())
        {
            found.push(Obstacle {
                what: format!(
                    "{} is there already ({})",
                    self.full(&shipment.of.name),
                    it.guid
                ),
                why: "what is received has that name".to_owned(),
                todo: "receive elsewhere, or move away what is there".to_owned(),
            });
        }
        if let Some(bytes) = bytes {
            found.extend(self.no_room(sys, &seen, bytes)?);
        }
        Ok(found)
    }

    fn head(&self, first: &[u8]) -> Result<Head> {
        stream::head(first)
    }

    fn prepare(&self, shipment: &Shipment, label: &Label) -> Vec<Action> {
        let ahead = Ahead {
            name: shipment.of.name.clone(),
            of: shipment.of.identity.clone(),
            label: label.clone(),
        };
        vec![
            Action::Run(self.make()),
            Action::Run(self.write_ahead(&ahead)),
        ]
    }

    fn receive(&self, shipment: &Shipment) -> Receiver {
        let cmd = zfs(["receive", "-s", "-u", "-x", "mountpoint"]);
        // Without these two its ACLs would not be seen: they are not in the stream.
        let set = [
            "acltype=posix",
            "xattr=sa",
            "readonly=on",
            "canmount=noauto",
        ];
        let set = set.iter().chain(&["zeebe-snap:landed=yes"]);
        let cmd = set.fold(cmd, |cmd, set| cmd.args(["-o", set]));
        Receiver::Tool(cmd.arg(self.full(&shipment.of.name)))
    }

    fn finish(&self, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Action>> {
        let (name, full) = (&shipment.of.name, self.full(&shipment.of.name));
        let wrong = |what: String| Err(Error::State(format!("{full}: {what}")));
        let seen = self.look(sys)?;
        let Some(at) = seen
            .snapshots
            .iter()
            .position(|it| it.name == name.as_str())
        else {
            return wrong("the stream went through, and no snapshot is there".to_owned());
        };
        let it = &seen.snapshots[at];
        if it.guid != shipment.of.identity {
            return wrong(format!(
                "what was received is {}, and not {}",
                it.guid, shipment.of.identity
            ));
        }
        let before = at.checked_sub(1).and_then(|at| seen.snapshots.get(at));
        let before = before.map(|it| it.guid.as_str());
        let base = shipment.base.as_ref().map(|base| base.identity.as_str());
        // One that was gone on with says nothing of its base.
        if before != base && shipment.resume.is_none() {
            let [was, wanted] = [before, base].map(|it| it.unwrap_or("nothing"));
            return wrong(format!("it was made from {was}, and not from {wanted}"));
        }
        let Some(ahead) = seen.ahead.iter().find(|ahead| ahead.name == *name) else {
            return wrong("nothing is written down of it".to_owned());
        };
        let label = zfs(["set"])
            .arg(format!("{LABEL}={}", json(&ahead.label)))
            .arg(full);
        Ok(vec![
            Action::Run(label),
            Action::Run(self.forget_ahead(name)),
        ])
    }

    fn abandon(&self, name: &SnapName) -> Vec<Action> {
        let (place, name) = (self.clone(), name.clone());
        vec![Action::Change(Arc::new(Remove { place, name }))]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        self.abandon(name)
    }

    fn view(&self, name: &SnapName, part: &Part) -> View {
        View::attached(Arc::new(Beside(self.full(name))), part.below.clone())
            .without(part.leave_out.clone())
    }

    fn stream(&self) -> Option<&dyn Stream> {
        Some(self)
    }
}

impl Place {
    fn no_room(&self, sys: &dyn System, seen: &Seen, bytes: u64) -> Result<Option<Obstacle>> {
        let (dataset, free) = match seen.around {
            Some(free) => (self.around.as_str(), free),
            None => {
                let told = tell::get(sys, &["available"], &["--", self.pool()])?;
                let free = told.first().map_or(0, |(_, all)| number(all, "available"));
                (self.pool(), free)
            }
        };
        Ok((free < bytes).then(|| Obstacle {
            what: format!(
                "{dataset} has room for {} MiB, and about {} MiB will come",
                free >> 20,
                bytes >> 20
            ),
            why: "a stream that finds no room is cut".to_owned(),
            todo: "make room there, or receive elsewhere".to_owned(),
        }))
    }
}

/// What has landed is sent on, or back.
impl Stream for Place {
    fn points(&self, sys: &dyn System) -> Result<Vec<Point>> {
        let landed = self.look(sys)?.landed().into_iter();
        let ours = landed.filter(|it| it.label.is_some() && !matches!(it.whole, Whole::Cut { .. }));
        Ok(ours.map(|it| it.point).collect())
    }

    /// It is for who had it sent here to know.
    fn part(&self) -> Part {
        Part::default()
    }

    fn obstacles(&self, _: &dyn System, _: &Shipment) -> Result<Vec<Obstacle>> {
        Ok(Vec::new()) // as of a volume
    }

    fn estimate(&self, sys: &dyn System, shipment: &Shipment) -> Result<Option<u64>> {
        stream::estimate(sys, &self.volume(), shipment)
    }

    fn send(&self, shipment: &Shipment) -> Sender {
        Sender::Tool(stream::send(&self.volume(), shipment))
    }
}

#[cfg(test)]
mod tests {
    use super::standing::point;
    use super::*;

    fn name(text: &str) -> SnapName {
        SnapName::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn prints_the_commands() {
        let place = Place::new("tank/sets/broker 0");
        let shipment = Shipment {
            of: point(name("zeebe-snap-2"), "12".to_owned()),
            base: Some(point(name("zeebe-snap-1"), "11".to_owned())),
            resume: None,
        };
        let mut all = place.prepare(&shipment, &Label::new());
        all.extend(place.abandon(&shipment.of.name));
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        zfs create -p -o canmount=off -o mountpoint=none 'tank/sets/broker 0'
        zfs set 'zeebe-snap:ahead.zeebe-snap-2={"name":"zeebe-snap-2","of":"12","label":{}}' 'tank/sets/broker 0'
        zfs destroy 'tank/sets/broker 0/volume@zeebe-snap-2'
        zfs inherit zeebe-snap:ahead.zeebe-snap-2 'tank/sets/broker 0'
        "#);
        insta::assert_snapshot!(place.receive(&shipment).to_string(), @r"zfs receive -s -u -x mountpoint -o acltype=posix -o xattr=sa -o readonly=on -o canmount=noauto -o zeebe-snap:landed=yes 'tank/sets/broker 0/volume@zeebe-snap-2'");
    }
}
