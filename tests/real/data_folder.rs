//! What a data folder says of itself, on folders that real brokers wrote.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zeebe_snap::zeebe::data::{self, verify_snapshots};

use crate::cluster::{BROKERS, Cluster};
use crate::layout::Layout;
use crate::program::Outcome;
use crate::running::used_cluster;
use crate::wait::{seconds, until};

/// The files of Zeebe's own snapshots below a folder.
fn files_of_snapshots(data: &Path) -> Vec<PathBuf> {
    let partitions = (1..=3)
        .map(|partition| data.join(format!("raft-partition/partitions/{partition}/snapshots")));
    let below = |path: &PathBuf| {
        fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let snapshots = partitions
        .flat_map(|path| below(&path))
        .filter(|path| path.is_dir());
    snapshots.flat_map(|path| below(&path)).collect()
}

/// One bit, with the times put back.
fn flip(path: &Path) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let times = fs::metadata(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 100).unwrap();
    let put_back = fs::FileTimes::new().set_modified(times.modified().unwrap());
    file.set_times(put_back).unwrap();
}

fn check(cluster: &Cluster) -> (Outcome, Vec<String>) {
    let outcome = cluster.run(&["check", "--json"]).exits(0);
    let findings = outcome.json()["findings"].as_array().unwrap().clone();
    let what = |finding: &serde_json::Value| finding["what"].as_str().unwrap().to_owned();
    (outcome, findings.iter().map(what).collect())
}

/// What Zeebe writes is read as it is meant: snapshots, checksums, version, members, what is paused.
#[test]
fn it_is_read_as_zeebe_wrote_it() {
    let cluster = used_cluster(Layout::Subvolumes);
    cluster.take_snapshot();
    // Where there was one before, it is replaced, on some replicas later than on others.
    until("what is read to be what Zeebe says", seconds(60), || {
        let read = BROKERS.iter().flat_map(|&broker| {
            let read = data::read(&cluster.place().data(broker)).unwrap();
            let all = read.snapshots.into_iter();
            all.map(move |one| ((broker, one.partition.to_string()), Some(one.name)))
        });
        let read: BTreeMap<_, _> = read.collect();
        (read == cluster.zeebe_snapshots()).then_some(())
    });
    for broker in BROKERS {
        let read = data::read(&cluster.place().data(broker)).unwrap();
        assert_eq!(read.node_id.unwrap().0 as usize, broker);
        assert_eq!(read.partitions, [1, 2, 3]);
        assert_eq!(
            read.at_least.map(|version| version.to_string()),
            Some("8.5.8".to_owned())
        );
        assert_eq!(read.paused, [""; 0]);
        let members: BTreeMap<u32, Vec<u32>> = read
            .members
            .unwrap()
            .into_iter()
            .map(|(node, all)| (node.0, all))
            .collect();
        assert_eq!(members, (0..3).map(|node| (node, vec![1, 2, 3])).collect());
    }

    let (_, findings) = check(&cluster);
    assert!(
        !findings.iter().any(|what| what.contains("paused")),
        "{findings:?}"
    );
    cluster.post_all("/actuator/partitions/pauseExporting");
    let (_, findings) = check(&cluster);
    let paused: Vec<&String> = findings
        .iter()
        .filter(|what| what.contains("paused"))
        .collect();
    assert_eq!(paused.len(), 3, "one of each broker: {findings:?}");
    assert!(paused[0].contains("exporting of partition 1"), "{paused:?}");
    cluster.post_all("/actuator/partitions/resumeExporting");
    let (_, findings) = check(&cluster);
    assert!(
        !findings.iter().any(|what| what.contains("paused")),
        "{findings:?}"
    );
}

/// A bit that flips in one of Zeebe's own snapshots is found offline; in a set it was so before the backup.
#[test]
fn one_flipped_bit_is_found() {
    let cluster = used_cluster(Layout::Subvolumes);
    cluster.take_snapshot();
    let backup = cluster.run(&["backup", "--json"]).exits(0).json();
    let set = backup["set"].as_str().unwrap();
    cluster.run(&["verify", set]).exits(0);
    cluster.wait_healthy();

    // A broker writes on its own data meanwhile: a copy is at rest.
    let copy = tempfile::tempdir_in(cluster.dir()).unwrap();
    let data = copy.path().join("data");
    let snapshot = cluster.place().snapshot(1, set);
    crate::rig::tool(
        std::process::Command::new("cp")
            .arg("-a")
            .args([&snapshot, &data]),
    );
    let whole = || verify_snapshots(&data, &|| false).unwrap();
    assert_eq!(whole(), []);
    let files = files_of_snapshots(&data);
    let tables: Vec<&PathBuf> = files
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "sst"))
        .collect();
    assert!(files.len() >= 15 && tables.len() >= 3, "{files:?}");
    flip(tables[1]);
    let said: Vec<String> = whole().iter().map(ToString::to_string).collect();
    let named = tables[1].strip_prefix(&data).unwrap().display().to_string();
    assert_eq!(
        said,
        [format!(
            "{named} is not what Zeebe wrote: its checksum is another"
        )]
    );

    // A running broker holds what it reads of it open; nothing reads its snapshot before the next start.
    let victim = files_of_snapshots(&cluster.place().data(1));
    let victim = victim
        .iter()
        .find(|path| path.ends_with("zeebe.metadata"))
        .unwrap();
    let bytes = fs::read(victim).unwrap();
    fs::remove_file(victim).unwrap();
    let mut other = bytes.clone();
    other[10] ^= 1;
    fs::write(victim, other).unwrap();
    let backup = cluster.run(&["backup", "--json"]).json();
    let set = backup["set"].as_str().unwrap();
    let outcome = cluster.run(&["verify", set]).exits(5);
    assert!(
        outcome
            .stdout
            .contains("zeebe.metadata is not what Zeebe wrote"),
        "{outcome}"
    );
    assert!(
        outcome
            .stdout
            .contains("the data was damaged before the backup"),
        "{outcome}"
    );
    cluster.wait_healthy();
}
