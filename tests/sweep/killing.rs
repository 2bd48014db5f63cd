//! A run that is killed: its coordinator, its agent or both, at a line of its journal or after a time.
//! Knows that a journal is `runs/*.jsonl` in the state folder, one line for each thing that happened.

use std::fmt;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::process::{Pid, Signal, setpriority_process};

use crate::cluster::{Cluster, LONG, Outcome};
use crate::processes::{agents, signal};

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Coordinator,
    Agent,
    Both,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As soon as the journal has got so many lines in this run.
    Line(usize),
    /// After its start.
    After(Duration),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Who::Coordinator => "coordinator",
            Who::Agent => "agent",
            Who::Both => "both",
        })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Line(line) => write!(f, "line={line}"),
            When::After(time) => write!(f, "ms={}", time.as_millis()),
        }
    }
}

/// What became of a run.
#[derive(Debug)]
pub struct Killed {
    /// How the coordinator ended.
    pub outcome: Outcome,
    /// The lines that it had written when somebody was killed, and the last of them; `None` if it ended before.
    pub at: Option<(usize, String)>,
}

/// The journals of a state folder.
pub fn journals(state: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(state.join("runs")) else {
        return Vec::new();
    };
    let paths = listing.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect()
}

/// How many lines all journals have.
pub fn lines(state: &Path) -> usize {
    let count = |path: PathBuf| {
        fs::read(path)
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    };
    journals(state).into_iter().map(count).sum()
}

/// The last whole line of the newest journal.
fn last_line(state: &Path) -> String {
    let newest = journals(state).into_iter().max();
    let text = newest
        .map(|path| fs::read_to_string(path).unwrap_or_default())
        .unwrap_or_default();
    let whole = text
        .rsplit_once('\n')
        .map(|(whole, _)| whole)
        .unwrap_or_default();
    let line = whole.lines().last().unwrap_or_default();
    line.chars().take(100).collect()
}

/// Removes the journals of runs that owe nothing, so that there are not ever more of them.
pub fn tidy(state: &Path) {
    for path in journals(state) {
        let text = fs::read_to_string(&path).unwrap();
        if text
            .lines()
            .last()
            .is_some_and(|line| line.contains(r#""entry":"closed""#))
        {
            fs::remove_file(path).unwrap();
        }
    }
}

impl Cluster {
    /// Runs the program and kills; waits until nothing of it runs any more, neither what lives on nor what takes its place.
    pub fn run_and_kill(&self, arguments: &[&str], who: Who, when: When) -> Killed {
        let state = self.state();
        fs::create_dir_all(state.join("runs")).unwrap();
        let before = lines(&state);
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(
            &watch,
            state.join("runs"),
            WatchFlags::CREATE | WatchFlags::MODIFY,
        )
        .unwrap();
        let begun = Instant::now();
        let mut run = self.begin(arguments);
        let pid = run.pid();
        let at = thread::scope(|scope| {
            let killer = scope.spawn(|| {
                // Ahead of whom it watches: the next line is written soon after.
                let own = Pid::from_raw(nix::unistd::gettid().as_raw());
                setpriority_process(own, -20).ok();
                loop {
                    let now = lines(&state) - before;
                    let due = match when {
                        When::Line(line) => now >= line,
                        When::After(time) => begun.elapsed() >= time,
                    };
                    if due {
                        return kill(pid, who).then(|| (lines(&state) - before, last_line(&state)));
                    }
                    if run.has_ended() {
                        return None;
                    }
                    assert!(begun.elapsed() < LONG, "{arguments:?} does not end");
                    let most = Duration::from_millis(20);
                    let patience = match when {
                        When::Line(_) => most,
                        When::After(time) => most.min(time.saturating_sub(begun.elapsed())),
                    };
                    let mut fds = [PollFd::new(&watch, PollFlags::IN)];
                    poll(&mut fds, Some(&Timespec::try_from(patience).unwrap())).ok();
                    let mut buffer = [MaybeUninit::uninit(); 4096];
                    let mut events = inotify::Reader::new(watch.as_fd(), &mut buffer);
                    while events.next().is_ok() {}
                }
            });
            killer.join().unwrap()
        });
        let outcome = run.finish();
        self.wait_for_silence();
        Killed { outcome, at }
    }
}

/// Kills, with both frozen meanwhile, so that neither sees the other die first. Whether there was anybody.
pub fn kill(coordinator: i32, who: Who) -> bool {
    signal(coordinator, Signal::STOP);
    let agents = agents(coordinator);
    for agent in &agents {
        signal(*agent, Signal::STOP);
    }
    if matches!(who, Who::Agent | Who::Both) {
        for agent in &agents {
            signal(*agent, Signal::KILL);
        }
    }
    if matches!(who, Who::Coordinator | Who::Both) {
        signal(coordinator, Signal::KILL);
    }
    for process in agents.iter().chain([&coordinator]) {
        signal(*process, Signal::CONT);
    }
    who != Who::Agent || !agents.is_empty()
}
