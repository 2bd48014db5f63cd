//! Streams that land in a thin pool: each becomes a thin volume of its own.
//!
//! What is about to land is made ahead, empty or as a snapshot of its base, with tags that say so. A stream is applied to it,
//! and then nobody can write to it any more; that all of it has landed is written last. So what is lacking anything of this
//! was cut. It is not active but for as long as somebody writes or reads it.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use super::attach::Reader;
use super::origin::{self, Kind};
use super::report::{Report, Row};
use super::standing::Place;
use super::stream::{Side, sends};
use super::{Lvm, lvchange, pool, tags};
use crate::action::{Action, Change, Stop};
use crate::cmd::{Cmd, System};
use crate::name::SnapName;
use crate::stream::blocks::apply::{ApplyError, Onto, apply};
use crate::stream::blocks::read;
use crate::stream::pipe::{Reads, Receiver};
use crate::stream::{Head, Landed, Landing, Part, Point, Shipment, Stream};
use crate::{Driver, Error, Label, Obstacle, Result, View, VolumeId};

impl Place {
    /// How one begins that will have the size that its stream says.
    fn make(&self, name: &SnapName, tags: &[String]) -> Cmd {
        let cmd = Cmd::new("lvcreate").args(["-y", "-ky", "-V", "1m", "-n"]);
        let cmd = tags::each(cmd.arg(self.name_of(name)), "--addtag", tags);
        cmd.arg("-T").arg(self.pool_lv())
    }

    /// How one begins that starts from what is called `base` in the group.
    fn snapshot(&self, name: &SnapName, tags: &[String], base: &str) -> Cmd {
        let cmd = Cmd::new("lvcreate").args(["-y", "-ky", "-prw", "-s", "-n"]);
        let cmd = tags::each(cmd.arg(self.name_of(name)), "--addtag", tags);
        cmd.arg(format!("{}/{base}", self.vg))
    }

    fn side(&self) -> Side {
        Side::Place(self.clone())
    }

    /// It is for who had it sent here to know.
    fn part_of_it(&self) -> Part {
        Part::default()
    }
}

/// Makes what is about to land.
#[derive(Debug)]
struct Prepare {
    place: Place,
    shipment: Shipment,
    label: Label,
}

impl Prepare {
    fn tags(&self, base: Option<&str>) -> Vec<String> {
        let Point { name, identity, .. } = &self.shipment.of;
        let place = &self.place.name;
        tags::of_landing(place, name.as_str(), identity, base, &self.label)
    }
}

impl Change for Prepare {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Prepare {
            place, shipment, ..
        } = self;
        let name = &shipment.of.name;
        let cmd = match &shipment.base {
            None => place.make(name, &self.tags(None)),
            Some(base) => {
                let report = Report::ask(sys, &place.vg)?;
                let row = place
                    .base(&report, base)
                    .ok_or_else(|| Error::State(place.no_base(base).what))?;
                place.snapshot(name, &self.tags(Some(&row.uuid)), &row.name)
            }
        };
        sys.run(&cmd)?;
        Ok(())
    }

    /// The uuid of the base is not known here, nor is it looked at whether it is called as where it comes from.
    fn lines(&self) -> Vec<String> {
        let Prepare {
            place, shipment, ..
        } = self;
        let (name, tags) = (&shipment.of.name, self.tags(None));
        let cmd = match &shipment.base {
            None => place.make(name, &tags),
            Some(base) => place.snapshot(name, &tags, &place.name_of(&base.name)),
        };
        vec![cmd.to_string()]
    }
}

/// Removes what landed under a name, or was cut.
#[derive(Debug)]
struct Remove {
    place: Place,
    name: SnapName,
}

impl Change for Remove {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let Remove { place, name } = self;
        let active = place.active(name);
        let report = Report::ask(sys, &place.vg)?;
        let Some(row) = report.named(&active.name) else {
            return Ok(());
        };
        if !place.has(row) {
            return Err(Error::State(format!(
                "{} has no mark of ours for {}; it was left",
                active.lv(),
                place.name
            )));
        }
        sys.run(&origin::remove(&active.lv()))?;
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let lv = self.place.active(&self.name).lv();
        vec![origin::remove(&lv).to_string()]
    }
}

/// The end that receives.
#[derive(Debug)]
struct Receiving {
    place: Place,
    shipment: Shipment,
}

impl fmt::Display for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let active = self.place.active(&self.shipment.of.name);
        let node = active.node();
        write!(f, "{} && dd of={}", active.cmd(), node.display())
    }
}

impl Reads for Receiving {
    fn read(&mut self, sys: &dyn System, from: File, stop: Stop<'_>) -> Result<()> {
        let Receiving { place, shipment } = self;
        let active = place.active(&shipment.of.name);
        let mut stream = read::Reader::new(BufReader::new(from)).map_err(ApplyError::Read)?;
        let header = stream.header();
        if header.of.identity != shipment.of.identity {
            return Err(Error::State(format!(
                "the stream is of {}, and not of {}; nothing was written",
                header.of.identity, shipment.of.identity
            )));
        }
        let report = Report::ask(sys, &place.vg)?;
        let row = report
            .named(&active.name)
            .filter(|row| place.has(row) && row.marks.landing.is_some() && !row.is_frozen())
            .ok_or_else(|| Error::State(format!("{} is not ready to receive", active.lv())))?;
        if row.size < header.device_size {
            let size = format!("{}b", header.device_size);
            let extend = Cmd::new("lvextend").args(["-q", "-L", &size]);
            sys.run(&extend.arg(active.lv()))?;
        }
        active.with(sys, |node| {
            let device = File::options().read(true).write(true).open(node);
            let mut device = device.map_err(Error::io("open", node))?;
            let onto = match &shipment.base {
                Some(base) => Onto::Base(&base.identity),
                None => Onto::Nothing,
            };
            apply(&mut stream, &mut device, onto, stop)?;
            Ok(())
        })?;
        sys.run(&lvchange(["-pr"], &active.lv()))?;
        Ok(())
    }
}

impl Landing for Place {
    fn id(&self) -> VolumeId {
        VolumeId {
            backend: Lvm.name().to_owned(),
            title: format!("{} in thin pool {}", self.name, self.pool_lv()),
            detail: serde_json::to_value(self).unwrap_or_default(),
        }
    }

    fn landed(&self, sys: &dyn System) -> Result<Vec<Landed>> {
        let report = Report::ask(sys, &self.vg)?;
        let landed = |row: &Row| self.ours(row).or_else(|| self.named(row));
        Ok(report.rows.iter().filter_map(landed).collect())
    }

    fn obstacles(
        &self,
        sys: &dyn System,
        shipment: &Shipment,
        bytes: Option<u64>,
    ) -> Result<Vec<Obstacle>> {
        if let Some(obstacle) = origin::name_obstacle(&self.vg) {
            return Ok(vec![obstacle]);
        }
        let report = Report::ask(sys, &self.vg)?;
        let lv = self.pool_lv();
        let Some(pool) = report.named(&self.pool).filter(|row| row.is_pool()) else {
            return Err(Error::State(format!("there is no thin pool {lv} any more")));
        };
        if !pool.is_active() {
            return Ok(vec![Obstacle {
                what: format!("thin pool {lv} is not active"),
                why: "nothing can be made in it then".to_owned(),
                todo: format!("lvchange -ay {lv}"),
            }]);
        }
        let mut found = Vec::new();
        let active = self.active(&shipment.of.name);
        if let Some(row) = report.named(&active.name) {
            found.push(Obstacle {
                what: format!("{} is there already ({})", active.lv(), row.uuid),
                why: "what is received has that name".to_owned(),
                todo: "receive under another name, or move away what is there".to_owned(),
            });
        }
        let base = shipment.base.as_ref();
        found.extend(
            base.filter(|base| self.base(&report, base).is_none())
                .map(|base| self.no_base(base)),
        );
        if !pool.zeroes() {
            found.push(Obstacle {
                what: format!("thin pool {lv} does not zero its chunks"),
                why: "what was in one before would be seen in what is received".to_owned(),
                todo: format!("lvchange -Zy {lv}"),
            });
        }
        found.extend(pool::in_pool(sys, &self.vg, pool)?);
        if let Some(bytes) = bytes {
            found.extend(pool::room_for_stream(&self.vg, pool, bytes));
        }
        Ok(found)
    }

    fn head(&self, first: &[u8]) -> Result<Head> {
        let stream = read::Reader::new(first).map_err(ApplyError::Read)?;
        let header = stream.header();
        let name = SnapName::try_from(header.of.name.clone())
            .map_err(|error| Error::State(format!("the block stream is of {error}")))?;
        Ok(Head {
            name,
            identity: header.of.identity.clone(),
            base: header.base.as_ref().map(|base| base.identity.clone()),
        })
    }

    fn prepare(&self, shipment: &Shipment, label: &Label) -> Vec<Action> {
        vec![Action::Change(Arc::new(Prepare {
            place: self.clone(),
            shipment: shipment.clone(),
            label: label.clone(),
        }))]
    }

    fn receive(&self, shipment: &Shipment) -> Receiver {
        Receiver::Own(Box::new(Receiving {
            place: self.clone(),
            shipment: shipment.clone(),
        }))
    }

    fn finish(&self, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Action>> {
        let lv = self.active(&shipment.of.name).lv();
        let wrong = |what: String| Err(Error::State(format!("{lv}: {what}")));
        let report = Report::ask(sys, &self.vg)?;
        let row = report.named(&self.name_of(&shipment.of.name));
        let Some(row) = row.filter(|row| self.has(row)) else {
            return wrong("the stream went through, and no such volume is there".to_owned());
        };
        let of = &shipment.of.identity;
        if row.marks.landing.as_ref() != Some(of) {
            let received = row.marks.landing.as_deref().unwrap_or("nothing");
            return wrong(format!("what was received is {received}, and not {of}"));
        }
        if !row.is_frozen() {
            return wrong("not all of the stream was applied".to_owned());
        }
        let base = match &shipment.base {
            Some(base) => match self.base(&report, base) {
                Some(row) => Some(row.uuid.clone()),
                None => return wrong(format!("its base {} is gone", base.name)),
            },
            None => None,
        };
        if row.marks.of != base {
            let [was, wanted] = [&row.marks.of, &base].map(|it| it.as_deref().unwrap_or("nothing"));
            return wrong(format!("it was made from {was}, and not from {wanted}"));
        }
        let seal = Cmd::new("lvchange")
            .args(["--deltag", &tags::landing(of)])
            .args(["--addtag", &tags::landed(of)]);
        Ok(vec![Action::Run(seal.arg(lv))])
    }

    fn abandon(&self, name: &SnapName) -> Vec<Action> {
        let (place, name) = (self.clone(), name.clone());
        vec![Action::Change(Arc::new(Remove { place, name }))]
    }

    fn destroy(&self, name: &SnapName) -> Vec<Action> {
        self.abandon(name)
    }

    fn view(&self, name: &SnapName, part: &Part) -> View {
        let reader = Reader {
            active: self.active(name),
            fstype: None,
            kind: Kind::Thin,
        };
        View::attached(Arc::new(reader), part.below.clone()).without(part.leave_out.clone())
    }

    fn stream(&self) -> Option<&dyn Stream> {
        Some(self)
    }
}

// What has landed is sent on, or back.
sends!(Place);

#[cfg(test)]
mod tests {
    use super::super::standing::point;
    use super::*;

    fn name(text: &str) -> SnapName {
        SnapName::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn prints_the_commands() {
        let place = Place::of("vg-0/pool/broker-0").unwrap();
        let shipment = |base: Option<&str>| Shipment {
            of: point(name("zeebe-snap-2"), "eMKadh-t45x".to_owned()),
            base: base.map(|base| point(name(base), "RIRiIf-5qut".to_owned())),
            resume: None,
        };
        let label = Label::from([("set".to_owned(), "2".to_owned())]);
        let mut all = place.prepare(&shipment(None), &label);
        all.extend(place.prepare(&shipment(Some("zeebe-snap-1")), &label));
        all.extend(place.abandon(&name("zeebe-snap-2")));
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        lvcreate -y -ky -V 1m -n zeebe-snap-2.broker-0 --addtag zeebe-snap.place=broker-0 --addtag zeebe-snap.snapshot=zeebe-snap-2 --addtag zeebe-snap.landing=eMKadh-t45x --addtag zeebe-snap.label:set=2 -T vg-0/pool
        lvcreate -y -ky -prw -s -n zeebe-snap-2.broker-0 --addtag zeebe-snap.place=broker-0 --addtag zeebe-snap.snapshot=zeebe-snap-2 --addtag zeebe-snap.landing=eMKadh-t45x --addtag zeebe-snap.label:set=2 vg-0/zeebe-snap-1.broker-0
        lvremove -y vg-0/zeebe-snap-2.broker-0
        ");
        insta::assert_snapshot!(place.receive(&shipment(None)).to_string(), @"lvchange -ay -K vg-0/zeebe-snap-2.broker-0 && dd of=/dev/vg-0/zeebe-snap-2.broker-0");
        let view = place.view(&name("zeebe-snap-2"), &Part::default());
        insta::assert_snapshot!(view.to_string(), @"/mnt/ (lvchange -ay -K vg-0/zeebe-snap-2.broker-0 && mount -o ro /dev/vg-0/zeebe-snap-2.broker-0 /mnt)");
    }
}
