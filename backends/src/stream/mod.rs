//! Streams: a snapshot's way from one volume to another.
//!
//! Three things take part. A [`Stream`] is the side that has snapshots and sends them; a volume gives one, and so may a place
//! where streams land. A [`Landing`] is such a place: a folder of another btrfs, a dataset of another pool, a thin pool. The
//! [`pipe`] runs the two ends of one stream. Neither side looks at the other: what they know of each other are [`Point`]s and
//! [`Landed`]s, values that can be sent to another host.
//!
//! [`agree`] is the whole of the decision, and pure. [`ship`] does all of it on one host.
//!
//! # The order of things
//! 1. Ask both sides: [`Stream::points`], [`Landing::landed`]. Decide: [`agree`].
//! 2. [`Landing::abandon`] what was cut and cannot be gone on with.
//! 3. [`Stream::obstacles`], [`Landing::obstacles`]: refuse.
//! 4. [`Landing::prepare`], durably: from here on what lands there is ours.
//! 5. [`pipe::run`] of [`Stream::send`] and [`Landing::receive`].
//! 6. [`Landing::finish`]: the system is asked what has landed, from which base. Only then does it count.
//! 7. [`Stream::mark`]: it stays a base for what is sent there later.
//!
//! What is cut anywhere from 4 to 6 is [`Landed`] as [`Whole::Cut`] and never as anything else.
//!
//! Must not know what a stream consists of, nor sets.

pub mod blocks;
pub mod kind;
pub mod pipe;
mod ship;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::cmd::System;
use crate::name::SnapName;
use crate::{Label, Obstacle, Result, Snapshot, View, VolumeId};
use pipe::{Receiver, Sender};

pub use ship::{Shipped, ship};

/// One frozen state of a volume, as both sides of a stream know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Its name: the same on both sides, for people and for the tools. It decides nothing.
    pub name: SnapName,
    /// What both sides know it by, however often it is sent on: the guid of ZFS, the uuid of the btrfs subvolume that was
    /// sent first, the uuid of the logical volume that was.
    pub identity: String,
    /// Whether the state itself is there, or only what is needed to start from it.
    #[serde(default)]
    pub form: Form,
}

/// What is there of a [`Point`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// All of it: it can be sent, and be a base.
    #[default]
    Snapshot,
    /// A mark, as ZFS keeps: it can be a base.
    Bookmark,
}

impl Point {
    /// Of a snapshot that was not itself received.
    pub fn of(snapshot: &Snapshot) -> Point {
        Point {
            name: snapshot.name.clone(),
            identity: snapshot.identity.clone(),
            form: Form::Snapshot,
        }
    }
}

/// One stream, as both sides agree on it before it flows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    /// What is sent.
    pub of: Point,
    /// What both sides have and it starts from; `None` sends all of it.
    pub base: Option<Point>,
    /// What the landing gave so that a stream that was cut goes on from there.
    pub resume: Option<String>,
}

/// Where in what is sent the data directory is. Whoever brings it back has to know; a stream does not say it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Part {
    /// The path below the root of it; empty is the root itself.
    pub below: PathBuf,
    /// Names in the data directory that are not the data's.
    pub leave_out: Vec<OsString>,
}

/// The side that sends.
pub trait Stream: fmt::Debug {
    /// What it can send or start from, oldest first in the system's own order. Only what is ours: a base that somebody else
    /// may take away is none.
    fn points(&self, sys: &dyn System) -> Result<Vec<Point>>;

    /// Where the data directory is in what is sent.
    fn part(&self) -> Part;

    /// What stands in the way of sending; empty is good.
    fn obstacles(&self, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Obstacle>>;

    /// How many bytes will flow, as near as can be told in short time; `None` where it cannot.
    fn estimate(&self, sys: &dyn System, shipment: &Shipment) -> Result<Option<u64>>;

    /// The end that writes.
    fn send(&self, shipment: &Shipment) -> Sender;

    /// What lets later streams to the place `to` start from `of`, which has landed there, also when its snapshot has gone. To
    /// be done again is not an error.
    fn mark(&self, _of: &Point, _to: &VolumeId) -> Vec<Action> {
        Vec::new()
    }
}

/// A place where streams are received, and the side that receives. It is for the snapshots of one volume.
pub trait Landing: fmt::Debug + Send + Sync {
    /// What names it, to be opened again with no look at the system ([`open_landing`]).
    fn id(&self) -> VolumeId;

    /// All that stands there under a [`SnapName`], ours and others', whole and cut.
    fn landed(&self, sys: &dyn System) -> Result<Vec<Landed>>;

    /// What stands in the way of receiving `shipment`, of which about `bytes` will flow: the name is taken, the base is not
    /// what it was, there is no room.
    fn obstacles(
        &self,
        sys: &dyn System,
        shipment: &Shipment,
        bytes: Option<u64>,
    ) -> Result<Vec<Obstacle>>;

    /// What a stream that comes from elsewhere says of itself in its first [`HEAD`] bytes, or in all it has.
    fn head(&self, first: &[u8]) -> Result<Head>;

    /// What is done ahead, durably, so that what lands there is known to be ours, with its label. With
    /// [`Shipment::resume`], what was done then.
    fn prepare(&self, shipment: &Shipment, label: &Label) -> Vec<Action>;

    /// The end that reads.
    fn receive(&self, shipment: &Shipment) -> Receiver;

    /// After both ends ended well: asks the system what has landed, and refuses it where it is not what was agreed on, or was
    /// made from another base. Gives what makes it durable and whole.
    fn finish(&self, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Action>>;

    /// Removes what a receive that was cut left behind; nothing to do is not an error. The caller has seen that it is ours.
    fn abandon(&self, name: &SnapName) -> Vec<Action>;

    /// Removes what is whole. The caller has seen that it is ours.
    fn destroy(&self, name: &SnapName) -> Vec<Action>;

    /// How what has landed is read.
    fn view(&self, name: &SnapName, part: &Part) -> View;

    /// Sends what has landed on, or back.
    fn stream(&self) -> Option<&dyn Stream> {
        None
    }
}

/// How many bytes of a stream are enough to know what it is.
pub const HEAD: usize = 1 << 16;

/// What a stream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The name of what it is of.
    pub name: SnapName,
    /// The identity of that.
    pub identity: String,
    /// The identity of what it starts from.
    pub base: Option<String>,
}

impl Head {
    /// The shipment that it is, to a landing that has `landed`.
    pub fn shipment(self, landed: &[Landed]) -> Shipment {
        let point = |name, identity| Point {
            name,
            identity,
            form: Form::Snapshot,
        };
        let named = |identity: String| {
            let there = landed.iter().find(|it| it.point.identity == identity);
            // One that is not there has no name here; its identity will do, and if not that, anything: it is refused.
            let name = match there {
                Some(it) => it.point.name.clone(),
                None => SnapName::try_from(identity.clone()).unwrap_or(self.name.clone()),
            };
            point(name, identity)
        };
        Shipment {
            base: self.base.map(named),
            of: point(self.name, self.identity),
            resume: None,
        }
    }
}

/// What stands in a [`Landing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// What it is, by what it was sent as.
    pub point: Point,
    /// Its label, if it is ours; `None` is somebody else's: never a base, and never removed.
    pub label: Option<Label>,
    /// Whether all of it is there.
    pub whole: Whole,
}

/// Whether all of what was sent has landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whole {
    /// All of it, durably, and it can be a base.
    Base,
    /// All of it, durably; a stream cannot start from it (for ZFS: it is not the newest).
    Whole,
    /// It was cut, or was never begun.
    Cut {
        /// With this it can be gone on with.
        resume: Option<String>,
    },
}

/// What two sides have agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreement {
    /// It has landed already, whole.
    Landed,
    /// This is to be sent. What is named is abandoned first.
    Send(Shipment, Vec<SnapName>),
    /// It cannot be.
    Refused(Obstacle),
}

/// How `of` gets from a side that has `points` to a landing that has `landed`.
///
/// The base is chosen by identity: the latest of `points` before `of` that is ours on both sides. Names and times decide
/// nothing, but a name that is taken there refuses.
pub fn agree(of: &Point, points: &[Point], landed: &[Landed]) -> Agreement {
    let refused = |what: String, why: &str, todo: &str| {
        Agreement::Refused(Obstacle {
            what,
            why: why.to_owned(),
            todo: todo.to_owned(),
        })
    };
    let Some(place) = points
        .iter()
        .position(|point| point == of && point.form == Form::Snapshot)
    else {
        return refused(
            format!("the snapshot {} ({}) is not there", of.name, of.identity),
            "only what is there and ours can be sent",
            "send another one",
        );
    };
    let ours = |landed: &&Landed| landed.label.is_some();
    let whole = |landed: &&Landed| !matches!(landed.whole, Whole::Cut { .. });
    let is = |point: &Point, landed: &Landed| landed.point.identity == point.identity;
    if landed
        .iter()
        .filter(ours)
        .filter(whole)
        .any(|it| is(of, it))
    {
        return Agreement::Landed;
    }
    let base = points[..place].iter().rev().find(|point| {
        let bases = landed.iter().filter(ours);
        bases
            .filter(|landed| landed.whole == Whole::Base)
            .any(|landed| is(point, landed))
    });
    let mut abandon = Vec::new();
    let mut resume = None;
    for cut in landed.iter().filter(ours).filter(|it| !whole(it)) {
        match &cut.whole {
            Whole::Cut {
                resume: Some(token),
            } if is(of, cut) => resume = Some(token.clone()),
            _ => abandon.push(cut.point.name.clone()),
        }
    }
    let taken = |it: &&Landed| it.point.name == of.name && !abandon.contains(&it.point.name);
    if resume.is_none()
        && let Some(other) = landed.iter().find(taken)
    {
        return refused(
            format!(
                "there is something else called {}: {}",
                of.name, other.point.identity
            ),
            "it is not what is to be sent, and nothing is overwritten",
            "receive it elsewhere, or move away what is there",
        );
    }
    let shipment = Shipment {
        of: of.clone(),
        base: base.cloned(),
        resume,
    };
    Agreement::Send(shipment, abandon)
}

/// The landing that `place` names: a path, or the name of a dataset or volume group as its backend has it. `BACKEND:NAME` asks
/// that backend alone. Reads only.
pub fn landing(sys: &dyn System, place: &str) -> Result<Option<Box<dyn Landing>>> {
    let (only, place) = match place.split_once(':') {
        Some((backend, name)) if crate::driver(backend).is_some() => (Some(backend), name),
        _ => (None, place),
    };
    for driver in crate::DRIVERS {
        if only.is_none_or(|name| name == driver.name())
            && let Some(landing) = driver.landing(sys, place)?
        {
            return Ok(Some(landing));
        }
    }
    Ok(None)
}

/// The landing that `id` names. Looks at nothing.
pub fn open_landing(id: &VolumeId) -> Result<Box<dyn Landing>> {
    crate::driver(&id.backend)
        .ok_or_else(|| crate::Error::Id {
            backend: id.backend.clone(),
            why: "no such backend".to_owned(),
        })?
        .open_landing(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, identity: &str) -> Point {
        Point {
            name: SnapName::try_from(name.to_owned()).unwrap(),
            identity: identity.to_owned(),
            form: Form::Snapshot,
        }
    }

    fn landed(name: &str, identity: &str, whole: Whole) -> Landed {
        Landed {
            point: point(name, identity),
            label: Some(Label::new()),
            whole,
        }
    }

    fn points() -> [Point; 3] {
        [point("s1", "A"), point("s2", "B"), point("s3", "C")]
    }

    fn agreed(landed: &[Landed]) -> (Option<String>, Option<String>, Vec<String>) {
        match agree(&points()[2], &points(), landed) {
            Agreement::Send(shipment, abandon) => (
                shipment.base.map(|base| base.identity),
                shipment.resume,
                abandon.into_iter().map(String::from).collect(),
            ),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_latest_that_both_sides_have_is_the_base() {
        let base = |landed: &[Landed]| agreed(landed).0;
        assert_eq!(base(&[]), None);
        let (a, b) = (
            landed("s1", "A", Whole::Base),
            landed("s2", "B", Whole::Base),
        );
        assert_eq!(base(&[b.clone(), a.clone()]).as_deref(), Some("B"));
        assert_eq!(base(std::slice::from_ref(&a)).as_deref(), Some("A"));
        // What it is called there is all the same.
        assert_eq!(base(&[landed("x", "B", Whole::Base)]).as_deref(), Some("B"));
        assert_eq!(base(&[landed("s2", "other", Whole::Base)]), None);
        // Somebody else's, one that cannot be a base, one that was cut.
        let theirs = Landed { label: None, ..b };
        assert_eq!(base(&[theirs, a]).as_deref(), Some("A"));
        assert_eq!(base(&[landed("s2", "B", Whole::Whole)]), None);
        assert_eq!(
            base(&[landed("s2", "B", Whole::Cut { resume: None })]),
            None
        );
    }

    #[test]
    fn what_was_cut_is_gone_on_with_or_abandoned() {
        let cut = |identity: &str, token: Option<&str>| {
            landed(
                "s3",
                identity,
                Whole::Cut {
                    resume: token.map(str::to_owned),
                },
            )
        };
        assert_eq!(
            agreed(&[cut("C", None)]),
            (None, None, vec!["s3".to_owned()])
        );
        assert_eq!(
            agreed(&[cut("C", Some("token"))]),
            (None, Some("token".to_owned()), vec![])
        );
        assert_eq!(
            agreed(&[cut("D", Some("token"))]),
            (None, None, vec!["s3".to_owned()])
        );
    }

    #[test]
    fn what_has_landed_is_not_sent_and_nothing_is_overwritten() {
        let agree = |landed: Landed| agree(&points()[2], &points(), &[landed]);
        assert_eq!(agree(landed("s3", "C", Whole::Base)), Agreement::Landed);
        assert_eq!(agree(landed("s9", "C", Whole::Whole)), Agreement::Landed);
        let refused = |landed| matches!(agree(landed), Agreement::Refused(_));
        assert!(refused(landed("s3", "D", Whole::Base)));
        let theirs = |whole| Landed {
            label: None,
            ..landed("s3", "C", whole)
        };
        assert!(refused(theirs(Whole::Base)));
        assert!(refused(theirs(Whole::Cut { resume: None })));
    }

    #[test]
    fn what_is_not_there_cannot_be_sent() {
        let gone = point("s3", "D");
        let bookmark = Point {
            form: Form::Bookmark,
            ..point("s4", "E")
        };
        for of in [&gone, &bookmark] {
            let points = [point("s3", "C"), bookmark.clone()];
            assert!(matches!(agree(of, &points, &[]), Agreement::Refused(_)));
        }
    }
}
