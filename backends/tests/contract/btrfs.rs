//! btrfs: a data directory that is a subvolume inside a loop mount.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use zeebe_snap_backends::{Driver, Obstacle, Purpose, SnapName, Volume, driver};

use crate::snapshots::{label, take};
use crate::{Fixture, host, snap};

contract!(Btrfs);

/// `disk` is mounted at `mnt`, and a tmpfs at `mnt/other`.
struct Btrfs {
    dir: PathBuf,
    data: PathBuf,
}

impl Fixture for Btrfs {
    const CAPABILITIES: &'static [&'static str] = &["rollback"];

    fn fresh() -> Btrfs {
        let dir = tempfile::Builder::new()
            .prefix("zeebe-snap-contract-")
            .tempdir()
            .unwrap()
            .keep();
        // What is made from here on is removed, whatever fails.
        let fixture = Btrfs {
            data: dir.join("mnt/Zeebe größe 'β'/node \"0\"/-data $1"),
            dir,
        };
        let (disk, mnt) = (fixture.dir.join("disk"), fixture.dir.join("mnt"));
        fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
        fs::create_dir(&mnt).unwrap();
        run("mkfs.btrfs", &[&"-q", &disk]);
        run("mount", &[&"-o", &"loop", &disk, &mnt]);
        fs::create_dir_all(fixture.data.parent().unwrap()).unwrap();
        subvolume(&[&"create", &fixture.data]);
        fixture
    }

    fn driver() -> &'static dyn Driver {
        driver("btrfs").unwrap()
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn remove_data(&self) {
        subvolume(&[&"delete", &self.data]);
    }

    fn elsewhere(&self) -> Vec<PathBuf> {
        let other = self.dir.join("mnt/other");
        fs::create_dir(&other).unwrap();
        let none = None::<&str>;
        mount(Some("none"), &other, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let folder = other.join("data");
        fs::create_dir(&folder).unwrap();
        vec![folder, other.join("missing"), other]
    }

    fn strangers(&self, volume: &dyn Volume) -> Vec<SnapName> {
        let [unlabelled, replaced] = ["zeebe-snap-unlabelled", "zeebe-snap-replaced"].map(snap);
        let freeze = |source: &Path, name: &SnapName| {
            subvolume(&[&"snapshot", &"-r", &source, &volume.view(name).path]);
        };
        freeze(&self.data, &unlabelled);
        let another = self.dir.join("mnt/another");
        subvolume(&[&"create", &another]);
        take(volume, &replaced, &label("replaced"));
        subvolume(&[&"delete", &volume.view(&replaced).path]);
        freeze(&another, &replaced);
        vec![unlabelled, replaced]
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        if std::env::var_os("KEEP").is_some_and(|keep| !keep.is_empty()) {
            eprintln!("kept: {}", self.dir.display());
            return;
        }
        let gone = self.remove();
        // A panic while panicking would hide the first.
        match thread::panicking() {
            true => drop(gone.map_err(|why| eprintln!("{} is left: {why}", self.dir.display()))),
            false => gone.unwrap(),
        }
    }
}

impl Btrfs {
    /// By tools alone: what is tested here is not relied on.
    fn remove(&self) -> Result<(), String> {
        let mnt = self.dir.join("mnt");
        // What another test is about to start has this one's files open too, until it is the program.
        let deadline = Instant::now() + Duration::from_secs(30);
        while attempt("mountpoint", &[&"-q", &mnt]).is_ok() {
            // The loop device goes with the last of them.
            match attempt("umount", &[&"--recursive", &mnt]) {
                Err(busy) if Instant::now() >= deadline => return Err(busy),
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
        attempt("rm", &[&"-rf", &"--one-file-system", &self.dir])
    }

    fn obstacles(&self, purpose: Purpose) -> Vec<Obstacle> {
        self.volume().obstacles(&host(), purpose).unwrap()
    }
}

fn attempt(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| format!("this test needs {program}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}

fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) {
    attempt(program, arguments).unwrap();
}

fn subvolume(arguments: &[&dyn AsRef<OsStr>]) {
    let all: Vec<&dyn AsRef<OsStr>> = [&"subvolume" as &dyn AsRef<OsStr>]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    run("btrfs", &all);
}

/// There is one obstacle, and it speaks of `what`.
#[track_caller]
fn one(obstacles: &[Obstacle], what: &str) {
    assert_eq!(obstacles.len(), 1, "{obstacles:?}");
    assert!(obstacles[0].what.contains(what), "{obstacles:?}");
}

#[test]
fn a_nested_subvolume_is_in_the_way_of_a_capture() {
    let fixture = Btrfs::fresh();
    let nested = fixture.data.join("a folder/nested β");
    fs::create_dir(fixture.data.join("a folder")).unwrap();
    subvolume(&[&"create", &nested]);
    one(&fixture.obstacles(Purpose::Capture), "/a folder/nested β");
    assert_eq!(fixture.obstacles(Purpose::BringBack), []);
    subvolume(&[&"delete", &nested]);
    assert_eq!(fixture.obstacles(Purpose::Capture), []);
}

#[test]
fn a_mount_point_is_in_the_way() {
    let fixture = Btrfs::fresh();
    let data = fixture.data();
    let none = None::<&str>;
    mount(Some(data), data, none, MsFlags::MS_BIND, none).unwrap();
    for purpose in [Purpose::Capture, Purpose::BringBack] {
        one(&fixture.obstacles(purpose), data.to_str().unwrap());
    }
    umount2(data, MntFlags::empty()).unwrap();
    assert_eq!(fixture.obstacles(Purpose::Capture), []);
}

#[test]
fn a_plain_folder_can_be_replaced_and_not_captured() {
    let fixture = Btrfs::fresh();
    fixture.remove_data();
    fs::create_dir(&fixture.data).unwrap();
    one(&fixture.obstacles(Purpose::Capture), "plain folder");
    assert_eq!(fixture.obstacles(Purpose::BringBack), []);
}

#[test]
fn a_missing_directory_can_be_put_back_and_not_captured() {
    let fixture = Btrfs::fresh();
    fixture.remove_data();
    one(&fixture.obstacles(Purpose::Capture), "does not exist");
    assert_eq!(fixture.obstacles(Purpose::BringBack), []);
}

#[test]
fn what_is_not_frozen_is_no_snapshot_of_ours() {
    let fixture = Btrfs::fresh();
    let (volume, name) = (fixture.volume(), snap("zeebe-snap-1"));
    take(&*volume, &name, &label("1"));
    let path = volume.view(&name).path;
    run("btrfs", &[&"property", &"set", &path, &"ro", &"false"]);
    let found = volume.find(&host(), &name).unwrap().unwrap();
    assert_eq!(found.label, None);
}
