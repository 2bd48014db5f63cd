//! A name in a thin pool under which streams land, and what stands there as LVM tells it.
//!
//! Must not know how it came there.

use serde::{Deserialize, Serialize};

use super::active::Active;
use super::names;
use super::report::{Report, Row};
use crate::cmd::{Cmd, System};
use crate::name::{SnapName, StageName};
use crate::stream::{Form, Landed, Point, Whole};
use crate::{Obstacle, Result};

/// The name, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub vg: String,
    pub pool: String,
    pub name: String,
}

impl Place {
    /// `VG/POOL/NAME`; `None` for a text of another form.
    pub fn of(text: &str) -> Option<Place> {
        let parts: Vec<&str> = text.split('/').collect();
        let [vg, pool, name] = <[&str; 3]>::try_from(parts).ok()?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "_+.-".contains(c);
        let is_name = |part: &&str| {
            !part.is_empty() && !part.starts_with(['-', '.']) && part.chars().all(fits)
        };
        if ![vg, pool].iter().all(is_name) {
            return None;
        }
        let name = StageName::try_from(name.to_owned()).ok()?;
        Some(Place {
            vg: vg.to_owned(),
            pool: pool.to_owned(),
            name: name.into(),
        })
    }

    /// Whether the pool is one, and there.
    pub fn is_in_a_pool(&self, sys: &dyn System) -> Result<bool> {
        let said = sys.run(&Cmd::new("vgs").args(["--noheadings", "-o", "vg_name"]))?;
        let groups = String::from_utf8_lossy(&said);
        if !groups.lines().any(|name| name.trim() == self.vg) {
            return Ok(false);
        }
        let report = Report::ask(sys, &self.vg)?;
        Ok(report.named(&self.pool).is_some_and(Row::is_pool))
    }

    pub fn pool_lv(&self) -> String {
        format!("{}/{}", self.vg, self.pool)
    }

    /// The name in the group of what lands as `name`.
    pub fn name_of(&self, name: &SnapName) -> String {
        names::landed(&self.vg, name.as_str(), &self.name)
    }

    pub fn active(&self, name: &SnapName) -> Active {
        Active {
            vg: self.vg.clone(),
            name: self.name_of(name),
        }
    }

    /// Whether what has that row stands here, and is ours.
    pub fn has(&self, row: &Row) -> bool {
        row.is_thin()
            && row.pool.as_ref() == Some(&self.pool)
            && row.marks.place.as_ref() == Some(&self.name)
    }

    /// What has that row, if it is ours. What landed and can be written to is ours no longer.
    pub fn ours(&self, row: &Row) -> Option<Landed> {
        let name = row.marks.snapshot.as_ref().filter(|_| self.has(row))?;
        let name = SnapName::try_from(name.clone()).ok()?;
        if row.name != self.name_of(&name) {
            return None;
        }
        let (identity, whole) = match (&row.marks.landed, &row.marks.landing) {
            (Some(identity), _) if row.is_frozen() => (identity, Whole::Base),
            (None, Some(identity)) => (identity, Whole::Cut { resume: None }),
            _ => return None,
        };
        Some(Landed {
            point: point(name, identity.clone()),
            label: Some(row.marks.label.clone()),
            whole,
        })
    }

    /// What has that row, if it has a name of ours.
    pub fn named(&self, row: &Row) -> Option<Landed> {
        let plain = row.name.strip_suffix(&self.name)?.strip_suffix('.')?;
        Some(Landed {
            point: point(SnapName::try_from(plain.to_owned()).ok()?, row.uuid.clone()),
            label: None,
            whole: Whole::Whole,
        })
    }

    /// What has landed, whole, by what it was sent as.
    pub fn whole(&self, row: &Row) -> Option<Point> {
        let landed = self.ours(row)?;
        (landed.whole == Whole::Base).then_some(landed.point)
    }

    /// The base that a stream starts from, whatever it is called here.
    pub fn base<'r>(&self, report: &'r Report, base: &Point) -> Option<&'r Row> {
        let is_it = |row: &&Row| {
            let point = self.whole(row);
            point.is_some_and(|point| point.identity == base.identity)
        };
        report.rows.iter().find(is_it)
    }

    pub fn no_base(&self, base: &Point) -> Obstacle {
        Obstacle {
            what: format!(
                "the base {} ({}) is not at {} in {}, or not whole",
                base.name,
                base.identity,
                self.name,
                self.pool_lv()
            ),
            why: "the stream says only what is to be changed in it".to_owned(),
            todo: "send another one that both sides have, or all of it".to_owned(),
        }
    }
}

pub fn point(name: SnapName, identity: String) -> Point {
    Point {
        name,
        identity,
        form: Form::Snapshot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_three_names() {
        for text in ["vg0/pool/node-0", "vg+x/pool_0/a"] {
            assert!(Place::of(text).is_some(), "{text}");
        }
        for text in [
            "",
            "vg0",
            "vg0/pool",
            "vg0/pool/",
            "vg0/pool/a/b",
            "/vg0/pool",
            "../pool/a",
            "-x/pool/a",
            "vg0/pool/a b",
            "tank/größe/a",
        ] {
            assert_eq!(Place::of(text), None, "{text}");
        }
    }
}
