//! The data comes out of what has landed, whole, and nothing half done looks whole.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, umount2};

use crate::volume::{apart, names, tool, volume};
use crate::{PROGRAM, World, program};

impl World {
    /// With data that is more than a file, and the third snapshot of it, which has landed.
    fn sent(dir: &Path) -> World {
        let world = World::new(dir);
        let folder = world.data.join("raft-partition/partitions/1");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("segment.log"), "events\n".repeat(10_000)).unwrap();
        fs::hard_link(folder.join("segment.log"), folder.join("linked")).unwrap();
        symlink("no/such", folder.join("link")).unwrap();
        fs::set_permissions(&world.data, fs::Permissions::from_mode(0o750)).unwrap();
        world.take("zeebe-snap-3", "three\n");
        world.send("zeebe-snap-3");
        world
    }

    fn send(&self, name: &str) {
        let said = self.run("send", &[name, "--to", self.place()]);
        assert!(said.ends_with("[exit 0]"), "{said}");
    }

    fn extract(&self, name: &str, to: &Path, more: &[&str]) -> String {
        let arguments = [self.place(), name, to.to_str().unwrap()];
        self.run("extract", &[&arguments, more].concat())
    }
}

impl World {
    /// To a folder on which a file system is to be mounted, as this host's /etc/fstab says.
    fn extract_to_unmounted(&self, folder: &Path) -> String {
        fs::create_dir(folder).unwrap();
        let fstab = format!("/dev/vg/zeebe-0 {} xfs noatime 0 2\n", folder.display());
        let etc = self.dir.join("etc");
        tool(Command::new("cp").arg("-a").args([Path::new("/etc"), &etc]));
        fs::write(etc.join("fstab"), fstab).unwrap();
        let mut apart = Command::new("unshare");
        let mount = "mount --bind \"$0\" /etc && exec \"$@\"";
        apart
            .args(["--mount", "sh", "-c", mount])
            .arg(&etc)
            .arg(PROGRAM);
        apart.args(["stream", "extract", self.place(), "zeebe-snap-3"]);
        let said = self.said(&apart.arg(folder).output().unwrap());
        assert_eq!(names(folder), [""; 0]);
        said
    }
}

/// What is in a tree, told by both hashes.
fn digest(dir: &Path) -> String {
    let said = tool(&mut program(&["tree", "digest", dir.to_str().unwrap()]));
    let lines: Vec<&str> = said.lines().take(2).collect();
    lines.join("\n")
}

/// The same of a mount point, whose own mtime is that of the last change: what is in it, and the largest part of it exactly.
fn digest_in_mount(point: &Path) -> [String; 2] {
    let content = digest(point).lines().next().unwrap().to_owned();
    [content, digest(&point.join("raft-partition"))]
}

/// A new empty file system in `dir`.
fn mounted(dir: &Path, name: &str, kind: &str, megabytes: u64) -> PathBuf {
    let around = dir.join(name);
    fs::create_dir(&around).unwrap();
    volume(&around, kind, megabytes)
}

#[test]
fn after_all_is_lost_the_data_comes_out_of_what_has_landed() {
    apart(|dir| {
        let world = World::sent(dir);
        let captured = digest(&world.data);
        let in_mount = digest_in_mount(&world.data);
        umount2(world.data.parent().unwrap(), MntFlags::empty()).unwrap();
        fs::remove_file(dir.join("btrfs.image")).unwrap();

        let new = mounted(dir, "new", "ext4", 64);
        let (made, empty) = (new.join("made"), new.join("empty"));
        fs::create_dir(&empty).unwrap();
        let extract = |to: &Path, more: &[&str]| world.extract("zeebe-snap-3", to, more);
        insta::assert_snapshot!("extract dry run", extract(&empty, &["--dry-run"]));
        let said = extract(&made, &["--dry-run", "--json"]);
        insta::assert_snapshot!("extract dry run json", said);
        assert_eq!(names(&new), ["empty"]);
        insta::assert_snapshot!("extracted", extract(&made, &[]));
        insta::assert_snapshot!("extracted json", extract(&empty, &["--json"]));
        assert_eq!(names(&new), ["empty", "made"]);
        assert_eq!(digest(&made), captured);
        assert_eq!(digest(&empty), captured);

        for kind in ["ext4", "xfs", "btrfs"] {
            let point = mounted(dir, &format!("mounted {kind}"), kind, 400);
            let said = extract(&point, &[]);
            assert!(said.ends_with("[exit 0]"), "{said}");
            fs::remove_dir(point.join("lost+found")).ok();
            assert_eq!(digest_in_mount(&point), in_mount, "{kind}");
        }
        let subvolume = world.place.with_file_name("data");
        let mut create = Command::new("btrfs");
        tool(create.args(["subvolume", "create"]).arg(&subvolume));
        extract(&subvolume, &[]);
        assert_eq!(digest(&subvolume), captured);
        assert_eq!(subvolume.metadata().unwrap().ino(), 256, "a subvolume");
        assert_eq!(names(world.place.parent().unwrap()), ["data", "node 0"]);
    });
}

#[test]
fn a_folder_of_what_was_sent_comes_out_alone() {
    apart(|dir| {
        let world = World::sent(dir);
        let part = world.data.join("raft-partition");
        let to = dir.join("out");
        let extract = |below: &str| world.extract("zeebe-snap-3", &to, &["--below", below]);
        for below in ["../other", "/etc"] {
            assert!(extract(below).ends_with("[exit 2]"), "{below}");
        }
        let missing = extract("raft-partition/partitions/2");
        insta::assert_snapshot!("extract of a folder that is not there", missing);
        let linked = extract("raft-partition/partitions/1/link");
        assert!(linked.ends_with("[exit 3]"), "{linked}");
        let said = extract("./raft-partition/");
        assert!(said.ends_with("[exit 0]"), "{said}");
        assert_eq!(digest(&to), digest(&part));
    });
}

#[test]
fn what_cannot_be_extracted_is_refused_with_reasons() {
    apart(|dir| {
        let world = World::sent(dir);
        let extract = |name: &str, to: &str| world.extract(name, &dir.join(to), &[]);
        fs::create_dir_all(dir.join("full/b")).unwrap();
        for name in ["a", "c", "d", "e"] {
            fs::write(dir.join("full").join(name), "").unwrap();
        }
        let said = extract("zeebe-snap-3", "full");
        insta::assert_snapshot!("extract into what is not empty", said);
        let said = world.extract("zeebe-snap-3", &dir.join("full"), &["--json"]);
        insta::assert_snapshot!("extract into what is not empty json", said);
        let said = extract("zeebe-snap-3", "full/a");
        insta::assert_snapshot!("extract into a file", said);
        let said = extract("zeebe-snap-3", "none/data");
        insta::assert_snapshot!("extract into nowhere", said);
        let said = extract("zeebe-snap-1", "new");
        insta::assert_snapshot!("extract of what is not there", said);
        let said = world.extract_to_unmounted(&dir.join("disk"));
        insta::assert_snapshot!("extract to a disk that is not mounted", said);
        fs::create_dir(world.place.join("theirs")).unwrap();
        insta::assert_snapshot!("extract of theirs", extract("theirs", "new"));
        fs::remove_file(world.place.join("zeebe-snap-3.seal")).unwrap();
        let said = extract("zeebe-snap-3", "new");
        insta::assert_snapshot!("extract of what was cut", said);
        let room = mounted(dir, "small", "ext4", 64);
        fs::write(world.data.join("large"), vec![7; 100 << 20]).unwrap();
        world.take("zeebe-snap-4", "four\n");
        world.send("zeebe-snap-4");
        let said = world.extract("zeebe-snap-4", &room, &[]);
        assert!(
            said.contains("MiB free") && said.ends_with("[exit 3]"),
            "{said}"
        );
        assert_eq!(names(&room), [""; 0]);
        assert_eq!(names(&dir.join("full")), ["a", "b", "c", "d", "e"]);
        assert!(!dir.join(".zeebe-snap").exists() && !dir.join("new").exists());
    });
}

/// Calls that change something.
const CALLS: [&str; 8] = [
    "mkdir",
    "mkdirat",
    "rename",
    "renameat2",
    "rmdir",
    "unlinkat",
    "fsync",
    "syncfs",
];

/// Killed at every such call. What is there then is nothing, or all; in a mount point entries may be missing, and the next one
/// brings them. What is left of it then are empty folders at most.
#[test]
fn what_is_killed_anywhere_is_made_whole_by_the_next() {
    apart(|dir| {
        let world = World::sent(dir);
        let captured = digest_in_mount(&world.data);
        let around = dir.join("around");
        fs::create_dir(&around).unwrap();
        let mount = mounted(dir, "new", "ext4", 64);
        let mut killed = 0;
        for (to, store) in [(around.join("data"), &around), (mount.clone(), &mount)] {
            for call in CALLS {
                for count in 1.. {
                    let at = format!("{call} {count} in {to:?}");
                    let is_killed = !extract_killed_at(&world, &to, call, count);
                    if is_killed {
                        killed += 1;
                        if to != mount && to.exists() {
                            assert_eq!(digest_in_mount(&to), captured, "{at}");
                        }
                        let said = world.extract("zeebe-snap-3", &to, &[]);
                        let is_whole = said.contains("is not empty") && said.ends_with("[exit 3]");
                        assert!(is_whole || said.ends_with("[exit 0]"), "{at}: {said}");
                    }
                    let mut left = Command::new("find");
                    left.arg(store.join(".zeebe-snap"))
                        .args(["!", "-type", "d"]);
                    let left = left.output().unwrap().stdout;
                    assert_eq!(String::from_utf8_lossy(&left), "", "{at}");
                    fs::remove_dir_all(store.join(".zeebe-snap")).ok();
                    fs::remove_dir(to.join("lost+found")).ok();
                    assert_eq!(digest_in_mount(&to), captured, "{at}");
                    empty(&to);
                    if !is_killed {
                        break;
                    }
                }
            }
        }
        assert!(killed > 50, "{killed}");
    });
}

/// Whether it was done before it was killed.
fn extract_killed_at(world: &World, to: &Path, call: &str, count: u32) -> bool {
    let killed = format!("{call}:signal=KILL:when={count}");
    let ended = extract_with(world, to, &killed).output().unwrap();
    ended.status.success()
}

/// Under strace, which does something to a call.
fn extract_with(world: &World, to: &Path, inject: &str) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    strace.args([&format!("inject={inject}"), PROGRAM, "stream", "extract"]);
    strace.args([world.place(), "zeebe-snap-3"]).arg(to);
    strace
}

#[test]
fn what_is_not_as_it_has_landed_or_is_interrupted_is_not_left() {
    apart(|dir| {
        let world = World::sent(dir);
        let new = mounted(dir, "new", "ext4", 64);
        for to in [new.join("data"), new.clone()] {
            let extract = |inject| {
                let said = world.said(&extract_with(&world, &to, inject).output().unwrap());
                assert_eq!(names(&new), [""; 0], "{said}");
                said
            };
            // The program takes it for done.
            let said = extract("utimensat:retval=0");
            assert!(
                said.contains("is NOT what has landed: ") && said.ends_with("[exit 5]"),
                "{said}"
            );
            let said = extract("utimensat:signal=INT:when=1");
            assert!(said.ends_with("interrupted\n[exit 1]"), "{said}");
        }
    });
}

fn empty(folder: &Path) {
    for name in names(folder) {
        let path = folder.join(name);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    // A mount point stays.
    fs::remove_dir(folder).ok();
}
