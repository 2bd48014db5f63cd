//! Every volume that there is, as the tools list them: what the program has left shows. Must not know what it leaves.

use std::process::Command;

use crate::cluster::Cluster;
use crate::rig::tool;

/// The name of the test's pool and volume group.
pub fn name(cluster: &Cluster) -> String {
    let dir = cluster.dir().to_str().unwrap();
    format!("zeebesnaptest-{}", dir.rsplit('-').next().unwrap())
}

/// The names of all datasets, snapshots, bookmarks and logical volumes of the test, and whether each is mounted or active.
pub fn volumes(cluster: &Cluster) -> Vec<String> {
    let name = name(cluster);
    let mut zfs = Command::new("zfs");
    zfs.args(["list", "-H", "-t", "all", "-o", "name,mounted", "-r", &name]);
    let mut lvs = Command::new("lvs");
    lvs.args(["--noheadings", "-o", "lv_name,lv_active", &name]);
    let text = tool(&mut zfs) + &tool(&mut lvs);
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    lines
}
