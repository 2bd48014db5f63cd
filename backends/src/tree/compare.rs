//! What differs between two listings.
//!
//! It must not know where they come from: no file is opened here.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::entry::{DeviceNumber, Entry, Kind, LinkGroup, Mode, Mtime};
use super::hash::Hash;
use super::name::{ByteString, TreePath};

/// One thing that is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// What.
    #[serde(flatten)]
    pub field: Field,
}

/// What can differ; `want` is what the first listing says, `have` the second. A file of another size has other
/// content as well, which is not told again; nor is the content of another kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
#[allow(missing_docs, reason = "want and have, as said above")]
pub enum Field {
    /// Only in the first listing.
    Missing,
    /// Only in the second listing.
    Unexpected,
    /// File, directory and so on.
    Kind {
        want: &'static str,
        have: &'static str,
    },
    /// The length of a file in bytes.
    Size { want: u64, have: u64 },
    /// The bytes of a file.
    Content { want: Hash, have: Hash },
    /// What a symbolic link says.
    Target { want: ByteString, have: ByteString },
    /// Which device a device node is.
    Rdev {
        want: DeviceNumber,
        have: DeviceNumber,
    },
    /// Hard links: the first of the other names for the same file, among those that are in both listings.
    Link {
        want: Option<TreePath>,
        have: Option<TreePath>,
    },
    /// Permissions.
    Mode { want: Mode, have: Mode },
    /// Owner and group.
    Owner { want: (u32, u32), have: (u32, u32) },
    /// Modification time.
    Mtime { want: Mtime, have: Mtime },
    /// Names of extended attributes: those only wanted, those only there, those with another value.
    Xattrs {
        missing: Vec<ByteString>,
        unexpected: Vec<ByteString>,
        changed: Vec<ByteString>,
    },
}

/// Which of a tree's two hashes a difference belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// What is in the tree.
    Content,
    /// What is said about it, which may rightly differ on another host.
    Metadata,
}

impl Field {
    /// Where it belongs.
    pub fn aspect(&self) -> Aspect {
        match self {
            Field::Missing
            | Field::Unexpected
            | Field::Kind { .. }
            | Field::Size { .. }
            | Field::Content { .. }
            | Field::Target { .. }
            | Field::Rdev { .. }
            | Field::Link { .. } => Aspect::Content,
            Field::Mode { .. }
            | Field::Owner { .. }
            | Field::Mtime { .. }
            | Field::Xattrs { .. } => Aspect::Metadata,
        }
    }
}

/// All differences, in order of path. Empty if and only if both listings say the same; the numbers of link groups
/// do not matter, only which names share one. The listings may be in any order.
pub fn compare(want: &[Entry], have: &[Entry]) -> Vec<Difference> {
    let (want, have) = (in_order(want), in_order(have));
    let (mut wanted, mut had) = (want.iter().peekable(), have.iter().peekable());
    let mut both: Vec<(&Entry, &Entry)> = Vec::new();
    let mut found = Vec::new();
    loop {
        let order = match (wanted.peek(), had.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(want), Some(have)) => want.path.cmp(&have.path),
        };
        let want = if order.is_le() { wanted.next() } else { None };
        let have = if order.is_ge() { had.next() } else { None };
        let (path, field) = match (want, have) {
            (Some(want), Some(have)) => {
                both.push((want, have));
                continue;
            }
            (Some(want), None) => (&want.path, Field::Missing),
            (None, Some(have)) => (&have.path, Field::Unexpected),
            (None, None) => break,
        };
        let path = path.clone();
        found.push(Difference { path, field });
    }
    let want_links = Links::new(both.iter().map(|(want, _)| *want));
    let have_links = Links::new(both.iter().map(|(_, have)| *have));
    for (want, have) in both {
        let mut fields = Vec::new();
        kind(&want.kind, &have.kind, &mut fields);
        let (want_link, have_link) = (want_links.other_name(want), have_links.other_name(have));
        if want_link != have_link {
            let (want, have) = (want_link.cloned(), have_link.cloned());
            fields.push(Field::Link { want, have });
        }
        metadata(want, have, &mut fields);
        let path = &want.path;
        found.extend(fields.into_iter().map(|field| {
            let path = path.clone();
            Difference { path, field }
        }));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

/// The first name of each link group.
struct Links<'a>(HashMap<LinkGroup, &'a TreePath>);

impl<'a> Links<'a> {
    fn new(entries: impl Iterator<Item = &'a Entry>) -> Links<'a> {
        let mut first = HashMap::new();
        for entry in entries {
            if let Some(group) = entry.link {
                first.entry(group).or_insert(&entry.path);
            }
        }
        Links(first)
    }

    /// The first name of the file that `entry` is a later name of. Two listings of the same paths have the same
    /// groups if and only if these agree for every path.
    fn other_name(&self, entry: &Entry) -> Option<&'a TreePath> {
        let first = self.0.get(&entry.link?)?;
        (**first != entry.path).then_some(*first)
    }
}

fn kind(want: &Kind, have: &Kind, out: &mut Vec<Field>) {
    match (want, have) {
        (want, have) if want == have => {}
        (Kind::File { size: want, .. }, Kind::File { size: have, .. }) if want != have => {
            let (want, have) = (*want, *have);
            out.push(Field::Size { want, have });
        }
        (Kind::File { blake3: want, .. }, Kind::File { blake3: have, .. }) => {
            let (want, have) = (*want, *have);
            out.push(Field::Content { want, have });
        }
        (Kind::Symlink { target: want }, Kind::Symlink { target: have }) => {
            let (want, have) = (want.clone(), have.clone());
            out.push(Field::Target { want, have });
        }
        (Kind::Char { rdev: want }, Kind::Char { rdev: have })
        | (Kind::Block { rdev: want }, Kind::Block { rdev: have }) => {
            let (want, have) = (*want, *have);
            out.push(Field::Rdev { want, have });
        }
        (want, have) => {
            let (want, have) = (want.word(), have.word());
            out.push(Field::Kind { want, have });
        }
    }
}

fn metadata(want: &Entry, have: &Entry, out: &mut Vec<Field>) {
    if want.mode != have.mode {
        let (want, have) = (want.mode, have.mode);
        out.push(Field::Mode { want, have });
    }
    if (want.uid, want.gid) != (have.uid, have.gid) {
        let (want, have) = ((want.uid, want.gid), (have.uid, have.gid));
        out.push(Field::Owner { want, have });
    }
    if want.mtime != have.mtime {
        let (want, have) = (want.mtime, have.mtime);
        out.push(Field::Mtime { want, have });
    }
    if want.xattrs != have.xattrs {
        let (want, have) = (&want.xattrs, &have.xattrs);
        let names = |from: &std::collections::BTreeMap<ByteString, ByteString>,
                     which: &dyn Fn(&ByteString) -> bool| {
            from.keys().filter(|name| which(name)).cloned().collect()
        };
        out.push(Field::Xattrs {
            missing: names(want, &|name| !have.contains_key(name)),
            unexpected: names(have, &|name| !want.contains_key(name)),
            changed: names(want, &|name| {
                have.get(name).is_some_and(|value| *value != want[name])
            }),
        });
    }
}

/// One line: the path, then what differs.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.field)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Missing => f.write_str("missing"),
            Field::Unexpected => f.write_str("unexpected"),
            Field::Kind { want, have } => write!(f, "is a {have}, not a {want}"),
            Field::Size { want, have } => write!(f, "size is {have}, not {want}"),
            Field::Content { want, have } => write!(f, "content is {have}, not {want}"),
            Field::Target { want, have } => write!(f, "points to {have}, not {want}"),
            Field::Rdev { want, have } => write!(f, "is device {have}, not {want}"),
            Field::Link { want, have } => {
                let name = |link: &Option<TreePath>| match link {
                    Some(path) => format!("linked to {path}"),
                    None => "a file of its own".to_owned(),
                };
                write!(f, "is {}, not {}", name(have), name(want))
            }
            Field::Mode { want, have } => write!(f, "mode is {have}, not {want}"),
            Field::Owner { want, have } => {
                write!(
                    f,
                    "owner is {}:{}, not {}:{}",
                    have.0, have.1, want.0, want.1
                )
            }
            Field::Mtime { want, have } => write!(f, "mtime is {have}, not {want}"),
            Field::Xattrs {
                missing,
                unexpected,
                changed,
            } => {
                f.write_str("extended attributes")?;
                let mut before = "";
                for (word, names) in [
                    ("missing", missing),
                    ("unexpected", unexpected),
                    ("changed", changed),
                ] {
                    if !names.is_empty() {
                        let names: Vec<String> = names.iter().map(ByteString::to_string).collect();
                        write!(f, "{before} {word}: {}", names.join(" "))?;
                        before = ",";
                    }
                }
                Ok(())
            }
        }
    }
}
