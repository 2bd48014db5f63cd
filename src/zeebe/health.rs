//! When a cluster is healthy: a pure judgement of what its brokers' APIs say.

use std::collections::{BTreeMap, BTreeSet};

use super::api::Api;
use crate::id::NodeId;

/// What keeps a cluster from being healthy, one line each; empty is healthy. A broker whose API did not answer has the
/// reason in its place.
pub fn ailments(brokers: &BTreeMap<NodeId, Result<Api, String>>) -> Vec<(NodeId, String)> {
    let mut found = Vec::new();
    let mut leaders: BTreeSet<u32> = BTreeSet::new();
    let mut partitions: BTreeMap<u32, NodeId> = BTreeMap::new();
    for (node, api) in brokers {
        match api {
            Err(why) => found.push((*node, why.clone())),
            Ok(api) if !api.ready => found.push((*node, "is not ready".to_owned())),
            Ok(api) if !api.healthy => found.push((*node, "is not healthy".to_owned())),
            Ok(api) => {
                for (id, partition) in &api.partitions {
                    partitions.entry(*id).or_insert(*node);
                    if partition.role == "LEADER" {
                        leaders.insert(*id);
                    } else if partition.role != "FOLLOWER" {
                        found.push((
                            *node,
                            format!("partition {id} is {}", partition.role.to_lowercase()),
                        ));
                    }
                }
                let expected = api.members.as_ref().and_then(|members| members.get(node));
                for id in expected
                    .into_iter()
                    .flatten()
                    .filter(|id| !api.partitions.contains_key(id))
                {
                    found.push((*node, format!("partition {id} is not there")));
                }
            }
        }
    }
    if found.is_empty() {
        let leaderless = partitions.iter().filter(|(id, _)| !leaders.contains(id));
        found.extend(leaderless.map(|(id, node)| (*node, format!("partition {id} has no leader"))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeebe::api::Partition;

    fn api(roles: &[(u32, &str)]) -> Api {
        let partition = |role: &str| Partition {
            role: role.to_owned(),
            stream_processor_phase: None,
            exporter_phase: None,
        };
        Api {
            ready: true,
            healthy: true,
            partitions: roles
                .iter()
                .map(|(id, role)| (*id, partition(role)))
                .collect(),
            version: None,
            members: Some(BTreeMap::from([
                (NodeId(0), vec![1, 2]),
                (NodeId(1), vec![1, 2]),
            ])),
            change_pending: false,
        }
    }

    fn judge(one: Api, two: Result<Api, String>) -> Vec<String> {
        let brokers = BTreeMap::from([(NodeId(0), Ok(one)), (NodeId(1), two)]);
        ailments(&brokers)
            .into_iter()
            .map(|(node, what)| format!("{node} {what}"))
            .collect()
    }

    #[test]
    fn healthy_is_a_leader_for_each_partition_and_nothing_missing() {
        let good = api(&[(1, "LEADER"), (2, "FOLLOWER")]);
        assert!(judge(good.clone(), Ok(api(&[(1, "FOLLOWER"), (2, "LEADER")]))).is_empty());
        assert_eq!(
            judge(good.clone(), Ok(api(&[(1, "FOLLOWER"), (2, "FOLLOWER")]))),
            ["0 partition 2 has no leader"]
        );
        assert_eq!(
            judge(good.clone(), Ok(api(&[(2, "LEADER")]))),
            ["1 partition 1 is not there"]
        );
        assert_eq!(
            judge(good.clone(), Ok(api(&[(1, "INACTIVE"), (2, "LEADER")]))),
            ["1 partition 1 is inactive"]
        );
        assert_eq!(
            judge(good.clone(), Err("does not answer".into())),
            ["1 does not answer"]
        );
        let sick = Api {
            healthy: false,
            ..good.clone()
        };
        assert_eq!(judge(good, Ok(sick)), ["1 is not healthy"]);
    }
}
