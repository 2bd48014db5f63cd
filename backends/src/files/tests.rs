//! A disk in memory that keeps as little as POSIX lets it: after a power cut any of what was not synced may be there, or
//! not, or a part of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// The number of a file's content.
type Node = usize;

#[derive(Debug, Clone, Default)]
struct Side {
    names: BTreeMap<PathBuf, Node>,
    contents: BTreeMap<Node, Vec<u8>>,
}

/// A change of names that is not on disk yet.
#[derive(Debug, Clone)]
enum Change {
    Named(PathBuf, Node),
    Renamed(PathBuf, PathBuf, Node),
    Removed(PathBuf),
}

#[derive(Debug, Clone, Default)]
struct Disk {
    seen: Side,
    durable: Side,
    pending: Vec<Change>,
    /// The power goes after so many more changes.
    left: Option<usize>,
}

#[derive(Debug, Default)]
struct Memory(RefCell<Disk>);

impl Disk {
    fn change(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        let found = self.seen.names.get(path).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(side: &mut Side, change: &Change) {
        match change {
            Change::Named(path, node) => {
                side.names.insert(path.clone(), *node);
            }
            Change::Renamed(from, to, node) => {
                side.names.remove(from);
                side.names.insert(to.clone(), *node);
            }
            Change::Removed(path) => {
                side.names.remove(path);
            }
        }
    }

    /// All that can be found after a power cut now: any of the changes of names, and of contents nothing, half or all.
    fn after_power_cut(&self) -> Vec<Disk> {
        let mut found = Vec::new();
        for some in 0..1u32 << self.pending.len() {
            let mut side = self.durable.clone();
            for (number, change) in self.pending.iter().enumerate() {
                if some >> number & 1 == 1 {
                    Disk::apply(&mut side, change);
                }
            }
            for part in 0..3 {
                let mut side = side.clone();
                for (node, content) in &self.seen.contents {
                    let lost = content[..content.len() * part / 2].to_vec();
                    side.contents.entry(*node).or_insert(lost);
                }
                found.push(Disk {
                    seen: side.clone(),
                    durable: side,
                    ..Disk::default()
                });
            }
        }
        found
    }

    fn read(&self, path: &Path) -> Option<&[u8]> {
        let node = self.seen.names.get(path)?;
        self.seen.contents.get(node).map(Vec::as_slice)
    }
}

impl Files for Memory {
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.change()?;
        if disk.seen.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = disk.seen.contents.len();
        let named = Change::Named(path.to_owned(), node);
        Disk::apply(&mut disk.seen, &named);
        disk.seen.contents.insert(node, content.to_vec());
        disk.pending.push(named);
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.change()?;
        let node = disk.node(path)?;
        let content = disk.seen.contents[&node].clone();
        disk.durable.contents.insert(node, content);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.change()?;
        let renamed = Change::Renamed(from.to_owned(), to.to_owned(), disk.node(from)?);
        Disk::apply(&mut disk.seen, &renamed);
        disk.pending.push(renamed);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.node(path)?;
        disk.change()?;
        let removed = Change::Removed(path.to_owned());
        Disk::apply(&mut disk.seen, &removed);
        disk.pending.push(removed);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.change()?;
        for change in std::mem::take(&mut disk.pending) {
            Disk::apply(&mut disk.durable, &change);
        }
        Ok(())
    }
}

const OLD: &[u8] = b"what stood there";
const NEW: &[u8] = b"what takes its place";

/// A disk with the old file, or with none.
fn before(old: Option<&[u8]>) -> Disk {
    let files = Memory::default();
    if let Some(old) = old {
        write_durably(&files, "/etc/file".as_ref(), old).unwrap();
    }
    files.0.into_inner()
}

#[test]
fn a_power_cut_leaves_the_old_file_or_the_new_one_and_never_a_part() {
    let path = Path::new("/etc/file");
    let mut cases = 0;
    for old in [None, Some(OLD)] {
        for left in 0..8 {
            let files = Memory(RefCell::new(Disk {
                left: Some(left),
                ..before(old)
            }));
            let done = write_durably(&files, path, NEW).is_ok();
            for found in files.0.into_inner().after_power_cut() {
                cases += 1;
                let read = found.read(path);
                let whole = read == Some(NEW) || !done && read == old;
                let text = read.map(String::from_utf8_lossy);
                assert!(
                    whole,
                    "the power goes after {left} changes (done: {done}): {text:?} is found"
                );
                // And whoever comes next can write.
                let files = Memory(RefCell::new(found));
                write_durably(&files, path, OLD).unwrap();
                let last = files.0.into_inner().after_power_cut();
                assert!(
                    last.iter().all(|disk| disk.read(path) == Some(OLD)),
                    "after {left} changes"
                );
            }
        }
    }
    told(cases);
}

/// Adds the number of cases to the file that counts all.
fn told(cases: usize) {
    let Some(path) = std::env::var_os("ZEEBE_SNAP_CASES") else {
        return;
    };
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    let line = format!("in memory\ta small file is written: the power goes\t{cases}\n");
    file.write_all(line.as_bytes()).unwrap();
}
