//! One broker: everything of it that a cluster.toml says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cluster::NAMELESS;
use super::jvm::{self, Jvm};
use super::{Eyes, Found, Noted, Unclear, config_files, management, place, runner};
use crate::id::NodeId;
use crate::zeebe::settings::{self, Said, Settings, Sources};

impl<T> From<Said<T>> for Noted<T> {
    fn from(said: Said<T>) -> Noted<T> {
        Noted::new(said.value, said.by)
    }
}

/// Looks at a broker.
pub fn broker(eyes: Eyes<'_>, jvm: &Jvm) -> Result<Found, Unclear> {
    let unclear = |cluster: Option<String>| {
        let pid = jvm.pid;
        move |why| Unclear { pid, cluster, why }
    };
    let (files, files_from) = config_files::of(jvm);
    let settings = settings(jvm, &files).map_err(unclear(None))?;
    let cluster = settings.cluster_name.as_ref();
    let cluster = cluster.map_or(NAMELESS, |said| &said.value).to_owned();
    see(eyes, jvm, settings, (files, files_from)).map_err(unclear(Some(cluster)))
}

/// A process that runs a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its number.
    pub pid: i32,
    /// The data directory that it is told, as this host sees it; `None` where nobody tells it one or it cannot be seen.
    pub data: Option<PathBuf>,
}

/// All brokers that run on this host, by their main classes.
pub fn running() -> Result<Vec<Running>> {
    let one = |jvm: Jvm| Running {
        pid: jvm.pid,
        data: data(&jvm),
    };
    let looked = jvm::all(Path::new("/proc"))?;
    Ok(looked.brokers.into_iter().map(one).collect())
}

/// The folder itself may be gone.
fn data(jvm: &Jvm) -> Option<PathBuf> {
    let (files, _) = config_files::of(jvm);
    let said = settings(jvm, &files).ok()?.data?;
    let path = base(jvm).join(said.value);
    place::on_host(&jvm.folder, &path).ok().or_else(|| {
        let around = place::on_host(&jvm.folder, path.parent()?).ok()?;
        Some(around.join(path.file_name()?))
    })
}

/// What relative paths are relative to (`StandaloneBroker.java`: `basedir`, else the working folder).
fn base(jvm: &Jvm) -> PathBuf {
    jvm.cwd.join(jvm.property("basedir").unwrap_or_default())
}

fn settings(jvm: &Jvm, files: &[PathBuf]) -> Result<Settings> {
    let read = |path: &PathBuf| Ok((path.clone(), place::read(&jvm.folder, path)?));
    settings::read(&Sources {
        live: true,
        files: files.iter().map(read).collect::<Result<_>>()?,
        environment: jvm.environment.clone(),
        arguments: jvm.settings(),
        base: Some(base(jvm)),
    })
}

fn see(
    eyes: Eyes<'_>,
    jvm: &Jvm,
    settings: Settings,
    (files, files_from): (Vec<PathBuf>, String),
) -> Result<Found> {
    let defaults = "Zeebe's default";
    let install = install(jvm);
    let runner = runner::of(
        eyes,
        jvm,
        install.as_ref().map(|install| install.value.as_path()),
    )?;
    let management = management::of(eyes, jvm, &settings, &runner);
    let data = settings
        .data
        .map_or(Noted::new("data".into(), defaults), Noted::from);
    let node_id = settings
        .node_id
        .map_or(Noted::new(0, defaults), Noted::from);
    let (api, management) = management;
    Ok(Found {
        pid: jvm.pid,
        node_id: Noted::new(NodeId(node_id.value), node_id.from),
        cluster: settings.cluster_name.map(Noted::from),
        data: Noted::new(
            place::on_host(&jvm.folder, &base(jvm).join(data.value))
                .context("its data directory")?,
            data.from,
        ),
        config: config(jvm, &files, files_from),
        install,
        answers: api.is_some(),
        version: api.as_ref().and_then(|api| api.version.clone()),
        members: api
            .and_then(|api| api.members)
            .map(|members| members.into_keys().collect())
            .unwrap_or_default(),
        management,
        runner,
    })
}

/// In a container it is not on this host.
fn install(jvm: &Jvm) -> Option<Noted<PathBuf>> {
    let (path, from) = jvm.install()?;
    let seen = place::on_host(&jvm.folder, &path).ok()?;
    seen.join("lib").is_dir().then(|| Noted::new(seen, from))
}

fn config(jvm: &Jvm, files: &[PathBuf], mut from: String) -> Noted<Vec<PathBuf>> {
    let mut seen = Vec::new();
    for file in files {
        match place::on_host(&jvm.folder, file) {
            Ok(path) => seen.push(path),
            Err(_) => from += &format!("; {} is in its image", display(file)),
        }
    }
    Noted::new(seen, from)
}

/// In one line.
fn display(path: &Path) -> String {
    path.display().to_string().replace(char::is_control, "?")
}
