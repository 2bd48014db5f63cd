//! Which names in a tree are one file.
//!
//! It must not know what is in the files.

use std::collections::HashMap;

use rustix::fs::FileType;

use super::entry::LinkGroup;
use super::stat::Stat;

/// For each of `stats`, which are those of one tree in order of path, the group it belongs to. What has no second
/// name in the tree belongs to none, however many links it has.
pub(crate) fn groups<'a>(stats: impl Iterator<Item = &'a Stat> + Clone) -> Vec<Option<LinkGroup>> {
    let candidate = |stat: &Stat| stat.nlink > 1 && stat.file_type != FileType::Directory;
    let mut names: HashMap<u64, u64> = HashMap::new();
    for stat in stats.clone().filter(|stat| candidate(stat)) {
        *names.entry(stat.ino).or_default() += 1;
    }
    let mut numbers: HashMap<u64, LinkGroup> = HashMap::new();
    stats
        .map(|stat| {
            if !candidate(stat) || names.get(&stat.ino).is_none_or(|names| *names < 2) {
                return None;
            }
            let next = LinkGroup(numbers.len() as u64);
            Some(*numbers.entry(stat.ino).or_insert(next))
        })
        .collect()
}
