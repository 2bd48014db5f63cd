//! A start from outside while a restore has the broker down.

use std::os::unix::fs::symlink;

use crate::cluster::UNITS;
use crate::hold::Hold;
use crate::program::run;
use crate::running::used_cluster;

#[test]
fn nobody_starts_a_broker_during_a_restore() {
    let mut cluster = used_cluster();
    let saved = cluster.saved();
    let all = cluster.create(4);
    assert!(all.len() > saved.len());
    // The admin has a drop-in, and a name of his own for the unit.
    let alias = "/etc/systemd/system/broker.service";
    symlink(UNITS[0], cluster.container().inside(alias)).unwrap();
    cluster.unit("zeebe.service.d/admin.conf", "[Unit]\nDescription=Zeebe\n");
    cluster.container().tool(&["systemctl", "daemon-reload"]);
    let drop_ins = cluster.drop_ins();

    let hold = Hold::arm(&cluster, "broker.service");
    let restore = cluster.begin(&["restore", "latest", "--yes"]);
    hold.wait_held();
    cluster.is_down();
    // More often than systemd lets a unit be started.
    for _ in 0..4 {
        for unit in UNITS {
            for verb in ["start", "restart"] {
                let outcome = run(&mut cluster.container().command(&["systemctl", verb, unit]));
                assert_ne!(outcome.code, 0, "{verb} {unit} is refused; {outcome}");
            }
        }
    }
    cluster.is_down();
    assert!(cluster.is_gated());

    hold.release();
    restore.finish().exits(0);
    cluster.are_up(&UNITS);
    cluster.has(&saved);
    assert!(!cluster.is_gated());
    assert_eq!(cluster.drop_ins(), drop_ins, "those of the admin stay");
    cluster.remove_unit("broker.service");
    cluster.remove_unit("zeebe.service.d/admin.conf");
    cluster.container().tool(&["systemctl", "daemon-reload"]);
}
