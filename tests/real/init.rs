//! A cluster.toml that the program writes from nothing but the running brokers, and what can be done with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cluster::{BROKERS, strings};
use crate::install::SECRET;
use crate::layout::Layout;
use crate::running::used_cluster;

#[test]
fn what_it_writes_is_good_for_a_backup_as_it_is() {
    let cluster = used_cluster(Layout::Subvolumes);
    for pid in cluster.one_pid_each() {
        let has = |file| strings(pid, file).any(|text| text.contains(SECRET));
        assert!(has("environ"), "the secret is where it might be read");
    }
    // Other clusters may run on this machine.
    let name = cluster.dir().file_name().unwrap().to_str().unwrap();
    let init = |more: &[&str]| cluster.run(&[&["init", "--name", name], more].concat());

    let theirs = fs::read(cluster.config()).unwrap();
    let refused = init(&[]).exits(3).says(&["cluster.toml", "--print"]);
    assert_eq!(fs::read(cluster.config()).unwrap(), theirs);

    fs::remove_file(cluster.config()).unwrap();
    let printed = init(&["--print"]).exits(0);
    assert!(!cluster.config().exists());
    let written = init(&["--json"]).exits(0);
    let text = fs::read_to_string(cluster.config()).unwrap();
    println!("{text}");
    let mode = fs::metadata(cluster.config()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let brokers = written.json()["brokers"].clone();
    assert_eq!(brokers.as_array().unwrap().len(), 3, "{brokers}");

    let checked = cluster.run(&["check"]).exits(0);
    let before = cluster.one_pid_each();
    let backup = cluster.run(&["backup", "--json"]).exits(0);
    cluster.wait_healthy();
    let after = cluster.one_pid_each();
    assert!(BROKERS.iter().all(|&id| before[id] != after[id]));
    assert_eq!(&cluster.activate_all().instances(), cluster.open());

    for outcome in [&refused, &printed, &written, &checked, &backup] {
        assert!(!outcome.to_string().contains(SECRET), "{outcome}");
    }
    assert!(!text.contains(SECRET), "{text}");
    // What is not written is named, where a person would fill it in and on the terminal.
    for name in [
        "ELASTICSEARCH_PASSWORD",
        "ZEEBE_BROKER_DATA_BACKUP_S3_SECRETKEY",
    ] {
        assert!(
            text.contains(&format!("#service.environment.{name} = ")),
            "{text}"
        );
        assert!(printed.stderr.contains(name), "{printed}");
    }
    // Other tests find the brokers there.
    for broker in BROKERS {
        fs::write(cluster.pid_file(broker), after[broker].to_string()).unwrap();
    }
}
