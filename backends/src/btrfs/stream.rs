//! Snapshots in a store, sent with `btrfs send`.
//!
//! A base is any snapshot of ours on the same file system: the kernel compares the two trees. What is known of one on the
//! other side is the uuid that the stream carries. A snapshot that was itself received, or inherits that from its source,
//! carries another's, and streams from it would be taken for that one's without an error: it is not sent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::AddUp;
use super::place;
use super::show::Shown;
use super::{btrfs, labelled};
use crate::cmd::{Cmd, System};
use crate::name::SnapName;
use crate::store::Store;
use crate::stream::pipe::{self, Flow, Receiver, Sender};
use crate::stream::{Part, Point, Shipment, Stream};
use crate::{Obstacle, Result, Snapshot};

/// A volume whose snapshots are in a store.
pub trait Keeps: std::fmt::Debug {
    fn kept_in(&self) -> Store;
    fn data_in_it(&self) -> Part;
}

/// `btrfs send` of what is at `path`, from what is at `base`. Quiet, so that what it says is what went wrong.
pub fn send(path: &Path, base: Option<PathBuf>) -> Cmd {
    let cmd = btrfs(["send", "-q"]);
    let cmd = match base {
        Some(base) => cmd.arg("-p").arg(base),
        None => cmd,
    };
    cmd.arg(path)
}

/// How many bytes [`send`] will write: it is asked for all but the data, which takes as long as reading the metadata does.
pub fn weigh(sys: &dyn System, path: &Path, base: Option<PathBuf>) -> Result<u64> {
    let cmd = send(path, base).arg("--no-data");
    let sum = Arc::new(AtomicU64::new(0));
    let add_up = Receiver::Own(Box::new(AddUp(Arc::clone(&sum))));
    pipe::run(sys, Sender::Tool(cmd), add_up, &Flow::new())?;
    Ok(sum.load(Ordering::Relaxed))
}

/// The snapshots of ours in `store`, each with what btrfs says of it, oldest first.
fn ours(sys: &dyn System, store: &Store) -> Result<Vec<(Snapshot, Shown)>> {
    let mut found = Vec::new();
    for name in store.entries::<SnapName>()? {
        if let Some(shown) = place::shown(sys, &store.of(name.as_str()))? {
            let snapshot = labelled(store, name, shown.clone())?;
            if snapshot.label.is_some() {
                found.push((snapshot, shown));
            }
        }
    }
    found.sort_by_key(|(_, shown)| shown.born);
    Ok(found)
}

impl<V: Keeps> Stream for V {
    fn points(&self, sys: &dyn System) -> Result<Vec<Point>> {
        let ours = ours(sys, &self.kept_in())?;
        Ok(ours.iter().map(|(it, _)| Point::of(it)).collect())
    }

    fn part(&self) -> Part {
        self.data_in_it()
    }

    fn obstacles(&self, sys: &dyn System, shipment: &Shipment) -> Result<Vec<Obstacle>> {
        let store = self.kept_in();
        let ours = ours(sys, &store)?;
        let mut found = Vec::new();
        for point in [Some(&shipment.of), shipment.base.as_ref()]
            .into_iter()
            .flatten()
        {
            let path = store.of(point.name.as_str());
            let there = ours
                .iter()
                .find(|(it, _)| it.name == point.name && it.identity == point.identity);
            match there {
                None => found.push(gone(&path, &point.name)),
                Some((_, shown)) => {
                    let received = shown.received_uuid.as_ref();
                    found.extend(received.map(|uuid| carries(&path, uuid)));
                }
            }
        }
        Ok(found)
    }

    fn estimate(&self, sys: &dyn System, shipment: &Shipment) -> Result<Option<u64>> {
        let path = |point: &Point| self.kept_in().of(point.name.as_str());
        weigh(sys, &path(&shipment.of), shipment.base.as_ref().map(path)).map(Some)
    }

    fn send(&self, shipment: &Shipment) -> Sender {
        let path = |point: &Point| self.kept_in().of(point.name.as_str());
        Sender::Tool(send(&path(&shipment.of), shipment.base.as_ref().map(path)))
    }
}

pub fn gone(path: &Path, name: &SnapName) -> Obstacle {
    Obstacle {
        what: format!(
            "the snapshot {} is not what it was, or is gone",
            path.display()
        ),
        why: format!("{name} was to be sent, or started from"),
        todo: "look at the snapshots again, and send another one".to_owned(),
    }
}

fn carries(path: &Path, uuid: &str) -> Obstacle {
    Obstacle {
        what: format!("the snapshot {} has the received uuid {uuid}", path.display()),
        why: "its data was made writable after it had been received, so a stream of it would pass for one of another snapshot, \
              and the next one from it could be wrong without an error"
            .to_owned(),
        todo: "replace the data by a writable snapshot of itself, which has none (btrfs subvolume snapshot), with the broker \
               stopped; snapshots taken from then on can be sent"
            .to_owned(),
    }
}
