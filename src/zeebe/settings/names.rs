//! The names of what is read, in Spring's canonical form: dots, lower case, dashes between words.
//!
//! Sources: `config/broker.standalone.yaml.template` of 8.3 to 8.6; for 8.8 and later the property mapping of Camunda's
//! documentation (`…/core-settings/configuration/configuration-mapping`).

/// One thing with its two names.
#[derive(Debug)]
pub struct Pair {
    /// Before 8.8; still read later.
    pub legacy: &'static str,
    /// From 8.8 on.
    pub unified: &'static [&'static str],
}

const fn pair(legacy: &'static str, unified: &'static [&'static str]) -> Pair {
    Pair { legacy, unified }
}

pub const NODE_ID: Pair = pair(
    "zeebe.broker.cluster.node-id",
    &[
        // 8.9 on.
        "camunda.cluster.node-id-provider.fixed.node-id",
        "camunda.cluster.node-id",
    ],
);
pub const CLUSTER_SIZE: Pair = pair(
    "zeebe.broker.cluster.cluster-size",
    &["camunda.cluster.size"],
);
pub const PARTITIONS: Pair = pair(
    "zeebe.broker.cluster.partitions-count",
    &["camunda.cluster.partition-count"],
);
pub const REPLICATION: Pair = pair(
    "zeebe.broker.cluster.replication-factor",
    &["camunda.cluster.replication-factor"],
);
pub const CLUSTER_NAME: Pair = pair(
    "zeebe.broker.cluster.cluster-name",
    &["camunda.cluster.name"],
);
pub const CONTACT_POINTS: Pair = pair(
    "zeebe.broker.cluster.initial-contact-points",
    &["camunda.cluster.initial-contact-points"],
);
pub const DATA: Pair = pair(
    "zeebe.broker.data.directory",
    &["camunda.data.primary-storage.directory"],
);
pub const RUNTIME: Pair = pair(
    "zeebe.broker.data.runtime-directory",
    &["camunda.data.primary-storage.runtime-directory"],
);
pub const HOST: Pair = pair(
    "zeebe.broker.network.host",
    &["camunda.cluster.network.host"],
);
pub const ADVERTISED_HOST: Pair = pair(
    "zeebe.broker.network.advertised-host",
    &["camunda.cluster.network.advertised-host"],
);
pub const PORT_OFFSET: Pair = pair(
    "zeebe.broker.network.port-offset",
    &["camunda.cluster.network.port-offset"],
);
pub const COMMAND_PORT: Pair = pair(
    "zeebe.broker.network.command-api.port",
    &["camunda.cluster.network.command-api.port"],
);
pub const INTERNAL_PORT: Pair = pair(
    "zeebe.broker.network.internal-api.port",
    &["camunda.cluster.network.internal-api.port"],
);
pub const GATEWAY_PORT: Pair = pair(
    "zeebe.broker.gateway.network.port",
    &["camunda.api.grpc.port"],
);
pub const SERVER_PORT: Pair = pair("server.port", &[]);
pub const MANAGEMENT_PORT: Pair = pair("management.server.port", &[]);
pub const EXPORTERS: Pair = pair("zeebe.broker.exporters", &["camunda.data.exporters"]);
pub const VERSION_CHECK: Pair = pair(
    "zeebe.broker.experimental.version-check-restriction-enabled",
    &["camunda.system.upgrade.enable-version-check"],
);
pub const FLUSH_ENABLED: Pair = pair(
    "zeebe.broker.cluster.raft.flush.enabled",
    &["camunda.cluster.raft.flush-enabled"],
);
pub const FLUSH_DELAY: Pair = pair(
    "zeebe.broker.cluster.raft.flush.delay-time",
    &["camunda.cluster.raft.flush-delay"],
);
pub const FLUSH_DISABLED: &str = "zeebe.broker.experimental.disable-explicit-raft-flush";

/// Hosts a broker is told of itself, besides the two that have fields.
pub const OTHER_HOSTS: [&str; 15] = [
    "zeebe.broker.network.command-api.host",
    "zeebe.broker.network.command-api.advertised-host",
    "zeebe.broker.network.internal-api.host",
    "zeebe.broker.network.internal-api.advertised-host",
    "zeebe.broker.gateway.network.host",
    "zeebe.broker.gateway.network.advertised-host",
    "zeebe.broker.gateway.cluster.host",
    "zeebe.broker.gateway.cluster.advertised-host",
    "camunda.cluster.network.command-api.host",
    "camunda.cluster.network.command-api.advertised-host",
    "camunda.cluster.network.internal-api.host",
    "camunda.cluster.network.internal-api.advertised-host",
    "camunda.api.grpc.address",
    "server.address",
    "management.server.address",
];
