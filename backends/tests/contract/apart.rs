//! Actions performed by a process of their own, which is killed on the way.
//!
//! The process is this test program again. Under strace, it and its tools are killed in place of a call that changes a file
//! system. A tool that must never be killed is let run to its end, and the process dies between two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, raise};
use serde::{Deserialize, Serialize};
use zeebe_snap_backends::action::perform_all;
use zeebe_snap_backends::host::Host;
use zeebe_snap_backends::stream::pipe::Flow;
use zeebe_snap_backends::stream::{Shipment, open_landing, ship};
use zeebe_snap_backends::{
    Cmd, Kept, Label, RunError, SnapName, Snapshot, StageName, System, VolumeId,
};

use crate::host;

/// How what changes a volume can be cut.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// In place of a call that changes a file system, be it the program's or that of a tool that it runs.
    Calls,
    /// Between two commands that it runs: it changes nothing by itself. `looks` is how those begin that only look.
    Commands { looks: &'static [&'static str] },
    /// Between two commands, and in place of a rename of its own: what else it does by itself is the same on any file system,
    /// and cut on those that are quick.
    CommandsAndOwnCalls { looks: &'static [&'static str] },
}

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
    /// To the landing that has this id.
    Ship(VolumeId, Shipment, Label),
}

/// The environment variable that holds the task.
const TASK: &str = "ZEEBE_SNAP_CONTRACT_TASK";

/// The environment variable that says when it is to die.
const DEATH: &str = "ZEEBE_SNAP_CONTRACT_DEATH";

/// Said when it is done.
const DONE: &str = "the task is done";

/// The calls that change a file system, or make a change last. One with a `?` is not known everywhere.
const CALLS: &str = "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,mknod,mknodat,unlink,\
    unlinkat,rmdir,fsync,fdatasync,syncfs,ftruncate,fallocate,chmod,fchmod,fchmodat,?fchmodat2,chown,fchown,lchown,\
    fchownat,utimensat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,ioctl,copy_file_range";

/// A process dies after so many commands that change something.
#[derive(Debug, Serialize, Deserialize)]
struct Death {
    after: usize,
    /// How those begin that do not.
    looks: Vec<String>,
}

/// Runs tools until it dies.
#[derive(Debug)]
struct Mortal {
    host: Host,
    left: AtomicUsize,
    looks: Vec<String>,
}

impl Mortal {
    fn of(death: Death) -> Mortal {
        Mortal {
            host: host(),
            left: AtomicUsize::new(death.after),
            looks: death.looks,
        }
    }
}

impl System for Mortal {
    fn run(&self, cmd: &Cmd) -> Result<Vec<u8>, RunError> {
        let line = cmd.to_string();
        let changes = !self.looks.iter().any(|look| line.starts_with(look));
        if changes && self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            raise(Signal::SIGKILL).unwrap();
        }
        self.host.run(cmd)
    }

    fn start(&self, cmd: &Cmd, input: Option<Stdio>, output: Stdio) -> Result<Child, RunError> {
        self.host.start(cmd, input, output)
    }
}

/// Those of them that give names.
const RENAMES: &str = "rename,renameat,renameat2";

/// What the process does; its test is ignored, since it is for no one else.
pub fn perform() {
    let text = std::env::var(TASK).expect("only another test knows what is to be done");
    let task: Task = serde_json::from_str(&text).unwrap();
    let volume = zeebe_snap_backends::open(&task.volume).unwrap();
    let sys: Box<dyn System> = match std::env::var(DEATH) {
        Ok(text) => Box::new(Mortal::of(serde_json::from_str(&text).unwrap())),
        Err(_) => Box::new(host()),
    };
    if let What::Ship(to, shipment, label) = &task.what {
        let (from, to) = (volume.stream().unwrap(), open_landing(to).unwrap());
        ship(&*sys, from, &*to, shipment, &[], label, &Flow::new())
            .unwrap_or_else(|error| panic!("{error}"));
        return println!("{DONE}");
    }
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
        What::Ship(..) => unreachable!("it is done above"),
    };
    perform_all(&actions, &*sys, &|| false).unwrap();
    println!("{DONE}");
}

/// This test program, which does `task`, as arguments of another or by itself.
fn command(task: &Task, by: Option<Command>) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut command = match by {
        Some(mut command) => {
            command.arg(this);
            command
        }
        None => Command::new(this),
    };
    command
        .args([
            "--ignored",
            "--exact",
            "does_a_task",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(TASK, serde_json::to_string(task).unwrap());
    command
}

/// Performs `task` under strace with these `options`, and says whether all of it was done; else it was killed.
fn run(task: &Task, options: &[&OsStr]) -> bool {
    let mut strace = Command::new("strace");
    // Not --seccomp-bpf: with it only the first call of a name can be told (6.1).
    strace.args(["-f", "-qq"]).args(options);
    let done = command(task, Some(strace)).output();
    was_done(&done.expect("this test needs strace"), task)
}

/// Whether all of it was done; else it was killed, or a tool that it ran.
fn was_done(done: &Output, task: &Task) -> bool {
    let [said, complained] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text));
    let all = done.status.success() && said.contains(DONE);
    let was_killed = done.status.signal() == Some(9) || complained.contains("ended by signal 9");
    assert!(all || was_killed, "{task:?}: {said}{complained}");
    all
}

/// A change: a system call's name, and which of the calls of that name by one thread it is.
type Change = (String, usize);

/// The changes that `task` makes, as strace lists them: `PID CALL(ARGUMENTS…`.
fn changes(task: &Task, whose: &[&OsStr], calls: &str) -> BTreeSet<Change> {
    let list = tempfile::NamedTempFile::new().unwrap();
    let trace = format!("trace={calls}");
    let options = [
        "-o".as_ref(),
        list.path().as_os_str(),
        "-e".as_ref(),
        trace.as_ref(),
    ];
    assert!(run(task, &[whose, &options].concat()));
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
    // All that is done may be done by tools.
    assert!(!found.is_empty() || !whose.is_empty(), "{text}");
    found
}

/// Performs `task` again and again: all of it, and cut before each of its changes. `settle` looks at what was left and
/// makes everything as it was.
pub fn cut_everywhere(cut: Cut, task: &Task, settle: impl Fn(&str)) {
    match cut {
        Cut::Calls => cut_calls(task, &[], CALLS, settle),
        Cut::Commands { looks } => cut_commands(task, looks, settle),
        Cut::CommandsAndOwnCalls { looks } => {
            cut_commands(task, looks, &settle);
            // What becomes another program is followed no further.
            cut_calls(task, &["--detach-on=execve".as_ref()], RENAMES, settle);
        }
    }
}

fn cut_calls(task: &Task, whose: &[&OsStr], calls: &str, settle: impl Fn(&str)) {
    let changes = changes(task, whose, calls);
    settle("all of it");
    let mut alive = Vec::new();
    for (call, n) in &changes {
        let inject = format!("inject={call}:signal=KILL:when={n}");
        let trace = format!("trace={call}");
        let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject].map(OsStr::new);
        if run(task, &[whose, &options].concat()) {
            alive.push((call, n));
        }
        settle(&format!("asked to die at {call} {n}"));
    }
    // Which thread does what is not the same every time.
    let many = changes.is_empty() || alive.len() * 2 < changes.len();
    assert!(many, "{task:?}: {alive:?}");
}

fn cut_commands(task: &Task, looks: &[&str], settle: impl Fn(&str)) {
    for after in 0.. {
        let death = Death {
            after,
            looks: looks.iter().copied().map(str::to_owned).collect(),
        };
        let death = serde_json::to_string(&death).unwrap();
        let done = command(task, None).env(DEATH, death).output().unwrap();
        let all = was_done(&done, task);
        settle(&format!("asked to die after {after} commands"));
        if all {
            return;
        }
    }
}
