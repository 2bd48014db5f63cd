//! A btrfs file system of its own on a loop device, and the sweeper that removes all traces of a cluster.
//! Must not know what a broker is, beyond the variable by which a broker's process is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Set in every process that a cluster's test starts, and inherited by whatever that starts: its value is the test's folder.
pub const MARK: &str = "ZEEBE_SNAP_TEST";

/// Runs beside the test in a session of its own and waits for the end of its standard input. That comes when the volume is
/// dropped, and also when the test process panics, is interrupted or is killed. Then it ends all processes of the
/// test's folder (brokers are restarted detached, so no one holds their pids), unmounts, and removes the folder.
const SWEEPER: &str = r#"
trap '' HUP INT TERM
dir=$1
cat >/dev/null
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
tries=0
while mountpoint -q "$dir/mnt" && ! umount "$dir/mnt" 2>/dev/null && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
# The device detaches itself after the last unmount, a moment later. One that does not is mounted somewhere else still.
tries=0
while left=$(losetup -n -O NAME -j "$dir/disk") && [ -n "$left" ] && [ $tries -lt 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
if [ -n "$left" ]; then echo "sweeper: $left still holds $dir/disk" >&2; losetup -d $left; fi
mountpoint -q "$dir/mnt" || rm -rf --one-file-system "$dir"
"#;

/// A mounted btrfs file system in a folder of its own.
#[derive(Debug)]
pub struct Volume {
    dir: PathBuf,
    sweeper: Child,
}

impl Volume {
    /// Makes, formats and mounts it. The disk is sparse: what is not written takes no room.
    pub fn create() -> Volume {
        let dir = tempfile::Builder::new()
            .prefix("zeebe-snap-test-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let sweeper = Command::new("setsid")
            .args(["sh", "-c", SWEEPER, "sweeper"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("setsid is part of util-linux");
        // From here on the sweeper cleans up, whatever fails.
        let volume = Volume { dir, sweeper };
        let disk = volume.dir.join("disk");
        fs::File::create(&disk)
            .and_then(|file| file.set_len(6 << 30))
            .expect("a sparse file");
        fs::create_dir(volume.root()).expect("a mount point");
        tool(Command::new("mkfs.btrfs").arg("-q").arg(&disk));
        tool(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&disk)
                .arg(volume.root()),
        );
        volume
    }

    /// The test's own folder, outside the volume.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the volume is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// The paths of all subvolumes, as `btrfs subvolume list` gives them: relative to the mount.
    pub fn subvolumes(&self) -> Vec<String> {
        tool(
            Command::new("btrfs")
                .args(["subvolume", "list"])
                .arg(self.root()),
        )
        .lines()
        .map(|line| line.split(" path ").nth(1).expect("a path").to_owned())
        .collect()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        if let Err(error) = self.sweeper.wait() {
            eprintln!("the sweeper of {} is lost: {error}", self.dir.display());
        }
    }
}

/// The standard output of a command that has to succeed.
pub fn tool(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
