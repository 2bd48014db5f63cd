use super::*;

fn folder(group: &str, locks: &[(u32, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (partition, text) in locks {
        let at = dir.path().join(format!("{group}/partitions/{partition}"));
        fs::create_dir_all(&at).unwrap();
        fs::write(
            at.join(format!(".{group}-partition-{partition}.lock")),
            text,
        )
        .unwrap();
    }
    dir
}

#[test]
fn the_lock_names_the_node() {
    for group in ["raft-partition", "default"] {
        let read = read(folder(group, &[(1, "2"), (3, "2")]).path()).unwrap();
        assert_eq!(
            (read.node_id, read.partitions),
            (Some(NodeId(2)), vec![1, 3])
        );
    }
}

#[test]
fn two_names_are_an_error_and_none_is_none() {
    let group = "raft-partition";
    assert!(read(folder(group, &[(1, "2"), (2, "0")]).path()).is_err());
    assert_eq!(
        read(folder(group, &[]).path()).unwrap(),
        DataFolder::default()
    );
    assert_eq!(
        read(folder(group, &[(1, "")]).path()).unwrap().node_id,
        None
    );
    assert_eq!(read(Path::new("/nowhere")).unwrap(), DataFolder::default());
}

#[test]
fn what_is_paused_is_said() {
    let dir = folder("raft-partition", &[(1, "0"), (2, "0"), (3, "0")]);
    let mark = |partition: u32, name: &str, text: &str| {
        let at = dir
            .path()
            .join(format!("raft-partition/partitions/{partition}"));
        fs::write(at.join(name), text).unwrap();
    };
    mark(1, ".exporterPaused", "PAUSED");
    mark(2, ".exporterPaused", "SOFT_PAUSED");
    mark(2, ".processorPaused", "");
    mark(3, ".exporterPaused", "EXPORTING");
    assert_eq!(
        read(dir.path()).unwrap().paused,
        [
            "exporting of partition 1",
            "exporting of partition 2",
            "processing of partition 2"
        ]
    );
}

/// A snapshot with a row of the state in it, and much else before.
fn snapshot(dir: &Path, name: &str, padding: usize, version: &str) {
    let store = dir.join("raft-partition/partitions/1/snapshots");
    fs::create_dir_all(store.join(name)).unwrap();
    let mut bytes = vec![b'x'; padding];
    bytes.extend(b"\0\0\0\x13migrated-by-version\x01\x02\n\r\0\0\0\x01\0\0\0");
    bytes.push(u8::try_from(version.len()).unwrap());
    bytes.extend(version.as_bytes());
    // The next row may begin with anything.
    bytes.extend(b"1.2");
    fs::write(store.join(name).join(format!("{padding}.sst")), bytes).unwrap();
    fs::write(store.join(format!("{name}.checksum")), "").unwrap();
}

#[test]
fn the_newest_version_in_the_newest_snapshot_is_a_lower_bound() {
    let dir = folder("raft-partition", &[(1, "0")]);
    let said = || {
        read(dir.path())
            .unwrap()
            .at_least
            .map(|version| version.to_string())
    };
    assert_eq!(said(), None);
    snapshot(dir.path(), "9-1-1-1", 0, "8.7.0");
    snapshot(dir.path(), "10-1-1-1", 0, "8.5.10");
    snapshot(dir.path(), "10-1-1-1", 7, "8.5.9");
    assert_eq!(said(), Some("8.5.10".to_owned()));
    assert_eq!(read(dir.path()).unwrap().snapshots.len(), 2);
    snapshot(dir.path(), "11-1-1-1", 40 << 20, "8.6.0");
    assert_eq!(said(), None, "it reads too much");
}
