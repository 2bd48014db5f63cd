//! A folder with file systems of its own on loop devices, and the sweeper that removes all traces of a cluster.
//! Must not know what a broker is, beyond the variable by which a broker's process is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::addresses::Addresses;

#[path = "../tree/tool.rs"]
mod tool;

pub use tool::tool;

/// Set in every process that a cluster's test starts, and inherited by whatever that starts: its value is the test's folder.
pub const MARK: &str = "ZEEBE_SNAP_TEST";

/// Runs beside the test in a session of its own and waits for the end of its standard input. That comes when the rig is
/// dropped, and also when the test process panics, is interrupted or is killed. Then it ends all processes of the
/// test's folder (brokers are restarted detached, so no one holds their pids), unmounts, and removes the folder. Its
/// standard output is the claim on the addresses, which are free again when it has ended.
const SWEEPER: &str = r#"
trap '' HUP INT TERM
dir=$1
cat >/dev/null
# The innermost first.
mounts() { awk -v below="$dir/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac; }
# Who writes to a frozen file system cannot be killed.
for at in $(mounts); do fsfreeze -u "$at" 2>/dev/null; done
of_this_test() {
    grep -lzF -e "ZEEBE_SNAP_TEST=$dir" -e "ZEEBE_BROKER_DATA_DIRECTORY=$dir/" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3
}
# Twice in a row none: a process may have begun while the first look was under way.
none=0
tries=0
while [ $none -lt 2 ] && [ $tries -lt 600 ]; do
    pids=$(of_this_test)
    if [ -z "$pids" ]; then none=$((none + 1)); else none=0; kill -9 $pids 2>/dev/null; fi
    tries=$((tries + 1))
    sleep 0.1
done
[ $none -eq 2 ] || echo "sweeper: processes of $dir would not end: $pids" >&2
if [ -n "$KEEP" ]; then echo "kept: $dir" >&2; exit; fi
# Volumes that are named for the folder.
name=zeebesnaptest-${dir##*-}
if [ -e "$dir/zeebesnaptest-pool" ]; then zpool destroy -f "$name"; fi
if [ -e "$dir/zeebesnaptest-group" ]; then
    for at in $(mounts); do umount "$at" 2>/dev/null; done
    vgremove -q -ff -y "$name" >/dev/null
    losetup -j "$dir/zeebesnaptest-group" -O NAME -n | xargs -r losetup -d
fi
tries=0
while mounted=$(mounts) && [ -n "$mounted" ] && [ $tries -lt 100 ]; do
    for at in $mounted; do umount "$at" 2>/dev/null; done
    tries=$((tries + 1))
    sleep 0.1
done
# A device detaches itself after the last unmount, a moment later. One that does not is mounted somewhere else still.
loops() { losetup -l -n -O NAME,BACK-FILE | awk -v below="$dir/" 'index($2, below) == 1 { print $1 }'; }
tries=0
while left=$(loops) && [ -n "$left" ] && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
if [ -n "$left" ]; then echo "sweeper: held still below $dir: $left" >&2; losetup -d $left; fi
[ -n "$(mounts)" ] || rm -rf --one-file-system "$dir"
"#;

/// The kinds of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every write makes a new block: snapshots, and files that share blocks.
    Btrfs,
    /// Files can share blocks.
    Xfs,
    /// Neither.
    Ext4,
}

/// A folder of its own.
#[derive(Debug)]
pub struct Rig {
    dir: PathBuf,
    sweeper: Child,
}

impl Rig {
    /// A new one; what it holds is removed with it, and then the addresses are given back.
    pub fn create(addresses: &Addresses) -> Rig {
        let dir = tempfile::Builder::new()
            .prefix("zeebe-snap-test-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let sweeper = Command::new("setsid")
            .args(["sh", "-c", SWEEPER, "sweeper"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(addresses.claim())
            .spawn()
            .expect("setsid is part of util-linux");
        Rig { dir, sweeper }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new file system, not yet mounted. The disk is sparse: what is not written takes no room.
    pub fn disk(&self, name: &str, kind: Kind) -> PathBuf {
        let disk = self.dir.join(name);
        fs::File::create(&disk)
            .and_then(|file| file.set_len(6 << 30))
            .expect("a sparse file");
        let mkfs = match kind {
            Kind::Btrfs => "mkfs.btrfs",
            Kind::Xfs => "mkfs.xfs",
            Kind::Ext4 => "mkfs.ext4",
        };
        tool(Command::new(mkfs).arg("-q").arg(&disk));
        disk
    }

    /// A pool of ZFS, and a volume group with a pool of thin volumes (called `pool`), both of this name.
    pub fn volumes(&self) -> String {
        let dir = self.dir.to_str().unwrap();
        let name = format!("zeebesnaptest-{}", dir.rsplit('-').next().unwrap());
        let disk = |what: &str| {
            let disk = self.dir.join(what);
            let sparse = fs::File::create(&disk).and_then(|file| file.set_len(6 << 30));
            sparse.expect("a sparse file");
            disk
        };
        let pool = disk("zeebesnaptest-pool");
        let mut zpool = Command::new("zpool");
        tool(zpool.args(["create", "-m", "none", &name]).arg(pool));
        let mut losetup = Command::new("losetup");
        let device = tool(
            losetup
                .args(["--find", "--show"])
                .arg(disk("zeebesnaptest-group")),
        );
        tool(Command::new("vgcreate").args(["-q", &name, device.trim()]));
        let thin = ["-T", "-L", "5G", "-Zn", &format!("{name}/pool")];
        tool(Command::new("lvcreate").args(["-q", "-y"]).args(thin));
        name
    }

    /// Mounts a disk on a new folder.
    pub fn mount(&self, disk: &Path, options: &str, at: &Path) {
        fs::create_dir_all(at).expect("a mount point");
        tool(Command::new("mount").args(["-o", options]).args([disk, at]));
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        if let Err(error) = self.sweeper.wait() {
            eprintln!("the sweeper of {} is lost: {error}", self.dir.display());
        }
    }
}
