//! Processes of this host: told apart for certain, ended for certain, and found by the files they hold.
//!
//! Must not know what a broker is.

mod holders;
mod listeners;
mod writers;

pub use holders::holders;
pub use listeners::{has_socket, listeners};

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, told from any later one that is given its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it began, in clock ticks since boot (proc_pid_stat(5), field 22).
    pub started: u64,
    /// The boot it belongs to.
    pub boot: String,
}

/// A process that has a file of a data directory open or mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Which.
    pub process: Process,
    /// Its command line, shortened.
    pub command: String,
    /// The process that started it.
    pub parent: i32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.process.pid, self.command)
    }
}

fn boot() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot id")?;
    Ok(id.trim().to_owned())
}

impl Process {
    /// The process that has number `pid` now, be it a zombie; `None` if there is none.
    pub fn find(pid: i32) -> Result<Option<Process>> {
        Ok(stat(pid)?.map(|stat| stat.process))
    }

    /// The calling process.
    pub fn own() -> Result<Process> {
        let pid = i32::try_from(std::process::id()).context("own pid")?;
        Process::find(pid)?.context("this process is not in /proc")
    }

    /// Whether it has not ended: whether any of its threads has not. (Its first thread can be a zombie before the others
    /// have let go of their files.)
    pub fn is_alive(&self) -> Result<bool> {
        Ok(!self.wait(Instant::now(), || false)?)
    }

    /// Whether it is about to end by itself: its first thread has ended, or is ending. It can hold files still.
    pub fn is_ending(&self) -> Result<bool> {
        let stat = stat(self.pid)?.filter(|stat| stat.process == *self);
        Ok(stat.is_none_or(|stat| stat.ending))
    }

    /// A descriptor that means this process and no other; `None` if it has ended.
    fn open(&self) -> Result<Option<OwnedFd>> {
        let pid = Pid::from_raw(self.pid).context("a pid is not 0")?;
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("open process {}", self.pid)),
        };
        // Opened by number: it is this process if this process has that number still.
        Ok((Process::find(self.pid)?.as_ref() == Some(self)).then_some(fd))
    }

    /// Sends a signal; to one that has ended, none.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(fd) = self.open()? else {
            return Ok(());
        };
        match pidfd_send_signal(fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("signal process {}", self.pid)),
        }
    }

    /// Waits for its end, up to `deadline` or until `give_up` says so. True if it has ended.
    pub fn wait(&self, deadline: Instant, give_up: impl Fn() -> bool) -> Result<bool> {
        let Some(fd) = self.open()? else {
            return Ok(true);
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Woken now and then to ask whether the wait was called off.
            let slice = left.min(Duration::from_millis(50));
            let timeout = Timespec::try_from(slice).context("a timeout")?;
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => {
                    return Err(error).with_context(|| format!("wait for process {}", self.pid));
                }
            }
            if left.is_zero() || give_up() {
                return Ok(false);
            }
        }
    }
}

struct Stat {
    process: Process,
    parent: i32,
    ending: bool,
}

/// In the flags of proc_pid_stat(5): the thread is on its way out (`PF_EXITING`, include/linux/sched.h).
const EXITING: u64 = 4;

fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let text = match fs::read(&path) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {path}")),
    };
    // The name, in brackets, can hold anything; what follows its last bracket cannot.
    let fields: Vec<&str> = text
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').collect())
        .unwrap_or_default();
    let number = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
    };
    match (fields.first(), number(1), number(6), number(19)) {
        (Some(state), Some(parent), Some(flags), Some(started)) => {
            let parent = i32::try_from(parent).unwrap_or_default();
            Ok(Some(Stat {
                process: Process {
                    pid,
                    started,
                    boot: boot()?,
                },
                parent,
                ending: matches!(*state, "Z" | "X") || flags & EXITING != 0,
            }))
        }
        _ => bail!("{path} is not of the form of proc_pid_stat(5)"),
    }
}

/// The process ended while it was looked at.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
}

/// What is shown of process `pid`; `None` if it has ended.
pub fn holder(pid: i32) -> Result<Option<Holder>> {
    let Some(stat) = stat(pid)? else {
        return Ok(None);
    };
    Ok(Some(Holder {
        process: stat.process,
        command: command(pid)?,
        parent: stat.parent,
    }))
}

/// The program and the last word of its command line, where a JVM names its main class; never what lies between, since
/// secrets are given there.
fn command(pid: i32) -> Result<String> {
    let path = format!("/proc/{pid}/cmdline");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if gone(&error) => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("read {path}")),
    };
    let words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| {
            String::from_utf8_lossy(word)
                .chars()
                .filter(|c| !c.is_control())
                .take(80)
                .collect()
        })
        .collect();
    let main_class = words
        .iter()
        .skip(1)
        .find(|word| word.starts_with("io.camunda."));
    let script = words
        .get(1)
        .filter(|word| !word.starts_with('-') && Path::new(word).is_file());
    Ok(match (words.first(), main_class.or(script)) {
        (Some(program), Some(what)) => format!("{program} … {what}"),
        (Some(program), None) => program.clone(),
        (None, _) => "a process with no command line".to_owned(),
    })
}

/// What a process was started with. Values of the environment are secrets.
#[derive(Clone, Default)]
pub struct Start {
    /// Its environment, as it was at its start.
    pub environment: BTreeMap<String, String>,
    /// The words of its command line.
    pub arguments: Vec<String>,
}

/// Names only: values may be secrets, and so may arguments.
impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.environment.keys().collect();
        f.debug_struct("Start")
            .field("environment", &names)
            .finish_non_exhaustive()
    }
}

/// What `process` was started with; `None` if it has ended. Needs root for processes of others.
pub fn start_of(process: &Process) -> Result<Option<Start>> {
    let read = |what: &str| {
        let path = format!("/proc/{}/{what}", process.pid);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {path}")),
        }
    };
    let (Some(environment), Some(arguments)) = (read("environ")?, read("cmdline")?) else {
        return Ok(None);
    };
    // Read by number: it is of this process if that has the number still.
    if Process::find(process.pid)?.as_ref() != Some(process) {
        return Ok(None);
    }
    let words = |bytes: Vec<u8>| -> Vec<String> {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let text = text.strip_suffix('\0').unwrap_or(&text);
        text.split('\0').map(str::to_owned).collect()
    };
    let pair = |word: &String| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    Ok(Some(Start {
        environment: words(environment).iter().filter_map(pair).collect(),
        arguments: words(arguments),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    /// Runs as root only, as the program does; the container and the CI are root.
    #[test]
    fn a_process_that_has_a_file_open_is_found_and_told_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let (held, other) = (dir.path().join("held"), dir.path().join("other"));
        for folder in [&held, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("segment"), "x").unwrap();
        }
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .stdin(File::open(held.join("segment")).unwrap())
            .spawn()
            .unwrap();
        let found = holders(&[held.clone(), other, dir.path().join("gone")]).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert_eq!(
            found[0]
                .iter()
                .map(|holder| holder.process.pid)
                .collect::<Vec<_>>(),
            [pid]
        );
        assert!(found[1].is_empty() && found[2].is_empty());

        let process = found[0][0].process.clone();
        assert!(process.is_alive().unwrap() && !process.is_ending().unwrap());
        let soon = || Instant::now() + Duration::from_millis(60);
        assert!(!process.wait(soon(), || false).unwrap());
        process.signal(Signal::KILL).unwrap();
        assert!(
            process
                .wait(Instant::now() + Duration::from_secs(10), || false)
                .unwrap()
        );
        child.wait().unwrap();
        assert!(!process.is_alive().unwrap());
        assert!(holders(&[held]).unwrap()[0].is_empty());
    }

    #[test]
    fn one_whose_first_thread_has_ended_still_holds_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let segment = dir.path().join("segment");
        fs::write(&segment, "x").unwrap();
        let script = "import ctypes, sys, threading, time\n\
            held = open(sys.argv[1], 'r+')\n\
            threading.Thread(target=time.sleep, args=(1000,)).start()\n\
            ctypes.CDLL(None).pthread_exit(None)";
        let mut child = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(&segment)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !state().contains(") Z ") {
            assert!(Instant::now() < deadline, "{}", state());
            std::thread::yield_now();
        }
        let process = Process::find(pid).unwrap().unwrap();
        assert!(process.is_alive().unwrap() && process.is_ending().unwrap());
        let held = holders(&[dir.path().to_owned()]).unwrap().concat();
        assert_eq!(held.len(), 1, "{held:?}");
        process.signal(Signal::KILL).unwrap();
        assert!(
            process
                .wait(Instant::now() + Duration::from_secs(20), || false)
                .unwrap()
        );
        assert!(
            holders(&[dir.path().to_owned()])
                .unwrap()
                .concat()
                .is_empty()
        );
        child.wait().unwrap();
    }

    #[test]
    fn what_a_process_was_started_with_is_read() {
        let mut child = std::process::Command::new("sleep")
            .args(["1000"])
            .env_clear()
            .env("ZEEBE_NODE", "a=b")
            .spawn()
            .unwrap();
        let process = Process::find(i32::try_from(child.id()).unwrap())
            .unwrap()
            .unwrap();
        let start = start_of(&process).unwrap().unwrap();
        assert_eq!(start.arguments, ["sleep", "1000"]);
        assert_eq!(
            start.environment,
            BTreeMap::from([("ZEEBE_NODE".to_owned(), "a=b".to_owned())])
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(start_of(&process).unwrap().is_none());
    }

    #[test]
    fn a_later_process_of_the_same_number_is_another() {
        let mut process = Process::own().unwrap();
        process.started += 1;
        assert!(!process.is_alive().unwrap());
        process.signal(Signal::KILL).unwrap();
    }
}
