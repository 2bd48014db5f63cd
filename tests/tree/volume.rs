//! File systems on loop devices. Must not know what is tested on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

#[path = "tool.rs"]
mod tool;

pub use tool::tool;

/// Every file system that the program is tried on.
pub const KINDS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Runs `test` with a folder of its own in memory and a mount namespace of its own. Every mount and loop device made in it
/// ends with it, even if the test process is killed.
pub fn apart(test: impl FnOnce(&Path) + Send) {
    in_own_mounts(|folder| {
        tool(
            Command::new("mount")
                .args(["-t", "tmpfs", "tmpfs"])
                .arg(folder),
        );
        test(folder);
    });
}

/// The same, with a folder on the disk, for what is too large for the memory.
pub fn apart_on_disk(test: impl FnOnce(&Path) + Send) {
    in_own_mounts(test);
}

fn in_own_mounts(test: impl FnOnce(&Path) + Send) {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let folder = Folder::new();
            test(&folder.0);
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::Builder::new()
            .prefix("zeebe-snap-tree-")
            .tempdir();
        Folder(folder.unwrap().keep().canonicalize().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let mut points: Vec<&Path> = points
            .map(Path::new)
            .filter(|point| point.starts_with(&self.0))
            .collect();
        points.reverse();
        for point in points {
            umount2(point, MntFlags::MNT_DETACH).ok();
        }
        let gone = Command::new("rm")
            .args(["-rf", "--one-file-system"])
            .arg(&self.0)
            .status();
        if !thread::panicking() {
            assert!(gone.unwrap().success(), "{:?} is left", self.0);
        }
    }
}

/// Makes a file system of `kind` in `folder` and mounts it; gives the mount point, where nothing is but `lost+found`. The
/// disk is sparse: what is not written takes no room.
pub fn volume(folder: &Path, kind: &str, megabytes: u64) -> PathBuf {
    let (image, at) = (folder.join(format!("{kind}.image")), folder.join(kind));
    let disk = fs::File::create(&image).unwrap();
    disk.set_len(megabytes << 20).unwrap();
    let mut make = Command::new(format!("mkfs.{kind}"));
    match kind {
        // Its own choice on small disks are blocks of 1 KiB, and what is a hole depends on that.
        "ext4" => make.args(["-q", "-b", "4096"]),
        "btrfs" if megabytes < 256 => make.args(["-q", "--mixed"]),
        _ => make.arg("-q"),
    };
    tool(make.arg(&image));
    fs::create_dir(&at).unwrap();
    tool(
        Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&at),
    );
    at
}

/// Names of what is in a folder, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .filter(|name| name != "lost+found")
        .collect();
    names.sort();
    names
}
