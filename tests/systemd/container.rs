//! A Debian that has booted its own systemd, on a network of its own. Must not know what it is for.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::rig::{MARK, Rig, tool};
use crate::wait::{seconds, until};

/// Where the btrfs of the rig is inside.
pub const VOLUME: &str = "/srv/zeebe";

/// Becomes systemd-nspawn, in a control group of its own: two containers in one would take each other's processes for
/// theirs. Where this machine runs a systemd itself, it is asked for that.
const NSPAWN: &str = r#"
name=$1
shift
keep=
if ! [ -d /run/systemd/system ]; then
    keep=--keep-unit
    while read -r _ at kind options _; do
        case $kind,$options in
        cgroup2,* | cgroup,*name=systemd*) mkdir "$at/$name" && echo $$ >"$at/$name/cgroup.procs" || exit ;;
        esac
    done </proc/mounts
fi
exec systemd-nspawn --quiet --machine="$name" --register=no $keep "$@"
"#;

/// It ends with this value.
#[derive(Debug)]
pub struct Container {
    rig: Rig,
    binds: Vec<(PathBuf, PathBuf)>,
    booted: Mutex<Option<Booted>>,
}

#[derive(Debug)]
struct Booted {
    nspawn: Child,
    leader: i32,
}

impl Container {
    /// A root folder, with these folders and files of this machine inside, read-only, and an empty btrfs. It is not booted yet.
    pub fn create(binds: Vec<(PathBuf, PathBuf)>) -> Container {
        let rig = Rig::create();
        let container = Container {
            rig,
            binds,
            booted: Mutex::new(None),
        };
        let image = variable("CONTAINER_ROOT");
        tool(
            Command::new("cp")
                .args(["-a", "--reflink=auto", &image])
                .arg(container.inside("")),
        );
        container.rig.btrfs(&container.rig.dir().join("volume"));
        for (file, text) in [
            ("/etc/hostname", "host-1\n"),
            ("/etc/hosts", "127.0.0.1 localhost host-1\n"),
        ] {
            container.write(file, text);
        }
        container
    }

    /// The test's folder, on this machine.
    pub fn dir(&self) -> &Path {
        self.rig.dir()
    }

    /// Where a path inside is on this machine.
    pub fn inside(&self, path: &str) -> PathBuf {
        let (top, rest) = match path.strip_prefix(VOLUME) {
            Some(rest) => ("volume", rest),
            None => ("root", path),
        };
        self.dir().join(top).join(rest.trim_start_matches('/'))
    }

    /// Writes a file inside.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.inside(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Boots it, and waits until everything that starts at boot has started or failed.
    pub fn boot(&self) {
        let name = self.dir().file_name().unwrap();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir().join("console.log"))
            .unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", NSPAWN, "sh"]).arg(name);
        command.arg("--directory").arg(self.inside(""));
        let bind = |option: &str, from: &Path, to: &Path| {
            format!("--{option}={}:{}", from.display(), to.display())
        };
        command.arg(bind("bind", &self.inside(VOLUME), Path::new(VOLUME)));
        for (from, to) in &self.binds {
            command.arg(bind("bind-ro", from, to));
        }
        let mut nspawn = command
            .args(["--private-network", "--capability=all", "--console=pipe"])
            .args(["--resolv-conf=off", "--timezone=off", "--boot"])
            .arg(format!("--setenv={MARK}={}", self.dir().display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = i32::try_from(nspawn.id()).unwrap();
        let console = || fs::read_to_string(self.dir().join("console.log")).unwrap();
        let leader = until("the container's first process", seconds(60), || {
            let ended = nspawn.try_wait().unwrap();
            assert!(ended.is_none(), "no container here: {}", console());
            processes().find(|&child| is_leader(child, pid))
        });
        *self.lock() = Some(Booted { nspawn, leader });
        until("the container to have booted", seconds(120), || {
            let output = self.command(&["systemctl", "is-system-running"]).output();
            let state = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
            // One that has a failed unit has booted, too.
            ["running", "degraded"]
                .contains(&state.trim())
                .then_some(())
        });
    }

    /// What a power cut does, but for what was written and not synced, which stays: all processes end at once, none is asked to.
    pub fn cut_power(&self) {
        let mut booted = self.lock().take().expect("it is booted");
        tool(Command::new("kill").args(["-KILL", &booted.leader.to_string()]));
        booted.nspawn.wait().unwrap();
        let name = self.dir().file_name().unwrap().to_str().unwrap();
        until("its control groups to be gone", seconds(30), || {
            let wanted = format!("*/{name}");
            let groups = tool(Command::new("find").args([
                "/sys/fs/cgroup",
                "-depth",
                "-path",
                &wanted,
                "-o",
                "-path",
                &format!("{wanted}/*"),
                "-type",
                "d",
            ]));
            for group in groups.lines() {
                fs::remove_dir(group).ok();
            }
            groups.is_empty().then_some(())
        });
    }

    /// A command inside, by its words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.enter();
        command.args(["--all", "--"]).args(words);
        command
    }

    /// The standard output of a command inside that has to succeed.
    #[track_caller]
    pub fn tool(&self, words: &[&str]) -> String {
        tool(&mut self.command(words))
    }

    /// A program of this machine, on the container's network.
    pub fn on_its_network(&self, program: &Path) -> Command {
        let mut command = self.enter();
        command.arg("--net").arg("--").arg(program);
        command
    }

    fn enter(&self) -> Command {
        let leader = self.lock().as_ref().expect("it is booted").leader;
        let mut command = Command::new("nsenter");
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .args(["--target", &leader.to_string()]);
        command
    }

    /// The pids, on this machine, of the processes inside whose command line has this word.
    pub fn pids(&self, word: &str) -> Vec<i32> {
        let leader = self.lock().as_ref().expect("it is booted").leader;
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let here = namespace(leader);
        processes()
            .filter(|&pid| namespace(pid) == here && words(pid).iter().any(|other| other == word))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Booted>> {
        self.booted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first process of a process namespace below, as a child of `parent`.
fn is_leader(pid: i32, parent: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default()
            .split_whitespace()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    field("PPid:") == parent.to_string() && field("NSpid:") == "1"
}

fn processes() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
}

fn words(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').map(str::to_owned).collect()
}

/// A variable that scripts/setup says.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see scripts/setup"))
}
