//! What is written on a logical volume: tags.
//!
//! A tag has letters, digits and `_+.-/=!:&#`, 1024 of them (lvm(8)). Anything else, and `=`, `:` and `!` in what is not ours
//! to choose, is written as `!` and two hex digits for each byte.

use std::collections::BTreeMap;

use crate::Label;
use crate::cmd::Cmd;

/// What it is a snapshot of, staged for, or kept of: the uuid that the volume had when it was first seen.
const VOLUME: &str = "zeebe-snap.volume=";
/// The name of a snapshot.
const SNAPSHOT: &str = "zeebe-snap.snapshot=";
/// Of a snapshot.
const LABEL: &str = "zeebe-snap.label:";
/// The stage that it was made for.
const STAGED: &str = "zeebe-snap.staged=";
/// The uuid of the snapshot that it was made of.
const OF: &str = "zeebe-snap.of=";
/// The stage that it is kept under, once that has taken its place; and what is to be said of it then.
const KEPT: &str = "zeebe-snap.kept:";

/// The place where it landed, or is to land.
const PLACE: &str = "zeebe-snap.place=";
/// What is being received, by the uuid of what was sent first; and what was, once that was looked at.
const LANDING: &str = "zeebe-snap.landing=";
const LANDED: &str = "zeebe-snap.landed=";
/// On a pool: one of ours holds the snapshot of its metadata, or did when he died.
pub const HOLDS: &str = "zeebe-snap.holds-metadata";

/// What tags say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    pub volume: Option<String>,
    pub snapshot: Option<String>,
    pub label: Label,
    pub staged: Option<String>,
    pub of: Option<String>,
    pub kept: BTreeMap<String, Label>,
    pub place: Option<String>,
    pub landing: Option<String>,
    pub landed: Option<String>,
    pub holds: bool,
}

impl Marks {
    pub fn read(tags: &[String]) -> Marks {
        let mut marks = Marks::default();
        for tag in tags {
            let after = |prefix: &str| tag.strip_prefix(prefix).map(str::to_owned);
            if let Some(volume) = after(VOLUME) {
                marks.volume = Some(volume);
            } else if let Some(name) = after(SNAPSHOT) {
                marks.snapshot = Some(name);
            } else if let Some(stage) = after(STAGED) {
                marks.staged = Some(stage);
            } else if let Some(identity) = after(OF) {
                marks.of = Some(identity);
            } else if let Some(place) = after(PLACE) {
                marks.place = Some(place);
            } else if let Some(identity) = after(LANDING) {
                marks.landing = unescape(&identity);
            } else if let Some(identity) = after(LANDED) {
                marks.landed = unescape(&identity);
            } else if tag == HOLDS {
                marks.holds = true;
            } else if let Some(entry) = after(LABEL) {
                marks.label.extend(read_entry(&entry));
            } else if let Some(kept) = after(KEPT) {
                let (stage, entry) = kept.split_once(':').unwrap_or((&kept, ""));
                let label = marks.kept.entry(stage.to_owned()).or_default();
                label.extend(read_entry(entry));
            }
        }
        marks
    }
}

pub fn of_snapshot(lineage: &str, name: &str, label: &Label) -> Vec<String> {
    let mut tags = vec![format!("{VOLUME}{lineage}"), format!("{SNAPSHOT}{name}")];
    tags.extend(entries(LABEL, label));
    tags
}

pub fn of_staged(lineage: &str, stage: &str, identity: &str) -> Vec<String> {
    vec![
        format!("{VOLUME}{lineage}"),
        format!("{STAGED}{stage}"),
        format!("{OF}{identity}"),
    ]
}

/// Of what is about to land in `place`, and starts from the volume with the uuid `base`.
pub fn of_landing(
    place: &str,
    name: &str,
    identity: &str,
    base: Option<&str>,
    label: &Label,
) -> Vec<String> {
    let mut tags = vec![
        format!("{PLACE}{place}"),
        format!("{SNAPSHOT}{name}"),
        landing(identity),
    ];
    tags.extend(base.map(|uuid| format!("{OF}{uuid}")));
    tags.extend(entries(LABEL, label));
    tags
}

pub fn landing(identity: &str) -> String {
    format!("{LANDING}{}", escape(identity))
}

pub fn landed(identity: &str) -> String {
    format!("{LANDED}{}", escape(identity))
}

pub fn of_kept(lineage: &str, stage: &str, label: &Label) -> Vec<String> {
    let mut tags = vec![format!("{VOLUME}{lineage}"), format!("{KEPT}{stage}")];
    tags.extend(entries(&format!("{KEPT}{stage}:"), label));
    tags
}

/// Those of `tags` that speak of `stage`, and what is left of no use then on the volume that has no other lineage than its
/// own `uuid`.
pub fn about(tags: &[String], stage: &str, uuid: &str) -> Vec<String> {
    let (staged, kept) = (format!("{STAGED}{stage}"), format!("{KEPT}{stage}"));
    let entry = format!("{kept}:");
    let was_staged = tags.contains(&staged);
    let speaks = |tag: &&String| {
        **tag == staged
            || **tag == kept
            || tag.starts_with(&entry)
            || (was_staged && tag.starts_with(OF))
    };
    let mut about: Vec<String> = tags.iter().filter(speaks).cloned().collect();
    let mut others = tags
        .iter()
        .filter(|tag| tag.starts_with("zeebe-snap.") && !about.contains(tag));
    let own = format!("{VOLUME}{uuid}");
    if others.next() == Some(&own) && others.next().is_none() {
        about.push(own);
    }
    about
}

/// `cmd`, with each of `tags` after a `word`.
pub fn each(cmd: Cmd, word: &str, tags: &[String]) -> Cmd {
    let words = tags.iter().flat_map(|tag| [word.to_owned(), tag.clone()]);
    cmd.args(words)
}

fn entries<'a>(prefix: &'a str, label: &'a Label) -> impl Iterator<Item = String> + 'a {
    let entry = move |(key, value): (&String, &String)| {
        format!("{prefix}{}={}", escape(key), escape(value))
    };
    label.iter().map(entry)
}

fn read_entry(entry: &str) -> Option<(String, String)> {
    let (key, value) = entry.split_once('=')?;
    Some((unescape(key)?, unescape(value)?))
}

fn escape(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'+' | b'.' | b'-' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("!{byte:02x}"),
    };
    text.bytes().map(byte).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'!' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        Label::from([
            ("set".to_owned(), "20261123T014500Z".to_owned()),
            ("a=b:c".to_owned(), "größe 'β' \"2\"=3, !\\n\n:".to_owned()),
            ("empty".to_owned(), String::new()),
        ])
    }

    #[test]
    fn a_label_of_anything_is_told_by_what_lvm_takes() {
        let tags = [
            of_snapshot("8jmwpe-t17B", "zeebe-snap-1", &label()),
            of_kept("8jmwpe-t17B", "restore-1", &label()),
            of_kept("8jmwpe-t17B", "undo-2", &Label::new()),
            of_staged("8jmwpe-t17B", "restore-0", "RIRiIf-5qut"),
            of_landing("node-0", "zeebe-snap-1", "a=b", None, &Label::new()),
            vec![landed("8jmwpe-t17B"), HOLDS.to_owned()],
            vec!["somebody's".to_owned()],
        ]
        .concat();
        let taken = |c: char| c.is_ascii_alphanumeric() || "_+.-/=!:&#".contains(c);
        assert!(
            tags[..tags.len() - 1]
                .iter()
                .all(|tag| tag.chars().all(taken)),
            "{tags:?}"
        );
        let expected = Marks {
            volume: Some("8jmwpe-t17B".to_owned()),
            snapshot: Some("zeebe-snap-1".to_owned()),
            label: label(),
            staged: Some("restore-0".to_owned()),
            of: Some("RIRiIf-5qut".to_owned()),
            kept: [
                ("restore-1".to_owned(), label()),
                ("undo-2".to_owned(), Label::new()),
            ]
            .into(),
            place: Some("node-0".to_owned()),
            landing: Some("a=b".to_owned()),
            landed: Some("8jmwpe-t17B".to_owned()),
            holds: true,
        };
        assert_eq!(Marks::read(&tags), expected);
    }

    #[test]
    fn what_is_no_longer_kept_is_not_written_of() {
        let mut tags = of_kept("8jmwpe-t17B", "restore-1", &label());
        tags.push("admin's".to_owned());
        let (all, foreign) = (tags[1..tags.len() - 1].to_vec(), "RIRiIf-5qut");
        assert_eq!(about(&tags, "restore-1", foreign), all);
        assert_eq!(about(&tags, "restore", foreign), [""; 0]);
        // Of the first of its lineage there is nothing left to say.
        let own = about(&tags, "restore-1", "8jmwpe-t17B");
        assert_eq!(own[..own.len() - 1], all);
        assert_eq!(own.last(), Some(&tags[0]));
        tags.extend(of_kept("8jmwpe-t17B", "undo-2", &Label::new()));
        tags.dedup();
        assert_eq!(about(&tags, "restore-1", "8jmwpe-t17B"), all);
    }

    #[test]
    fn what_does_not_read_says_nothing() {
        for bad in ["set=!", "set=!g1", "set=!ff", "set"] {
            let tags = [format!("{LABEL}{bad}")];
            assert_eq!(Marks::read(&tags).label, Label::new(), "{bad}");
        }
    }
}
