//! The main promise on a file system without snapshots, where the copy is made in the window and takes its time; and what
//! can happen in that time.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;

use crate::cluster::{Cluster, kill};
use crate::every_instance_is_back::Round;
use crate::faults::{Before, all_down};
use crate::frozen::{Frozen, partial};
use crate::layout::Layout;
use crate::program::agent_of;
use crate::rig::{Kind, tool};
use crate::running::{Turn, new_cluster, used_cluster};
use crate::setup::Setup;
use crate::wait::{seconds, until};

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
#[ignore = "long: tests/sweep has it on processes that are quicker"]
fn killed_agent() {
    let cluster = slow_cluster();
    let before = Before::note(&cluster);
    cluster.configure(&Setup::default());
    let run = cluster.begin(&["backup"]);
    let frozen = Frozen::in_the_clone_of(&cluster, BALLAST);
    all_down(&cluster);
    kill(agent_of(run.pid()).expect("an agent"), "-KILL");
    frozen.thaw();
    let outcome = run.finish().exits(1);
    before.is_as_it_was(&cluster);
    // Broker 0, or another that waits for its turn.
    outcome.says(&["agent", "snapshot broker "]);
}

#[test]
#[ignore = "long: tests/sweep has it on processes that are quicker"]
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
#[ignore = "long: a clone of a large folder"]
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

#[test]
fn disk_that_fills_up_while_a_set_is_staged() {
    let cluster = slow_cluster();
    cluster.configure(&Setup::default());
    let backup = cluster.run(&["backup", "--json"]).exits(0).json();
    let before = Before::note(&cluster);
    let run = cluster.begin(&["restore", "latest", "--yes"]);
    let store = cluster.place().store(0);
    until("the copy of the set", seconds(120), || {
        partial(&store).filter(|partial| partial.join(BALLAST).exists())
    });
    // It had room enough when it began.
    let filler = cluster.place().root().join("filler");
    let length = cluster.place().free(0) - (100 << 20);
    let mut fallocate = Command::new("fallocate");
    tool(fallocate.args(["-l", &length.to_string()]).arg(&filler));
    let outcome = run.finish();
    fs::remove_file(&filler).unwrap();
    let outcome = outcome.exits(1);
    before.is_untouched(&cluster);
    outcome.says(&["No space left on device", "the data is what it was"]);
    let set = backup["set"].as_str().unwrap();
    cluster.run(&["forget", set, "--yes"]).exits(0);
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
