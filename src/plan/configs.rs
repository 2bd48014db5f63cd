//! Planning what becomes of the config files of brokers that receive a set: they are written with addresses mapped, and the
//! old ones are kept for an undo. An address of the source that is left would let the copy join the cluster it came from.
//!
//! Contents come in and only hashes go out: what a config file says may be a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeebe_snap_backends::{Kept, Label, StageName};

use super::{Findings, Step};
use crate::agent::configs::beside;
use crate::agent::protocol::{KeptFile, Seen};
use crate::catalog::manifest::Manifest;
use crate::config::Cluster;
use crate::id::{NodeId, SetId};
use crate::zeebe::settings::{Settings, Sources, addresses_left, diff, map_addresses, read};

/// A config file that changes places with what stands hidden beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSwap {
    /// Whose.
    pub node: NodeId,
    /// The file.
    pub path: PathBuf,
    /// BLAKE3 of what it is; `None` where there is none.
    pub old: Option<String>,
    /// BLAKE3 of what it becomes; `None` where there is to be none.
    pub new: Option<String>,
    /// What stands beside has this in its name.
    pub stage: StageName,
}

impl ConfigSwap {
    /// The same, the other way round.
    #[must_use]
    pub fn back(&self) -> ConfigSwap {
        ConfigSwap {
            old: self.new.clone(),
            new: self.old.clone(),
            ..self.clone()
        }
    }
}

/// When config files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum When {
    /// Where the broker's data comes from another volume than its own
    #[default]
    Auto,
    /// Always
    Write,
    /// Never
    Leave,
}

/// What is kept in the set, and what stands now where it goes.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// By broker.
    pub kept: BTreeMap<NodeId, KeptFiles>,
    /// By broker, in the order of cluster.toml.
    pub present: Present,
}

/// Config files of a set, each with its content.
pub type KeptFiles = Vec<(KeptFile, Vec<u8>)>;

/// Config files of cluster.toml as they stand: `None` where there is none.
pub type PresentFiles = Vec<(PathBuf, Option<Vec<u8>>)>;

/// Those of each broker.
pub type Present = BTreeMap<NodeId, PresentFiles>;

/// What is to be done about config files.
#[derive(Debug, Default)]
pub(crate) struct Configs {
    /// Beside the staging of data.
    pub stage: Vec<Step>,
    /// Beside the swap.
    pub swaps: Vec<ConfigSwap>,
    /// For people; secrets are masked.
    pub diff: String,
}

/// What is said, with the data that a run replaces, of the config files that it replaces; none where it replaces none.
pub fn label<'a>(swaps: impl IntoIterator<Item = &'a ConfigSwap>) -> Option<String> {
    let swaps: Vec<&ConfigSwap> = swaps.into_iter().collect();
    (!swaps.is_empty()).then(|| serde_json::to_string(&swaps).unwrap_or_default())
}

/// The config files that a former run replaced, as the label of what it keeps says.
pub fn replaced(label: &Label) -> Vec<ConfigSwap> {
    let text = label.get("config").map(String::as_str);
    serde_json::from_str(text.unwrap_or("[]")).unwrap_or_default()
}

/// BLAKE3 of a file's content.
pub fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_string()
}

/// Which address of the source becomes which: each broker's own, and what a person says.
pub fn mapping(
    cluster: &Cluster,
    manifest: &Manifest,
    said: &[(String, String)],
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    let mut map: BTreeMap<String, String> = said.iter().cloned().collect();
    for of in &manifest.origin.brokers {
        let Some(broker) = cluster.brokers.get(&of.node) else {
            continue;
        };
        let to = broker.address();
        for from in &of.own_addresses {
            match map.get(from) {
                Some(other) if *other != to && !said.iter().any(|(old, _)| old == from) => {
                    findings.refuse(
                        None,
                        format!("the address {from} is that of several brokers of set {}, which go to {other} and {to}", manifest.origin.set),
                        "what it becomes in the config files is not clear",
                        format!("say `--map {from}=NEW`, or `--config leave` and write them by hand"),
                    );
                }
                Some(_) => {}
                None => {
                    map.insert(from.clone(), to.clone());
                }
            }
        }
    }
    map.retain(|from, to| from != to);
    map
}

/// Plans the config files of one broker.
#[allow(clippy::too_many_arguments, reason = "each is another thing")]
pub(super) fn look_at_broker(
    cluster: &Cluster,
    seen: &Seen,
    manifest: &Manifest,
    files: &Files,
    map: &BTreeMap<String, String>,
    stage: &StageName,
    found: &mut Configs,
    findings: &mut Findings,
) {
    let node = seen.node;
    let kept = files.kept.get(&node).map_or(&[][..], Vec::as_slice);
    let present = files.present.get(&node).map_or(&[][..], Vec::as_slice);
    let set = &manifest.origin.set;
    if kept.len() != present.len() {
        findings.refuse(
            Some(node),
            format!("set {set} has {} config files of broker {node}, cluster.toml names {}", kept.len(), present.len()),
            "which of them goes where is not clear",
            "name in `config` where each of them goes, in their order (`zeebe-snap show` lists them), or say --config leave",
        );
        return;
    }
    let strange = strange_addresses(cluster, manifest);
    let mut mapped = Vec::new();
    for ((file, content), (path, old)) in kept.iter().zip(present) {
        let text = String::from_utf8_lossy(content);
        let new = map_addresses(&text, map);
        for (line, host) in addresses_left(&new, &strange) {
            findings.refuse(
                Some(node),
                format!("line {line} of {} would still have {host}, an address of the source of set {set}", path.display()),
                "the copy could join the cluster it came from",
                format!("say what it becomes: --map {host}=NEW"),
            );
        }
        mapped.push((path.clone(), new.clone().into_bytes()));
        let old_text = old.as_deref().map(String::from_utf8_lossy);
        found.diff += &diff(path, old_text.as_deref(), &new);
        let swap = ConfigSwap {
            node,
            path: path.clone(),
            old: old.as_deref().map(hash),
            new: Some(hash(new.as_bytes())),
            stage: stage.clone(),
        };
        if swap.old != swap.new {
            found.stage.push(stage_step(set, file, map, &swap));
            found.swaps.push(swap);
        }
    }
    look_at_told(cluster, seen, mapped, findings);
    look_at_environment(seen, &strange, set, findings);
}

fn stage_step(
    set: &SetId,
    file: &KeptFile,
    map: &BTreeMap<String, String>,
    swap: &ConfigSwap,
) -> Step {
    Step::StageConfig {
        set: set.clone(),
        file: file.kept_as.clone(),
        map: map.clone(),
        swap: swap.clone(),
    }
}

/// Addresses of the source that are none of the target. A cluster that stays where it is may have other names for its own.
fn strange_addresses(cluster: &Cluster, manifest: &Manifest) -> BTreeSet<String> {
    let brokers = &manifest.origin.brokers;
    let ours: BTreeSet<String> = cluster.brokers.values().map(|b| b.address()).collect();
    let mut own = brokers.iter().flat_map(|of| &of.own_addresses);
    if own.all(|address| ours.contains(address)) {
        return BTreeSet::new();
    }
    let all = brokers
        .iter()
        .flat_map(|of| of.own_addresses.iter().chain(&of.addresses));
    all.filter(|address| !ours.contains(*address))
        .cloned()
        .collect()
}

/// What the mapped files say of the broker, where its environment does not say otherwise.
fn look_at_told(
    cluster: &Cluster,
    seen: &Seen,
    files: Vec<(PathBuf, Vec<u8>)>,
    findings: &mut Findings,
) {
    let node = seen.node;
    let sources = Sources {
        files,
        ..Sources::default()
    };
    let told = match read(&sources) {
        Ok(told) => told,
        Err(why) => {
            return findings.refuse(
                Some(node),
                format!("the config of broker {node} in the set does not read: {why:#}"),
                "the broker would not start with it",
                "say --config leave, and write it by hand",
            );
        }
    };
    let over = seen.settings.as_ref().ok();
    let by_file = |of: fn(&Settings) -> Option<String>| {
        let by = over.and_then(of);
        // What a file says is said by its path.
        by.is_none_or(|by| by.starts_with('/'))
    };
    let own = cluster.brokers.get(&node).map(|broker| &broker.data);
    let mut wrong = |what: String, is: String| {
        findings.refuse(
            Some(node),
            format!("broker {node} would be told {what}, and it is {is} in cluster.toml"),
            "the set's config files do not fit the broker they go to",
            "correct cluster.toml, say it in the broker's environment, or say --config leave and write them by hand",
        );
    };
    if let Some(said) = &told.node_id
        && said.value != node.0
        && by_file(|told| Some(told.node_id.as_ref()?.by.clone()))
    {
        wrong(
            format!("node id {} ({})", said.value, said.by),
            node.to_string(),
        );
    }
    let size = cluster.brokers.len();
    if let Some(said) = &told.cluster_size
        && said.value as usize != size
        && by_file(|told| Some(told.cluster_size.as_ref()?.by.clone()))
    {
        let what = format!("a cluster size of {} ({})", said.value, said.by);
        wrong(what, size.to_string());
    }
    if let Some(said) = &told.data
        && said.value.is_absolute()
        && Some(&said.value) != own
        && by_file(|told| Some(told.data.as_ref()?.by.clone()))
    {
        let what = format!("the data directory {} ({})", said.value.display(), said.by);
        let is = own.map(|own| own.display().to_string()).unwrap_or_default();
        wrong(what, is);
    }
}

/// The environment is compared and never written.
fn look_at_environment(
    seen: &Seen,
    strange: &BTreeSet<String>,
    set: &SetId,
    findings: &mut Findings,
) {
    let Ok(told) = &seen.settings else { return };
    let points = told.contact_points.iter().flat_map(|said| {
        let hosts = said.value.iter();
        hosts.map(|point| (crate::zeebe::settings::host_of(point), &said.by))
    });
    let own = [&told.host, &told.advertised_host];
    let own = own.into_iter().flatten().chain(told.other_hosts.values());
    let own = own.map(|said| (said.value.as_str(), &said.by));
    for (host, by) in points.chain(own) {
        if !by.starts_with('/') && strange.contains(host) {
            findings.refuse(
                Some(seen.node),
                format!(
                    "broker {} is told {host} ({by}), an address of the source of set {set}",
                    seen.node
                ),
                "the copy could join the cluster it came from",
                "correct its environment; it is compared, and never written",
            );
        }
    }
}

/// The config files that come back with what is kept. One that was changed since is left as it is.
pub(super) fn to_undo(
    node: NodeId,
    kept: &Kept,
    present: &Present,
    findings: &mut Findings,
) -> Vec<ConfigSwap> {
    let is = |path: &PathBuf| -> Option<String> {
        let mut files = present.get(&node)?.iter();
        let (_, content) = files.find(|(other, _)| other == path)?;
        content.as_deref().map(hash)
    };
    let label = kept.label.clone().unwrap_or_default();
    let (back, changed): (Vec<_>, Vec<_>) = replaced(&label)
        .iter()
        .map(ConfigSwap::back)
        .partition(|swap| is(&swap.path) == swap.old);
    for swap in changed {
        findings.warn(
            Some(node),
            format!("{} was changed since {}, or cluster.toml does not name it any more; it is left as it is", swap.path.display(), kept.name),
            "what was changed would be lost",
            format!("look whether it fits the data that comes back; what it was before is {}", beside(&swap).display()),
        );
    }
    back
}
