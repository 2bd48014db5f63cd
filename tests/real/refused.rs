//! A restore that is refused, or fails before the stop: the brokers run on and nothing is another.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::cluster::BROKERS;
use crate::faults::Before;
use crate::layout::Layout;
use crate::mapped::{announced, keeper};
use crate::rig::{MARK, tool};
use crate::running::used_cluster;
use crate::setup::Setup;

#[test]
fn nothing_is_touched() {
    let cluster = used_cluster(Layout::Subvolumes);
    cluster.configure(&Setup::default());
    let sets = cluster.sets();
    let backup = cluster.run(&["backup", "--json"]).exits(0).json();
    let set = backup["set"].as_str().unwrap();
    let before = Before::note(&cluster);
    let pids = cluster.one_pid_each();

    // Somebody who has a log segment mapped.
    let mut keeper = Command::new("python3")
        .arg(keeper(&cluster))
        .arg(cluster.place().data(0))
        .arg("/dev/stdout")
        .env(MARK, cluster.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = announced(&mut keeper).to_string();
    let outcome = cluster.run(&["restore", set, "--yes"]);
    assert_eq!(keeper.try_wait().unwrap(), None, "it is let live");
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let outcome = outcome.exits(3);
    before.is_untouched(&cluster);
    let said = cluster.plain(&outcome).replace(&pid, "PID");
    let python = said.find("PID (").unwrap() + 5..said.find(" … ").unwrap();
    let said = said.replace(&said[python], "python3");
    insta::assert_snapshot!("restore while somebody holds the data", said);

    // One bit of the set, and the times as they were.
    let snapshot = cluster.place().snapshot(1, set);
    let read_only = |yes: &str| {
        let property = ["property", "set", "-ts"];
        let mut btrfs = Command::new("btrfs");
        tool(btrfs.args(property).arg(&snapshot).args(["ro", yes]));
    };
    read_only("false");
    let log = "raft-partition/partitions/2/raft-partition-partition-2-1.log";
    let path = snapshot.join(log);
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let mut content = fs::read(&path).unwrap();
    content[3000] ^= 1;
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.write_all(&content).unwrap();
    file.set_modified(written).unwrap();
    drop(file);
    read_only("true");
    let outcome = cluster.run(&["restore", set, "--yes"]).exits(1);
    before.is_untouched(&cluster);
    outcome.says(&["broker 1", log, "the data is what it was"]);
    cluster.run(&["verify", set]).exits(5);

    // A member that is gone. What is left of the set can be let go of.
    let mut btrfs = Command::new("btrfs");
    tool(btrfs.args(["subvolume", "delete"]).arg(&snapshot));
    let outcome = cluster.run(&["restore", set, "--yes"]).exits(3);
    insta::assert_snapshot!(
        "restore of a set that lost a member",
        cluster.plain(&outcome)
    );
    assert_eq!(BROKERS.map(|broker| cluster.ready(broker)), [true; 3]);
    cluster.run(&["forget", set, "--yes"]).exits(0);
    assert_eq!(cluster.sets(), sets);
    cluster.no_stray_snapshot();
    assert_eq!(cluster.one_pid_each(), pids, "the brokers' pids");
}
