use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use zeebe_snap_backends::action::write_durably;
use zeebe_snap_backends::host::Host;

use super::{path_json, print, print_json, tell_findings};
use crate::config;
use crate::discover::cluster::{self, FoundCluster};
use crate::discover::draft::{self, Occasion};
use crate::discover::{self, Eyes, Found, Runner};
use crate::exit::Exit;
use crate::plan::Findings;
use crate::report::table::moment;
use crate::report::tell;
use crate::world::Places;
use crate::zeebe::api;

/// Find the brokers that run on this host, and write a cluster.toml of them
///
/// Looks at every process, asks systemd, docker or podman what runs a broker, and the broker itself what it is. Each value is
/// written with a comment that says where it was learned. The file goes where --cluster says; one that is there is never
/// replaced. Values of the environment that look like secrets are left out: they are named, for you to fill in.
#[derive(Debug, Args)]
pub struct Init {
    /// What to call the cluster, instead of by Zeebe's own name of it; where several run, the one that Zeebe knows by NAME
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Print the file instead of writing it
    #[arg(long)]
    print: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    match cluster::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a name has letters, digits, '.', '_' and '-'".to_owned()),
    }
}

impl Init {
    pub fn run(self, places: &Places) -> Result<Exit> {
        let file = &places.cluster;
        if !self.print && file.symlink_metadata().is_ok() {
            let mut findings = Findings::default();
            findings.refuse(
                None,
                format!("{} is there already", file.display()),
                "a cluster.toml is yours, and is never replaced",
                "`zeebe-snap init --print` shows what would be written; --cluster names another file",
            );
            return self.refused(&findings);
        }
        let found = discover::find(Eyes {
            processes: Path::new("/proc"),
            tools: &Host::new(&[]),
            ask: &api::ask,
        })?;
        let (cluster, findings) = cluster::one(found, self.name.as_deref());
        let Some(cluster) = cluster else {
            return self.refused(&findings);
        };
        let host = nix::unistd::gethostname().context("ask for the name of this host")?;
        let occasion = Occasion {
            host: host.to_string_lossy().into_owned(),
            time: moment(jiff::Timestamp::now()),
        };
        let text = draft::text(&cluster, &occasion);
        config::parse(file, &text).context("what was found makes no cluster.toml")?;
        tell_findings(&findings.0);
        if !self.print {
            write(file, &text)?;
        }
        if self.json {
            let result = if self.print { "printed" } else { "written" };
            let brokers: Vec<Value> = cluster.brokers.iter().map(broker_json).collect();
            print_json(&json!({
                "format": 1, "verb": "init", "result": result, "cluster": cluster.name.value, "file": path_json(file),
                "brokers": brokers, "elsewhere": cluster.elsewhere, "findings": findings.0, "text": text,
            }))?;
        } else if self.print {
            print(&text)?;
        } else {
            print(&said(&cluster, file))?;
        }
        Ok(Exit::Done)
    }

    fn refused(&self, findings: &Findings) -> Result<Exit> {
        if self.json {
            print_json(
                &json!({ "format": 1, "verb": "init", "result": "nothing", "findings": findings.0 }),
            )?;
        }
        tell_findings(&findings.0);
        tell("zeebe-snap: no cluster.toml was written");
        Ok(Exit::Refused)
    }
}

/// For its owner alone, as it may come to hold secrets.
fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(dir) = file.parent() {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("make the folder {}", dir.display()))?;
    }
    Ok(write_durably(file, text.as_bytes())?)
}

fn broker_json(broker: &Found) -> Value {
    let service = match &broker.runner {
        Runner::Unit { name, .. } => json!({ "systemd": name }),
        Runner::Container { tool, name, .. } => json!({ "container": name, "tool": tool }),
        Runner::Plain { start, .. } => json!({ "start": start }),
    };
    json!({
        "node_id": broker.node_id.value,
        "pid": broker.pid,
        "zeebe": broker.version,
        "data": path_json(&broker.data.value),
        "management": broker.management.value,
        "service": service,
    })
}

fn said(cluster: &FoundCluster, file: &Path) -> String {
    let line = |broker: &Found| {
        let by = match &broker.runner {
            Runner::Unit { name, .. } => format!("systemd unit {name}"),
            Runner::Container { tool, name, .. } => format!("{tool} container {name}"),
            Runner::Plain { start, .. } => format!("started by {}", start.join(" ")),
        };
        let version = broker
            .version
            .as_ref()
            .map(|version| format!(", Zeebe {version}"));
        format!(
            "broker {}: pid {}{}, {}, {by}\n",
            broker.node_id.value,
            broker.pid,
            version.unwrap_or_default(),
            broker.data.value.display()
        )
    };
    let brokers: String = cluster.brokers.iter().map(line).collect();
    format!(
        "{brokers}{} is written: cluster {}. Look it through, then `zeebe-snap check`.\n",
        file.display(),
        cluster.name.value
    )
}
