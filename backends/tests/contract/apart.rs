//! Actions performed by a process of their own, which is killed on the way.
//!
//! The process is this test program again, under strace, which kills it in place of a call that changes a file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde::{Deserialize, Serialize};
use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::{Kept, Label, SnapName, Snapshot, StageName, VolumeId};

use crate::host;

/// What a process of its own does.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    pub volume: VolumeId,
    pub what: What,
}

/// See the functions of the same names.
#[derive(Debug, Serialize, Deserialize)]
pub enum What {
    Take(SnapName, Label),
    Destroy(SnapName),
    /// Of the snapshot that this volume has.
    Stage(VolumeId, Snapshot, StageName, Label),
    Discard(StageName),
    Swap(StageName),
    Reverse(StageName),
    TakeKept(Kept, StageName, Label),
    PutBack(StageName, StageName),
    ForgetKept(StageName),
}

/// The environment variable that holds the task.
const TASK: &str = "ZEEBE_SNAP_CONTRACT_TASK";

/// Said when it is done.
const DONE: &str = "the task is done";

/// The calls that change a file system, or make a change last. One with a `?` is not known everywhere.
const CALLS: &str = "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,mknod,mknodat,unlink,\
    unlinkat,rmdir,fsync,fdatasync,syncfs,ftruncate,fallocate,chmod,fchmod,fchmodat,?fchmodat2,chown,fchown,lchown,\
    fchownat,utimensat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,ioctl,copy_file_range";

/// What the process does; its test is ignored, since it is for no one else.
pub fn perform() {
    let text = std::env::var(TASK).expect("only another test knows what is to be done");
    let task: Task = serde_json::from_str(&text).unwrap();
    let volume = zeebe_snap_backends::open(&task.volume).unwrap();
    let rollback = volume.rollback().unwrap();
    let actions = match &task.what {
        What::Take(name, label) => {
            [volume.prepare(name, label), volume.snapshot(name, label)].concat()
        }
        What::Destroy(name) => volume.destroy(name),
        What::Stage(source, from, stage, label) => {
            let view = zeebe_snap_backends::open(source).unwrap().view(&from.name);
            rollback.stage(from, &view, stage, label)
        }
        What::Discard(stage) => rollback.discard(stage),
        What::Swap(stage) => rollback.swap(stage),
        What::Reverse(stage) => rollback.reverse(stage),
        What::TakeKept(kept, stage, label) => rollback.take_kept(kept, stage, label),
        What::PutBack(kept, stage) => rollback.put_back(kept, stage),
        What::ForgetKept(kept) => rollback.forget_kept(kept),
    };
    perform_all(&actions, &host(), &|| false).unwrap();
    println!("{DONE}");
}

/// Performs `task` under strace with `options`, and says whether all of it was done.
fn run(task: &Task, options: &[&OsStr]) -> bool {
    let done = Command::new("strace")
        // Not --seccomp-bpf: with it only the first call of a name can be told (6.1).
        .args(["-f", "-qq"])
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "does_a_task",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(TASK, serde_json::to_string(task).unwrap())
        .output()
        .expect("this test needs strace");
    let [said, complained] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text));
    let all = done.status.success() && said.contains(DONE);
    // Itself, or a tool that it ran.
    let was_killed = done.status.signal() == Some(9) || complained.contains("ended by signal 9");
    assert!(
        all || was_killed,
        "{task:?} {options:?}: {said}{complained}"
    );
    all
}

/// A change: a system call's name, and which of the calls of that name by one thread it is.
type Change = (String, usize);

/// The changes that `task` makes, as strace lists them: `PID CALL(ARGUMENTS…`.
fn changes(task: &Task) -> BTreeSet<Change> {
    let list = tempfile::NamedTempFile::new().unwrap();
    let trace = format!("trace={CALLS}");
    let options = [
        "-o".as_ref(),
        list.path().as_os_str(),
        "-e".as_ref(),
        trace.as_ref(),
    ];
    assert!(run(task, &options));
    let text = fs::read_to_string(list.path()).unwrap();
    let mut counts = BTreeMap::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let Some((call, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !call.chars().all(is_name) {
            // "<... rename resumed>", "--- SIGCHLD".
            continue;
        }
        let count = counts
            .entry((thread.to_owned(), call.to_owned()))
            .or_insert(0);
        *count += 1;
        // Pipes and terminals are no file systems.
        if !["FIONBIO", "TCGETS"]
            .iter()
            .any(|other| arguments.contains(other))
        {
            found.insert((call.to_owned(), *count));
        }
    }
    assert!(!found.is_empty(), "{text}");
    found
}

/// Performs `task` again and again: all of it, and killed before each of its changes. `settle` looks at what was left and
/// makes everything as it was.
pub fn cut_everywhere(task: &Task, settle: impl Fn(&str)) {
    let changes = changes(task);
    settle("all of it");
    let mut alive = Vec::new();
    for (call, n) in &changes {
        let inject = format!("inject={call}:signal=KILL:when={n}");
        let trace = format!("trace={call}");
        let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject].map(OsStr::new);
        if run(task, &options) {
            alive.push((call, n));
        }
        settle(&format!("asked to die at {call} {n}"));
    }
    // Which thread does what is not the same every time.
    assert!(alive.len() * 2 < changes.len(), "{task:?}: {alive:?}");
}
