use super::*;
use crate::config::{self, Cluster};
use crate::zeebe::data::DataFolder;
use serde_json::json;

fn cluster(extra: &str) -> Cluster {
    let broker = |node: u32| {
        format!(
            "[[broker]]\nnode_id = {node}\ndata = \"/srv/{node}/data\"\nmanagement = \"http://127.0.0.1:9600\"\nservice.systemd = \"zeebe.service\"\n{extra}"
        )
    };
    let text = format!("name = \"orders\"\n{}{}", broker(0), broker(1));
    config::parse("c.toml".as_ref(), &text).unwrap()
}

/// A broker that is down and of which nothing is known.
fn down(node: u32) -> Seen {
    let broker = json!({
        "node": node, "data": format!("/srv/{node}/data"),
        "volume": { "Err": "not looked at" }, "holders": [], "broker": null,
        "service": { "phase": "down", "main": null, "invocation": null, "dependants": [], "seen": "", "trouble": null, "gated": false },
        "api": { "Err": "does not answer" }, "folder": { "Ok": {} }, "settings": { "Ok": {} },
        "installed": null, "unreadable": [],
    });
    serde_json::from_value(broker).unwrap()
}

fn seen(change: impl Fn(u32, &mut Settings, &mut DataFolder)) -> Vec<Seen> {
    [0, 1]
        .map(|node| {
            let mut one = down(node);
            if let (Ok(told), Ok(folder)) = (&mut one.settings, &mut one.folder) {
                change(node, told, folder);
            }
            one
        })
        .into()
}

fn said<T>(value: T, by: &str) -> Option<Said<T>> {
    Some(Said {
        value,
        by: by.to_owned(),
    })
}

/// Findings as a person sees them.
fn found(look: impl Fn(&mut Findings)) -> String {
    let mut findings = Findings::default();
    look(&mut findings);
    let line = |finding: &crate::plan::Finding| {
        let word = match finding.weight {
            Weight::Refusal => "refused",
            Weight::Warning => "warning",
        };
        format!(
            "{word}: {}\n  Why: {}\n  Hint: {}\n",
            finding.what, finding.why, finding.todo
        )
    };
    findings.0.iter().map(line).collect()
}

fn look_at(seen: &[Seen]) -> String {
    found(|findings| look(&cluster(""), seen, findings))
}

fn carried(seen: &[Seen]) -> String {
    found(|findings| before_backup(&cluster(""), seen, findings))
}

#[test]
fn what_fits_is_not_spoken_of() {
    let seen = seen(|node, told, folder| {
        told.live = true;
        told.node_id = said(node, "a.yaml:1");
        told.cluster_size = said(2, "a.yaml:2");
        told.data = said(format!("/srv/{node}/data").into(), "a.yaml:3");
        folder.at_least = "8.5.8".parse().ok();
        folder.members = Some([(NodeId(0), vec![1]), (NodeId(1), vec![1])].into());
    });
    assert_eq!(look_at(&seen), "");
    assert_eq!(carried(&seen), "");
    assert_eq!(found(|findings| before_restore(&seen, findings)), "");
}

#[test]
fn node_ids_have_to_fit() {
    let swapped = seen(|node, told, _| told.node_id = said(1 - node, "/c/application.yaml:12"));
    insta::assert_snapshot!(look_at(&swapped), @r#"
    refused: broker 0 is told that it is node 1 (/c/application.yaml:12)
      Why: a broker refuses the partitions of another
      Hint: correct `node_id`, `config` or `service` in cluster.toml, or what the broker is told
    refused: broker 1 is told that it is node 0 (/c/application.yaml:12)
      Why: a broker refuses the partitions of another
      Hint: correct `node_id`, `config` or `service` in cluster.toml, or what the broker is told
    "#);
    insta::assert_snapshot!(look_at(&seen(|_, told, _| {
        told.live = true;
        told.cluster_size = said(2, "");
    })), @r#"
    refused: nobody tells broker 1 its node id, so it is node 0
      Why: a broker refuses the partitions of another
      Hint: correct `node_id`, `config` or `service` in cluster.toml, or what the broker is told
    "#);
}

#[test]
fn the_number_of_brokers_has_to_fit() {
    let told = |live: bool| {
        seen(move |node, told, _| {
            told.live = live;
            told.node_id = said(node, "");
            told.cluster_size = said(3, "environment ZEEBE_BROKER_CLUSTER_CLUSTERSIZE");
        })
    };
    insta::assert_snapshot!(carried(&told(true)), @r#"
    refused: brokers 0, 1 are told that the number of brokers is 3 (environment ZEEBE_BROKER_CLUSTER_CLUSTERSIZE), cluster.toml has 2
      Why: a set is all brokers of a cluster; with an empty data directory the number that is told decides
      Hint: name every broker in cluster.toml, or correct what they are told; nothing, if a script that starts them says otherwise
    "#);
    assert!(carried(&told(false)).starts_with("warning: brokers 0, 1 are told"));
    insta::assert_snapshot!(found(|findings| before_replacing(&cluster(""), &told(false), findings)), @r#"
    refused: a cluster size of 3 is said to brokers 0, 1 (environment ZEEBE_BROKER_CLUSTER_CLUSTERSIZE), and cluster.toml has 2 brokers
      Why: Zeebe needs the same number of brokers with the same node ids as the data was made by
      Hint: correct what the brokers are told, or use the cluster.toml of that cluster
    "#);
    let stored = seen(|node, _, folder| {
        folder.members = (node == 0).then(|| (0..3).map(|node| (NodeId(node), vec![1])).collect());
    });
    insta::assert_snapshot!(carried(&stored), @r#"
    refused: the data of broker 0 is of a cluster with the brokers 0, 1, 2, cluster.toml has 0, 1
      Why: a set is all brokers of a cluster at one stop, or it is no set
      Hint: name every broker of the cluster in cluster.toml, and no other
    "#);
}

#[test]
fn a_data_directory_is_one_brokers_and_the_one_it_is_told() {
    let mut seen =
        seen(|_, told, _| told.data = said("/opt/zeebe/data".into(), "/c/application.yaml:3"));
    seen[1].data = "/srv/0/data".into();
    seen.swap(0, 1);
    insta::assert_snapshot!(look_at(&seen[..1]), @r#"
    warning: broker 1 is told to keep its data in /opt/zeebe/data (/c/application.yaml:3), cluster.toml says /srv/0/data
      Why: what lies there would be captured or replaced, and the broker would start on something else
      Hint: correct `data` in cluster.toml or what the broker is told; nothing, if a script that starts it says otherwise
    "#);
    for one in &mut seen {
        one.settings = Ok(Settings::default());
    }
    insta::assert_snapshot!(look_at(&seen), @r#"
    refused: brokers 1, 0 have one data directory, /srv/0/data
      Why: a data directory is one broker's
      Hint: correct `data` in cluster.toml
    "#);
}

#[test]
fn brokers_that_are_told_different_things_are_named() {
    let seen = seen(|node, told, _| {
        told.partitions = said(
            3 + node,
            if node == 0 {
                "a.yaml:1"
            } else {
                "environment X"
            },
        );
        told.cluster_name = said("orders".to_owned(), "a.yaml:2");
    });
    insta::assert_snapshot!(look_at(&seen), @r#"
    warning: the brokers are told different numbers of partitions: 3 on broker 0 (a.yaml:1); 4 on broker 1 (environment X)
      Why: brokers of one cluster are told the same; with empty data directories they would not come together
      Hint: tell them the same
    "#);
}

#[test]
fn what_is_said_twice_and_differs_is_refused_where_zeebe_would_not_start() {
    let conflict = crate::zeebe::settings::Conflict {
        legacy: (
            "zeebe.broker.cluster.cluster-size".to_owned(),
            said("2".to_owned(), "a.yaml:1").unwrap(),
        ),
        unified: (
            "camunda.cluster.size".to_owned(),
            said("3".to_owned(), "a.yaml:9").unwrap(),
        ),
    };
    let seen =
        seen(|node, told, _| told.conflicts = vec![conflict.clone(); usize::from(node == 0)]);
    let of = |version: &str| {
        let cluster = cluster(&format!("version = \"{version}\"\n"));
        found(|findings| look(&cluster, &seen, findings))
    };
    insta::assert_snapshot!(of("8.8.0"), @r#"
    refused: broker 0 is told zeebe.broker.cluster.cluster-size = 2 (a.yaml:1) and camunda.cluster.size = 3 (a.yaml:9)
      Why: both are one setting, and Zeebe 8.8 and later does not start when they differ
      Hint: say it once
    "#);
    assert_eq!(of("8.7.9"), of("8.8.0").replace("refused", "warning"));
}

#[test]
fn a_version_lower_than_the_data_has_seen_is_refused() {
    let mut seen =
        seen(|node, _, folder| folder.at_least = (node == 0).then(|| "8.6.0".parse().unwrap()));
    seen[1].installed = "8.6.1".parse().ok();
    let cluster = cluster("version = \"8.5.8\"\n");
    insta::assert_snapshot!(found(|findings| before_backup(&cluster, &seen, findings)), @r#"
    warning: the brokers are not of one Zeebe version: 8.5.8 on broker 0 (cluster.toml); 8.6.1 on broker 1 (install)
      Why: a set keeps the version of each of them, and is restored onto the same or the next minor of each
      Hint: finish the update first, if you can
    refused: broker 0 is Zeebe 8.5.8 (cluster.toml), but Zeebe 8.6.0 has worked on its data
      Why: a lower version silently deletes what it cannot read
      Hint: start it with the version its data is of, and correct `version` or `install` in cluster.toml
    "#);
    assert_eq!(
        found(|findings| look(&cluster, &seen, findings)),
        "",
        "a restore replaces it"
    );
}

#[test]
fn settings_that_do_not_read_are_said() {
    let mut one = down(0);
    one.settings = Err("read /c/a.yaml: line 2: it is nested too deeply".to_owned());
    insta::assert_snapshot!(look_at(&[one]), @r#"
    warning: what broker 0 is told does not read: read /c/a.yaml: line 2: it is nested too deeply
      Why: whether it fits cluster.toml is not known, and it may not start again
      Hint: correct it
    "#);
}

#[test]
fn a_backup_says_what_the_set_would_carry_and_could_lose() {
    let seen = seen(|node, told, folder| {
        told.flush = match node {
            0 => Flush::Off {
                by: "a.yaml:1".to_owned(),
            },
            _ => Flush::Delayed {
                delay: "30s".to_owned(),
                by: "a.yaml:2".to_owned(),
            },
        };
        folder.paused = vec!["exporting of partition 1".to_owned(); node as usize];
    });
    insta::assert_snapshot!(carried(&seen), @r#"
    warning: broker 1 has paused exporting of partition 1
      Why: a set keeps that: its brokers come back paused
      Hint: resume it on every broker (POST /actuator/partitions/resumeExporting or resumeProcessing) before or after the backup
    warning: the log is flushed 30s late on broker 1 (a.yaml:2)
      Why: a broker that has to be killed, or a host that loses power, loses what was acknowledged; a clean stop loses nothing
      Hint: nothing, if that is meant
    warning: the log is flushed only with a snapshot on broker 0 (a.yaml:1)
      Why: a broker that has to be killed, or a host that loses power, loses what was acknowledged; a clean stop loses nothing
      Hint: nothing, if that is meant
    "#);
}

#[test]
fn a_restore_names_exporters() {
    let seen = seen(|_, told, _| {
        told.exporters
            .extend(said("elasticsearch".to_owned(), "a.yaml:4"))
    });
    insta::assert_snapshot!(found(|findings| before_restore(&seen, findings)), @r#"
    warning: the exporter elasticsearch is configured on brokers 0, 1 (a.yaml:4)
      Why: what it feeds is not brought back with the brokers: it keeps records of work that is undone, and new records come under positions it has seen already
      Hint: before the brokers start (--no-start leaves them down), bring what it feeds back to a snapshot of its own that is not newer than the set
    "#);
}
