//! What `check` finds in brokers that run: each finding whole.

use serde_json::{Value, json};

use crate::agent::protocol::Seen;
use crate::config::{self, Cluster};
use crate::id::RunId;
use crate::plan::{Weight, backup};

fn cluster() -> Cluster {
    let broker = |node: u32| {
        format!(
            "[[broker]]\nnode_id = {node}\ndata = \"/srv/{node}/data\"\nmanagement = \"http://127.0.0.1:9600\"\n\
             service.systemd = \"zeebe-{node}.service\"\n"
        )
    };
    let text = format!("name = \"orders\"\n{}{}", broker(0), broker(1));
    config::parse("c.toml".as_ref(), &text).unwrap()
}

/// A broker that is up and healthy, as an agent says it.
fn up(node: u32) -> Value {
    let process = json!({ "pid": 100 + node, "started": 1, "boot": "b" });
    json!({
        "node": node, "data": format!("/srv/{node}/data"),
        "volume": { "Ok": {
            "id": { "backend": "copy", "title": format!("folder /srv/{node}/data"), "detail": {} },
            "freezes": format!("folder {node}"), "cost": null,
            "capture": [], "bring_back": [], "take_back": [], "snapshots": [], "kept": [],
        } },
        "holders": [{ "process": process, "command": "java", "parent": 1 }], "broker": process,
        "service": {
            "phase": "up", "main": process, "invocation": "i", "dependants": [],
            "seen": format!("zeebe-{node}.service is active"), "trouble": null, "gated": false,
        },
        "api": { "Ok": {
            "ready": true, "healthy": true, "version": "8.5.8", "members": { "0": [1], "1": [1] },
            "change_pending": false, "partitions": { "1": { "role": if node == 0 { "LEADER" } else { "FOLLOWER" } } },
        } },
        "folder": { "Ok": { "node_id": node } }, "settings": { "Ok": {} }, "installed": null, "unreadable": [],
    })
}

/// What is found where broker 1 is another than it should be, as a person sees it.
fn found(change: impl Fn(&mut Value)) -> String {
    let mut other = up(1);
    change(&mut other);
    let seen: Vec<Seen> = [up(0), other]
        .map(|one| serde_json::from_value(one).unwrap())
        .into();
    let run: RunId = "20261123T014500Z".parse().unwrap();
    let request = backup::Request::default();
    let (plan, findings) = backup::plan(&cluster(), "host", &seen, &run, request);
    let refuses = findings.iter().any(|one| one.weight == Weight::Refusal);
    assert_eq!(plan.is_none(), refuses, "a refusal is no plan");
    let line = |finding: &crate::plan::Finding| {
        let word = match finding.weight {
            Weight::Refusal => "refused",
            Weight::Warning => "warning",
        };
        let of = finding
            .broker
            .map_or(String::new(), |node| format!(" [{node}]"));
        format!(
            "{word}{of}: {}\n  Why: {}\n  Hint: {}\n",
            finding.what, finding.why, finding.todo
        )
    };
    findings.iter().map(line).collect()
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(found(|_| ()), "");
}

#[test]
fn a_broker_that_does_not_answer_or_is_not_healthy() {
    insta::assert_snapshot!(found(|it| it["api"] = json!({ "Err": "does not answer at http://127.0.0.1:9600" })), @r#"
    refused [1]: the cluster is not healthy: broker 1 does not answer at http://127.0.0.1:9600
      Why: a broker that was told to stop cannot be called back, and one with a broken partition never ends by itself
      Hint: make it healthy first, or say --allow-unhealthy
    "#);
    insta::assert_snapshot!(found(|it| it["api"]["Ok"]["healthy"] = json!(false)), @r#"
    refused [1]: the cluster is not healthy: broker 1 is not healthy
      Why: a broker that was told to stop cannot be called back, and one with a broken partition never ends by itself
      Hint: make it healthy first, or say --allow-unhealthy
    "#);
    insta::assert_snapshot!(found(|it| it["api"]["Ok"]["partitions"] = json!({ "1": { "role": "INACTIVE" } })), @r#"
    refused [1]: the cluster is not healthy: broker 1 partition 1 is inactive
      Why: a broker that was told to stop cannot be called back, and one with a broken partition never ends by itself
      Hint: make it healthy first, or say --allow-unhealthy
    "#);
}

#[test]
fn members_that_are_not_those_of_cluster_toml() {
    insta::assert_snapshot!(found(|it| it["api"]["Ok"]["members"] = json!({ "0": [1], "1": [1], "2": [1] })), @r#"
    refused: the cluster has the brokers 0, 1, 2, cluster.toml has 0, 1
      Why: a set is all brokers of a cluster at one stop, or it is no set
      Hint: name every broker of the cluster in cluster.toml, and no other
    "#);
}

#[test]
fn a_change_of_the_topology_that_is_pending() {
    insta::assert_snapshot!(found(|it| it["api"]["Ok"]["change_pending"] = json!(true)), @r#"
    refused: a change of the cluster's members or partitions is under way
      Why: it would be captured half done
      Hint: wait until it is done
    "#);
}

#[test]
fn a_folder_that_is_another_brokers_or_does_not_read() {
    insta::assert_snapshot!(found(|it| it["folder"] = json!({ "Ok": { "node_id": 2 } })), @r#"
    refused [1]: /srv/1/data is the data of node 2, not of node 1
      Why: a broker refuses the partitions of another
      Hint: correct node_id or data in cluster.toml
    "#);
    insta::assert_snapshot!(found(|it| it["folder"] = json!({ "Err": "/srv/1/data names two nodes" })), @r#"
    refused [1]: /srv/1/data names two nodes
      Why: what it holds is not clear
      Hint: look at it; see the README
    "#);
}

#[test]
fn a_broker_that_its_proof_of_down_cannot_see() {
    insta::assert_snapshot!(found(|it| it["holders"] = json!([])), @r#"
    refused [1]: broker 1 runs (its management API answers) but nobody is seen to hold /srv/1/data
      Why: a proof of down that cannot see the running broker proves nothing
      Hint: wait until it has started, correct `data` or `management` in cluster.toml, or run as root on its host
    "#);
    insta::assert_snapshot!(found(|it| {
        it["holders"] = json!([]);
        it["api"] = json!({ "Err": "does not answer" });
    }), @r#"
    refused [1]: the cluster is not healthy: broker 1 does not answer
      Why: a broker that was told to stop cannot be called back, and one with a broken partition never ends by itself
      Hint: make it healthy first, or say --allow-unhealthy
    refused [1]: broker 1 runs (zeebe-1.service is active) but nobody is seen to hold /srv/1/data
      Why: a proof of down that cannot see the running broker proves nothing
      Hint: wait until it has started, correct `data` or `management` in cluster.toml, or run as root on its host
    "#);
}

#[test]
fn somebody_else_who_holds_the_data() {
    let other = json!({ "process": { "pid": 7, "started": 1, "boot": "b" }, "command": "tail", "parent": 1 });
    insta::assert_snapshot!(found(|it| it["holders"].as_array_mut().unwrap().push(other.clone())), @r#"
    refused [1]: the data directory of broker 1 is held by pid 7 (tail), which is not the broker
      Why: it could go on writing when the broker is down, so the broker could not be proven down
      Hint: end it, or find out which of them is the broker
    "#);
}

#[test]
fn a_service_that_may_not_be_controlled() {
    let trouble = "unit zeebe-1.service may not be started and stopped by hand";
    insta::assert_snapshot!(found(|it| it["service"]["trouble"] = json!(trouble)), @r#"
    refused [1]: unit zeebe-1.service may not be started and stopped by hand
      Why: the broker could not be stopped and started
      Hint: correct `service` in cluster.toml
    "#);
}

#[test]
fn a_volume_that_cannot_be_captured_or_brought_back() {
    insta::assert_snapshot!(found(|it| it["volume"] = json!({ "Err": "/srv/1/data is not on btrfs" })), @r#"
    refused [1]: /srv/1/data is not on btrfs
      Why: without a volume there is no snapshot
      Hint: correct `data` or `backend` in cluster.toml, or move the data
    "#);
    let space = json!([{ "what": "/srv/1 has 10.0 MiB free, and needs 70.0 MiB", "why": "it would be full", "todo": "make room" }]);
    insta::assert_snapshot!(found(|it| it["volume"]["Ok"]["capture"] = space.clone()), @r#"
    refused [1]: /srv/1 has 10.0 MiB free, and needs 70.0 MiB
      Why: it would be full
      Hint: make room
    "#);
    let mount = json!([{ "what": "/mnt is another mount of /srv/1/data", "why": "it would show what was replaced", "todo": "unmount it" }]);
    insta::assert_snapshot!(found(|it| it["volume"]["Ok"]["bring_back"] = mount.clone()), @r#"
    warning [1]: /mnt is another mount of /srv/1/data
      Why: a set could not be brought back in place: it would show what was replaced
      Hint: unmount it
    "#);
}

#[test]
fn a_config_file_that_cannot_be_read() {
    insta::assert_snapshot!(found(|it| it["unreadable"] = json!(["/etc/zeebe.yaml: No such file or directory"])), @r#"
    refused [1]: a config file cannot be read: /etc/zeebe.yaml: No such file or directory
      Why: it belongs to the set
      Hint: correct `config` in cluster.toml
    "#);
}
