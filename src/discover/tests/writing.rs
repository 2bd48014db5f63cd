//! Brokers that are made up, and what is written of them.

use std::path::Path;

use crate::config;
use crate::discover::cluster::{self, FoundCluster};
use crate::discover::draft::{self, Occasion};
use crate::discover::{Discovery, Found, Noted, Runner, Unclear, environment};
use crate::id::NodeId;
use crate::plan::Findings;

/// Three brokers, each run by something else, the last with secrets in its environment.
fn three() -> Discovery {
    let environment = environment::sorted(
        &[
            ("ZEEBE_BROKER_CLUSTER_NODEID", "2"),
            ("JAVA_OPTS", "-Xmx1g \"-Dx=y\""),
            ("zeebe.broker.network.host", "h"),
            ("ZEEBE_odd.name", "1"),
            ("MY_SECRET", "hunter2"),
            ("ES_URL", "http://es:9200"),
            ("AWS_REGION", "eu-central-1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
    );
    let runners = [
        Runner::Unit {
            name: "zeebe-0.service".to_owned(),
            file: "/etc/systemd/system/zeebe-0.service".into(),
        },
        Runner::Container {
            tool: "docker".to_owned(),
            program: "/usr/bin/docker".into(),
            name: "zeebe-1".to_owned(),
            addresses: Vec::new(),
        },
        Runner::Plain {
            start: [
                "/usr/bin/setpriv",
                "--reuid=zeebe",
                "/opt/zee be/bin/broker",
            ]
            .map(str::to_owned)
            .into(),
            from: "the start script of its install".to_owned(),
            environment,
            log: Some("/var/log/zeebe.log".into()),
            watched_by: None,
        },
    ];
    let brokers = runners.into_iter().zip(0..).map(|(runner, node)| Found {
        pid: 4710 + i32::try_from(node).unwrap(),
        node_id: Noted::new(NodeId(node), "environment ZEEBE_BROKER_CLUSTER_NODEID"),
        cluster: Some(Noted::new(
            "orders".to_owned(),
            "/etc/zeebe/application.yaml:7",
        )),
        data: Noted::new(
            format!("/srv/broker \"{node}\"/data").into(),
            "environment ZEEBE_BROKER_DATA_DIRECTORY",
        ),
        config: Noted::new(
            vec!["/etc/zeebe/application.yaml".into()],
            "where Zeebe looks for them",
        ),
        install: (node != 1)
            .then(|| Noted::new("/opt/zeebe".into(), "-Dapp.home of its command line")),
        version: "8.5.8".parse().ok(),
        management: Noted::new(
            format!("http://127.0.0.{}:9600", node + 1),
            "Zeebe's default port; it answers",
        ),
        answers: true,
        members: (0..4).map(NodeId).collect(),
        runner,
    });
    Discovery {
        brokers: brokers.collect(),
        unclear: Vec::new(),
        processes: 200,
    }
}

fn drafted(found: Discovery, name: Option<&str>) -> (FoundCluster, Findings, String) {
    let (cluster, findings) = cluster::one(found, name);
    let cluster = cluster.unwrap();
    let occasion = Occasion {
        host: "h1".to_owned(),
        time: "2026-11-23 20:15:00 UTC".to_owned(),
    };
    let text = draft::text(&cluster, &occasion);
    (cluster, findings, text)
}

#[test]
fn what_is_written_is_commented_and_is_a_cluster_toml() {
    let (_, findings, text) = drafted(three(), None);
    insta::assert_snapshot!(text);
    let cluster = config::parse(Path::new("c.toml"), &text).unwrap();
    assert_eq!(cluster.brokers.len(), 3);
    assert_eq!(
        cluster.brokers[&NodeId(1)].data,
        Path::new("/srv/broker \"1\"/data")
    );
    assert!(!text.contains("hunter2"));
    let said: Vec<&str> = findings
        .0
        .iter()
        .map(|finding| finding.what.as_str())
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn brokers_of_one_kind_share_what_is_the_same() {
    let mut found = three();
    let last = found.brokers[2].clone();
    found.brokers.truncate(1);
    found.brokers[0].runner = last.runner.clone();
    found.brokers.push(last);
    let (_, _, text) = drafted(found, None);
    insta::assert_snapshot!(text);
    config::parse(Path::new("c.toml"), &text).unwrap();
}

#[test]
fn one_broker_has_all_its_keys_in_one_place() {
    let mut found = three();
    found.brokers.truncate(1);
    let (_, _, text) = drafted(found, Some("mine"));
    assert!(
        text.contains("\nname = \"mine\"\n") && !text.contains("broker_defaults"),
        "{text}"
    );
    config::parse(Path::new("c.toml"), &text).unwrap();
}

fn refusals(found: Discovery, name: Option<&str>) -> String {
    let (cluster, findings) = cluster::one(found, name);
    assert_eq!(cluster, None);
    let all = findings.0.iter();
    all.map(|finding| format!("{}\n  {}\n  {}\n", finding.what, finding.why, finding.todo))
        .collect()
}

#[test]
fn what_is_no_cluster_is_refused_with_reasons() {
    let nothing = Discovery {
        processes: 200,
        ..Discovery::default()
    };
    let mut several = three();
    several.brokers[2].cluster = None;
    let mut doubles = three();
    doubles.brokers[1] = Found {
        pid: 9,
        ..doubles.brokers[0].clone()
    };
    insta::assert_snapshot!(
        [
            refusals(nothing, None),
            refusals(several, None),
            refusals(doubles, None)
        ]
        .join("\n")
    );
}

#[test]
fn of_several_clusters_one_is_chosen_by_its_name_and_the_other_does_not_matter() {
    let mut several = three();
    several.brokers[2].cluster = Some(Noted::new("other".to_owned(), ""));
    several.unclear.push(Unclear {
        pid: 9,
        cluster: Some("other".to_owned()),
        why: anyhow::anyhow!("its data directory is not there"),
    });
    let (cluster, _, _) = drafted(several, Some("orders"));
    assert_eq!(
        (cluster.name.value.as_str(), cluster.brokers.len()),
        ("orders", 2)
    );
}
