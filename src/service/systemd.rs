//! Brokers as systemd units. State is asked with `systemctl show`; texts are never matched.

use std::path::Path;

use anyhow::{Context, Result, bail};
use zeebe_snap_backends::cmd::{Cmd, RunError, System};

use super::{Phase, State, gate};
use crate::process::Process;

/// `systemctl WORDS -- UNIT`.
pub fn systemctl(words: &[&str], unit: &str) -> Cmd {
    Cmd::new("systemctl")
        .args(words.iter().copied())
        .arg("--")
        .arg(unit)
}

/// Asks for properties of a unit.
pub fn show(properties: &[&str], unit: &str) -> Cmd {
    systemctl(
        &["show", &format!("--property={}", properties.join(","))],
        unit,
    )
}

fn stop(unit: &str) -> Cmd {
    systemctl(&["stop", "--no-block"], unit)
}

/// Starting what runs is nothing to systemd, but takes a stop back that has not begun.
fn start_line(unit: &str, dependants: &[String]) -> Cmd {
    systemctl(&["start"], unit).args(dependants)
}

pub fn state(tools: &dyn System, units: &Path, unit: &str) -> Result<State> {
    let shown = ask(tools, unit)?;
    let main = match shown.main_pid {
        0 => None,
        pid => Process::find(pid)?,
    };
    let dependants = match shown.phase() {
        Phase::Up => active_dependants(tools, &shown)?,
        Phase::Ending | Phase::Down => Vec::new(),
    };
    Ok(State {
        phase: shown.phase(),
        main,
        seen: format!("{unit} is {} ({})", shown.active, shown.sub),
        trouble: shown.trouble(unit),
        invocation: Some(shown.invocation).filter(|id| !id.is_empty()),
        dependants,
        gated: gate::is_there(units, &shown.id)?,
    })
}

fn ask(tools: &dyn System, unit: &str) -> Result<Shown> {
    let properties = [&PROPERTIES[..], &DEPENDANTS[..]].concat();
    parse(&tools.run(&show(&properties, unit))?)
}

/// Active units that go down with the one shown, and those that go down with them.
fn active_dependants(tools: &dyn System, shown: &Shown) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    let mut pending = shown.dependants.clone();
    while let Some(unit) = pending.pop() {
        let shown = ask(tools, &unit)?;
        if shown.phase() == Phase::Up && !found.contains(&unit) {
            pending.extend(shown.dependants);
            found.push(unit);
        }
    }
    found.sort();
    Ok(found)
}

pub fn ask_to_stop(tools: &dyn System, unit: &str) -> Result<()> {
    tools
        .run(&stop(unit))
        .with_context(|| format!("stop {unit}"))?;
    Ok(())
}

pub fn kill(tools: &dyn System, unit: &str) -> Result<()> {
    tools
        .run(&systemctl(&["kill", "--signal=SIGKILL"], unit))
        .with_context(|| format!("kill {unit}"))?;
    Ok(())
}

pub fn start(tools: &dyn System, unit: &str, dependants: &[String]) -> Result<()> {
    let line = start_line(unit, dependants);
    let mut started = tools.run(&line);
    if started.is_err() {
        let limited = start_limit_hit(tools, unit, dependants)?;
        if let Some((first, others)) = limited.split_first() {
            tools.run(&systemctl(&["reset-failed"], first).args(others))?;
            started = tools.run(&line);
        }
    }
    started.with_context(|| format!("start {unit}"))?;
    Ok(())
}

/// Those that systemd does not start because they were started too often of late (StartLimitBurst=). That is for units
/// that start by themselves again and again; who stopped one has to get it started.
fn start_limit_hit(
    tools: &dyn System,
    unit: &str,
    dependants: &[String],
) -> Result<Vec<String>, RunError> {
    let mut limited = Vec::new();
    for unit in [unit]
        .into_iter()
        .chain(dependants.iter().map(String::as_str))
    {
        let shown = Properties::of(&tools.run(&show(&["Result"], unit))?);
        // Not every kind of unit has results.
        if shown
            .text("Result")
            .is_ok_and(|result| result == "start-limit-hit")
        {
            limited.push(unit.to_owned());
        }
    }
    Ok(limited)
}

pub fn lines(unit: &str) -> (String, String) {
    (stop(unit).to_string(), start_line(unit, &[]).to_string())
}

const PROPERTIES: [&str; 8] = [
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "MainPID",
    "CanStart",
    "CanStop",
    "InvocationID",
];

/// Properties that name units which go down with a unit (systemd.unit(5), mapping of unit properties to their inverses).
const DEPENDANTS: [&str; 5] = [
    "RequiredBy",
    "RequisiteOf",
    "BoundBy",
    "ConsistsOf",
    "PropagatesStopTo",
];

#[derive(Debug, PartialEq, Eq)]
struct Shown {
    id: String,
    load: String,
    active: String,
    sub: String,
    main_pid: i32,
    can_start: bool,
    can_stop: bool,
    invocation: String,
    dependants: Vec<String>,
}

impl Shown {
    fn phase(&self) -> Phase {
        match self.active.as_str() {
            "inactive" | "failed" => Phase::Down,
            "deactivating" => Phase::Ending,
            _ => Phase::Up,
        }
    }

    fn trouble(&self, unit: &str) -> Option<String> {
        if self.load != "loaded" {
            Some(format!("unit {unit} is {}", self.load))
        } else if !self.can_start || !self.can_stop {
            Some(format!(
                "unit {unit} may not be started and stopped by hand"
            ))
        } else {
            None
        }
    }
}

fn parse(output: &[u8]) -> Result<Shown> {
    let shown = Properties::of(output);
    Ok(Shown {
        id: shown.text("Id")?,
        load: shown.text("LoadState")?,
        active: shown.text("ActiveState")?,
        sub: shown.text("SubState")?,
        // Only services have one; what goes down with a broker may be a target.
        main_pid: match shown.text("MainPID") {
            Ok(pid) => pid.parse().context("MainPID of systemctl show")?,
            Err(_) => 0,
        },
        can_start: shown.yes("CanStart")?,
        can_stop: shown.yes("CanStop")?,
        invocation: shown.text("InvocationID")?,
        // A property that this systemd does not have names nobody.
        dependants: DEPENDANTS
            .iter()
            .filter_map(|name| shown.list(name).ok())
            .flatten()
            .collect(),
    })
}

/// What `systemctl show` prints: a line each.
#[derive(Debug)]
pub struct Properties(String);

impl Properties {
    /// Of its output.
    pub fn of(output: &[u8]) -> Properties {
        Properties(String::from_utf8_lossy(output).into_owned())
    }

    /// One that is text.
    pub fn text(&self, name: &str) -> Result<String> {
        let found = self
            .0
            .lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name);
        found
            .map(|(_, value)| value.to_owned())
            .with_context(|| format!("systemctl show gives no {name}"))
    }

    /// One that is yes or no.
    pub fn yes(&self, name: &str) -> Result<bool> {
        match self.text(name)?.as_str() {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => bail!("systemctl show gives {name}={other}"),
        }
    }

    /// One that is a list of names or paths. Those with a backslash, as `zeebe\x2d1.service` has one, are printed as a shell
    /// would want them: in double quotes, with backslashes before what is special there (shell_maybe_quote() of systemd).
    pub fn list(&self, name: &str) -> Result<Vec<String>> {
        let text = self.text(name)?;
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => quoted = !quoted,
                '\\' if quoted => word.extend(chars.next()),
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `systemctl show --property=…`, systemd 252 (Debian 12), of a running unit.
    const RUNNING: &[u8] =
        b"Id=zeebe.service\nMainPID=44\nRequiredBy=dependant.service\nRequisiteOf=\nBoundBy=\nConsistsOf=\n\
        PropagatesStopTo=\nLoadState=loaded\nActiveState=active\nSubState=running\nCanStart=yes\nCanStop=yes\nInvocationID=199d712da9fd47e2aa916a000a3e5846\n";

    #[test]
    fn reads_a_running_unit() {
        let shown = parse(RUNNING).unwrap();
        assert_eq!(shown.dependants, ["dependant.service"]);
        assert_eq!(
            (
                shown.active.as_str(),
                shown.main_pid,
                shown.trouble("z.service")
            ),
            ("active", 44, None)
        );
    }

    #[test]
    fn names_with_a_backslash_are_read_out_of_their_quotes() {
        // systemd 252 (Debian 12).
        let output = Properties::of(
            br#"RequiredBy=a.service "d\\x2de.service" z.target
DropInPaths="/etc/systemd/system/a\\x2db.service.d/zeebe-snap-gate.conf"
BoundBy=
"#,
        );
        assert_eq!(
            output.list("RequiredBy").unwrap(),
            ["a.service", r"d\x2de.service", "z.target"]
        );
        assert_eq!(
            output.list("DropInPaths").unwrap(),
            [r"/etc/systemd/system/a\x2db.service.d/zeebe-snap-gate.conf"]
        );
        assert_eq!(output.list("BoundBy").unwrap(), [""; 0]);
    }

    #[test]
    fn a_unit_that_is_not_there_is_trouble_and_a_field_that_is_missing_an_error() {
        let text = String::from_utf8_lossy(RUNNING);
        let missing = parse(text.replace("loaded", "not-found").as_bytes()).unwrap();
        assert_eq!(
            missing.trouble("z.service").unwrap(),
            "unit z.service is not-found"
        );
        assert!(parse(text.replace("ActiveState", "Other").as_bytes()).is_err());
    }

    #[test]
    fn prints_what_an_admin_would_type() {
        assert_eq!(
            lines("zeebe.service"),
            (
                "systemctl stop --no-block -- zeebe.service".into(),
                "systemctl start -- zeebe.service".into()
            )
        );
    }
}
