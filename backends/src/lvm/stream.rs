//! Snapshots of a thin volume, sent as a block stream: what is mapped of one, or what differs between two.
//!
//! What is to be sent is read from the metadata of the pool first, and then from the snapshot itself, which is activated for
//! it. Chunks that were discarded since the base are zero. Must not know where a stream goes.

use std::fmt;
use std::fs::File;
use std::io::BufWriter;

use super::active::Active;
use super::metadata::Metadata;
use super::origin::Origin;
use super::report::{Report, Row};
use super::standing::Place;
use crate::action::Stop;
use crate::cmd::System;
use crate::stream::blocks::delta::Changes;
use crate::stream::blocks::{self, Header, Holds};
use crate::stream::pipe::{Sender, Writes};
use crate::stream::{Point, Shipment};
use crate::{Error, Obstacle, Result};

/// Who has them.
#[derive(Debug, Clone)]
pub enum Side {
    Volume(Origin),
    Place(Place),
}

/// What a shipment is of, as LVM knows it.
struct Found<'r> {
    of: &'r Row,
    base: Option<&'r Row>,
    metadata: Metadata,
    pool: &'r Row,
}

impl Side {
    fn vg(&self) -> &str {
        match self {
            Side::Volume(origin) => &origin.vg,
            Side::Place(place) => &place.vg,
        }
    }

    /// The full name of what is sent as `point`.
    fn lv(&self, point: &Point) -> String {
        let name = match self {
            Side::Volume(origin) => origin.name_of(point.name.as_str()),
            Side::Place(place) => place.name_of(&point.name),
        };
        format!("{}/{name}", self.vg())
    }

    fn point(&self, row: &Row) -> Option<Point> {
        match self {
            Side::Volume(origin) => {
                let snapshot = origin.snapshot_in(row).filter(|it| it.label.is_some())?;
                Some(Point::of(&snapshot))
            }
            Side::Place(place) => place.whole(row),
        }
    }

    /// What can be sent, oldest first: a volume has the number of the change to the pool that made it.
    fn all<'r>(&self, report: &'r Report) -> Vec<(Point, &'r Row)> {
        let rows = report.rows.iter().filter(|row| row.is_thin());
        let mut all: Vec<_> = rows
            .filter_map(|row| Some((self.point(row)?, row)))
            .collect();
        all.sort_by_key(|(_, row)| row.transaction);
        all
    }

    /// What `shipment` is of; or why it cannot be sent.
    fn find<'r>(
        &self,
        report: &'r Report,
        shipment: &Shipment,
    ) -> Result<Found<'r>, Vec<Obstacle>> {
        let all = self.all(report);
        let gone = |point: &Point| Obstacle {
            what: format!(
                "the snapshot {} is not what it was, or is gone",
                self.lv(point)
            ),
            why: format!("{} was to be sent, or started from", point.name),
            todo: "look at the snapshots again, and send another one".to_owned(),
        };
        let find = |point: &Point| {
            let found = all.iter().find(|(it, _)| it == point);
            found.map(|(_, row)| *row).ok_or_else(|| gone(point))
        };
        let (of, base) = match (
            find(&shipment.of),
            shipment.base.as_ref().map(find).transpose(),
        ) {
            (Ok(of), Ok(base)) => (of, base),
            (of, base) => return Err(of.err().into_iter().chain(base.err()).collect()),
        };
        let pool = of.pool.as_deref().and_then(|name| report.named(name));
        let pool = pool.ok_or_else(|| vec![gone(&shipment.of)])?;
        if let Some(other) = reads_from(report, of) {
            return Err(vec![Obstacle {
                what: format!(
                    "{} reads what was never written to it from {}/{}, its external origin",
                    self.lv(&shipment.of),
                    self.vg(),
                    other.name
                ),
                why: "the pool knows nothing of that, so the stream would lack it".to_owned(),
                todo: "send an archive, or a copy of the tree: zeebe-snap tree clone".to_owned(),
            }]);
        }
        let metadata = Metadata {
            vg: self.vg().to_owned(),
            pool: pool.name.clone(),
        };
        Ok(Found {
            of,
            base,
            metadata,
            pool,
        })
    }
}

/// What is outside of the pool and is read through a volume in it, by what they are snapshots of.
fn reads_from<'r>(report: &'r Report, mut row: &'r Row) -> Option<&'r Row> {
    loop {
        let origin = report.of(row.origin.as_deref()?)?;
        if origin.pool != row.pool {
            return Some(origin);
        }
        row = origin;
    }
}

fn whole<'r>(side: &Side, report: &'r Report, shipment: &Shipment) -> Result<Found<'r>> {
    let found = side.find(report, shipment);
    found.map_err(|obstacles| {
        let all: Vec<String> = obstacles.into_iter().map(|it| it.what).collect();
        Error::State(all.join("; "))
    })
}

pub fn points(side: &Side, sys: &dyn System) -> Result<Vec<Point>> {
    let report = Report::ask(sys, side.vg())?;
    let all = side.all(&report).into_iter();
    Ok(all.map(|(point, _)| point).collect())
}

pub fn obstacles(side: &Side, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Obstacle>> {
    let report = Report::ask(sys, side.vg())?;
    match side.find(&report, shipment) {
        Ok(found) => found.metadata.obstacles(sys, found.pool),
        Err(obstacles) => Ok(obstacles),
    }
}

/// What is mapped and is zero does not flow, and is counted: it is not looked for.
pub fn estimate(side: &Side, sys: &dyn System, shipment: &Shipment) -> Result<u64> {
    let report = Report::ask(sys, side.vg())?;
    let found = whole(side, &report, shipment)?;
    let changes = found.metadata.changes(sys, found.of, found.base)?;
    let data = changes.extents.iter().filter(|it| it.holds == Holds::Data);
    Ok(blocks::AROUND + data.map(|it| it.length).sum::<u64>())
}

pub fn send(side: Side, shipment: &Shipment) -> Sender {
    Sender::Own(Box::new(Sending {
        side,
        shipment: shipment.clone(),
    }))
}

/// The end that sends.
#[derive(Debug)]
struct Sending {
    side: Side,
    shipment: Shipment,
}

/// The names are in place of the numbers in the pool.
impl fmt::Display for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.side.lv(&self.shipment.of);
        match &self.shipment.base {
            Some(base) => write!(f, "thin_delta -m {} {of}", self.side.lv(base)),
            None => write!(f, "thin_dump -m {of}"),
        }
    }
}

impl Writes for Sending {
    fn write(&mut self, sys: &dyn System, to: File, stop: Stop<'_>) -> Result<()> {
        let report = Report::ask(sys, self.side.vg())?;
        let found = whole(&self.side, &report, &self.shipment)?;
        let active = Active {
            vg: found.metadata.vg.clone(),
            name: found.of.name.clone(),
        };
        active.with(sys, |node| {
            let changes = found.metadata.changes(sys, found.of, found.base)?;
            let header = self.header(&found, &changes);
            let device = File::open(node).map_err(Error::io("open", node))?;
            let to = BufWriter::new(to);
            let sent = blocks::write::send(&device, changes.extents, &header, to, stop);
            sent.map_err(Error::io("read", node))?;
            Ok(())
        })
    }
}

impl Sending {
    fn header(&self, found: &Found<'_>, changes: &Changes) -> Header {
        let pool = format!("{}/{}", found.metadata.vg, found.pool.name);
        let volume = |point: &Point, row: &Row| blocks::Volume {
            name: point.name.as_str().to_owned(),
            identity: point.identity.clone(),
            pool: pool.clone(),
            thin_id: row.thin_id.unwrap_or_default(),
        };
        let base = self.shipment.base.as_ref().zip(found.base);
        Header {
            of: volume(&self.shipment.of, found.of),
            base: base.map(|(point, row)| volume(point, row)),
            device_size: found.of.size,
            chunk_size: changes.chunk_size,
        }
    }
}

/// What all sides do alike: each says who it is, and what part of it the data is.
macro_rules! sends {
    ($type:ty) => {
        impl crate::Stream for $type {
            fn points(&self, sys: &dyn System) -> Result<Vec<crate::stream::Point>> {
                super::stream::points(&self.side(), sys)
            }

            fn part(&self) -> crate::stream::Part {
                self.part_of_it()
            }

            fn obstacles(
                &self,
                sys: &dyn System,
                shipment: &crate::stream::Shipment,
            ) -> Result<Vec<Obstacle>> {
                super::stream::obstacles(&self.side(), sys, shipment)
            }

            fn estimate(
                &self,
                sys: &dyn System,
                shipment: &crate::stream::Shipment,
            ) -> Result<Option<u64>> {
                super::stream::estimate(&self.side(), sys, shipment).map(Some)
            }

            fn send(&self, shipment: &crate::stream::Shipment) -> crate::stream::pipe::Sender {
                super::stream::send(self.side(), shipment)
            }
        }
    };
}
pub(super) use sends;
