//! A broker's management API, read only.
//!
//! `/ready` and `/health` answer 200 or 503 (8.0 to 8.4 directly, later by a redirect, which is followed);
//! `/actuator/partitions` the roles, `/actuator/info` the version (8.4 on), `/actuator/cluster` the members (8.4 on).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::version::Version;
use crate::id::NodeId;

/// What one broker's API says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Api {
    /// It takes part in the cluster.
    pub ready: bool,
    /// All it does is healthy.
    pub healthy: bool,
    /// By partition.
    pub partitions: BTreeMap<u32, Partition>,
    /// What it is, where it says so.
    pub version: Option<Version>,
    /// The members of the cluster as it knows them: node and its partitions, where it says so.
    pub members: Option<BTreeMap<NodeId, Vec<u32>>>,
    /// A change of members or partitions is under way.
    pub change_pending: bool,
}

/// One partition on one broker (`BrokerAdminServiceEndpoint.java`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// "LEADER", "FOLLOWER", "INACTIVE".
    pub role: String,
    /// "PROCESSING", "REPLAY", "PAUSED".
    #[serde(default)]
    pub stream_processor_phase: Option<String>,
    /// "EXPORTING", "PAUSED", "CLOSED".
    #[serde(default)]
    pub exporter_phase: Option<String>,
}

/// Asks the broker at `base`. A broker that does not answer at all is an error. One that answers whether it is ready and
/// fails at the rest runs, and is not healthy.
pub fn ask(base: &str) -> Result<Api> {
    let client = client();
    let ready = ready(&client, base)?;
    Ok(rest(&client, base, ready).unwrap_or(Api {
        ready,
        healthy: false,
        partitions: BTreeMap::new(),
        version: None,
        members: None,
        change_pending: false,
    }))
}

/// Every Zeebe has this page: what answers that there is none is something else.
fn ready(client: &ureq::Agent, base: &str) -> Result<bool> {
    match get(client, base, "/ready")? {
        (404, _) => bail!("what answers at {base} is no Zeebe: it has no /ready"),
        (status, _) => Ok(is_good(status)),
    }
}

fn rest(client: &ureq::Agent, base: &str, ready: bool) -> Result<Api> {
    let (health, _) = get(client, base, "/health")?;
    let partitions = match found(client, base, "/actuator/partitions")? {
        Some(body) => serde_json::from_slice(&body)
            .with_context(|| format!("read {base}/actuator/partitions"))?,
        None => BTreeMap::new(),
    };
    let cluster = cluster(client, base)?;
    let change_pending = cluster
        .as_ref()
        .is_some_and(|cluster| cluster.pending_change.is_some());
    let partitions_of = |broker: RawBroker| {
        (
            NodeId(broker.id),
            broker
                .partitions
                .iter()
                .map(|partition| partition.id)
                .collect(),
        )
    };
    let members = cluster.map(|cluster| cluster.brokers.into_iter().map(partitions_of).collect());
    Ok(Api {
        ready,
        healthy: is_good(health),
        partitions,
        version: version(client, base)?,
        members,
        change_pending,
    })
}

/// Whether a broker answers at `base`, ready or not.
pub fn answers(base: &str) -> bool {
    ready(&client(), base).is_ok()
}

fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Brokers are asked directly, whatever the environment says of proxies.
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(3)))
        .build()
        .into()
}

fn is_good(status: u16) -> bool {
    matches!(status, 200 | 204)
}

/// The status of the answer, and its body.
fn get(client: &ureq::Agent, base: &str, path: &str) -> Result<(u16, Vec<u8>)> {
    let url = format!("{base}{path}");
    let mut response = client
        .get(&url)
        .call()
        .with_context(|| format!("ask {url}"))?;
    let body = response
        .body_mut()
        .read_to_vec()
        .with_context(|| format!("read {url}"))?;
    Ok((response.status().as_u16(), body))
}

/// What a page says that not every Zeebe has.
fn found(client: &ureq::Agent, base: &str, path: &str) -> Result<Option<Vec<u8>>> {
    match get(client, base, path)? {
        (status, body) if is_good(status) => Ok(Some(body)),
        (404 | 503, _) => Ok(None),
        (other, _) => bail!("{base}{path} answers {other}"),
    }
}

fn version(client: &ureq::Agent, base: &str) -> Result<Option<Version>> {
    let Some(body) = found(client, base, "/actuator/info")? else {
        return Ok(None);
    };
    let info: serde_json::Value =
        serde_json::from_slice(&body).with_context(|| format!("read {base}/actuator/info"))?;
    Ok(info
        .pointer("/build/version")
        .and_then(|text| text.as_str()?.parse().ok()))
}

fn cluster(client: &ureq::Agent, base: &str) -> Result<Option<RawCluster>> {
    let Some(body) = found(client, base, "/actuator/cluster")? else {
        return Ok(None);
    };
    let cluster = serde_json::from_slice(&body);
    Ok(Some(cluster.with_context(|| {
        format!("read {base}/actuator/cluster")
    })?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCluster {
    brokers: Vec<RawBroker>,
    pending_change: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawBroker {
    id: u32,
    #[serde(default)]
    partitions: Vec<RawPartition>,
}

#[derive(Deserialize)]
struct RawPartition {
    id: u32,
}
