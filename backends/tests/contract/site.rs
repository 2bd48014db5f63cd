//! Where a fixture lives: a folder with file systems of its own in it, on loop devices, in pools and volume groups, mounted
//! as a boot mounts them.
//!
//! By tools alone: what is tested here is not relied on.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::around;

/// A path that a tool may trip over.
pub const ODD: &str = "Zeebe größe 'β'/node \"0\"/-data $1";

/// How the names of pools and volume groups begin: what a test that was ended leaves is known by it.
const POOLS: &str = "zeebesnaptest";

/// The folder. Dropping it removes every trace, also after a panic; `KEEP=1` leaves it for a look.
pub struct Site {
    dir: PathBuf,
    /// In the order in which it comes up.
    boot: RefCell<Vec<Part>>,
}

/// What a boot brings up.
enum Part {
    Mount(Mount),
    /// A ZFS pool, by its name. What is in it is mounted with it, if it says so.
    Pool(String),
    /// A volume group, by its name, on a loop device.
    Group(String, PathBuf),
    /// A device of device-mapper, by its name.
    Mapped(String),
}

/// What is mounted: the arguments of mount(8).
struct Mount {
    kind: String,
    options: String,
    what: PathBuf,
    at: PathBuf,
}

impl Site {
    pub fn new() -> Site {
        let dir = tempfile::Builder::new()
            .prefix("zeebe-snap-contract-")
            .tempdir()
            .unwrap()
            .keep();
        // What is made from here on is removed, whatever fails.
        let site = Site {
            dir,
            boot: RefCell::default(),
        };
        // In memory: syncing is much of what is done here.
        site.mount(Path::new("none"), "size=2g", site.disks());
        site
    }

    /// Where all of it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the disks are, which change with all that is written.
    pub fn disks(&self) -> PathBuf {
        self.dir.join("disks")
    }

    /// A new disk with nothing on it.
    pub fn blank(&self) -> PathBuf {
        let number = fs::read_dir(self.disks()).unwrap().count();
        let disk = self.disks().join(number.to_string());
        let file = fs::File::create(&disk).unwrap();
        // xfs wants more than 300 MB.
        file.set_len(512 << 20).unwrap();
        disk
    }

    /// A name for a pool or a volume group, which is this site's alone.
    fn name(&self) -> String {
        let parts = self.boot.borrow().len();
        let own = self.dir.to_str().unwrap().rsplit('-').next().unwrap();
        format!("{POOLS}-{own}-{parts}")
    }

    /// A new ZFS pool, in which nothing is mounted unless it says where. The name is that of its own dataset, too.
    pub fn pool(&self) -> String {
        let (name, disk) = (self.name(), self.blank());
        let options = ["-o", "cachefile=none", "-O", "mountpoint=none"];
        let mut words: Vec<&dyn AsRef<OsStr>> = vec![&"create"];
        words.extend(options.each_ref().map(|word| word as &dyn AsRef<OsStr>));
        words.extend([&name as &dyn AsRef<OsStr>, &disk]);
        run("zpool", &words);
        self.boot.borrow_mut().push(Part::Pool(name.clone()));
        name
    }

    /// A new LVM volume group.
    pub fn group(&self) -> String {
        let (name, device) = (self.name(), self.looped());
        let part = Part::Group(name.clone(), device.clone());
        self.boot.borrow_mut().push(part);
        run("vgcreate", &[&"-q", &name, &device]);
        name
    }

    /// The same, on a device-mapper device of which parts can be broken; and that device's name.
    pub fn frail_group(&self) -> (String, String) {
        let (mapped, device) = (format!("{}-disk", self.name()), self.looped());
        self.boot.borrow_mut().push(Part::Mapped(mapped.clone()));
        // Behind the first of it: LVM takes the same content at two places for a mistake.
        let sectors = answer("blockdev", &[&"--getsz", &device]);
        let sectors: u64 = sectors.trim().parse().unwrap();
        let table = format!("0 {} linear {} 2048", sectors - 2048, device.display());
        run("dmsetup", &[&"create", &mapped, &"--table", &table]);
        let name = self.name();
        let part = Part::Group(name.clone(), device);
        self.boot.borrow_mut().push(part);
        run(
            "vgcreate",
            &[&"-q", &name, &Path::new("/dev/mapper").join(&mapped)],
        );
        (name, mapped)
    }

    /// A new disk as a block device.
    fn looped(&self) -> PathBuf {
        let device = answer("losetup", &[&"--find", &"--show", &self.blank()]);
        PathBuf::from(device.trim())
    }

    /// A new disk with a file system of `kind` on it.
    pub fn disk(&self, kind: &str) -> PathBuf {
        let disk = self.blank();
        // It looks at all loop devices, and trips over one that another test lets go of.
        let mkfs = format!("mkfs.{kind}");
        until_done(|| attempt(&mkfs, &[&"-q", &disk])).unwrap();
        disk
    }

    /// Mounts it, now and at every boot, and gives the mount point: `at` in the folder.
    pub fn mount(&self, what: &Path, options: &str, at: impl AsRef<Path>) -> PathBuf {
        let kind = match what.is_absolute() {
            true => "auto",
            false => "tmpfs",
        };
        self.mount_as(kind, what, options, at)
    }

    /// The same, of a file system of `kind`.
    pub fn mount_as(
        &self,
        kind: &str,
        what: &Path,
        options: &str,
        at: impl AsRef<Path>,
    ) -> PathBuf {
        let at = self.dir.join(at);
        fs::create_dir_all(&at).unwrap();
        let mount = Mount {
            kind: kind.to_owned(),
            options: options.to_owned(),
            what: what.to_owned(),
            at: at.clone(),
        };
        mount.mount();
        self.boot.borrow_mut().push(Part::Mount(mount));
        at
    }

    /// A new disk with a file system of `kind` on it, mounted.
    pub fn mounted(&self, kind: &str, at: impl AsRef<Path>) -> PathBuf {
        self.mount(&self.disk(kind), "loop", at)
    }

    /// Nothing is mounted, and then all is as it is after a boot.
    pub fn reboot(&self) {
        // The disks themselves outlast it.
        let boot = &self.boot.borrow()[1..];
        for part in boot.iter().rev() {
            part.down().unwrap();
        }
        boot.iter().for_each(|part| part.up(&self.disks()));
    }

    /// A folder on a file system that no backend knows.
    pub fn foreign(&self) -> PathBuf {
        self.mount(Path::new("none"), "rw", "foreign")
    }

    fn remove(&self) -> Result<(), String> {
        let boot = self.boot.borrow();
        boot[1..].iter().rev().try_for_each(Part::remove)?;
        // Whoever has a copy of all mounts has the disks in use for a while.
        attempt("umount", &[&"--lazy", &self.disks()])?;
        attempt("rm", &[&"-rf", &"--one-file-system", &self.dir])
    }
}

impl Part {
    fn up(&self, disks: &Path) {
        match self {
            Part::Mount(mount) => mount.mount(),
            // What says that it is to be mounted is, and nothing else.
            Part::Pool(name) => {
                let words: [&dyn AsRef<OsStr>; 6] =
                    [&"import", &"-d", &disks, &"-o", &"cachefile=none", name];
                run("zpool", &words);
            }
            Part::Group(name, _) => run("vgchange", &[&"-q", &"-ay", name]),
            Part::Mapped(_) => {}
        }
    }

    fn down(&self) -> Result<(), String> {
        match self {
            Part::Mount(mount) => mount.unmount(),
            Part::Pool(name) => {
                unmount_all_of(name)?;
                until_done(|| attempt("zpool", &[&"export", name]))
            }
            Part::Group(name, _) => until_done(|| attempt("vgchange", &[&"-q", &"-an", name])),
            Part::Mapped(_) => Ok(()),
        }
    }

    /// Nothing of it is left.
    fn remove(&self) -> Result<(), String> {
        match self {
            Part::Mount(mount) => mount.unmount(),
            Part::Pool(name) => {
                unmount_all_of(name)?;
                until_done(|| attempt("zpool", &[&"destroy", &"-f", name]))
            }
            Part::Group(name, device) => {
                // One that could not be made is not there.
                if attempt("vgs", &[name]).is_ok() {
                    until_done(|| attempt("vgremove", &[&"-q", &"-f", &"-y", name]))?;
                }
                attempt("losetup", &[&"--detach", device])
            }
            Part::Mapped(name) => until_done(|| attempt("dmsetup", &[&"remove", name])),
        }
    }
}

/// Unmounts what is mounted of a pool, and what is mounted on that.
fn unmount_all_of(pool: &str) -> Result<(), String> {
    while let Some(point) = around::mount_of(pool) {
        until_done(|| attempt("umount", &[&"--recursive", &point]))?;
    }
    Ok(())
}

impl Mount {
    fn mount(&self) {
        let words: [&dyn AsRef<OsStr>; 6] = [
            &"-t",
            &self.kind,
            &"-o",
            &self.options,
            &self.what,
            &self.at,
        ];
        run("mount", &words);
    }

    fn unmount(&self) -> Result<(), String> {
        // What another test is about to start has this one's files open too, until it is the program.
        // The loop device goes with the last of them.
        until_done(|| match attempt("mountpoint", &[&"-q", &self.at]) {
            Ok(()) => attempt("umount", &[&"--recursive", &self.at]),
            Err(_) => Ok(()),
        })
    }
}

impl Drop for Site {
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

/// Tries again until a deadline; the last complaint.
fn until_done(mut attempt: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
}

/// Makes a file and a folder in `dir` that are nobody's business.
pub fn furnish(dir: &Path) {
    fs::create_dir_all(dir.join("logs β")).unwrap();
    fs::write(dir.join("logs β/broker.log"), "started\n".repeat(1000)).unwrap();
    symlink("../beside", dir.join("logs β/link")).unwrap();
    fs::write(dir.join("beside"), "never changes").unwrap();
    fs::hard_link(dir.join("beside"), dir.join("beside too")).unwrap();
    fs::set_permissions(dir.join("beside"), fs::Permissions::from_mode(0o604)).unwrap();
}

/// Runs a tool; its complaint, if it fails.
pub fn attempt(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> Result<(), String> {
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

/// Runs a tool that must not fail, and gives its answer.
#[track_caller]
pub fn answer(program: &str, arguments: &[&dyn AsRef<OsStr>]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// Runs a tool that must not fail.
#[track_caller]
pub fn run(program: &str, arguments: &[&dyn AsRef<OsStr>]) {
    attempt(program, arguments).unwrap();
}
