//! What stands where ours stood, and is somebody else's: it is left, whatever is asked for.

use std::fs;
use std::process::Command;

use super::{Cases, UP, cluster_up, newest, settled, unharmed, wait_while_it_runs};
use crate::case::On;
use crate::killing::{Who, journals, kill};
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

/// A forget that was refused at one broker, and was killed while it removed what another has.
#[test]
fn where_one_is_left_and_the_program_dies_no_half_is_left_of_another() {
    let mut cases = Cases::default();
    let cluster = cluster_up(On::Copy);
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    let sidecar = cluster.place.snapshot(1, &set).with_extension("json");
    let written = fs::read_to_string(&sidecar).unwrap();
    fs::write(&sidecar, written.replace("\"orders\"", "\"theirs\"")).unwrap();
    // It takes so long to remove that the program can be killed meanwhile.
    let large = cluster.place.snapshot(0, &set);
    fs::write(large.join("0"), "").unwrap();
    for number in 1..60_000 {
        fs::hard_link(large.join("0"), large.join(number.to_string())).unwrap();
    }

    let name = large.file_name().unwrap().to_str().unwrap();
    let half = large.with_file_name(format!(".{name}.partial"));
    let mut run = cluster.begin(&["forget", &set, "--yes"]);
    let is_refused = |path| {
        fs::read_to_string(path)
            .unwrap()
            .contains(r#""entry":"failed""#)
    };
    let was_both = wait_while_it_runs(&mut run, "one to be refused and one half removed", || {
        half.exists() && journals(&cluster.state()).into_iter().any(is_refused)
    });
    assert!(was_both, "nothing was refused, or nothing half removed");
    kill(run.pid(), Who::Both);
    run.finish();
    cluster.wait_for_silence();
    assert!(half.exists(), "it was not killed in time");

    cluster.run(&["recover"]).exits(0);
    assert!(!half.exists(), "a half is left");
    cluster.captured(1, &set).unwrap();
    unharmed(&cluster, "refused at one and killed", UP, &[1]);
    fs::write(&sidecar, written).unwrap();
    settled(&cluster, "refused at one and killed", UP, &[1]);
    cases.count("a forget is refused at one broker and killed at another");
}
