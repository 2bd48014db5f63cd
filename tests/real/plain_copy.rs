//! The main promise on a file system without snapshots, where the copy is made in the window and takes its time; and what
//! can happen in that time.

use std::fs::File;
use std::io::Write;

use crate::cluster::{Cluster, kill};
use crate::every_instance_is_back::Round;
use crate::faults::{Before, all_down};
use crate::frozen::Frozen;
use crate::layout::Layout;
use crate::program::agent_of;
use crate::rig::Kind;
use crate::running::{Turn, new_cluster, used_cluster};
use crate::setup::Setup;

const EXT4: Layout = Layout::Folders(Kind::Ext4);

#[test]
fn every_instance_is_back() {
    let cluster = new_cluster(EXT4);
    let round = Round::begin(&cluster);
    let backup = round.back_up();
    round.lose(|broker| cluster.place().lose(broker));
    round.restore_and_prove(&backup);
}

#[test]
fn killed_agent() {
    let cluster = slow_cluster();
    let before = Before::note(&cluster);
    cluster.configure(&Setup::default());
    let run = cluster.begin(&["backup"]);
    let frozen = Frozen::in_the_clone_of(&cluster, BALLAST);
    all_down(&cluster);
    kill(agent_of(run.pid()), "-KILL");
    frozen.thaw();
    let outcome = run.finish().exits(1);
    before.is_as_it_was(&cluster);
    // Broker 0, or another that waits for its turn.
    outcome.says(&["agent", "snapshot broker "]);
}

#[test]
fn interrupted() {
    let cluster = slow_cluster();
    let before = Before::note(&cluster);
    cluster.configure(&Setup::default());
    let mut terminal = cluster.begin_in_terminal(&["backup"]);
    let frozen = Frozen::in_the_clone_of(&cluster, BALLAST);
    all_down(&cluster);
    terminal.ctrl_c();
    terminal.wait_for("interrupt");
    frozen.thaw();
    terminal.finish().exits(1);
    before.is_as_it_was(&cluster);
}

#[test]
fn longer_than_max_downtime() {
    let cluster = slow_cluster();
    let before = Before::note(&cluster);
    cluster.configure(&Setup {
        max_downtime: Some("20s"),
        ..Setup::default()
    });
    let mut terminal = cluster.begin_in_terminal(&["backup"]);
    let frozen = Frozen::in_the_clone_of(&cluster, BALLAST);
    all_down(&cluster);
    terminal.wait_for("max_downtime");
    frozen.thaw();
    terminal.finish().exits(1);
    before.is_as_it_was(&cluster);
}

/// A file in broker 0's data.
const BALLAST: &str = "ballast";

/// A cluster that takes long enough to copy for a test to come in the middle of it.
fn slow_cluster() -> Turn {
    let cluster = used_cluster(EXT4);
    write_ballast(&cluster);
    cluster
}

fn write_ballast(cluster: &Cluster) {
    let path = cluster.place().data(0).join(BALLAST);
    if !path.exists() {
        let mut file = File::create(path).unwrap();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..1024 {
            file.write_all(&block).unwrap();
        }
    }
}
