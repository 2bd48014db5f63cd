//! Units that go down with the broker, whatever makes them: a backup starts again those that ran, and no other.

use crate::cluster::{Cluster, UNITS};
use crate::running::used_cluster;

/// Name, and what stands in its `[Unit]`.
const MORE: [(&str, &str); 7] = [
    (
        "group.target",
        "Requires=zeebe.service\nAfter=zeebe.service",
    ),
    (
        "second.service",
        "Requires=dependant.service\nAfter=dependant.service",
    ),
    (
        "requisite.service",
        "Requisite=zeebe.service\nAfter=zeebe.service",
    ),
    (
        "bound.service",
        "BindsTo=zeebe.service\nAfter=zeebe.service",
    ),
    ("part.service", "PartOf=zeebe.service"),
    ("told.service", ""),
    (
        r"with\x2ddash.service",
        "Requires=zeebe.service\nAfter=zeebe.service",
    ),
];

#[test]
fn units_that_go_down_with_a_broker_come_back() {
    let mut cluster = used_cluster();
    for (name, unit) in MORE {
        let service = match name.ends_with(".service") {
            true => "[Service]\nExecStart=sleep infinity\n",
            false => "",
        };
        cluster.unit(name, &format!("[Unit]\n{unit}\n{service}"));
    }
    cluster.unit(
        "idle.service",
        "[Unit]\nRequires=zeebe.service\n[Service]\nExecStart=sleep infinity\n",
    );
    cluster.unit(
        "zeebe.service.d/admin.conf",
        "[Unit]\nPropagatesStopTo=told.service\n",
    );
    // Nothing refers to the broker any more when it is down, so that systemd forgets all it knew of this run of it.
    let disable = [&["systemctl", "--quiet", "disable"][..], &UNITS[..]].concat();
    cluster.container().tool(&disable);
    let names: Vec<&str> = MORE.iter().map(|(name, _)| *name).collect();
    cluster
        .container()
        .tool(&[&["systemctl", "start"][..], &names[..]].concat());
    let all = [&UNITS[..], &names[..]].concat();
    cluster.are_up(&all);
    let pids = |cluster: &Cluster| {
        all.iter()
            .map(|unit| cluster.ask(unit).pid)
            .collect::<Vec<_>>()
    };
    let before = pids(&cluster);

    cluster.back_up(cluster.program(&["backup", "--json"]));

    cluster.are_up(&all);
    for (unit, (before, now)) in all.iter().zip(before.iter().zip(pids(&cluster))) {
        // A target has no process.
        assert!(
            unit.ends_with(".target") || *before != now,
            "{unit} went down"
        );
    }
    assert_eq!(cluster.ask("idle.service").state, "inactive");
    assert_eq!(&cluster.activate_all().instances(), cluster.open());

    let container = cluster.container();
    container.tool(&[&["systemctl", "stop"][..], &names[..]].concat());
    for (name, _) in MORE {
        cluster.remove_unit(name);
    }
    cluster.remove_unit("idle.service");
    cluster.remove_unit("zeebe.service.d/admin.conf");
    let enable = [&["systemctl", "--quiet", "enable"][..], &UNITS[..]].concat();
    container.tool(&enable);
}

/// A unit that systemd would not start any more, since it was started too often of late.
#[test]
fn a_start_limit_is_no_reason_to_leave_a_broker_down() {
    let mut cluster = used_cluster();
    let limit = "zeebe.service.d/limit.conf";
    cluster.unit(
        limit,
        "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n",
    );
    cluster.container().tool(&["systemctl", "daemon-reload"]);
    cluster
        .container()
        .tool(&["systemctl", "restart", "dependant.service"]);
    cluster
        .container()
        .tool(&["systemctl", "restart", "zeebe.service"]);
    cluster.wait_healthy();
    cluster.back_up(cluster.program(&["backup", "--json"]));
    cluster.are_up(&UNITS);
    cluster.remove_unit(limit);
    cluster.container().tool(&["systemctl", "daemon-reload"]);
}
