//! A disk that is full: the state folder's, the data's, and with it the place where a restore stages.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::{
    Cases, DOWN, UP, cluster_down, cluster_up, ended, mount_memory, newest, settled, unharmed,
};
use crate::case::On;
use crate::cluster::Cluster;
use crate::killing::tidy;

const SAID: [&str; 3] = ["No space left on device", "MiB free", "full"];

/// Takes all room in a folder's file system but so many KiB, until it is dropped.
struct Filler(PathBuf);

impl Filler {
    fn leaving(folder: &Path, kib: u64) -> Filler {
        let filler = Filler(folder.join("filler"));
        let mut file = File::create(&filler.0).unwrap();
        let mut length = 0;
        for step in [1 << 30, 1 << 24, 1 << 20, 1 << 16, 1 << 12] {
            while fallocate(&file, FallocateFlags::empty(), length, step).is_ok() {
                length += step;
            }
        }
        // What is allocated but not yet taken.
        while file.write_all(&[0; 4096]).is_ok() && file.metadata().unwrap().len() > length {
            length += 4096;
        }
        let left = length.saturating_sub(kib * 1024);
        file.set_len(left).unwrap();
        file.sync_all().ok();
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn the_state_folder_is_full() {
    the_state_folder_has(&[0, 8, 24, 48]);
}

#[test]
#[ignore = "long: the same at many more levels"]
fn the_state_folder_is_full_at_every_level() {
    let levels: Vec<u64> = (0..40).map(|level| level * 4).collect();
    the_state_folder_has(&levels);
}

fn the_state_folder_has(levels: &[u64]) {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    mount_memory(&cluster.state(), 2048);
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    let (mut now, mut kept) = (1, None);
    for (round, kib) in levels.iter().enumerate() {
        let mut with = |words: &[&str], times: &[u64]| {
            tidy(&cluster.state());
            let what = format!("{words:?} with {kib} KiB for the state");
            let filler = Filler::leaving(&cluster.state(), *kib);
            let outcome = cluster.run(words);
            ended(&outcome, &what, &SAID);
            unharmed(&cluster, &what, UP, times);
            drop(filler);
            cases.count(&format!("{} with a full state folder", words[0]));
            settled(&cluster, &what, UP, times)
        };
        with(&["backup"], &[now]);
        let later = 10 + round as u64;
        cluster.advance(later);
        let after = with(&["restore", &set, "--yes"], &[later, 1]);
        if after == 1 {
            kept = Some(later);
        }
        let times: Vec<u64> = kept.into_iter().chain([after]).collect();
        now = match kept {
            Some(_) => with(&["undo", "--yes"], &times),
            None => after,
        };
        for other in cluster.sets().into_keys().filter(|other| *other != set) {
            with(&["forget", &other, "--yes"], &[now]);
        }
        tidy(&cluster.state());
        cluster.run(&["release", "--all", "--yes"]).exits(0);
        kept = None;
    }
}

/// By copy, while brokers run: from no room at all to room for a part of what is written.
#[test]
fn the_volume_of_the_data_is_full() {
    let cluster = cluster_up(On::Copy);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    for (round, kib) in [0, 150, 330].into_iter().enumerate() {
        let now = 10 + round as u64;
        cluster.advance(now);
        let verbs: [&[&str]; 2] = [&["backup"], &["restore", &set, "--yes"]];
        for words in verbs {
            let what = format!("{words:?} with {kib} KiB for the data");
            let filler = Filler::leaving(&cluster.place.root(), kib);
            let outcome = cluster.run(words);
            ended(&outcome, &what, &SAID);
            let times: &[u64] = if words[0] == "backup" {
                &[now]
            } else {
                &[now, 1]
            };
            unharmed(&cluster, &what, UP, times);
            drop(filler);
            settled(&cluster, &what, UP, times);
            cases.count(&format!("{} with a full data volume", words[0]));
        }
    }
}

/// Brokers on btrfs that run on a full disk may die of it by themselves, so these are down.
#[test]
fn a_btrfs_is_full() {
    let cluster = cluster_down(On::Btrfs);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    let verbs: [&[&str]; 4] = [
        &["backup"],
        &["restore", &set, "--no-start", "--yes"],
        &["undo", "--no-start", "--yes"],
        &["forget", &set, "--yes"],
    ];
    for words in verbs {
        let what = format!("{words:?} on a full btrfs");
        if words[0] == "undo"
            && Cluster::kept(&cluster.run(&["status", "--json"]).json()).is_empty()
        {
            cluster
                .run(&["restore", &set, "--no-start", "--yes"])
                .exits(0);
        }
        let filler = Filler::leaving(&cluster.place.root(), 0);
        let outcome = cluster.run(words);
        ended(&outcome, &what, &SAID);
        unharmed(&cluster, &what, DOWN, &[1]);
        drop(filler);
        settled(&cluster, &what, DOWN, &[1]);
        cases.count(&format!("{} with a full data volume", words[0]));
    }
}
