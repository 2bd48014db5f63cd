//! What other mount namespaces hold: a container, or a unit with mounts of its own.
//!
//! Must not know why anybody asks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::cmd::quote;
use crate::mounts::{self, Mount};
use crate::{Obstacle, Result};

/// Mounts of `here`'s file system in other namespaces that stay when `here` is unmounted, each with a process that has it.
/// Those that follow our own (systemd gives its own units such) are none.
pub fn held(here: &Mount) -> Result<Vec<(u32, Mount)>> {
    let namespace = |pid: &str| fs::read_link(Path::new("/proc").join(pid).join("ns/mnt"));
    let mut seen: BTreeSet<_> = namespace("self").into_iter().collect();
    let mut found = Vec::new();
    let listing = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = listing.filter_map(|entry| entry.file_name().into_string().ok());
    for pid in names.filter_map(|name| name.parse::<u32>().ok()) {
        // It may have ended meanwhile, and a kernel thread has none.
        let Ok(namespace) = namespace(&pid.to_string()) else {
            continue;
        };
        if !seen.insert(namespace) {
            continue;
        }
        let Ok(text) = fs::read(format!("/proc/{pid}/mountinfo")) else {
            continue;
        };
        let all = mounts::parse(&text)?.into_iter();
        let stays = all.filter(|mount| mount.device == here.device && !follows(mount, here));
        found.extend(stays.map(|mount| (pid, mount)));
    }
    Ok(found)
}

/// Whether it goes when `here` does: both are of one peer group, or it is a slave of that.
fn follows(mount: &Mount, here: &Mount) -> bool {
    let group = |of: &Mount, word: &str| {
        let mut fields = of.propagation.iter();
        fields.find_map(|field| field.strip_prefix(word).map(str::to_owned))
    };
    let ours = group(here, "shared:");
    ours.is_some() && [group(mount, "shared:"), group(mount, "master:")].contains(&ours)
}

/// What is in the way of unmounting `here` for good.
pub fn obstacles(here: &Mount) -> Result<Vec<Obstacle>> {
    let held = held(here)?.into_iter();
    let obstacle = |(pid, mount): (u32, Mount)| Obstacle {
        what: format!(
            "{} is mounted in another mount namespace, too: at {} of process {pid}",
            here.source,
            mount.point.display()
        ),
        why: "it would go on using what is replaced".to_owned(),
        todo: format!(
            "end that process or container, or nsenter -t {pid} -m umount {}",
            quote(mount.point.as_os_str())
        ),
    };
    Ok(held.map(obstacle).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(propagation: &str) -> Mount {
        let line = format!("40 29 7:1 / /srv rw {propagation}- xfs /dev/loop1 rw\n");
        mounts::parse(line.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_slave_and_a_peer_follow() {
        let here = mount("shared:7 master:1 ");
        for (propagation, goes) in [
            ("master:7 ", true),
            ("shared:9 master:7 ", true),
            ("shared:7 ", true),
            ("", false),
            ("master:1 ", false),
            ("shared:71 ", false),
        ] {
            assert_eq!(follows(&mount(propagation), &here), goes, "{propagation}");
        }
        assert!(!follows(&mount(""), &mount("")));
    }
}
