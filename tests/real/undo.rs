//! The way back from a restore, and from that way back; and letting go of what it needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::cluster::{BROKERS, Cluster};
use crate::instances::Instances;
use crate::layout::Layout;
use crate::rig::tool;
use crate::running::new_cluster;
use crate::wait::{seconds, until};

/// In what a restore replaces, and not in the set: the room that its end has to give back, on each broker's disk.
const BALLAST: usize = 64 << 20;

#[test]
fn subvolumes() {
    back_and_forth(Layout::Subvolumes);
}

#[test]
#[ignore = "long: another layout"]
fn mount_points() {
    let cluster = back_and_forth(Layout::MountPoints);
    assert!(cluster.place().data(0).join("lost+found").is_dir());
}

fn back_and_forth(layout: Layout) -> impl std::ops::Deref<Target = Cluster> {
    let cluster = new_cluster(layout);
    let place = cluster.place();
    let mounts = || {
        let columns = "TARGET,SOURCE,FSROOT";
        let all = tool(Command::new("findmnt").args(["--raw", "--output", columns]));
        let here = |line: &&str| line.starts_with(cluster.dir().to_str().unwrap());
        all.lines()
            .filter(here)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mounted = mounts();
    let before = cluster.create(30);
    let backup = cluster.run(&["backup", "--json"]).exits(0).json();
    let set = backup["set"].as_str().unwrap();
    let mut all = cluster.create(20);
    all.extend(&before);
    for broker in BROKERS {
        fs::write(place.data(broker).join("ballast"), vec![b'x'; BALLAST]).unwrap();
    }
    let has_ballast = || BROKERS.map(|broker| place.data(broker).join("ballast").exists());

    cluster.run(&["restore", set, "--yes"]).exits(0);
    assert_eq!(cluster.activate_all().instances(), before, "the set");
    assert_eq!(cluster.kept().len(), 3, "each broker's is kept");
    assert_eq!(has_ballast(), [false; 3]);

    let pids = cluster.one_pid_each();
    cluster.run(&["undo", "--dry-run"]).exits(0);
    assert_eq!(cluster.one_pid_each(), pids, "the brokers' pids");
    cluster.run(&["undo", "--yes"]).exits(0);
    assert_eq!(cluster.activate_all().instances(), all, "after undo");
    assert_eq!(has_ballast(), [true; 3]);
    assert_eq!(cluster.kept().len(), 3, "each broker's is kept");

    cluster.run(&["undo", "--yes", "--no-start"]).exits(0);
    assert!(cluster.is_down(), "--no-start leaves them down");
    cluster.start_all();
    cluster.wait_healthy();
    assert_eq!(cluster.activate_all().instances(), before, "after two");
    assert_eq!(has_ballast(), [false; 3]);
    cluster.no_stray_snapshot();
    assert_eq!(mounts(), mounted, "what is mounted");

    let_go(&cluster);
    forget(&cluster, set);
    assert_eq!(mounts(), mounted, "what is mounted");
    let jobs = cluster.activate_all();
    assert_eq!(jobs.instances(), before, "nothing is lost with the set");
    cluster.complete(&jobs);
    assert_eq!(cluster.activate_all().instances(), Instances::new());
    cluster
}

/// `release` gives the room back, and what is kept until then is listed until then.
fn let_go(cluster: &Cluster) {
    let kept = cluster.kept();
    assert_eq!(kept.len(), 3, "{kept:?}");
    let status = cluster.run(&["status"]).exits(0);
    for path in &kept {
        assert!(path.join("ballast").exists(), "{}", path.display());
        let line = format!("Kept: {}", path.display());
        assert!(status.stdout.contains(&line), "{line}; {status}");
    }
    let free = || {
        BROKERS.map(|broker| {
            cluster.place().settle(broker);
            cluster.place().free(broker)
        })
    };
    let pids = cluster.one_pid_each();
    cluster.run(&["release", "--all", "--dry-run"]).exits(0);
    assert_eq!(cluster.kept(), kept);

    let before = free();
    cluster.run(&["release", "--all", "--yes"]).exits(0);
    // On one disk each broker's share is seen by all.
    until("the room to be free", seconds(60), || {
        let now = free();
        BROKERS
            .iter()
            .all(|&id| now[id] > before[id] + BALLAST as u64 * 9 / 10)
            .then_some(())
    });
    assert_eq!(cluster.kept(), [] as [PathBuf; 0]);
    assert_eq!(cluster.run(&["status"]).exits(0).stdout.find("Kept:"), None);
    let left = names(cluster);
    let of_a_set = |name: &String| name.trim_start_matches('.').starts_with("zeebe-snap-");
    assert!(left.iter().all(of_a_set), "{left:?}");
    cluster.no_stray_snapshot();
    cluster.run(&["undo", "--yes"]).exits(3);
    assert_eq!(cluster.one_pid_each(), pids, "the brokers' pids");
}

/// `forget` destroys the snapshots, and nobody knows the set any more.
fn forget(cluster: &Cluster, set: &str) {
    let pids = cluster.one_pid_each();
    let sets = cluster.sets();
    cluster.run(&["forget", set, "--dry-run"]).exits(0);
    assert_eq!(cluster.sets(), sets);
    cluster.no_stray_snapshot();
    cluster.run(&["forget", set, "--yes"]).exits(0);
    assert_eq!(cluster.sets(), BTreeSet::new());
    assert_eq!(names(cluster), BTreeSet::new());
    cluster.run(&["restore", set, "--yes"]).exits(3);
    cluster.run(&["restore", "latest", "--yes"]).exits(3);
    assert_eq!(cluster.one_pid_each(), pids, "the brokers' pids");
}

/// What there is in the program's folders.
fn names(cluster: &Cluster) -> BTreeSet<String> {
    let stores = BROKERS.map(|broker| cluster.place().store(broker));
    let entries = stores.iter().filter_map(|store| store.read_dir().ok());
    entries
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
