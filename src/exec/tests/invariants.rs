//! What must be true when all is settled, told from what stands on the machine alone: nothing here asks the program, its
//! journal's entries or its endings.

use std::collections::BTreeMap;
use std::path::Path;

use super::layout::foreign;
use super::machine::{Machine, config_of};
use super::tree::{Thing, beside, hidden};
use super::verbs::{Prepared, Verb};
use super::volumes::SHARED;
use crate::catalog::manifest::{Manifest, SetState};
use crate::id::NodeId;

/// The last name of ours in a path: what it is of, and the id.
fn ours(path: &Path) -> Option<(&str, &str)> {
    let text = path.to_str()?;
    let kinds = ["zeebe-snap-", "restore-", "undo-"];
    let found = kinds
        .iter()
        .filter_map(|kind| Some((text.rfind(kind)?, *kind)));
    let (at, kind) = found.max()?;
    let id = text.get(at + kind.len()..at + kind.len() + "20261123T014500Z".len())?;
    Some((kind.trim_end_matches('-'), id))
}

type Judged<T> = Result<T, String>;

macro_rules! must {
    ($is:expr, $($what:tt)*) => { if !$is { return Err(format!($($what)*)); } };
}

/// Whether the verb has done what it is for; an error is what is wrong. `failed` says that a step was made to fail, after
/// which a verb that only lets go of things may have left some of them, and says so.
pub fn judge(prepared: &Prepared, after: &Machine, failed: bool) -> Judged<bool> {
    let before = &prepared.before;
    must!(
        after.violations.is_empty(),
        "{}",
        after.violations.join("; ")
    );
    must!(
        foreign(before) == foreign_now(before, after),
        "something that is not ours was changed or destroyed"
    );
    for (run, paper) in &after.state.journals {
        let whole = paper
            .bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap_or_default();
        let last = paper.bytes[..whole]
            .split(|byte| *byte == b'\n')
            .next_back()
            .filter(|line| !line.is_empty());
        let closed = last.is_none_or(|line| line.starts_with(b"{\"entry\":\"closed\""));
        must!(closed, "the journal of {run} is not closed");
    }
    for (node, broker) in &after.brokers {
        must!(!broker.gated, "the gate of broker {node} is closed");
    }
    let swapped = data(prepared, after)?;
    brokers(prepared, after, swapped)?;
    let kept = kept(prepared, after, swapped, failed)?;
    configs(prepared, after, swapped)?;
    let sets = sets(prepared, after, failed)?;
    nothing_else(prepared, after, failed)?;
    Ok(match prepared.verb {
        Verb::Restore { .. } | Verb::Undo { .. } => swapped,
        Verb::Release => kept,
        Verb::Backup | Verb::Forget => sets,
    })
}

pub fn foreign_now<'a>(
    before: &'a Machine,
    after: &'a Machine,
) -> Vec<(&'a std::path::PathBuf, Option<&'a Thing>)> {
    before
        .foreign
        .iter()
        .map(|path| (path, after.things.0.get(path)))
        .collect()
}

/// The time of the data that a verb brings.
fn brought(verb: Verb) -> Option<u32> {
    match verb {
        Verb::Restore { .. } => Some(1),
        Verb::Undo { .. } => Some(2),
        Verb::Backup | Verb::Release | Verb::Forget => None,
    }
}

/// All old, and not touched, or all new.
fn data(prepared: &Prepared, after: &Machine) -> Judged<bool> {
    let before = &prepared.before;
    let mut new = Vec::new();
    for (node, broker) in &after.brokers {
        let (old, now) = (
            before.things.tree(&broker.data),
            after.things.tree(&broker.data),
        );
        let of = now.and_then(super::tree::Tree::of);
        let same = match (old, now) {
            (Some(old), Some(now)) => {
                old.id == now.id && old.ids() == now.ids() && old.of() == now.of()
            }
            (old, now) => old.is_none() && now.is_none(),
        };
        let is_new = brought(prepared.verb).is_some_and(|time| of == Some((node.0, time)));
        must!(
            same != is_new,
            "the data of broker {node} is neither old nor new: {now:?}, was {old:?}"
        );
        new.push(is_new);
    }
    let first = new.first().copied().unwrap_or_default();
    must!(
        new.iter().all(|is_new| *is_new == first),
        "some folders are old and some new: {new:?}"
    );
    Ok(first)
}

fn brokers(prepared: &Prepared, after: &Machine, swapped: bool) -> Judged<()> {
    for (node, broker) in &after.brokers {
        let wanted = match prepared.verb {
            Verb::Restore { start } | Verb::Undo { start } if swapped => start,
            _ => prepared.before.is_up(*node),
        };
        let up = broker.pid.is_some();
        must!(
            up == wanted || broker.excused,
            "broker {node} is {}",
            if up { "up" } else { "down" }
        );
    }
    Ok(())
}

/// The trees that runs keep: the broker and the name, the time they are of.
fn kept_trees(machine: &Machine) -> BTreeMap<(NodeId, String), Option<(u32, u32)>> {
    let mut found = BTreeMap::new();
    for (path, thing) in &machine.things.0 {
        let Thing::Tree(tree) = thing else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_ours = name.starts_with("restore-") || name.starts_with("undo-");
        if is_ours && !machine.foreign.contains(path) {
            found.insert((owner(machine, path), name.into_owned()), tree.of());
        }
    }
    found
}

/// The broker in whose place a path is.
fn owner(machine: &Machine, path: &Path) -> NodeId {
    let around = |broker: &super::machine::Broker| broker.data.parent().map(Path::to_owned);
    let is_there = |broker: &super::machine::Broker| {
        around(broker).is_some_and(|around| path.starts_with(around))
    };
    let mut brokers = machine.brokers.iter();
    brokers
        .find(|(_, broker)| is_there(broker))
        .map_or(NodeId(99), |(node, _)| *node)
}

fn kept(prepared: &Prepared, after: &Machine, swapped: bool, failed: bool) -> Judged<bool> {
    let (before, now) = (kept_trees(&prepared.before), kept_trees(after));
    let mut wanted = before.clone();
    if swapped {
        if matches!(prepared.verb, Verb::Undo { .. }) {
            wanted.clear();
        }
        let stage = prepared
            .stage()
            .map(|stage| stage.as_str().to_owned())
            .unwrap_or_default();
        for (node, broker) in &prepared.before.brokers {
            if let Some(tree) = prepared.before.things.tree(&broker.data) {
                wanted.insert((*node, stage.clone()), tree.of());
            }
        }
    }
    if prepared.verb == Verb::Release {
        let part = now.iter().all(|(key, of)| before.get(key) == Some(of));
        must!(part, "what is kept is another: {now:?}, was {before:?}");
        must!(
            now.is_empty() || now == before || failed,
            "a part was released: {now:?} of {before:?} is left"
        );
        return Ok(now.is_empty());
    }
    must!(
        now == wanted,
        "what is kept is {now:?}, should be {wanted:?}"
    );
    Ok(true)
}

fn configs(prepared: &Prepared, after: &Machine, swapped: bool) -> Judged<()> {
    let before = &prepared.before;
    for (node, broker) in &after.brokers {
        let Some(path) = &broker.config else { continue };
        let (was, now) = (before.things.file(path), after.things.file(path));
        let text =
            |content: Option<&[u8]>| content.map(|text| String::from_utf8_lossy(text).into_owned());
        if !swapped {
            must!(
                was == now,
                "the config of broker {node} is {:?}, was {:?}",
                text(now),
                text(was)
            );
            continue;
        }
        // One that was changed since what is undone is left as it is.
        let changed =
            matches!(prepared.verb, Verb::Undo { .. }) && was == Some(config_of(3).as_bytes());
        let wanted = if changed {
            config_of(3)
        } else {
            config_of(brought(prepared.verb).unwrap_or_default())
        };
        must!(
            now == Some(wanted.as_bytes()),
            "the config of broker {node} is {:?}, should be {wanted:?}",
            text(now)
        );
        let mut beside = after.things.0.keys().filter(|other| {
            other.parent() == path.parent() && *other != path && ours(other).is_some()
        });
        let replaced = beside.any(|other| after.things.file(other) == was);
        must!(
            changed || replaced,
            "the config of broker {node} that was replaced is not kept"
        );
    }
    Ok(())
}

/// Whether the sets are what the verb is for.
fn sets(prepared: &Prepared, after: &Machine, failed: bool) -> Judged<bool> {
    let before = &prepared.before;
    for (set, of) in &after.state.sets {
        let known = before.state.sets.contains_key(set)
            || (prepared.verb == Verb::Backup && set.as_str() == prepared.run.as_str());
        must!(known, "nobody asked for set {set}");
        let manifest = of.manifest.as_deref();
        let manifest =
            manifest.ok_or_else(|| format!("set {set} is written of and did not come to be"))?;
        if of.forgotten {
            must!(
                failed && prepared.sets.contains(set),
                "set {set} is half forgotten"
            );
            continue;
        }
        must!(
            manifest.state() == SetState::Complete,
            "set {set} is not complete"
        );
        whole(after, manifest)?;
    }
    for (set, was) in &before.state.sets {
        match after.state.sets.get(set) {
            Some(now) if !now.forgotten => must!(now == was, "set {set} is another"),
            Some(_) => {}
            None => {
                must!(prepared.sets.contains(set), "set {set} is gone");
                let left = after
                    .things
                    .0
                    .keys()
                    .any(|path| path.to_string_lossy().contains(set.as_str()));
                must!(
                    !left,
                    "set {set} is forgotten, and something of it is there"
                );
            }
        }
    }
    let gone = prepared
        .sets
        .iter()
        .filter(|set| !after.state.sets.contains_key(*set))
        .count();
    if prepared.verb == Verb::Forget {
        must!(
            gone == 0 || gone == prepared.sets.len() || failed,
            "some sets are forgotten and some not"
        );
        return Ok(gone == prepared.sets.len());
    }
    Ok(after.state.sets.len() > before.state.sets.len())
}

/// Every member has its snapshot, all of one time, and it says whose it is.
fn whole(after: &Machine, manifest: &Manifest) -> Judged<()> {
    let set = &manifest.origin.set;
    let mut times = std::collections::BTreeSet::new();
    let name = format!("zeebe-snap-{set}");
    let at = after.things.0.iter();
    let at = at.filter(|(path, _)| path.to_str().is_some_and(|path| path.contains(&name)));
    let trees: Vec<_> = at
        .filter_map(|(path, thing)| match thing {
            Thing::Tree(tree) => Some((path, tree.of()?)),
            _ => None,
        })
        .collect();
    for of in &manifest.origin.brokers {
        let own = trees.iter().find(|(_, (node, _))| *node == of.node.0);
        let Some((path, (_, time))) = own else {
            return Err(format!("set {set} has no snapshot of broker {}", of.node));
        };
        times.insert(*time);
        let mut above = path.ancestors();
        let first = above.find(|path| path.file_name().is_some_and(|it| it == name.as_str()));
        let sidecar = first.and_then(|path| after.things.file(&beside(path, "json")));
        let says = sidecar.is_some_and(|text| String::from_utf8_lossy(text).contains(set.as_str()));
        must!(
            says,
            "the snapshot of broker {} in set {set} does not say whose it is",
            of.node
        );
    }
    must!(times.len() == 1, "set {set} is of several times: {times:?}");
    Ok(())
}

/// Nothing of ours that no set and no kept tree accounts for.
fn nothing_else(prepared: &Prepared, after: &Machine, failed: bool) -> Judged<()> {
    let kept = kept_trees(after);
    for path in after.things.0.keys() {
        let of_broker = |broker: &super::machine::Broker| {
            broker.data == *path || broker.config.as_ref() == Some(path)
        };
        if after.foreign.contains(path)
            || path == Path::new(SHARED)
            || after.brokers.values().any(of_broker)
        {
            continue;
        }
        let text = path.to_string_lossy();
        let Some((kind, id)) = ours(path) else {
            return Err(format!("{text} is there"));
        };
        must!(!text.ends_with(".partial"), "{text} is left");
        let named_by_set =
            kind == "zeebe-snap" && after.state.sets.keys().any(|set| set.as_str() == id);
        let name = format!("{kind}-{id}");
        // A config file is not destroyed where nothing is kept that could tell of it: no data was replaced, or it was changed
        // since and so is not brought back, of which the planner warns.
        let alone = prepared.before.brokers.iter().any(|(node, broker)| {
            let config = broker.config.as_ref();
            let changed = config.and_then(|path| prepared.before.things.file(path))
                == Some(config_of(3).as_bytes());
            text.starts_with(&format!("/etc/{node}/"))
                && (changed || !prepared.before.things.has(&broker.data))
        });
        // What is written of a tree that is gone, where to remove it failed and was said.
        let alone = alone || failed && (text.ends_with(".seal") || text.ends_with(".json"));
        let by_kept = alone
            || kept.iter().any(|((node, kept), _)| {
                (*kept == name && owner(after, path) == *node)
                // Config files are kept beside themselves, and the label of a kept tree says so.
                || (text.starts_with(&format!("/etc/{node}/")) && says(after, *node, kept, &name))
            });
        must!(
            named_by_set || by_kept || failed && prepared.before.things.has(path),
            "{text} is left, and nothing names it"
        );
    }
    let torn = kept.keys().find(|(node, name)| {
        let paths = after
            .things
            .0
            .keys()
            .filter(|path| owner(after, path) == *node && path.ends_with(name));
        let mut paths =
            paths.filter(|path| matches!(after.things.0.get(*path), Some(Thing::Tree(_))));
        !paths.any(|path| {
            after.things.has(&beside(path, "json")) && !after.things.has(&hidden(path, "partial"))
        })
    });
    must!(torn.is_none(), "of what {torn:?} keeps nothing is written");
    Ok(())
}

/// Whether what is written of a kept tree speaks of `name`.
fn says(after: &Machine, node: NodeId, kept: &str, name: &str) -> bool {
    let mut all = after.things.0.iter();
    all.any(|(path, thing)| match thing {
        Thing::File(text) => {
            owner(after, path) == node
                && path.ends_with(format!("{kept}.json"))
                && String::from_utf8_lossy(text).contains(name)
        }
        _ => false,
    })
}
