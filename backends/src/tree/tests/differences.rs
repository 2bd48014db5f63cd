//! What `compare` says of two listings.

use std::collections::BTreeMap;
use std::slice;

use super::tree_path;
use crate::tree::{Aspect, DeviceNumber, Entry, Kind, LinkGroup, Mode, Mtime, compare};

fn with(path: &str, kind: Kind) -> Entry {
    Entry {
        path: tree_path(path),
        kind,
        mode: Mode::from_bits(0o644),
        uid: 0,
        gid: 0,
        mtime: Mtime {
            seconds: 1,
            nanoseconds: 2,
        },
        link: None,
        xattrs: BTreeMap::new(),
    }
}

fn linked(path: &str, group: u64) -> Entry {
    let mut entry = with(path, Kind::Fifo);
    entry.link = Some(LinkGroup(group));
    entry
}

fn file(size: u64, byte: u8) -> Kind {
    Kind::File {
        size,
        blake3: [byte; 32].into(),
    }
}

fn lines(want: &[Entry], have: &[Entry]) -> Vec<String> {
    compare(want, have)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn each_difference_is_one_line_that_names_it() {
    let link = |target: &str| Kind::Symlink {
        target: target.as_bytes().to_vec().into(),
    };
    let rdev = |major, minor| DeviceNumber { major, minor };
    let (a, b) = ("aa".repeat(32), "bb".repeat(32));
    let same = |change: &dyn Fn(&mut Entry)| {
        let mut entry = with("x\n", Kind::Dir);
        change(&mut entry);
        entry
    };
    let xattrs = |pairs: &[(&str, &str)]| {
        let bytes = |text: &str| text.as_bytes().to_vec().into();
        same(&|entry| {
            entry.xattrs = pairs
                .iter()
                .map(|(name, value)| (bytes(name), bytes(value)))
                .collect()
        })
    };
    let plain = || same(&|_| {});
    let cases = [
        (
            with("x\n", file(1, 0xaa)),
            with("x\n", file(1, 0xbb)),
            format!("content is {b}, not {a}"),
            Aspect::Content,
        ),
        (
            with("x\n", file(1, 0xaa)),
            with("x\n", file(2, 0xbb)),
            "size is 2, not 1".into(),
            Aspect::Content,
        ),
        (
            with("x\n", file(1, 0xaa)),
            plain(),
            "is a dir, not a file".into(),
            Aspect::Content,
        ),
        (
            with("x\n", link("\r")),
            with("x\n", link("b")),
            r#"points to "b", not "\r""#.into(),
            Aspect::Content,
        ),
        (
            with("x\n", Kind::Char { rdev: rdev(1, 3) }),
            with("x\n", Kind::Char { rdev: rdev(1, 5) }),
            "is device 1:5, not 1:3".into(),
            Aspect::Content,
        ),
        (
            with("x\n", Kind::Char { rdev: rdev(1, 3) }),
            with("x\n", Kind::Block { rdev: rdev(1, 3) }),
            "is a block, not a char".into(),
            Aspect::Content,
        ),
        (
            plain(),
            same(&|e| e.mode = Mode::from_bits(0o4755)),
            "mode is 4755, not 0644".into(),
            Aspect::Metadata,
        ),
        (
            plain(),
            same(&|e| e.gid = 9),
            "owner is 0:9, not 0:0".into(),
            Aspect::Metadata,
        ),
        (
            plain(),
            same(&|e| e.mtime.nanoseconds = 3),
            "mtime is @1.000000003, not @1.000000002".into(),
            Aspect::Metadata,
        ),
        (
            xattrs(&[("a", "1"), ("b\n", "1"), ("c", "1")]),
            xattrs(&[("a", "1"), ("c", "2"), ("d", "1")]),
            r#"extended attributes missing: "b\n", unexpected: "d", changed: "c""#.into(),
            Aspect::Metadata,
        ),
    ];
    for (want, have, expected, aspect) in cases {
        let found = compare(slice::from_ref(&want), slice::from_ref(&have));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].to_string(), format!(r#""x\n": {expected}"#));
        assert_eq!(found[0].field.aspect(), aspect);
        assert_eq!(compare(slice::from_ref(&want), slice::from_ref(&want)), []);
    }
}

#[test]
fn what_is_on_one_side_only_is_named_and_the_order_does_not_matter() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|path| with(path, Kind::Dir));
    let found = lines(&[c.clone(), a.clone(), b.clone()], &[d, b, a]);
    assert_eq!(found, [r#""c": missing"#, r#""d": unexpected"#]);
    assert_eq!(lines(&[], slice::from_ref(&c)), [r#""c": unexpected"#]);
    assert_eq!(lines(&[c], &[]), [r#""c": missing"#]);
}

#[test]
fn every_difference_of_one_entry_is_told() {
    let want = with("a", file(1, 1));
    let mut have = with("a", Kind::Fifo);
    (have.uid, have.mode) = (5, Mode::from_bits(0));
    let expected = [
        r#""a": is a fifo, not a file"#,
        r#""a": mode is 0000, not 0644"#,
        r#""a": owner is 5:0, not 0:0"#,
    ];
    assert_eq!(lines(&[want], &[have]), expected);
}

#[test]
fn hard_links_are_compared_by_who_shares_a_file() {
    let alone = |path| with(path, Kind::Fifo);
    let (a, b, c, d) = (
        linked("a", 0),
        linked("b", 0),
        linked("c", 1),
        linked("d", 1),
    );
    // Other numbers, same groups.
    let renumbered = [
        linked("a", 8),
        linked("b", 8),
        linked("c", 3),
        linked("d", 3),
    ];
    assert_eq!(
        lines(&[a.clone(), b.clone(), c.clone(), d.clone()], &renumbered),
        [""; 0]
    );
    assert_eq!(
        lines(&[a.clone(), b.clone()], &[alone("a"), alone("b")]),
        [r#""b": is a file of its own, not linked to "a""#]
    );
    assert_eq!(
        lines(&[alone("a"), alone("b")], &[a.clone(), b.clone()]),
        [r#""b": is linked to "a", not a file of its own"#]
    );
    assert_eq!(
        lines(
            &[a.clone(), b.clone(), c, d],
            &[
                linked("a", 0),
                linked("b", 1),
                linked("c", 0),
                linked("d", 1)
            ]
        ),
        [
            r#""b": is a file of its own, not linked to "a""#,
            r#""c": is linked to "a", not a file of its own"#,
            r#""d": is linked to "b", not linked to "c""#,
        ]
    );
    // A name that is gone is told once; those that are left share what they shared.
    assert_eq!(
        lines(
            &[a.clone(), b.clone(), linked("c", 0)],
            &[b.clone(), linked("c", 0)]
        ),
        [r#""a": missing"#]
    );
    assert_eq!(lines(&[a, b.clone()], &[alone("b")]), [r#""a": missing"#]);
}
