//! Lists a tree with a hash of every file: one walk, then the files by several threads.
//!
//! It must not know volumes, nor what the listing is compared with.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{Advice, FileType, fadvise, readlinkat};
use rustix::io::Errno;

use super::TreeError;
use super::beneath::{Beneath, Root};
use super::entry::{Entry, Kind, LinkGroup};
use super::hash::{Hash, content_hash, metadata_hash};
use super::link;
use super::name::TreePath;
use super::pass::Pass;
use super::stat::Stat;
use super::walk::{Visit, walk};
use super::xattrs::{self, Xattrs};

/// Read at a time. Small enough to stay in a core's nearest caches: with 128 KiB and more, reading and hashing from
/// the page cache took twice the processor time (measured from 16 KiB to 1 MiB).
const BUFFER: usize = 64 * 1024;

/// From this size on a file is work for one turn of a thread.
const LARGE: u64 = 1024 * 1024;

/// Smaller files are handed out so many at a time: neighbours, for whom the directory is open already.
const SMALL_AT_ONCE: usize = 32;

/// A tree's listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeDigest {
    /// Everything in the tree, the root first, in order of path.
    pub entries: Vec<Entry>,
    /// See [`content_hash`].
    pub content: Hash,
    /// See [`metadata_hash`].
    pub metadata: Hash,
    /// How many regular files there are; the names of one file count once.
    pub files: u64,
    /// How many bytes they hold, which is what was hashed.
    pub bytes: u64,
    /// Sockets. They are no entries, and in no hash.
    pub sockets: Vec<TreePath>,
}

/// Lists the tree at `root`, which must be at rest; a symbolic link there is an error. Progress is bytes hashed.
pub fn digest(root: &Path, pass: &Pass<'_>) -> Result<TreeDigest, TreeError> {
    let root = &Root::open(root)?;
    let mut found = vec![Found::new(
        root,
        &root.fd,
        c".",
        TreePath::root(),
        root.stat,
    )?];
    let mut sockets = Vec::new();
    walk(root, None, pass, &mut |visit: Visit<'_>| {
        let (path, Visit { dir, name, stat }) = (visit.path(), visit);
        match stat.file_type {
            FileType::Socket => sockets.push(path),
            _ => found.push(Found::new(root, &dir.fd, name, path, stat)?),
        }
        Ok(())
    })?;
    sockets.sort_unstable();
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let groups = link::groups(found.iter().map(|found| &found.stat));

    let mut entries = Vec::with_capacity(found.len());
    let mut files: Vec<File> = Vec::new();
    let mut first: HashMap<LinkGroup, usize> = HashMap::new();
    for (Found { path, stat, rest }, group) in found.into_iter().zip(groups) {
        match rest {
            Some((kind, xattrs)) => entries.push(entry(path, &stat, kind, group, xattrs)),
            None => match group.and_then(|group| first.get(&group)) {
                Some(&other) => {
                    if !stat.unchanged(&files[other].stat) {
                        return Err(root.changed(&path));
                    }
                    files[other].others.push(path);
                }
                None => {
                    if let Some(group) = group {
                        first.insert(group, files.len());
                    }
                    let others = Vec::new();
                    files.push(File {
                        path,
                        others,
                        stat,
                        group,
                    });
                }
            },
        }
    }
    entries.extend(read_all(root, &mut files, pass)?);
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(TreeDigest {
        content: content_hash(&entries),
        metadata: metadata_hash(&entries),
        entries,
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.stat.size).sum(),
        sockets,
    })
}

/// What the walk finds; `rest` is for what is not a regular file. A file's is read where the file is open anyway.
struct Found {
    path: TreePath,
    stat: Stat,
    rest: Option<(Kind, Xattrs)>,
}

impl Found {
    fn new(
        root: &Root,
        dir: &OwnedFd,
        name: &CStr,
        path: TreePath,
        stat: Stat,
    ) -> Result<Found, TreeError> {
        let rdev = stat.rdev;
        let kind = match stat.file_type {
            FileType::RegularFile => None,
            FileType::Directory => Some(Kind::Dir),
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new())
                    .map_err(root.failed("read the link", &path))?;
                let target = target.into_bytes().into();
                Some(Kind::Symlink { target })
            }
            FileType::Fifo => Some(Kind::Fifo),
            FileType::CharacterDevice => Some(Kind::Char { rdev }),
            FileType::BlockDevice => Some(Kind::Block { rdev }),
            FileType::Socket | FileType::Unknown => {
                return Err(root.failed("tell what it is:", &path)(Errno::NOTSUP));
            }
        };
        let rest = match kind {
            None => None,
            Some(kind) => {
                let xattrs = xattrs::at(dir, name).map(listed);
                let xattrs =
                    xattrs.map_err(root.failed("read the extended attributes of", &path))?;
                Some((kind, xattrs))
            }
        };
        Ok(Found { path, stat, rest })
    }
}

/// Those that belong into a listing.
fn listed(mut xattrs: Xattrs) -> Xattrs {
    xattrs.retain(|name, _| !xattrs::is_flag(name));
    xattrs
}

/// A regular file, with all its names in the tree.
struct File {
    path: TreePath,
    others: Vec<TreePath>,
    stat: Stat,
    group: Option<LinkGroup>,
}

fn entry(
    path: TreePath,
    stat: &Stat,
    kind: Kind,
    link: Option<LinkGroup>,
    xattrs: Xattrs,
) -> Entry {
    Entry {
        path,
        kind,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        link,
        xattrs,
    }
}

/// The entries of all `files`, in no order. Sorts them: the largest first, so that no thread is left with one at the
/// end, then small ones as they were.
fn read_all(root: &Root, files: &mut [File], pass: &Pass<'_>) -> Result<Vec<Entry>, TreeError> {
    files.sort_by_key(|file| {
        Reverse(if file.stat.size < LARGE {
            0
        } else {
            file.stat.size
        })
    });
    let large = files.partition_point(|file| file.stat.size >= LARGE);
    let (large, small) = files.split_at(large);
    let turns: Vec<&[File]> = large.chunks(1).chain(small.chunks(SMALL_AT_ONCE)).collect();
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || -> Result<Vec<Entry>, TreeError> {
        let mut reader = Reader {
            beneath: Beneath::new(root),
            root,
            buffer: vec![0; BUFFER],
            pass,
        };
        let mut entries = Vec::new();
        while !failed.load(Ordering::Relaxed)
            && let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed))
        {
            for file in *turn {
                let (kind, xattrs) = reader
                    .read(file)
                    .inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                for path in std::iter::once(&file.path).chain(&file.others) {
                    entries.push(entry(
                        path.clone(),
                        &file.stat,
                        kind.clone(),
                        file.group,
                        xattrs.clone(),
                    ));
                }
            }
        }
        Ok(entries)
    };
    let more = (pass.threads.get() - 1).min(turns.len().saturating_sub(1));
    thread::scope(|scope| {
        // A thread that cannot be had is one that this one works for.
        let others: Vec<_> = (0..more)
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut results = vec![work()];
        for other in others {
            results.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        let mut entries = Vec::new();
        for result in results {
            entries.append(&mut result?);
        }
        Ok(entries)
    })
}

/// What one thread needs to read files.
struct Reader<'a> {
    root: &'a Root,
    beneath: Beneath<'a>,
    buffer: Vec<u8>,
    pass: &'a Pass<'a>,
}

impl Reader<'_> {
    fn read(&mut self, file: &File) -> Result<(Kind, Xattrs), TreeError> {
        let root = self.root;
        let (path, size) = (&file.path, file.stat.size);
        if (self.pass.stop)() {
            return Err(TreeError::Interrupted);
        }
        let fd = self.beneath.open(path).map_err(root.failed("open", path))?;
        let unchanged = |fd: &OwnedFd| match Stat::of(fd) {
            Ok(now) if now.unchanged(&file.stat) => Ok(()),
            Ok(_) => Err(root.changed(path)),
            Err(errno) => Err(root.failed("look at", path)(errno)),
        };
        unchanged(&fd)?;
        let blake3 = self.hash(&fd, path, size)?;
        let xattrs = xattrs::of(&fd).map(listed);
        let xattrs = xattrs.map_err(root.failed("read the extended attributes of", path))?;
        unchanged(&fd)?;
        Ok((Kind::File { size, blake3 }, xattrs))
    }

    fn hash(&mut self, fd: &OwnedFd, path: &TreePath, size: u64) -> Result<Hash, TreeError> {
        let root = self.root;
        if size >= LARGE {
            // Only a hint: a file system that knows no such thing reads as well.
            fadvise(fd, 0, None, Advice::Sequential).ok();
        }
        let mut hasher = blake3::Hasher::new();
        let mut done = 0;
        loop {
            let length = match rustix::io::read(fd, &mut self.buffer[..]) {
                Ok(0) if done == size => return Ok(hasher.finalize().into()),
                // It ends early.
                Ok(0) => return Err(root.changed(path)),
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(root.failed("read", path)(errno)),
            };
            done += length as u64;
            if done > size {
                return Err(root.changed(path));
            }
            hasher.update(&self.buffer[..length]);
            (self.pass.progress)(length as u64);
            if (self.pass.stop)() {
                return Err(TreeError::Interrupted);
            }
        }
    }
}
