//! A cluster that nothing ends but a kill: its data directories were swapped by hand, and it waits for ever.

use std::fs;

use crate::cluster::BROKERS;
use crate::instances::Instances;
use crate::layout::Layout;
use crate::running::new_cluster;
use crate::setup::Setup;
use crate::wait::{seconds, until};

/// What Zeebe says when it is given the data of another broker.
const COMPLAINT: &str = "Failed to acquire storage lock";

#[test]
fn swapped_by_hand() {
    let cluster = new_cluster(Layout::Subvolumes);
    let place = cluster.place();
    cluster.configure(&Setup {
        stop_timeout: Some("15s"),
        ..Setup::default()
    });
    let before = cluster.create(30);
    cluster.run(&["backup"]).exits(0);
    cluster.create(20);
    let sets = cluster.sets();

    cluster.stop_all();
    let aside = place.root().join("aside");
    for (from, to) in [
        (place.data(0), aside.clone()),
        (place.data(1), place.data(0)),
        (aside, place.data(1)),
    ] {
        fs::rename(from, to).unwrap();
    }
    for broker in BROKERS {
        fs::remove_file(cluster.log(broker)).unwrap();
    }
    cluster.start_all();
    for broker in [0, 1] {
        let what = format!("broker {broker} to refuse the other's data");
        until(&what, seconds(240), || {
            let log = fs::read_to_string(cluster.log(broker)).unwrap();
            let stuck = log.contains(COMPLAINT) && cluster.asked_ready(broker) == Some(false);
            stuck.then_some(())
        });
    }
    let pids = cluster.one_pid_each();
    cluster.run(&["backup"]).exits(3);
    assert_eq!(cluster.one_pid_each(), pids, "the brokers' pids");
    assert_eq!(cluster.sets(), sets);

    cluster.run(&["restore", "latest", "--yes"]).exits(0);
    let jobs = cluster.activate_all();
    assert_eq!(jobs.instances(), before);
    cluster.complete(&jobs);
    assert_eq!(cluster.activate_all().instances(), Instances::new());
}
