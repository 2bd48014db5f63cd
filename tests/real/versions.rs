//! Onto the next minor, and never back: Zeebe would start, and delete what it cannot read.

use crate::cluster::{BROKERS, Cluster};
use crate::install::Zeebe;
use crate::instances::Instances;
use crate::layout::Layout;
use crate::running::new_cluster;

#[test]
fn up_and_not_down() {
    let cluster = new_cluster(Layout::Subvolumes);
    let before = cluster.create(30);
    cluster.take_snapshot();
    let old = back_up(&cluster);
    cluster.create(20);

    cluster.stop_all();
    cluster.install(Zeebe::Next);
    let restored = cluster.run(&["restore", &old, "--yes"]).exits(0);
    assert_eq!(cluster.activate_all().instances(), before, "on 8.6.0");
    restored.says(&["8.5.8", "8.6.0", "no way back"]);
    let mut since = cluster.create(10);
    since.extend(&before);
    let new = back_up(&cluster);

    // The data of 8.6.0 is kept, that of 8.5.8 is in place; what is installed is 8.5.8 again.
    cluster
        .run(&["restore", &old, "--yes", "--no-start"])
        .exits(0);
    assert!(cluster.is_down(), "--no-start leaves them down");
    cluster.install(Zeebe::Current);
    let kept = cluster.kept();
    for refused in [&["restore", &new, "--yes"][..], &["undo", "--yes"]] {
        let outcome = cluster.run(refused).exits(3);
        let name = format!("{} of 8.6.0 onto 8.5.8", refused[0]);
        insta::assert_snapshot!(name, cluster.plain(&outcome));
        assert!(cluster.is_down(), "nothing was started");
        assert_eq!(cluster.kept(), kept);
    }
    cluster.start_all();
    cluster.wait_healthy();
    assert_eq!(cluster.activate_all().instances(), before, "on 8.5.8 again");

    // And with 8.6.0 all that was made on it is still there.
    cluster.stop_all();
    cluster.install(Zeebe::Next);
    cluster.run(&["undo", "--yes"]).exits(0);
    let jobs = cluster.activate_all();
    assert_eq!(jobs.instances(), since, "on 8.6.0 again");
    cluster.complete(&jobs);
    assert_eq!(cluster.activate_all().instances(), Instances::new());
    assert_eq!(BROKERS.map(|broker| cluster.ready(broker)), [true; 3]);
    cluster.end();
}

fn back_up(cluster: &Cluster) -> String {
    let report = cluster.run(&["backup", "--json"]).exits(0).json();
    report["set"].as_str().expect("a set").to_owned()
}
