//! A cluster.toml that the program writes of a broker that is a unit.

use crate::cluster::UNITS;
use crate::running::used_cluster;

#[test]
fn a_unit_is_found_and_what_is_written_passes_check() {
    let cluster = used_cluster();
    let file = "/srv/zeebe/found.toml";
    let written = cluster.run(&["--cluster", file, "init", "--json"]).exits(0);
    let brokers = written.json()["brokers"].clone();
    assert_eq!(brokers.as_array().unwrap().len(), 1, "{brokers}");
    let text = std::fs::read_to_string(cluster.container().inside(file)).unwrap();
    for line in [
        "node_id = 0".to_owned(),
        "data = \"/srv/zeebe/data\"".to_owned(),
        format!("service.systemd = {:?}", UNITS[0]),
    ] {
        assert!(text.lines().any(|other| other == line), "{line}; {text}");
    }
    let check = cluster
        .run(&["--cluster", file, "check", "--json"])
        .exits(0);
    assert_eq!(check.json()["result"], "good", "{check}");
    std::fs::remove_file(cluster.container().inside(file)).unwrap();
}
