use serde_json::json;

use super::*;
use crate::config;
use crate::plan::configs::{ConfigSwap, hash};

fn cluster() -> Cluster {
    let text = "name = \"orders\"\n[[broker]]\nnode_id = 0\ndata = \"/srv/0/data\"\nversion = \"8.5.8\"\n\
                management = \"http://127.0.0.1:9600\"\nservice.systemd = \"zeebe.service\"\n";
    config::parse("c.toml".as_ref(), text).unwrap()
}

/// A broker that is down.
fn down() -> Seen {
    let broker = json!({
        "node": 0, "data": "/srv/0/data",
        "volume": { "Err": "not looked at" }, "holders": [], "broker": null,
        "service": { "phase": "down", "main": null, "invocation": null, "dependants": [], "seen": "", "trouble": null, "gated": false },
        "api": { "Err": "does not answer" }, "folder": { "Ok": {} }, "settings": { "Ok": {} },
        "installed": null, "unreadable": [],
    });
    serde_json::from_value(broker).unwrap()
}

/// The data that a restore replaces was last used by a Zeebe that is newer than the one that is installed now.
#[test]
fn data_is_of_the_newest_zeebe_of_which_there_is_a_sign() {
    let cluster = cluster();
    let broker = &cluster.brokers[&NodeId(0)];
    let version = |text: &str| text.parse::<Version>().unwrap();
    let mut seen = down();
    let is = |seen: &Seen, known: Option<&Version>| {
        data_is_of(seen, broker, known).map(|version| version.to_string())
    };
    assert_eq!(is(&seen, None).as_deref(), Some("8.5.8"));
    assert_eq!(
        is(&seen, Some(&version("8.6.0"))).as_deref(),
        Some("8.6.0"),
        "a set of this data says so"
    );
    assert_eq!(is(&seen, Some(&version("8.5.1"))).as_deref(), Some("8.5.8"));
    seen.folder.as_mut().unwrap().at_least = Some(version("8.6.2"));
    assert_eq!(
        is(&seen, Some(&version("8.6.0"))).as_deref(),
        Some("8.6.2"),
        "the folder says so"
    );
}

#[test]
fn a_config_file_that_was_changed_since_is_left_as_it_is() {
    let of = |path: &str, old: &str, new: &str| ConfigSwap {
        node: NodeId(0),
        path: path.into(),
        old: Some(hash(old.as_bytes())),
        new: Some(hash(new.as_bytes())),
        stage: "restore-20261124T014500Z".to_owned().try_into().unwrap(),
    };
    let swaps = [
        of("/c/same.yaml", "old", "new"),
        of("/c/changed.yaml", "old", "new"),
    ];
    let label = Label::from([("config".to_owned(), configs::label(&swaps).unwrap())]);
    let kept = Kept {
        path: "/srv/0/.zeebe-snap/data/restore-20261124T014500Z".into(),
        name: swaps[0].stage.clone(),
        label: Some(label),
        identity: "kept".to_owned(),
    };
    let file = |path: &str, content: &str| (path.into(), Some(content.as_bytes().to_vec()));
    let present = Present::from([(
        NodeId(0),
        vec![
            file("/c/same.yaml", "new"),
            file("/c/changed.yaml", "by hand"),
        ],
    )]);
    let mut findings = Findings::default();
    let back = configs::to_undo(NodeId(0), &kept, &present, &mut findings);
    assert_eq!(back, [swaps[0].back()]);
    let [finding] = findings.0.as_slice() else {
        panic!("{findings:?}")
    };
    assert!(finding.what.contains("/c/changed.yaml was changed since"));
    assert!(!findings.refuses());
}
