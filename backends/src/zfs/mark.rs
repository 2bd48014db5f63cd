//! Bookmarks of what was sent to a place: later streams there start from it, also when its snapshot has gone.
//!
//! There is one for each place, the newest: its name says of which. It takes next to no room, and ends with the dataset.

use crate::action::{Change, Stop};
use crate::cmd::{Cmd, System};
use crate::stream::Point;
use crate::{Result, VolumeId};

use super::tell::{self, text};
use super::zfs;

/// Makes the bookmark of `of` for a place, and removes the one before it.
#[derive(Debug)]
pub struct Mark {
    dataset: String,
    of: Point,
    /// What the names of the bookmarks for that place end with.
    tail: String,
}

impl Mark {
    pub fn new(dataset: &str, of: &Point, place: &VolumeId) -> Mark {
        Mark {
            dataset: dataset.to_owned(),
            of: of.clone(),
            tail: format!(".{}", place.short(8)),
        }
    }

    fn name(&self) -> String {
        format!("{}#{}{}", self.dataset, self.of.name, self.tail)
    }

    fn make(&self) -> Cmd {
        let snapshot = format!("{}@{}", self.dataset, self.of.name);
        zfs(["bookmark"]).arg(snapshot).arg(self.name())
    }
}

fn remove(name: &str) -> Cmd {
    zfs(["destroy"]).arg(name)
}

impl Change for Mark {
    fn perform(&self, sys: &dyn System, _: Stop<'_>) -> Result<()> {
        let words = ["-d", "1", "-t", "bookmark", "--", &self.dataset];
        let mut of_place = tell::get(sys, &["guid"], &words)?;
        of_place.retain(|(name, _)| name.ends_with(&self.tail));
        let named = of_place.iter().find(|(name, _)| *name == self.name());
        let is_done = named.is_some_and(|(_, all)| text(all, "guid") == Some(&self.of.identity));
        if !is_done {
            // All others are of use until this one is there; one of its name would be in the way.
            if named.is_some() {
                sys.run(&remove(&self.name()))?;
            }
            sys.run(&self.make())?;
        }
        for (name, _) in of_place.iter().filter(|(name, _)| *name != self.name()) {
            sys.run(&remove(name))?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        vec![self.make().to_string()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::landing::Place;
    use super::*;
    use crate::stream::{Form, Landing};

    #[test]
    fn a_place_has_names_of_its_own() {
        let of = Point {
            name: "zeebe-snap-1".to_owned().try_into().unwrap(),
            identity: "12".to_owned(),
            form: Form::Snapshot,
        };
        let line = |place| Mark::new("tank/data one", &of, &Place::new(place).id()).lines();
        insta::assert_snapshot!(line("backup/sets").concat(), @"zfs bookmark 'tank/data one@zeebe-snap-1' 'tank/data one#zeebe-snap-1.e2d953ca'");
        assert_ne!(line("backup/sets"), line("backup/others"));
    }
}
