//! What stands where ours stood, and is somebody else's: it is left, whatever is asked for.

use std::fs;
use std::process::Command;

use super::{Cases, UP, cluster_up, newest, settled, unharmed};
use crate::case::On;
use crate::rig::tool;

#[test]
fn a_snapshot_of_somebody_else_is_left() {
    let mut cases = Cases::default();
    for on in [On::Btrfs, On::Copy] {
        let cluster = cluster_up(on);
        let backed_up = || {
            cluster.run(&["backup"]).exits(0);
            let set = newest(&cluster);
            let ours = cluster.place.snapshot(1, &set);
            (set, ours)
        };

        // What is written beside it says that it is another cluster's.
        let (set, theirs) = backed_up();
        let sidecar = theirs.with_extension("json");
        let written = fs::read_to_string(&sidecar).unwrap();
        fs::write(&sidecar, written.replace("\"orders\"", "\"theirs\"")).unwrap();
        assert_ne!(fs::read_to_string(&sidecar).unwrap(), written);
        let said = cluster.run(&["forget", &set, "--yes"]).exits(1);
        assert!(said.stderr.contains("is not ours"), "{said}");
        cluster.captured(1, &set).unwrap();
        unharmed(&cluster, "of another cluster", UP, &[1]);
        cases.count("another cluster's snapshot has our name");
        fs::write(&sidecar, written).unwrap();
        cluster.run(&["forget", &set, "--yes"]).exits(0);
        settled(&cluster, "of another cluster", UP, &[1]);

        // It is another one than that which we made.
        let (set, theirs) = backed_up();
        match on {
            On::Btrfs => {
                let btrfs = |verb| {
                    tool(Command::new("btrfs").args(["subvolume", verb]).arg(&theirs));
                };
                btrfs("delete");
                btrfs("create");
            }
            On::Copy => {
                fs::remove_dir_all(&theirs).unwrap();
                fs::create_dir(&theirs).unwrap();
            }
        }
        let file = theirs.join("theirs");
        fs::write(&file, "all that is left of it").unwrap();
        for verb in [&["forget", &set, "--yes"][..], &["restore", &set, "--yes"]] {
            let said = cluster.run(verb);
            assert_ne!(said.code, Some(0), "{said}");
            assert!(file.exists(), "{verb:?} destroyed it: {said}");
            unharmed(&cluster, "another one", UP, &[1]);
            cases.count("another one stands where our snapshot stood");
        }
        match on {
            On::Btrfs => tool(
                Command::new("btrfs")
                    .args(["subvolume", "delete"])
                    .arg(&theirs),
            ),
            On::Copy => tool(Command::new("rm").arg("-r").arg(&theirs)),
        };
        cluster.run(&["forget", &set, "--yes"]).exits(0);
        settled(&cluster, "another one", UP, &[1]);
    }
}
