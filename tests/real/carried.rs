//! Real data on datasets and logical volumes: Zeebe's own folders are carried to where the kernel has these (scripts/vm; Zeebe
//! itself is too slow where that is emulated), captured, lost and brought back there, by a restore and out of what was sent
//! elsewhere, and carried out again.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cluster::BROKERS;
use crate::instances::Instances;
use crate::layout::Layout;
use crate::rig::{Kind, tool};
use crate::running::new_cluster;

#[test]
#[ignore = "long: minutes where the kernel for it is emulated"]
fn to_zfs_and_lvm_and_back() {
    let cluster = new_cluster(Layout::Folders(Kind::Ext4));
    let before = cluster.create(60);
    cluster.take_snapshot();
    cluster.stop_all();
    let carried = cluster.dir().join("carried");
    fs::create_dir(&carried).unwrap();
    let tar = |arguments: &[&str], broker: usize, file: &str| {
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(cluster.place().data(broker))
            .arg("--xattrs")
            .args(arguments);
        tool(
            tar.arg("-f")
                .arg(carried.join(format!("{file}-{broker}.tar")))
                .arg("."),
        );
    };
    for broker in BROKERS {
        tar(&["-c"], broker, "in");
    }

    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut vm = Command::new(repository.join("scripts/vm"));
    vm.current_dir(repository).arg("--rw").arg(&carried);
    vm.arg(repository.join("tests/real/carry.sh"));
    vm.arg(env!("CARGO_BIN_EXE_zeebe-snap")).arg(&carried);
    eprintln!("{}", tool(&mut vm));

    let restored = ["restored"; 3];
    // There are no streams of a volume that is not thin.
    let extracted = ["extracted", "extracted", "restored"];
    for came_back in [restored, extracted] {
        for broker in BROKERS {
            cluster.place().lose_contents(broker);
            tar(&["-x"], broker, came_back[broker]);
        }
        cluster.start_all();
        cluster.wait_healthy();
        let jobs = cluster.activate_all();
        assert_eq!(
            jobs.instances(),
            before,
            "the instances of the backup and no other, {came_back:?}"
        );
        cluster.complete(&jobs);
        assert_eq!(cluster.activate_all().instances(), Instances::new());
        cluster.stop_all();
    }
    cluster.end();
}
