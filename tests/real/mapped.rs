//! A process other than the broker that keeps a log segment mapped: the data folder is not at rest, whoever stopped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::cluster::{Cluster, kill};
use crate::faults::Before;
use crate::layout::Layout;
use crate::rig::MARK;
use crate::running::used_cluster;
use crate::setup::Setup;

/// Maps a log segment of the data folder given, closes the file, says its own pid, and stays until it is killed.
const KEEPER: &str = r#"
import glob, mmap, os, signal, sys
path = sorted(glob.glob(sys.argv[1] + "/raft-partition/partitions/1/*.log"))[0]
with open(path, "rb") as file:
    segment = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
with open(sys.argv[2], "w") as out:
    print(os.getpid(), file=out, flush=True)
signal.pause()
"#;

/// Writes the script; it wants the data folder and where to say its pid.
pub fn keeper(cluster: &Cluster) -> PathBuf {
    let script = cluster.dir().join("keeper.py");
    fs::write(&script, KEEPER).unwrap();
    script
}

#[test]
#[ignore = "long: one of two moments"]
fn before_the_backup_begins() {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    cluster.configure(&Setup::default());
    let mut keeper = Command::new("python3")
        .arg(keeper(&cluster))
        .arg(cluster.place().data(0))
        .arg("/dev/stdout")
        .env(MARK, cluster.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = announced(&mut keeper);
    let outcome = cluster.run(&["backup"]);
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    outcome
        .exits(3)
        .says(&["broker 0", &pid.to_string(), "python"]);
    before.is_untouched(&cluster);
}

/// The pid that a keeper says.
pub fn announced(keeper: &mut Child) -> i32 {
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    line.trim().parse().expect("the keeper says its pid")
}

#[test]
fn after_the_stop_was_asked_for() {
    let cluster = used_cluster(Layout::Subvolumes);
    let before = Before::note(&cluster);
    let said = cluster.dir().join("keeper.pid");
    let stop = format!(
        "setsid --fork python3 {:?} {:?} {said:?} </dev/null >/dev/null 2>&1\n\
         until [ -s {said:?} ]; do sleep 0.05; done\n\
         kill -TERM $pid",
        keeper(&cluster),
        cluster.place().data(0),
    );
    cluster.configure(&Setup {
        stop: [Some(stop), None, None],
        stop_timeout: Some("15s"),
        ..Setup::default()
    });
    let outcome = cluster.run(&["backup"]);
    let pid = fs::read_to_string(&said).expect("the keeper said its pid");
    let pid = pid.trim();
    kill(pid.parse().unwrap(), "-KILL");
    let outcome = outcome.exits(1);
    before.is_as_it_was(&cluster);
    outcome.says(&["broker 0", pid, "python"]);
}
