//! Every verb on a cluster whose brokers are down: a set is taken of folders that nobody writes to, shown, and brought back.

use std::fs;

use crate::World;
use crate::mask::masked;

/// What nobody but the brokers is to see. It is in the environment of `World`'s brokers, and in their config file.
pub const SECRET: &str = "hunter2";

impl World {
    /// Brokers that are down, with something in their data directories, and what a restore has to know.
    pub fn down() -> World {
        let world = World::new();
        let dir = world.dir.path();
        let config = dir.join("application.yaml");
        let text = format!(
            "zeebe.broker:\n  exporters.es.args.authentication.password: {SECRET}\n  cluster.clusterSize: 2\n"
        );
        fs::write(&config, text).unwrap();
        world.edit(
            "[[broker]]",
            &format!("[broker_defaults]\nversion = \"8.5.8\"\nconfig = [{config:?}]\n[[broker]]"),
        );
        for broker in 0..2 {
            world.edit("backend = \"btrfs\"", "backend = \"copy\"");
            world.change(broker, "as it was");
        }
        world
    }

    /// Writes to a broker's data.
    pub fn change(&self, broker: usize, content: &str) {
        let folder = self
            .dir
            .path()
            .join(format!("broker {broker}/data/raft-partition"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("segment.log"), content).unwrap();
    }

    /// Compares the output of each with the snapshot of the name.
    fn shows(&self, runs: &[(&str, &[&str])]) {
        for (name, arguments) in runs {
            insta::assert_snapshot!(*name, masked(&self.run(arguments)));
        }
    }
}

#[test]
fn every_verb_where_no_broker_runs() {
    let world = World::down();
    world.shows(&[
        ("check", &["check"]),
        ("check json", &["check", "--json"]),
        ("backup dry run", &["backup", "--dry-run"]),
        ("backup dry run json", &["backup", "--dry-run", "--json"]),
        ("backup", &["backup"]),
        ("backup json", &["backup", "--json"]),
        ("list", &["list"]),
        ("list json", &["list", "--json"]),
        ("show", &["show", "latest"]),
        ("show json", &["show", "latest", "--json"]),
        ("verify", &["verify", "latest"]),
        ("verify json", &["verify", "latest", "--json"]),
        ("status", &["status"]),
        ("status json", &["status", "--json"]),
        ("restore dry run", &["restore", "latest", "--dry-run"]),
        (
            "restore dry run json",
            &["restore", "latest", "--dry-run", "--json"],
        ),
        ("restore with nobody to ask", &["restore", "latest"]),
        ("recover", &["recover"]),
        ("recover json", &["recover", "--json"]),
        ("recover dry run", &["recover", "--dry-run"]),
        ("recover dry run json", &["recover", "--dry-run", "--json"]),
    ]);
}
