//! The program's locks. Must not know what they are for.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::broker::BROKERS;
use crate::cluster::Cluster;

impl Cluster {
    /// The locks of these brokers and volumes that somebody has.
    pub fn held_locks(&self) -> BTreeSet<String> {
        let folder = Path::new("/run/zeebe-snap");
        let mut held = BTreeSet::new();
        for node in 0..BROKERS {
            let around = fs::metadata(self.place.data(node).parent().unwrap()).unwrap();
            let ours = format!("{}-{}-", around.dev(), around.ino());
            let all = names(folder).into_iter();
            held.extend(all.filter(|name| name.starts_with(&ours)).filter(|name| {
                let lock = File::open(folder.join(name)).unwrap();
                flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
            }));
        }
        held
    }
}

/// What is in a folder, if it is there.
pub fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(listing) = fs::read_dir(folder) else {
        return BTreeSet::new();
    };
    listing
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
