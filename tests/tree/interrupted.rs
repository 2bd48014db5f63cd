//! A clone that is ended in the middle by a signal.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::comparer::Comparer;
use crate::program::{Outcome, PROGRAM, tree};
use crate::sample::{noise, sample};
use crate::strace::Held;
use crate::volume::{KINDS, apart, names, volume};
use crate::wait::until;

#[test]
fn a_signal_removes_what_was_made() {
    apart(|folder| {
        let at = volume(folder, "ext4", 64);
        let (from, to) = (at.join("source"), at.join("target"));
        sample(&from);
        let mut comparer = Comparer::start();
        let before = comparer.fingerprint(&from);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let held = Held::at("symlinkat", 300_000, &from, &to);
            held.signal(signal);
            // Who is impatient changes nothing.
            held.signal(signal);
            held.finish().exits(1).says(&["interrupted"]);
            assert_eq!(names(&at), ["source"], "{signal}");
        }
        assert_eq!(comparer.fingerprint(&from), before);
    });
}

/// Starts a clone by all cores, and comes back when it is in the middle.
fn begin(from: &Path, to: &Path) -> Child {
    let partial = to.with_file_name(".target.partial");
    let inode = |path: &Path| {
        let about = path.metadata().ok()?;
        Some((about.ino(), about.created().unwrap()))
    };
    // Another clone may have been killed there.
    let left = inode(&partial);
    let child = Command::new(PROGRAM)
        .args(["tree", "clone"])
        .args([from, to])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("a clone in the making", || {
        let now = inode(&partial);
        let there = fs::read_dir(&partial).ok()?.count();
        (there > 10 && now.is_some() && now != left).then_some(())
    });
    child
}

#[test]
fn a_large_clone_is_killed_or_interrupted_and_made_again() {
    apart(|folder| {
        let mut comparer = Comparer::start();
        for kind in KINDS {
            let at = volume(folder, kind, 700);
            let (from, to) = (at.join("source"), at.join("target"));
            sample(&from);
            for number in 0..60 {
                let folder = from.join(format!("many {number}"));
                fs::create_dir(&folder).unwrap();
                for number in 0..100 {
                    fs::write(folder.join(number.to_string()), noise(2000)).unwrap();
                }
            }
            for _ in 0..3 {
                let child = begin(&from, &to);
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
                Outcome::from(child.wait_with_output().unwrap())
                    .exits(1)
                    .says(&["interrupted"]);
                assert_eq!(names(&at), ["source"], "interrupted on {kind}");

                let mut child = begin(&from, &to);
                child.kill().unwrap();
                child.wait().unwrap();
                assert_eq!(
                    names(&at),
                    [".target.partial", "source"],
                    "killed on {kind}"
                );
            }
            tree(["clone".as_ref(), from.as_os_str(), to.as_os_str()]).exits(0);
            assert_eq!(names(&at), ["source", "target"]);
            comparer.insist_equal(&from, &to);
        }
    });
}
