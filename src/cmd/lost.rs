//! Sets that the catalog has lost: named by `status`, taken in by `recover --catalog`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{path_json, print};
use crate::agent::protocol::Seen;
use crate::catalog::Catalog;
use crate::catalog::lost::{Knows, MANIFEST, Standing, each_once, judge, papers_of, standing};
use crate::catalog::manifest::{Manifest, Origin};
use crate::config::Cluster;
use crate::id::{NodeId, RunId, SetId};
use crate::journal::Entry;
use crate::report::{ending, tell};
use crate::world::Real;

/// A set that the catalog does not know, or does not know well.
#[derive(Debug)]
pub struct Lost {
    /// Which.
    pub set: SetId,
    /// Why what is written of it does not read; `None` where nothing is written of it.
    pub damage: Option<String>,
    /// The manifest that the hosts agree on and what they hold of it, or why it cannot be taken in.
    pub found: Result<Found, String>,
}

/// What can be taken in.
#[derive(Debug)]
pub struct Found {
    manifest: Manifest,
    copy: Vec<u8>,
    standing: Standing,
}

/// The sets that the catalog has lost. Those that the `open` runs made are theirs to settle.
pub fn lost(
    world: &Real,
    cluster: &Cluster,
    catalog: &Catalog,
    seen: &[Seen],
    open: &[(RunId, Vec<Entry>)],
    all: bool,
) -> Result<Vec<Lost>> {
    let owed: BTreeSet<&SetId> = open
        .iter()
        .filter_map(|(_, entries)| Some(&Origin::of_run(entries)?.set))
        .collect();
    let standing = standing(&cluster.name, seen);
    let unknown = standing
        .keys()
        .filter(|set| catalog.knows(set, false) == Knows::Nothing);
    let mut sets: BTreeMap<SetId, Option<String>> =
        unknown.map(|set| (set.clone(), None)).collect();
    let damaged = catalog.damaged(all)?.into_iter();
    sets.extend(damaged.map(|(set, why)| (set, Some(why))));
    sets.retain(|set, _| !owed.contains(set));
    let nothing = Standing::new();
    let lost = |(set, damage): (SetId, Option<String>)| {
        let standing = standing.get(&set).unwrap_or(&nothing);
        let found = find(world, cluster, &set, standing);
        Lost { set, damage, found }
    };
    Ok(sets.into_iter().map(lost).collect())
}

fn find(
    world: &Real,
    cluster: &Cluster,
    set: &SetId,
    standing: &Standing,
) -> Result<Found, String> {
    let copies: Result<BTreeMap<NodeId, Option<Vec<u8>>>> = each_once(standing)
        .map(|(node, volume, snapshot)| Ok((node, world.paper(volume, &snapshot.name, MANIFEST)?)))
        .collect();
    let found = copies.and_then(|copies| {
        let manifest = judge(&cluster.name, set, standing, &copies)?;
        Ok(Found {
            manifest,
            copy: copies.into_values().flatten().next().unwrap_or_default(),
            standing: standing.clone(),
        })
    });
    found.map_err(|error| format!("{error:#}"))
}

impl Found {
    /// Takes it in; where what was written of it before is now.
    pub fn take_in(&self, world: &Real, catalog: &Catalog) -> Result<Option<PathBuf>> {
        let mut content: BTreeMap<(NodeId, String), Vec<u8>> = BTreeMap::new();
        for (node, name) in papers_of(&self.manifest) {
            let source = self.standing.get(&node).context("it stands no more")?;
            let paper = world.paper(&source.volume, &source.snapshot.name, &name)?;
            content.extend(paper.map(|paper| ((node, name), paper)));
        }
        catalog.take_in(&self.manifest, &self.copy, &content)
    }
}

impl Lost {
    /// For a person who asked for the status.
    pub fn text(&self) -> String {
        let set = &self.set;
        let what = match &self.damage {
            None => format!("Set {set} stands on the hosts, and the catalog does not know it"),
            Some(why) => format!("What is written of set {set} does not read: {why}"),
        };
        match &self.found {
            Ok(_) => format!(
                "{what}.\nHint: `zeebe-snap recover --catalog` takes it in from the hosts.\n"
            ),
            Err(why) => format!(
                "{what}. It cannot be taken in from the hosts: {why}.\n{}\n",
                self.todo()
            ),
        }
    }

    /// What can be done about one that cannot be taken in.
    pub fn todo(&self) -> String {
        format!(
            "Hint: if that cannot be mended, `zeebe-snap forget {}` destroys what is left of it.",
            self.set
        )
    }

    /// For scripts.
    pub fn json(&self) -> Value {
        json!({ "set": self.set, "damage": self.damage, "can_be_taken_in": self.found.is_ok(), "why_not": self.found.as_ref().err() })
    }
}

/// What became of sets that were to be taken in.
#[derive(Debug, Default)]
pub struct Taken {
    /// Taken in, and where what was written of each before is now.
    pub taken: Vec<(Manifest, Option<PathBuf>)>,
    /// Not taken in, and why.
    pub left: Vec<(Lost, String)>,
}

impl Taken {
    /// Takes in all that can be.
    pub fn of(all: Vec<Lost>, world: &Real, catalog: &Catalog) -> Taken {
        let mut done = Taken::default();
        for lost in all {
            let taken = match &lost.found {
                Ok(found) => found
                    .take_in(world, catalog)
                    .map_err(|error| format!("{error:#}")),
                Err(why) => Err(why.clone()),
            };
            match (taken, &lost.found) {
                (Ok(aside), Ok(found)) => done.taken.push((found.manifest.clone(), aside)),
                (Err(why), _) => done.left.push((lost, why)),
                (Ok(_), Err(_)) => {}
            }
        }
        done
    }

    /// For a person: what was taken in, on paper if that is wanted, and what was not.
    pub fn say(&self, text: bool) -> Result<()> {
        if text && self.taken.is_empty() && self.left.is_empty() {
            print("The catalog has lost nothing.\n")?;
        }
        for (manifest, aside) in self.taken.iter().filter(|_| text) {
            print(&format!("Taken in: {}\n", ending::set(manifest)))?;
            if let Some(aside) = aside {
                print(&format!(
                    "What was written of it before is in {}.\n",
                    aside.display()
                ))?;
            }
        }
        for (lost, why) in &self.left {
            tell(&format!(
                "zeebe-snap: set {} was not taken in: {why}",
                lost.set
            ));
            tell(&lost.todo());
        }
        Ok(())
    }

    /// For scripts.
    pub fn json(&self) -> (Value, Value) {
        let taken = self.taken.iter().map(|(manifest, aside)| {
            json!({ "set": manifest.origin.set, "moved_aside": aside.as_deref().map(path_json) })
        });
        let left = self
            .left
            .iter()
            .map(|(lost, why)| json!({ "set": lost.set, "why": why }));
        (taken.collect(), left.collect())
    }
}
