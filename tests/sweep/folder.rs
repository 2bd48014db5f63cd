//! What is in a broker's data directory: of one node and one generation, known to the byte.
//!
//! A generation is what the folders of all brokers are of at one time: its files are made of its number and the node's, so
//! that whatever is missing, left over, changed or of another time shows. The log is written all the time through a map,
//! and has the generation in each of its pages. Must not know who writes it, or how it is captured.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The length of the log.
pub const LOG_LENGTH: usize = 16 * PAGE;

/// What is written at once.
pub const PAGE: usize = 4096;

/// A time at which all folders are of one mind.
pub type Generation = u64;

/// What was found in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What its files are of.
    pub generation: Generation,
    /// Whether its broker had ended by itself when it was last written.
    pub at_rest: bool,
    /// How often the log was written.
    pub written: u64,
}

/// What stands at a path, with nothing that a copy may not keep.
#[derive(Debug, PartialEq, Eq)]
enum Stands {
    Folder,
    File {
        content: Vec<u8>,
        mode: u32,
        links: u64,
    },
    Link(PathBuf),
    /// The log, which is looked at by itself.
    Log,
}

/// The folder of the one partition that a node has.
pub fn partition(node: usize) -> PathBuf {
    format!("raft-partition/partitions/{}", node + 1).into()
}

/// The file that says whose partition it is, as Zeebe has it.
pub fn lock(node: usize) -> PathBuf {
    partition(node).join(format!(".raft-partition-partition-{}.lock", node + 1))
}

/// The log.
pub fn log(node: usize) -> PathBuf {
    partition(node).join(format!("raft-partition-partition-{}-1.log", node + 1))
}

/// Bytes that nothing else is made of.
fn bytes(node: usize, generation: Generation, file: usize, length: usize) -> Vec<u8> {
    let mut state =
        (generation << 16) ^ ((node as u64) << 8) ^ (file as u64) ^ 0x9e37_79b9_7f4a_7c15;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// What makes a folder one of that node and generation.
fn expected(node: usize, generation: Generation) -> BTreeMap<PathBuf, Stands> {
    let partition = partition(node);
    let file = |content: Vec<u8>, mode: u32, links: u64| Stands::File {
        content,
        mode,
        links,
    };
    let mut all = BTreeMap::new();
    for folder in partition.ancestors().filter(|path| *path != Path::new("")) {
        all.insert(folder.to_owned(), Stands::Folder);
    }
    all.insert(
        "generation".into(),
        file(format!("{generation}\n").into_bytes(), 0o644, 1),
    );
    all.insert(lock(node), file(node.to_string().into_bytes(), 0o644, 1));
    all.insert(log(node), Stands::Log);
    let state = partition.join(format!("state-{generation}"));
    all.insert(state.clone(), Stands::Folder);
    for (number, length) in [0, 1, 4096, 5000, 20_000].into_iter().enumerate() {
        let content = bytes(node, generation, number, length);
        let mode = if number % 2 == 0 { 0o644 } else { 0o600 };
        all.insert(state.join(format!("file-{number}")), file(content, mode, 1));
    }
    for name in ["one", "another"] {
        all.insert(
            state.join(name),
            file(bytes(node, generation, 9, 3000), 0o640, 2),
        );
    }
    all.insert(state.join("link"), Stands::Link("one".into()));
    all
}

/// Makes it, where there is nothing or only an empty folder.
pub fn make(data: &Path, node: usize, generation: Generation) -> io::Result<()> {
    fs::create_dir_all(data.join(partition(node)))?;
    File::create(data.join(log(node)))?.set_len(LOG_LENGTH as u64)?;
    write_files(data, node, generation)?;
    let log = OpenOptions::new().write(true).open(data.join(log(node)))?;
    for page in 0..LOG_LENGTH / PAGE {
        let rest = if page == 0 { AT_REST } else { 0 };
        log.write_all_at(&words(generation, 0, node, rest), (page * PAGE) as u64)?;
    }
    Ok(())
}

/// Turns it into one of another generation, but for the log. The file `generation` is written last, and what was there
/// before goes after it.
pub fn write_files(data: &Path, node: usize, generation: Generation) -> io::Result<()> {
    let old = fs::read_dir(data.join(partition(node)))?
        .map(|entry| entry.map(|entry| entry.path()))
        .filter(|path| {
            path.as_ref().map_or(true, |path| {
                path.file_name()
                    .and_then(OsStr::to_str)
                    .is_some_and(|name| name.starts_with("state-"))
            })
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut all: Vec<_> = expected(node, generation).into_iter().collect();
    all.sort_by_key(|(path, _)| path == Path::new("generation"));
    for (path, stands) in all {
        let at = data.join(&path);
        match stands {
            Stands::Folder => fs::create_dir_all(at)?,
            Stands::Link(to) => symlink(to, at)?,
            Stands::Log => {}
            // Of the two names of one file "another" comes first.
            Stands::File { .. } if path.ends_with("one") => {
                fs::hard_link(at.with_file_name("another"), at)?
            }
            Stands::File { content, mode, .. } => {
                let beside = at.with_file_name("new");
                fs::write(&beside, content)?;
                fs::set_permissions(&beside, Permissions::from_mode(mode))?;
                fs::rename(beside, at)?;
            }
        }
    }
    for old in old
        .into_iter()
        .filter(|path| !path.ends_with(format!("state-{generation}")))
    {
        fs::remove_dir_all(old)?;
    }
    Ok(())
}

const AT_REST: u64 = 1;

/// What a page of the log begins with. `rest` is for the first alone.
pub fn words(generation: Generation, written: u64, node: usize, rest: u64) -> [u8; 40] {
    let sum = sum([generation, written, node as u64, rest]);
    let mut out = [0; 40];
    for (place, word) in out
        .chunks_mut(8)
        .zip([generation, written, node as u64, rest, sum])
    {
        place.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// That of the first page, when its broker ends.
pub fn at_rest(generation: Generation, written: u64, node: usize) -> [u8; 40] {
    words(generation, written, node, AT_REST)
}

fn sum(words: [u64; 4]) -> u64 {
    words.iter().fold(0x5eed, |sum: u64, word| {
        sum.rotate_left(9).wrapping_mul(0x100_0000_01b3) ^ word
    })
}

/// Looks at the whole folder: what is not as it should be is the error. Of a log that is being written one page may be
/// half written; of one at rest, none. `besides` are names in its root that are not the broker's.
pub fn look(data: &Path, node: usize, besides: &[&str]) -> Result<Found, String> {
    let said = fs::read_to_string(data.join("generation"));
    let said = said.map_err(|error| format!("{} says no generation: {error}", data.display()))?;
    let generation = said.trim().parse();
    let generation: Generation =
        generation.map_err(|_| format!("{} is of generation {said:?}", data.display()))?;
    let mut wanted = expected(node, generation);
    let mut wrong = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(folder) = pending.pop() {
        let listing = fs::read_dir(data.join(&folder))
            .map_err(|error| format!("list {}: {error}", folder.display()))?;
        for entry in listing {
            let entry = entry.map_err(|error| error.to_string())?;
            let name = entry.file_name();
            let path = folder.join(&name);
            if folder == Path::new("") && besides.iter().any(|other| name == **other) {
                continue;
            }
            let found =
                stands(&entry.path()).map_err(|error| format!("{}: {error}", path.display()))?;
            if found == Stands::Folder {
                pending.push(path.clone());
            }
            match wanted.remove(&path) {
                None => wrong.push(format!("{} is left over", path.display())),
                Some(Stands::Log) => {}
                Some(wanted) if wanted == found => {}
                Some(_) => wrong.push(format!("{} is another", path.display())),
            }
        }
    }
    wrong.extend(
        wanted
            .keys()
            .map(|path| format!("{} is missing", path.display())),
    );
    if !wrong.is_empty() {
        return Err(format!(
            "{} is not generation {generation} of node {node}: {}",
            data.display(),
            wrong.join(", ")
        ));
    }
    look_at_log(&data.join(log(node)), node, generation)
}

fn stands(path: &Path) -> io::Result<Stands> {
    let meta = fs::symlink_metadata(path)?;
    Ok(if meta.is_dir() {
        Stands::Folder
    } else if meta.is_symlink() {
        Stands::Link(fs::read_link(path)?)
    } else {
        let (content, mode, links) = (fs::read(path)?, meta.mode() & 0o7777, meta.nlink());
        Stands::File {
            content,
            mode,
            links,
        }
    })
}

fn look_at_log(path: &Path, node: usize, generation: Generation) -> Result<Found, String> {
    let wrong = |what: String| format!("{}: {what}", path.display());
    let content = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    if content.len() != LOG_LENGTH {
        return Err(wrong(format!("{} bytes", content.len())));
    }
    let mut newest = 0;
    let mut torn = 0;
    let mut rest = (0, false);
    for (number, page) in content.chunks(PAGE).enumerate() {
        let word =
            |index: usize| u64::from_le_bytes(page[index * 8..index * 8 + 8].try_into().unwrap());
        let words = [word(0), word(1), word(2), word(3)];
        if sum(words) != word(4) {
            torn += 1;
            continue;
        }
        if words[2] != node as u64 || words[0] > generation {
            return Err(wrong(format!(
                "page {number} is of node {} and generation {}, the rest of {node} and {generation}",
                words[2], words[0]
            )));
        }
        match number {
            0 => rest = (words[1], words[3] == AT_REST && words[0] == generation),
            _ => newest = newest.max(words[1]),
        }
    }
    let at_rest = rest.1;
    if at_rest && (torn > 0 || rest.0 != newest) {
        return Err(wrong(format!(
            "it was at rest after {} pages, and {newest} are there, {torn} of them torn",
            rest.0
        )));
    }
    if torn > 1 {
        return Err(wrong(format!("{torn} pages are torn")));
    }
    Ok(Found {
        generation,
        at_rest,
        written: newest,
    })
}

#[test]
fn a_folder_of_two_generations_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    make(&one, 0, 1).unwrap();
    make(&two, 0, 2).unwrap();
    assert_eq!(look(&one, 0, &[]).unwrap().generation, 1);
    assert!(look(&one, 1, &[]).is_err());
    fs::copy(two.join(log(0)), one.join(log(0))).unwrap();
    assert!(look(&one, 0, &[]).unwrap_err().contains("page 0"));
    fs::write(two.join("left"), "x").unwrap();
    assert!(
        look(&two, 0, &[])
            .unwrap_err()
            .contains("left is left over")
    );
    assert!(look(&two, 0, &["left"]).is_ok());
    write_files(&two, 0, 3).unwrap();
    assert_eq!(look(&two, 0, &["left"]).unwrap().generation, 3);
    fs::write(two.join(partition(0)).join("state-3/file-2"), "x").unwrap();
    assert!(look(&two, 0, &["left"]).unwrap_err().contains("is another"));
}
