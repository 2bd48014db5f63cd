//! The gate of a unit: a drop-in that keeps systemd from starting it, whoever asks, and after a reboot too.
//!
//! What it holds is an assertion that its own file does not exist (systemd.unit(5), AssertPathExists=). So it is closed
//! once systemd has read the file, and open as soon as the file is gone. An assertion, not a condition: a start that is
//! refused is an error to whoever asked, and units that require the broker do not start either.
//! Must not start or stop anything.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use zeebe_snap_backends::Action;
use zeebe_snap_backends::action::write_durably;
use zeebe_snap_backends::cmd::{Cmd, System, quote};

use super::Gate;
use super::systemd::{Properties, show};

/// Where an administrator's units are; drop-ins of a unit are read there wherever the unit itself is.
pub const UNITS: &str = "/etc/systemd/system";

/// The first line of the file, by which it is known to be ours.
const OURS: &str = "# This file is zeebe-snap's. While it is here, this unit does not start.";

/// Of a unit with this id: an alias has no drop-ins of its own, and each instance of a template has some.
fn path(units: &Path, id: &str) -> PathBuf {
    units.join(format!("{id}.d/zeebe-snap-gate.conf"))
}

fn assertion(gate: &Path) -> String {
    format!("AssertPathExists=!{}", gate.display())
}

fn content(gate: &Path) -> String {
    format!(
        "{OURS}\n\
         # A restore of its data is under way, or was cut; then `zeebe-snap status` says so, and `zeebe-snap recover` ends it.\n\
         [Unit]\n{}\n",
        assertion(gate)
    )
}

fn reload() -> Cmd {
    Cmd::new("systemctl").arg("daemon-reload")
}

/// What systemd says of the drop-ins of a unit.
#[derive(Debug)]
struct Loaded {
    load: String,
    id: String,
    drop_ins: Vec<String>,
    stale: bool,
}

impl Loaded {
    fn ask(tools: &dyn System, unit: &str) -> Result<Loaded> {
        let words = ["LoadState", "Id", "DropInPaths", "NeedDaemonReload"];
        let output = tools.run(&show(&words, unit))?;
        let shown = Properties::of(&output);
        Ok(Loaded {
            load: shown.text("LoadState")?,
            id: shown.text("Id")?,
            drop_ins: shown.list("DropInPaths")?,
            stale: shown.yes("NeedDaemonReload")?,
        })
    }

    fn has(&self, gate: &Path) -> bool {
        self.drop_ins.iter().any(|path| Path::new(path) == gate)
    }
}

/// Whether there is a gate for the unit with this id.
pub fn is_there(units: &Path, id: &str) -> Result<bool> {
    let gate = path(units, id);
    match fs::read_to_string(&gate) {
        Ok(text) => Ok(text.starts_with(OURS)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("read {}", gate.display())),
    }
}

/// See [`super::close_gate`].
pub fn close(tools: &dyn System, units: &Path, unit: &str) -> Result<Gate> {
    let before = Loaded::ask(tools, unit)?;
    ensure!(before.load == "loaded", "unit {unit} is {}", before.load);
    let gate = path(units, &before.id);
    let there = is_there(units, &before.id)?;
    ensure!(
        there || fs::symlink_metadata(&gate).is_err(),
        "{} is not zeebe-snap's, by its first line; move it away",
        gate.display()
    );
    if there && before.has(&gate) && !before.stale {
        return Ok(Gate::AlreadyClosed);
    }
    if !there {
        write(tools, &gate).with_context(|| {
            format!(
                "{unit} cannot be kept from being started meanwhile (make {} writable, where its drop-in belongs)",
                units.display()
            )
        })?;
    }
    tools.run(&reload())?;
    // Not a matter of course: drop-ins can be masked, and systemd may have given up reading units.
    ensure!(
        Loaded::ask(tools, unit)?.has(&gate),
        "systemd does not read {}, which would keep {unit} from being started meanwhile; `systemctl cat {unit}` shows what it reads",
        gate.display()
    );
    Ok(if there {
        Gate::AlreadyClosed
    } else {
        Gate::Closed
    })
}

/// For all to read, as units are: systemd complains of others, and who wonders why the broker does not start is to see it.
fn write(tools: &dyn System, gate: &Path) -> Result<()> {
    let folder = gate.parent().context("a drop-in has a folder")?;
    if !folder.is_dir() {
        Action::MakeDir(folder.to_owned()).perform(tools, &|| false)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("open {} to all", folder.display()))?;
    }
    write_durably(gate, content(gate).as_bytes())?;
    fs::set_permissions(gate, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("open {} to all", gate.display()))
}

/// See [`super::open_gate`].
pub fn open(tools: &dyn System, units: &Path, unit: &str) -> Result<()> {
    let loaded = Loaded::ask(tools, unit)?;
    let gate = path(units, &loaded.id);
    let there = is_there(units, &loaded.id)?;
    if there {
        let mut actions = removal(&gate).into_iter();
        actions.try_for_each(|action| action.perform(tools, &|| false))?;
    }
    // It is open. What follows is tidiness, and no reason to leave a broker down.
    if (there || loaded.has(&gate))
        && let Err(error) = tools.run(&reload())
    {
        tracing::warn!(%error, "after the gate was opened");
    }
    Ok(())
}

fn removal(gate: &Path) -> Vec<Action> {
    let folder = gate.parent().map(Path::to_owned);
    let file = Action::RemoveFile(gate.to_owned());
    [Some(file), folder.map(Action::RemoveEmptyDir)]
        .into_iter()
        .flatten()
        .collect()
}

/// What a dry run prints. An alias is not resolved, since that has to be asked.
pub fn lines(unit: &str) -> (Vec<String>, Vec<String>) {
    let id = match unit.ends_with(".service") {
        true => unit.to_owned(),
        false => format!("{unit}.service"),
    };
    let gate = path(Path::new(UNITS), &id);
    let folder = gate.parent().unwrap_or(&gate);
    let close = vec![
        format!("mkdir -p {}", quote(folder.as_os_str())),
        format!(
            "install -m 644 /dev/stdin {}   # {}",
            quote(gate.as_os_str()),
            assertion(&gate)
        ),
        reload().to_string(),
    ];
    let open = removal(&gate)
        .iter()
        .map(ToString::to_string)
        .chain([reload().to_string()])
        .collect();
    (close, open)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use zeebe_snap_backends::cmd::RunError;

    use super::*;

    /// A systemd that reads drop-ins when it is told to.
    #[derive(Debug)]
    struct Systemd {
        units: PathBuf,
        id: &'static str,
        read: Mutex<Vec<String>>,
        ran: Mutex<Vec<String>>,
    }

    impl Systemd {
        fn on_disk(&self) -> Vec<String> {
            let folder = self.units.join(format!("{}.d", self.id));
            let entries = fs::read_dir(folder).into_iter().flatten();
            let paths = entries.map(|entry| entry.unwrap().path());
            let read = paths.filter(|path| path.extension().is_some_and(|end| end == "conf"));
            read.map(|path| path.to_str().unwrap().to_owned()).collect()
        }

        fn is_shut(&self) -> bool {
            let asserted = |path: &String| path.ends_with("zeebe-snap-gate.conf");
            self.read
                .lock()
                .unwrap()
                .iter()
                .any(|path| asserted(path) && Path::new(path).exists())
        }

        fn ran(&self) -> Vec<String> {
            std::mem::take(&mut self.ran.lock().unwrap())
        }
    }

    impl System for Systemd {
        fn run(&self, cmd: &Cmd) -> Result<Vec<u8>, RunError> {
            let line = cmd.to_string();
            let mut read = self.read.lock().unwrap();
            if line == "systemctl daemon-reload" {
                *read = self.on_disk();
            }
            if line.starts_with("systemctl show") {
                let text = format!(
                    "Id={}\nLoadState=loaded\nDropInPaths={}\nNeedDaemonReload={}\n",
                    self.id,
                    read.join(" "),
                    if *read == self.on_disk() { "no" } else { "yes" },
                );
                return Ok(text.into_bytes());
            }
            self.ran.lock().unwrap().push(line);
            Ok(Vec::new())
        }
    }

    fn rig(id: &'static str) -> (tempfile::TempDir, Systemd) {
        let dir = tempfile::tempdir().unwrap();
        let systemd = Systemd {
            units: dir.path().to_owned(),
            id,
            read: Mutex::default(),
            ran: Mutex::default(),
        };
        (dir, systemd)
    }

    #[test]
    fn closed_and_opened_it_leaves_nothing() {
        let (dir, systemd) = rig("zeebe@1.service");
        let gate = dir.path().join("zeebe@1.service.d/zeebe-snap-gate.conf");
        // The alias is the admin's name for it.
        let close = || close(&systemd, dir.path(), "broker.service").unwrap();
        assert_eq!(close(), Gate::Closed);
        assert!(systemd.is_shut() && is_there(dir.path(), systemd.id).unwrap());
        assert_eq!(
            fs::read_to_string(&gate).unwrap(),
            format!(
                "# This file is zeebe-snap's. While it is here, this unit does not start.\n\
                 # A restore of its data is under way, or was cut; then `zeebe-snap status` says so, and `zeebe-snap recover` ends it.\n\
                 [Unit]\nAssertPathExists=!{}\n",
                gate.display()
            )
        );
        for path in [gate.parent().unwrap(), &gate] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o444, 0o444, "all may read {}", path.display());
        }
        assert_eq!(systemd.ran(), ["systemctl daemon-reload"]);
        assert_eq!(close(), Gate::AlreadyClosed);
        assert_eq!(systemd.ran(), [""; 0]);

        open(&systemd, dir.path(), "broker.service").unwrap();
        assert!(!systemd.is_shut() && !is_there(dir.path(), systemd.id).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(systemd.ran(), ["systemctl daemon-reload"]);
        open(&systemd, dir.path(), "broker.service").unwrap();
        assert_eq!(systemd.ran(), [""; 0]);
    }

    #[test]
    fn one_that_a_dead_run_wrote_and_systemd_has_not_read_is_shut() {
        let (dir, systemd) = rig("z.service");
        write(&systemd, &path(dir.path(), systemd.id)).unwrap();
        assert!(!systemd.is_shut());
        let closed = close(&systemd, dir.path(), "z.service").unwrap();
        assert_eq!((closed, systemd.is_shut()), (Gate::AlreadyClosed, true));
    }

    #[test]
    fn what_is_not_ours_stays() {
        let (dir, systemd) = rig("z.service");
        let folder = dir.path().join("z.service.d");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("override.conf"), "[Service]\n").unwrap();
        close(&systemd, dir.path(), "z.service").unwrap();
        open(&systemd, dir.path(), "z.service").unwrap();
        assert_eq!(
            systemd.on_disk(),
            [folder.join("override.conf").to_str().unwrap()]
        );

        let gate = folder.join("zeebe-snap-gate.conf");
        fs::write(&gate, "[Unit]\n").unwrap();
        let refusal = close(&systemd, dir.path(), "z.service").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            format!(
                "{} is not zeebe-snap's, by its first line; move it away",
                gate.display()
            )
        );
        open(&systemd, dir.path(), "z.service").unwrap();
        assert!(!is_there(dir.path(), "z.service").unwrap() && gate.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_said_with_what_to_do() {
        // No folder can be made in /proc, by nobody.
        let (units, (_dir, systemd)) = (Path::new("/proc"), rig("z.service"));
        let error = close(&systemd, units, "z.service").unwrap_err();
        insta::assert_snapshot!(format!("{error:#}"), @"z.service cannot be kept from being started meanwhile (make /proc writable, where its drop-in belongs): make the folder /proc/z.service.d: No such file or directory (os error 2)");
    }

    #[test]
    fn prints_what_an_admin_would_type() {
        let (close, open) = lines("zeebe@1");
        insta::assert_snapshot!(close.join("\n"), @r"
        mkdir -p /etc/systemd/system/zeebe@1.service.d
        install -m 644 /dev/stdin /etc/systemd/system/zeebe@1.service.d/zeebe-snap-gate.conf   # AssertPathExists=!/etc/systemd/system/zeebe@1.service.d/zeebe-snap-gate.conf
        systemctl daemon-reload
        ");
        insta::assert_snapshot!(open.join("\n"), @r"
        rm -f /etc/systemd/system/zeebe@1.service.d/zeebe-snap-gate.conf
        rmdir --ignore-fail-on-non-empty /etc/systemd/system/zeebe@1.service.d
        systemctl daemon-reload
        ");
    }
}
