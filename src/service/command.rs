//! Brokers started and stopped by commands.
//!
//! What this program starts, it starts by `launch`: a session of its own, its output in a log, and a record of its
//! process, so that a later run knows it even before it has opened a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use zeebe_snap_backends::cmd::Cmd;

use super::launch::{open_log, open_log_or_null};
use super::{Phase, State};
use crate::process::Process;

pub fn state(
    record: &Path,
    start: &[String],
    stop: Option<&[String]>,
    log: &Path,
) -> Result<State> {
    let main = match read_record(record) {
        Some(process) if process.is_alive()? => Some(process),
        _ => None,
    };
    let (phase, seen) = match &main {
        Some(process) => (
            Phase::Up,
            format!("pid {}, started by zeebe-snap, runs", process.pid),
        ),
        None => (Phase::Down, "no process of it is seen".to_owned()),
    };
    Ok(State {
        phase,
        main,
        invocation: None,
        dependants: Vec::new(),
        gated: false,
        seen,
        trouble: trouble(start)
            .or(stop.and_then(trouble))
            .or_else(|| no_place_for(log)),
    })
}

fn trouble(words: &[String]) -> Option<String> {
    let program = super::program(words)?;
    nix::unistd::access(program, nix::unistd::AccessFlags::X_OK)
        .err()
        .map(|error| format!("{} cannot be run: {}", program.display(), error.desc()))
}

fn no_place_for(log: &Path) -> Option<String> {
    let around = log.parent().filter(|around| !around.is_dir());
    around.map(|around| {
        format!(
            "{}, where the broker's log goes, is not a folder",
            around.display()
        )
    })
}

/// Written in place by a process that may have been killed, on a disk that may be broken: what does not read is no record.
pub fn read_record(path: &Path) -> Option<Process> {
    let text = fs::read(path).ok()?;
    serde_json::from_slice(&text).ok()
}

pub fn ask_to_stop(
    stop: Option<&[String]>,
    environment: &BTreeMap<String, String>,
    log: &Path,
    main: &Process,
) -> Result<()> {
    let Some([program, arguments @ ..]) = stop else {
        return main.signal(rustix::process::Signal::TERM);
    };
    let out = open_log(log)?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()
        .with_context(|| format!("run {program}"))?;
    // How it ends says nothing: the proof of down is who holds the folder.
    std::thread::spawn(move || child.wait());
    Ok(())
}

pub fn start(
    record: &Path,
    start: &[String],
    environment: &BTreeMap<String, String>,
    log: &Path,
    lock: &File,
) -> Result<()> {
    let own = std::env::current_exe().context("find this program's own file")?;
    let out = open_log_or_null(log)?;
    let mut child = Command::new(&own)
        .arg("launch")
        .arg(record)
        .args(start)
        .envs(environment)
        .stdin(lock.try_clone()?)
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("start a process")?;
    let pid = i32::try_from(child.id()).context("a pid")?;
    // The record appears when the process is about to become the broker; where it cannot be written, it becomes it all the same.
    loop {
        let recorded = read_record(record);
        if recorded.is_some_and(|process| process.pid == pid) || has_become_another(pid, &own) {
            return Ok(());
        }
        if let Some(status) = child.try_wait().context("wait for a start")? {
            bail!(
                "{} ended at once ({status}); see {}",
                start.join(" "),
                log.display()
            );
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Whether the process runs another program than ours by now.
fn has_become_another(pid: i32, own: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|program| program != own)
}

pub fn lines(
    start: &[String],
    stop: Option<&[String]>,
    environment: &BTreeMap<String, String>,
    log: &Path,
) -> (String, String) {
    let line = |words: &[String]| match words {
        [program, arguments @ ..] => Cmd::new(program).args(arguments).to_string(),
        [] => String::new(),
    };
    let masked: String = environment
        .keys()
        .map(|name| format!("{name}=*** "))
        .collect();
    let log = Cmd::new(log.as_os_str()).to_string();
    (
        stop.map_or("kill -TERM <broker>".to_owned(), line),
        format!("{masked}setsid {} >>{log} 2>&1 &", line(start)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_shows_names_of_the_environment_and_no_values() {
        let environment = BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]);
        let (stop, start) = lines(
            &["/opt/zeebe/bin/broker".into()],
            None,
            &environment,
            Path::new("/var/log/z 0.log"),
        );
        assert_eq!(stop, "kill -TERM <broker>");
        assert_eq!(
            start,
            "TOKEN=*** setsid /opt/zeebe/bin/broker >>'/var/log/z 0.log' 2>&1 &"
        );
    }
}
