//! What stops and starts a broker that runs: a systemd unit, a container, or nothing that can be seen.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use zeebe_snap_backends::cmd::{Cmd, System};

use super::environment::Environment;
use super::jvm::{self, Jvm};
use super::{Eyes, plain};

/// What stops and starts a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// A systemd unit.
    Unit {
        /// "zeebe.service".
        name: String,
        /// Its file.
        file: PathBuf,
    },
    /// A container.
    Container {
        /// "docker", "podman".
        tool: String,
        /// Where that is.
        program: PathBuf,
        /// The container's name.
        name: String,
        /// The addresses at which this host reaches it.
        addresses: Vec<String>,
    },
    /// Nothing that can be seen.
    Plain {
        /// What starts one like it.
        start: Vec<String>,
        /// Where that was learned.
        from: String,
        /// With what.
        environment: Environment,
        /// Where its output goes.
        log: Option<PathBuf>,
        /// What started it, where that may start it again by itself.
        watched_by: Option<String>,
    },
}

/// Where a process belongs, by its cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    Unit(String),
    /// Of a user's own service manager.
    UserUnit(String),
    Container(String),
    Pod,
    /// A session, or nothing special.
    Other,
}

/// Reads `/proc/PID/cgroup`: lines of number, controllers and path.
fn group(cgroup: &str) -> Group {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // With both versions of cgroups in use one of them may know nothing.
    let path = paths.max_by_key(|path| path.len()).unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let service = parts.iter().rev().find(|part| part.ends_with(".service"));
    let container = parts.iter().rev().find_map(|part| container(part));
    let of_a_user = parts.iter().any(|part| part.starts_with("user@"));
    if parts.iter().any(|part| part.starts_with("kubepods")) {
        return Group::Pod;
    }
    match (service, container) {
        (Some(unit), _) if of_a_user && !unit.starts_with("user@") => {
            Group::UserUnit((*unit).to_owned())
        }
        (Some(unit), _) if !of_a_user => Group::Unit((*unit).to_owned()),
        (_, Some(id)) => Group::Container(id),
        _ => Group::Other,
    }
}

/// The id in `docker-ID.scope`, `libpod-ID.scope`, `libpod-payload-ID`, or plainly `ID` as below `/docker`.
fn container(part: &str) -> Option<String> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.rsplit('-').next().unwrap_or(part);
    let is_id = id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// Finds out what runs `jvm`; `install` is its folder as this host sees it.
pub fn of(eyes: Eyes<'_>, jvm: &Jvm, install: Option<&Path>) -> Result<Runner> {
    let own = fs::read_to_string(eyes.processes.join("self/cgroup")).unwrap_or_default();
    match group(&jvm.cgroup) {
        Group::Pod => {
            bail!("Kubernetes runs it, which starts it again by itself; that is not built")
        }
        Group::UserUnit(unit) => {
            bail!("{unit} of a user's own systemd runs it; only units of the system are built")
        }
        Group::Unit(unit) => match unit_of(eyes, jvm, &unit)? {
            Some(runner) => Ok(runner),
            None => plain::of(eyes, jvm, install),
        },
        // In a container itself, this program sees that of all processes.
        Group::Container(_) if group(&own) == group(&jvm.cgroup) => plain::of(eyes, jvm, install),
        Group::Container(id) => in_container(eyes.tools, &id),
        Group::Other => plain::of(eyes, jvm, install),
    }
}

fn show(unit: &str) -> Cmd {
    Cmd::new("systemctl")
        .args(["show", "--property=Id,LoadState,MainPID,FragmentPath", "--"])
        .arg(unit)
}

/// The unit, if the broker is what it is for: its main process, or in the process group of that, or in a container of it.
/// What cron or a supervisor has started is in their units, and they are not to be stopped for it.
fn unit_of(eyes: Eyes<'_>, jvm: &Jvm, unit: &str) -> Result<Option<Runner>> {
    let output = eyes
        .tools
        .run(&show(unit))
        .with_context(|| format!("{unit} runs it, by its cgroup"))?;
    let text = String::from_utf8_lossy(&output);
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once('='));
        let found = fields.find(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let main: i32 = field("MainPID").parse().unwrap_or_default();
    let stat = fs::read(eyes.processes.join(main.to_string()).join("stat")).unwrap_or_default();
    let same_group = main != 0 && jvm::family(&stat).1 == jvm.group;
    let contained = jvm
        .cgroup
        .split('/')
        .any(|part| container(part.trim()).is_some());
    let is_its = main == jvm.pid || same_group || contained;
    if field("LoadState") != "loaded" || !is_its {
        return Ok(None);
    }
    Ok(Some(Runner::Unit {
        name: field("Id"),
        file: field("FragmentPath").into(),
    }))
}

/// Only what is needed: a container's environment is not looked at.
const FORMAT: &str = r#"{"name":{{json .Name}},"remove":{{json .HostConfig.AutoRemove}},"networks":{{json .NetworkSettings.Networks}}}"#;

fn inspect(tool: &str, id: &str) -> Cmd {
    Cmd::new(tool)
        .args(["container", "inspect", "--format", FORMAT, "--"])
        .arg(id)
}

#[derive(Deserialize)]
struct Inspected {
    name: String,
    remove: bool,
    #[serde(default)]
    networks: Option<std::collections::BTreeMap<String, Network>>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(rename = "IPAddress", default)]
    address: String,
}

fn in_container(tools: &dyn System, id: &str) -> Result<Runner> {
    let mut refused = Vec::new();
    for tool in ["docker", "podman"] {
        let output = match tools.run(&inspect(tool, id)) {
            Ok(output) => output,
            Err(error) => {
                refused.push(error.to_string());
                continue;
            }
        };
        let shown: Inspected = serde_json::from_slice(&output)
            .with_context(|| format!("read what {} says", inspect(tool, id)))?;
        // Docker begins names with a slash.
        let name = shown.name.trim_start_matches('/').to_owned();
        if shown.remove {
            bail!(
                "its container {name} is removed when it stops (--rm), and could not be started again"
            );
        }
        let networks = shown.networks.unwrap_or_default();
        let addresses = networks.into_values().map(|network| network.address);
        return Ok(Runner::Container {
            tool: tool.to_owned(),
            program: program(tool)?,
            name,
            addresses: addresses.filter(|address| !address.is_empty()).collect(),
        });
    }
    bail!(
        "container {id} runs it, and neither docker nor podman says more of that: {}",
        refused.join("; ")
    )
}

/// Where a tool of this host is.
pub fn program(name: &str) -> Result<PathBuf> {
    let host = zeebe_snap_backends::host::Host::new(&[]);
    host.which(name.as_ref())
        .with_context(|| format!("{name} is in none of the usual places"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_says_where_a_process_belongs() {
        let id = "3f".repeat(32);
        for (cgroup, wanted) in [
            (
                "0::/system.slice/zeebe.service\n".to_owned(),
                Group::Unit("zeebe.service".into()),
            ),
            (
                "0::/system.slice/system-zeebe.slice/zeebe@1.service".to_owned(),
                Group::Unit("zeebe@1.service".into()),
            ),
            (
                format!("0::/system.slice/docker-{id}.scope"),
                Group::Container(id.clone()),
            ),
            (
                format!("12:pids:/docker/{id}\n0::/\n"),
                Group::Container(id.clone()),
            ),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container"),
                Group::Container(id.clone()),
            ),
            (
                format!("0::/system.slice/zeebe.service/libpod-payload-{id}"),
                Group::Unit("zeebe.service".into()),
            ),
            (
                format!(
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container"
                ),
                Group::Container(id.clone()),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/zeebe.service"
                    .to_owned(),
                Group::UserUnit("zeebe.service".into()),
            ),
            (
                "0::/user.slice/user-0.slice/session-3.scope".to_owned(),
                Group::Other,
            ),
            (
                format!("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope"),
                Group::Pod,
            ),
            ("9:name=systemd:/\n0::/\n".to_owned(), Group::Other),
            (String::new(), Group::Other),
        ] {
            assert_eq!(group(&cgroup), wanted, "{cgroup}");
        }
    }

    #[test]
    fn prints_what_an_admin_would_type() {
        insta::assert_snapshot!(
            format!("{}\n{}", show("zeebe.service"), inspect("docker", "3f3f")),
            @r#"
        systemctl show --property=Id,LoadState,MainPID,FragmentPath -- zeebe.service
        docker container inspect --format '{"name":{{json .Name}},"remove":{{json .HostConfig.AutoRemove}},"networks":{{json .NetworkSettings.Networks}}}' -- 3f3f
        "#
        );
    }
}
