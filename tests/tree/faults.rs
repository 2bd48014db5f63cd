//! A fault at every system call of a small clone: the program is killed there, or the call fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::comparer::Comparer;
use crate::program::{Outcome, run, tree};
use crate::sample::sample;
use crate::strace::{Call, calls, clone};
use crate::volume::{apart, names, tool, volume};

/// Calls that have nothing to do with files. The loader and the allocator make them wherever they like.
const NOT_OF_FILES: [&str; 13] = [
    "brk",
    "clone3",
    "exit_group",
    "futex",
    "getrandom",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "sigaltstack",
];

/// Calls that need room.
const NEED_ROOM: [&str; 17] = [
    "copy_file_range",
    "fallocate",
    "fsetxattr",
    "fsync",
    "ftruncate",
    "ioctl",
    "linkat",
    "lsetxattr",
    "mkdirat",
    "mknodat",
    "openat",
    "pwrite64",
    "renameat2",
    "setxattr",
    "symlinkat",
    "syncfs",
    "write",
];

/// Calls that a signal can end early, by their manual pages.
const CAN_BE_INTERRUPTED: [&str; 14] = [
    "close",
    "copy_file_range",
    "fallocate",
    "flock",
    "fsync",
    "ftruncate",
    "ioctl",
    "openat",
    "pread64",
    "pwrite64",
    "read",
    "sync_file_range",
    "syncfs",
    "write",
];

/// A source, where its clone is to be, and what is known of both.
struct Place {
    folder: PathBuf,
    from: PathBuf,
    to: PathBuf,
    calls: Vec<Call>,
    fingerprint: String,
    comparer: Comparer,
}

impl Place {
    fn new(folder: &Path, kind: &str) -> Place {
        let folder = volume(folder, kind, 400);
        let (from, to) = (folder.join("source"), folder.join("target"));
        sample(&from);
        let mut comparer = Comparer::start();
        let fingerprint = comparer.fingerprint(&from);
        let mut calls = calls(&from, &to);
        calls.retain(|call| !NOT_OF_FILES.contains(&&*call.name));
        assert!(calls.len() > 200, "too few to be all: {calls:?}");
        // What is on the disk gets the name, and then the name is on the disk.
        let last = |name: &str| calls.iter().rposition(|call| call.name == name);
        let order = ["syncfs", "renameat2", "fsync"].map(last);
        assert!(order.is_sorted() && order[0].is_some(), "{order:?}");
        let mut place = Place {
            folder,
            from,
            to,
            calls,
            fingerprint,
            comparer,
        };
        place.is_whole();
        place
    }

    /// Clones with `fault` at `call`.
    fn clone(&self, call: &Call, fault: &str) -> Outcome {
        let Call { name, count } = call;
        let trace = format!("trace={name}");
        let inject = format!("inject={name}:{fault}:when={count}");
        let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
        run(&mut clone(&options, &self.from, &self.to))
    }

    /// Insists that the clone is there and whole, and nothing beside it; then removes it.
    #[track_caller]
    fn is_whole(&mut self) {
        self.comparer.insist_equal(&self.from, &self.to);
        assert_eq!(names(&self.folder), ["source", "target"]);
        tool(Command::new("rm").arg("-rf").arg(&self.to));
    }

    #[track_caller]
    fn source_is_untouched(&mut self) {
        assert_eq!(
            self.comparer.fingerprint(&self.from),
            self.fingerprint,
            "the source"
        );
    }

    /// Killed at every call: a whole clone stands there or none, and the next run makes one.
    fn is_killed_everywhere(&mut self) {
        let mut left = 0;
        for call in &self.calls.clone() {
            let outcome = self.clone(call, "signal=KILL");
            assert_eq!(outcome.code, 128 + 9, "at {call:?}; {outcome}");
            self.source_is_untouched();
            match &*names(&self.folder) {
                [source] if source == "source" => {}
                [partial, source] if partial == ".target.partial" && source == "source" => {
                    left += 1
                }
                [source, target] if source == "source" && target == "target" => {
                    self.is_whole();
                    continue;
                }
                other => panic!("killed at {call:?}: {other:?}"),
            }
            tree(["clone".as_ref(), self.from.as_os_str(), self.to.as_os_str()]).exits(0);
            self.is_whole();
        }
        assert!(left > 100, "killed in the middle only {left} times");
    }

    /// Every call of `among` fails: a whole clone stands there or none, and it is said of which file.
    fn fails_everywhere(&mut self, error: &str, among: impl Fn(&str) -> bool) {
        let mut failed = 0;
        for call in &self.calls.clone() {
            if !among(&call.name) {
                continue;
            }
            let outcome = self.clone(call, &format!("error={error}"));
            self.source_is_untouched();
            let there = names(&self.folder);
            let what = format!("{error} at {call:?}; {outcome}; there: {there:?}");
            match outcome.code {
                0 => self.is_whole(),
                // The clone was done, and could not be reported.
                1 if outcome.stderr.contains("standard output") => self.is_whole(),
                1 => {
                    failed += 1;
                    assert_eq!(there, ["source"], "{what}");
                    assert!(
                        self.is_named_in(&outcome.stderr),
                        "no file is named; {what}"
                    );
                    let lines = outcome.stderr.lines().count();
                    assert!(lines <= 2, "{what}");
                }
                _ => panic!("{what}"),
            }
        }
        assert!(failed > 20, "only {failed} calls failed");
    }

    /// Whether `message` names a file in the folder of the clone, or a folder on the way to it.
    fn is_named_in(&self, message: &str) -> bool {
        message.contains(self.folder.to_str().unwrap())
            || (self.folder.ancestors()).any(|above| message.contains(&format!(" {above:?}: ")))
    }

    /// A call that was only interrupted is made again.
    fn goes_on_when_interrupted(&mut self) {
        for call in &self.calls.clone() {
            if CAN_BE_INTERRUPTED.contains(&&*call.name) {
                let outcome = self.clone(call, "error=EINTR");
                assert_eq!(outcome.code, 0, "interrupted at {call:?}; {outcome}");
                self.is_whole();
            }
        }
    }
}

fn with_faults(kind: &str) {
    apart(|folder| {
        let mut place = Place::new(folder, kind);
        place.is_killed_everywhere();
        place.fails_everywhere("EIO", |_| true);
        place.fails_everywhere("ENOSPC", |name| NEED_ROOM.contains(&name));
        place.goes_on_when_interrupted();
    });
}

#[test]
fn a_copy_with_a_fault_anywhere_is_whole_or_not_there() {
    with_faults("ext4");
}

#[test]
fn a_clone_on_xfs_with_a_fault_anywhere_is_whole_or_not_there() {
    with_faults("xfs");
}

#[test]
fn a_clone_on_btrfs_with_a_fault_anywhere_is_whole_or_not_there() {
    with_faults("btrfs");
}

#[test]
fn a_partial_clone_that_cannot_be_removed_is_said_and_replaced_by_the_next() {
    apart(|folder| {
        let mut place = Place::new(folder, "ext4");
        // The first is of a trial before anything is made.
        let options = [
            "-o",
            "/dev/null",
            "-e",
            "inject=syncfs:error=EIO",
            "-e",
            "inject=unlinkat:error=EROFS:when=2+",
        ];
        let outcome = run(&mut clone(&options, &place.from, &place.to)).exits(1);
        let outcome = outcome.says(&["Input/output error", "Read-only file system"]);
        assert_eq!(
            names(&place.folder),
            [".target.partial", "source"],
            "{outcome}"
        );
        tree([
            "clone".as_ref(),
            place.from.as_os_str(),
            place.to.as_os_str(),
        ])
        .exits(0);
        place.is_whole();
        place.source_is_untouched();
    });
}
