//! Listings as values: their JSON, their hashes, how names are shown.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tree_path;
use crate::tree::{
    ByteString, DeviceNumber, Entry, Kind, LinkGroup, Mode, Mtime, NotATreePath, TreePath,
    content_hash, metadata_hash,
};

fn file() -> Entry {
    Entry {
        path: tree_path(b"a/\xff"),
        kind: Kind::File {
            size: 5,
            blake3: [0xab; 32].into(),
        },
        mode: Mode::from_bits(0o104755),
        uid: 1,
        gid: 2,
        mtime: Mtime {
            seconds: -3,
            nanoseconds: 4,
        },
        link: Some(LinkGroup(6)),
        xattrs: BTreeMap::from([
            (b"user.b".to_vec().into(), b"\x80".to_vec().into()),
            (b"user.a".to_vec().into(), b"v".to_vec().into()),
        ]),
    }
}

fn device() -> Entry {
    Entry {
        path: tree_path("b"),
        kind: Kind::Char {
            rdev: DeviceNumber { major: 1, minor: 3 },
        },
        mode: Mode::from_bits(0o600),
        uid: 0,
        gid: 0,
        mtime: Mtime {
            seconds: 0,
            nanoseconds: 0,
        },
        link: None,
        xattrs: BTreeMap::new(),
    }
}

#[test]
fn an_entry_is_one_line_of_json_that_stays_as_it_is() {
    let ab = "ab".repeat(32);
    assert_eq!(
        serde_json::to_string(&file()).unwrap(),
        format!(
            r#"{{"path":{{"bytes":"YS//"}},"kind":"file","size":5,"blake3":"{ab}","mode":"4755","uid":1,"gid":2,"mtime":[-3,4],"link":6,"xattrs":[["user.a","v"],["user.b",{{"bytes":"gA=="}}]]}}"#
        )
    );
    assert_eq!(
        serde_json::to_string(&device()).unwrap(),
        r#"{"path":"b","kind":"char","rdev":[1,3],"mode":"0600","uid":0,"gid":0,"mtime":[0,0]}"#
    );
    let root =
        r#"{"path":"","kind":"dir","mode":"0755","uid":0,"gid":0,"mtime":[0,0],"added later":1}"#;
    let root: Entry = serde_json::from_str(root).unwrap();
    assert_eq!((root.path, root.kind), (TreePath::root(), Kind::Dir));
}

#[test]
fn json_that_says_no_entry_is_refused() {
    let good = serde_json::to_value(file()).unwrap();
    serde_json::from_value::<Entry>(good.clone()).unwrap();
    let hash63 = "a".repeat(63);
    for (field, bad) in [
        ("path", serde_json::json!("../etc/shadow")),
        ("path", serde_json::json!("/etc/shadow")),
        ("path", serde_json::json!("a/./b")),
        ("path", serde_json::json!("a//b")),
        ("path", serde_json::json!("a/")),
        ("path", serde_json::json!("a\0b")),
        ("path", serde_json::json!({"bytes": "YS/"})),
        ("kind", serde_json::json!("door")),
        ("kind", serde_json::json!(null)),
        ("size", serde_json::json!(-1)),
        ("blake3", serde_json::json!(hash63)),
        ("mode", serde_json::json!("0999")),
        ("mode", serde_json::json!("10000")),
        ("mode", serde_json::json!("+755")),
        ("mode", serde_json::json!(493)),
        ("mtime", serde_json::json!([1, 1_000_000_000])),
        ("xattrs", serde_json::json!([["a", "1"], ["a", "2"]])),
    ] {
        let mut entry = good.clone();
        entry[field] = bad;
        let read = serde_json::from_value::<Entry>(entry.clone());
        assert!(read.is_err(), "{entry} was read as {read:?}");
    }
}

#[test]
fn the_hashes_are_of_the_bytes_that_are_documented() {
    let long = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    let content = [
        b"zeebe-snap tree content 1\n".to_vec(),
        2u64.to_le_bytes().to_vec(),
        long(b"a/\xff"),
        b"f".to_vec(),
        5u64.to_le_bytes().to_vec(),
        vec![0xab; 32],
        vec![1],
        6u64.to_le_bytes().to_vec(),
        long(b"b"),
        b"c".to_vec(),
        1u32.to_le_bytes().to_vec(),
        3u32.to_le_bytes().to_vec(),
        vec![0],
    ]
    .concat();
    let metadata = [
        b"zeebe-snap tree metadata 1\n".to_vec(),
        2u64.to_le_bytes().to_vec(),
        long(b"a/\xff"),
        0o4755u32.to_le_bytes().to_vec(),
        1u32.to_le_bytes().to_vec(),
        2u32.to_le_bytes().to_vec(),
        (-3i64).to_le_bytes().to_vec(),
        4u32.to_le_bytes().to_vec(),
        2u64.to_le_bytes().to_vec(),
        long(b"user.a"),
        long(b"v"),
        long(b"user.b"),
        long(b"\x80"),
        long(b"b"),
        0o600u32.to_le_bytes().to_vec(),
        vec![0; 4 + 4 + 8 + 4 + 8],
    ]
    .concat();
    let entries = [file(), device()];
    assert_eq!(content_hash(&entries), blake3::hash(&content).into());
    assert_eq!(metadata_hash(&entries), blake3::hash(&metadata).into());
}

#[test]
fn names_are_shown_without_what_moves_the_cursor() {
    let shown = |bytes: &[u8]| ByteString::from(bytes.to_vec()).to_string();
    assert_eq!(shown(b"a b"), r#""a b""#);
    assert_eq!(
        shown(b"new\nline\ttab\x1b[31m\x7f"),
        r#""new\nline\ttab\u{1b}[31m\u{7f}""#
    );
    assert_eq!(shown(b"quote\" back\\slash"), r#""quote\" back\\slash""#);
    assert_eq!(
        shown("na\u{ef}ve \u{202e}\u{9b}\u{2028}".as_bytes()),
        "\"na\u{ef}ve \\u{202e}\\u{9b}\\u{2028}\""
    );
    assert_eq!(shown(b"\xff\xc3("), r#""\xFF\xC3(""#);
    assert_eq!(TreePath::root().to_string(), r#"".""#);
    let refused: Result<TreePath, NotATreePath> =
        TreePath::try_from(ByteString::from(b"..\n".to_vec()));
    assert_eq!(refused.unwrap().to_string(), r#""..\n""#);
}

fn any_bytes() -> impl Strategy<Value = ByteString> {
    prop_oneof![
        ".{0,12}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..12)
    ]
    .prop_map(ByteString::from)
}

fn any_path() -> impl Strategy<Value = TreePath> {
    prop::collection::vec(any_bytes(), 0..4).prop_filter_map("not a path", |names| {
        let names: Vec<&[u8]> = names.iter().map(|name| &**name).collect();
        TreePath::try_from(ByteString::from(names.join(&b'/'))).ok()
    })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let rdev = || any::<(u32, u32)>().prop_map(DeviceNumber::from);
    prop_oneof![
        any::<(u64, [u8; 32])>().prop_map(|(size, hash)| Kind::File {
            size,
            blake3: hash.into()
        }),
        Just(Kind::Dir),
        any_bytes().prop_map(|target| Kind::Symlink { target }),
        Just(Kind::Fifo),
        rdev().prop_map(|rdev| Kind::Char { rdev }),
        rdev().prop_map(|rdev| Kind::Block { rdev }),
    ]
}

prop_compose! {
    fn any_entry()(
        path in any_path(),
        kind in any_kind(),
        mode in any::<u16>(),
        (uid, gid, seconds) in any::<(u32, u32, i64)>(),
        nanoseconds in 0..1_000_000_000u32,
        link in any::<Option<u64>>(),
        xattrs in prop::collection::btree_map(any_bytes(), any_bytes(), 0..4),
    ) -> Entry {
        let (mode, mtime, link) = (Mode::from_bits(mode), Mtime { seconds, nanoseconds }, link.map(LinkGroup));
        Entry { path, kind, mode, uid, gid, mtime, link, xattrs }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(entry in any_entry()) {
        let line = serde_json::to_string(&entry).unwrap();
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    }

    #[test]
    fn one_other_field_is_another_hash(
        mut entries in prop::collection::vec(any_entry(), 1..4),
        other in any_entry(),
        field in 0..8,
    ) {
        let before = (content_hash(&entries), metadata_hash(&entries));
        let was = entries[0].clone();
        let now = &mut entries[0];
        match field {
            0 => now.path = other.path,
            1 => now.kind = other.kind,
            2 => now.link = other.link,
            3 => now.mode = other.mode,
            4 => now.uid = other.uid,
            5 => now.gid = other.gid,
            6 => now.mtime = other.mtime,
            _ => now.xattrs = other.xattrs,
        }
        let same = was == entries[0];
        prop_assert_eq!(before.0 == content_hash(&entries), same || field > 2);
        prop_assert_eq!(before.1 == metadata_hash(&entries), same || field == 1 || field == 2);
    }
}
