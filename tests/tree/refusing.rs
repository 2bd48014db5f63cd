//! What `tree clone` does not do: nothing is left of it, and what is wrong is said with names.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::comparer::Comparer;
use crate::program::{Outcome, tree};
use crate::sample::{noise, sample};
use crate::strace::Held;
use crate::volume::{KINDS, apart, names, tool, volume};

fn clone(from: &Path, to: &Path) -> Outcome {
    tree(["clone".as_ref(), from.as_os_str(), to.as_os_str()])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_mount_point_below_the_tree() {
    apart(|folder| {
        for kind in KINDS {
            let at = volume(folder, kind, 400);
            let (from, to) = (at.join("source"), at.join("target"));
            sample(&from);
            let inside = from.join("folder/below/empty");
            tool(
                Command::new("mount")
                    .args(["-t", "tmpfs", "tmpfs"])
                    .arg(&inside),
            );
            clone(&from, &to)
                .exits(1)
                .says(&[text(&inside), "mount point"]);
            assert_eq!(names(&at), ["source"]);
            tool(Command::new("umount").arg(&inside));
            // From the same volume, where no device number tells.
            tool(
                Command::new("mount")
                    .arg("--bind")
                    .arg(from.join("closed"))
                    .arg(&inside),
            );
            clone(&from, &to)
                .exits(1)
                .says(&[text(&inside), "mount point"]);
            assert_eq!(names(&at), ["source"]);
            tool(Command::new("umount").arg(&inside));
            clone(&from, &to).exits(0);
        }
    });
}

#[test]
fn a_subvolume_below_the_tree() {
    apart(|folder| {
        let at = volume(folder, "btrfs", 400);
        let (from, to) = (at.join("source"), at.join("target"));
        sample(&from);
        let inside = from.join("folder/subvolume");
        tool(
            Command::new("btrfs")
                .args(["subvolume", "create"])
                .arg(&inside),
        );
        clone(&from, &to)
            .exits(1)
            .says(&[text(&inside), "subvolume"]);
        assert_eq!(names(&at), ["source"]);
    });
}

#[test]
fn a_full_disk() {
    apart(|folder| {
        let from = folder.join("source");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("small"), "small").unwrap();
        fs::write(from.join("large"), noise(100 << 20)).unwrap();
        for kind in ["ext4", "btrfs"] {
            let at = volume(folder, kind, 64);
            let outcome = clone(&from, &at.join("target")).exits(1);
            let outcome = outcome.says(&["large", "No space left on device"]);
            assert_eq!(names(&at), [""; 0], "{kind}: {outcome}");
        }
    });
}

#[test]
fn a_target_that_cannot_be_written() {
    apart(|folder| {
        let at = volume(folder, "ext4", 64);
        let from = folder.join("source");
        sample(&from);
        tool(Command::new("chattr").arg("+i").arg(&at));
        let outcome = clone(&from, &at.join("target")).exits(1);
        outcome.says(&[text(&at), "Operation not permitted"]);
        tool(Command::new("chattr").arg("-i").arg(&at));
        tool(Command::new("mount").args(["-o", "remount,ro"]).arg(&at));
        let outcome = clone(&from, &at.join("target")).exits(1);
        outcome.says(&[text(&at), "Read-only file system"]);
        assert_eq!(names(&at), [""; 0]);
    });
}

#[test]
fn what_is_there_is_not_replaced() {
    apart(|folder| {
        let (from, to) = (folder.join("source"), folder.join("target"));
        sample(&from);
        let mut comparer = Comparer::start();
        let before = comparer.fingerprint(&from);
        let makes: [&dyn Fn(); 4] = [
            &|| fs::write(&to, "file").unwrap(),
            &|| fs::create_dir(&to).unwrap(),
            &|| std::os::unix::fs::symlink("nowhere", &to).unwrap(),
            &|| sample(&to),
        ];
        for make in makes {
            make();
            let there = to.symlink_metadata().unwrap().modified().unwrap();
            clone(&from, &to).exits(1).says(&[text(&to)]);
            assert_eq!(names(folder), ["source", "target"]);
            assert_eq!(to.symlink_metadata().unwrap().modified().unwrap(), there);
            tool(Command::new("rm").arg("-rf").arg(&to));
        }
        for inside in ["inside", "folder/inside", "folder/below/empty/inside"] {
            let inside = from.join(inside);
            clone(&from, &inside).exits(1).says(&[text(&inside)]);
        }
        assert_eq!(comparer.fingerprint(&from), before);
    });
}

/// Clones `from` while `change` is done over and over, so that it is done between any two looks at the same thing. The clone
/// is held for a moment at each of its calls that copy.
fn while_changing(from: &Path, to: &Path, change: impl Fn() + Sync) -> Outcome {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                change();
            }
        });
        let inject = "inject=copy_file_range,ioctl,read,pread64:delay_enter=50000";
        let outcome = crate::program::run(&mut crate::strace::clone(
            &[
                "-o",
                "/dev/null",
                "-e",
                "trace=copy_file_range,ioctl,read,pread64",
                "-e",
                inject,
            ],
            from,
            to,
        ));
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

#[test]
fn a_source_that_changes() {
    apart(|folder| {
        for kind in KINDS {
            let at = volume(folder, kind, 400);
            let (from, to) = (at.join("source"), at.join("target"));
            fs::create_dir_all(from.join("folder")).unwrap();
            fs::write(from.join("still"), "still").unwrap();
            let busy = from.join("folder/busy");
            fs::write(&busy, noise(1 << 20)).unwrap();
            let file = fs::File::options().append(true).open(&busy).unwrap();

            let outcome = while_changing(&from, &to, || file.write_all_at(b"x", 0).unwrap());
            outcome.exits(1).says(&[text(&busy), "changed"]);
            assert_eq!(names(&at), ["source"], "written, {kind}");

            let file = fs::File::options().write(true).open(&busy).unwrap();
            let outcome = while_changing(&from, &to, || file.write_all_at(b"x", 4096).unwrap());
            outcome.exits(1).says(&[text(&busy), "changed"]);
            assert_eq!(names(&at), ["source"], "written in place, {kind}");

            let outcome = while_changing(&from, &to, || {
                fs::write(at.join("other"), noise(1 << 20)).unwrap();
                fs::rename(at.join("other"), &busy).unwrap();
            });
            outcome.exits(1).says(&[text(&from.join("folder"))]);
            fs::remove_file(at.join("other")).ok();
            assert_eq!(names(&at), ["source"], "replaced, {kind}");

            let outcome = while_changing(&from, &to, || {
                fs::write(from.join("folder/new"), "").unwrap();
                fs::remove_file(from.join("folder/new")).unwrap();
            });
            outcome.exits(1).says(&[text(&from.join("folder"))]);
            assert_eq!(names(&at), ["source"], "names come and go, {kind}");

            clone(&from, &to).exits(0);
        }
    });
}

#[test]
fn two_clones_of_one_name_at_once() {
    apart(|folder| {
        let at = volume(folder, "ext4", 64);
        let (from, to) = (at.join("source"), at.join("target"));
        sample(&from);
        let first = Held::at("syncfs", 1_000_000, &from, &to);
        clone(&from, &to).exits(1).says(&[text(&at)]);
        first.finish().exits(0);
        Comparer::start().insist_equal(&from, &to);
        assert_eq!(names(&at), ["source", "target"]);
    });
}
