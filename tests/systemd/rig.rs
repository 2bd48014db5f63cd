//! A folder with a btrfs on a loop device, and the sweeper that removes all traces of a container.
//! Must not know what runs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

#[path = "../tree/tool.rs"]
mod tool;

pub use tool::tool;

/// Set in the container's first process; its value is the test's folder.
pub const MARK: &str = "ZEEBE_SNAP_TEST";

/// Runs beside the test in a session of its own and waits for the end of its standard input. That comes when the rig is
/// dropped, and also when the test process panics, is interrupted or is killed. Then it ends the container (all its
/// processes end with its first), and removes its control groups, the mount and the folder.
const SWEEPER: &str = r#"
trap '' HUP INT TERM
dir=$1
name=${dir##*/}
cat >/dev/null
of_this_test() { grep -lzF -e "ZEEBE_SNAP_TEST=$dir" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
groups() { find /sys/fs/cgroup -depth -type d -path "*/$name*" 2>/dev/null; }
mounts() { awk -v below="$dir/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac; }
loops() { losetup -l -n -O NAME,BACK-FILE | awk -v below="$dir/" 'index($2, below) == 1 { print $1 }'; }
# Twice in a row none: a process may have begun while the first look was under way.
none=0
tries=0
while [ $none -lt 2 ] && [ $tries -lt 300 ]; do
    pids=$(of_this_test)
    if [ -z "$pids" ]; then none=$((none + 1)); else none=0; kill -9 $pids 2>/dev/null; fi
    tries=$((tries + 1))
    sleep 0.1
done
[ $none -eq 2 ] || echo "sweeper: processes of $dir would not end: $pids" >&2
tries=0
while group=$(groups) && [ -n "$group" ] && [ $tries -lt 100 ]; do
    for at in $group; do rmdir "$at" 2>/dev/null; done
    tries=$((tries + 1))
    sleep 0.1
done
rmdir "/run/systemd/nspawn/propagate/$name" 2>/dev/null
if [ -n "$KEEP" ]; then echo "kept: $dir" >&2; exit; fi
tries=0
while left="$(mounts)$(loops)" && [ -n "$left" ] && [ $tries -lt 100 ]; do
    for at in $(mounts); do umount "$at" 2>/dev/null; done
    tries=$((tries + 1))
    sleep 0.1
done
[ -z "$left" ] || echo "sweeper: held still below $dir: $left" >&2
[ -n "$(mounts)" ] || rm -rf --one-file-system "$dir"
"#;

/// A folder of its own.
#[derive(Debug)]
pub struct Rig {
    dir: PathBuf,
    sweeper: Child,
}

impl Rig {
    /// A new one; what it holds is removed with it.
    pub fn create() -> Rig {
        let dir = tempfile::Builder::new()
            .prefix("zeebe-snap-test-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let sweeper = Command::new("setsid")
            .args(["sh", "-c", SWEEPER, "sweeper"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .spawn()
            .expect("setsid is part of util-linux");
        Rig { dir, sweeper }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new btrfs, mounted on a new folder. Its disk is sparse: what is not written takes no room.
    pub fn btrfs(&self, at: &Path) {
        let disk = self.dir.join("disk");
        fs::File::create(&disk)
            .and_then(|file| file.set_len(6 << 30))
            .expect("a sparse file");
        tool(Command::new("mkfs.btrfs").arg("-q").arg(&disk));
        fs::create_dir(at).expect("a mount point");
        tool(Command::new("mount").args(["-o", "loop"]).args([&disk, at]));
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
