use crate::layout::Layout;
use crate::running::new_cluster;

#[test]
fn explore() {
    let cluster = new_cluster(Layout::Subvolumes);
    cluster.create(30);
    cluster.take_snapshot();
    let http = ureq::agent();
    for what in ["pauseExporting", "pauseProcessing"] {
        for broker in 0..3 {
            http.post(format!(
                "http://{}:9600/actuator/partitions/{what}",
                cluster.address(broker)
            ))
            .send_empty()
            .unwrap();
        }
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
    for broker in 0..3 {
        let to = format!("/tmp/team/settings.tmp/data-{broker}");
        crate::rig::tool(
            std::process::Command::new("cp")
                .arg("-a")
                .arg(cluster.place().data(broker))
                .arg(to),
        );
    }
    println!("{:?}", cluster.zeebe_snapshots());
}
