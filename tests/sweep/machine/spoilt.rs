//! Files that are damaged: cut, full of garbage, from a newer version. Nothing is destroyed, no broker is touched, and the
//! message names the file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{Cases, DOWN, UP, cluster_up, newest, settled, unharmed};
use crate::case::On;
use crate::cluster::Cluster;
use crate::cluster::LONG;
use crate::killing::{When, Who, journals};
use crate::processes::{agents, signal};
use crate::wait::until;

/// All ways in which a text is spoilt that are told from a whole one by looking at it alone.
fn garbage(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let newer = String::from_utf8_lossy(text).replace("\"format\":1", "\"format\":99");
    let newer = newer.replace("\"format\": 1", "\"format\": 99");
    let mut flipped = text.to_vec();
    flipped[text.len() / 3] = 0xff;
    let mut zeroes = text.to_vec();
    let middle = text.len() / 2;
    zeroes[middle..].fill(0);
    zeroes.push(b'\n');
    vec![
        ("of a newer version", newer.into_bytes()),
        ("with a byte that is another", flipped),
        ("with zeroes to its end", zeroes),
        ("full of garbage", b"\xff\x00{{{ no such thing\n".to_vec()),
    ]
}

/// Names and lengths of all there is beside the data.
fn beside(cluster: &Cluster) -> BTreeMap<PathBuf, u64> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                walk(&path, found);
            }
            found.insert(path, if meta.is_dir() { 0 } else { meta.len() });
        }
    }
    let mut found = BTreeMap::new();
    for node in 0..3 {
        walk(&cluster.place.store(node), &mut found);
    }
    found
}

#[test]
fn a_journal_of_a_dead_run_does_not_read() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    cluster.advance(2);
    for (number, line) in [7, 12].into_iter().enumerate() {
        cluster.run_and_kill(&["backup"], Who::Both, When::Line(line));
        let up = cluster.up();
        let journal = journals(&cluster.state()).into_iter().max().unwrap();
        let good = fs::read(&journal).unwrap();
        let (before, named) = (beside(&cluster), journal.to_str().unwrap());
        for (what, text) in garbage(&good) {
            fs::write(&journal, text).unwrap();
            for words in [
                vec!["recover"],
                vec!["backup"],
                vec!["restore", "latest", "--yes"],
            ] {
                let outcome = cluster.run(&words);
                let what = format!("{words:?} with a journal {what}");
                assert_eq!(outcome.code, Some(4), "{what}: {outcome}");
                assert!(outcome.stderr.contains(named), "{what}: {outcome}");
                assert_eq!(
                    (cluster.up(), beside(&cluster)),
                    (up, before.clone()),
                    "{what}"
                );
                cases.count("the journal of a dead run is damaged");
            }
            let status = cluster.run(&["status"]).exits(4);
            assert!(status.stdout.contains(named), "{status}");
        }
        fs::write(&journal, good).unwrap();
        settled(
            &cluster,
            &format!("the journal {number} is whole again"),
            UP,
            &[2],
        );
    }
}

/// The message says that it may be moved away. Then there is a way out of everything that it was about.
#[test]
fn a_journal_that_is_moved_away_leaves_nothing_that_cannot_be_mended() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    for line in [7, 12] {
        cluster.run_and_kill(&["backup"], Who::Both, When::Line(line));
        let journal = journals(&cluster.state()).into_iter().max().unwrap();
        fs::remove_file(&journal).unwrap();
        for node in (0..3).filter(|node| cluster.running(*node).is_none()) {
            cluster.start(node);
        }
        let status = cluster.run(&["status", "--json"]).exits(0).json();
        for lost in status["lost"].as_array().unwrap() {
            assert_eq!(lost["can_be_taken_in"], false, "{status}");
            let set = lost["set"].as_str().unwrap();
            let taken = cluster.run(&["recover", "--catalog"]);
            assert_eq!(taken.code, Some(1), "{taken}");
            cluster.run(&["forget", set, "--yes"]).exits(0);
        }
        // What was made ready for a snapshot that was never taken is of no more use.
        for folder in fs::read_dir(cluster.state().join("sets"))
            .into_iter()
            .flatten()
        {
            let folder = folder.unwrap().path();
            if !folder.join("manifest.json").exists() {
                fs::remove_dir_all(folder).unwrap();
            }
        }
        settled(&cluster, "the journal was moved away", UP, &[1]);
        cases.count("the journal of a dead run is moved away");
    }
}

/// At each of its lines, and within them.
#[test]
fn a_journal_that_is_closed_is_closed_whatever_is_left_of_it() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    cluster.advance(2);
    cluster.run(&["restore", &set, "--yes"]).exits(0);
    let before = beside(&cluster);
    for journal in journals(&cluster.state()) {
        let good = fs::read(&journal).unwrap();
        let mode = fs::metadata(&journal).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400, "{}", journal.display());
        let ends: Vec<usize> = good
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1)
            .collect();
        let cuts = ends.iter().step_by(4).flat_map(|end| [*end, end - 3]);
        let cut = cuts.map(|end| ("cut", good[..end].to_vec()));
        for (what, text) in cut.chain(garbage(&good)).chain([("empty", Vec::new())]) {
            fs::write(&journal, text).unwrap();
            let said = cluster.run(&["recover"]).exits(0);
            assert_eq!(said.stdout, "Nothing is owed.\n", "{what}: {said}");
            assert_eq!(
                (cluster.up(), beside(&cluster)),
                (UP, before.clone()),
                "{what}"
            );
            cases.count("a closed journal is damaged");
        }
        fs::write(&journal, good).unwrap();
    }
    settled(&cluster, "closed journals", UP, &[1]);
}

/// A run that died when its set was captured: its journal is what counts.
#[test]
fn what_is_written_of_a_captured_set_does_not_read() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    for number in 0..2 {
        let file = die_with_a_captured_set(&cluster);
        let set = name_of_set(&file);
        let (what, text) = garbage(&fs::read(&file).unwrap()).swap_remove(2 * number);
        fs::write(&file, text).unwrap();
        let list = cluster.run(&["list"]).exits(0);
        assert!(
            list.stderr.contains(file.to_str().unwrap()),
            "{what}: {list}"
        );
        settled(&cluster, "a captured set", UP, &[1]);
        assert_eq!(cluster.sets()[&set], "complete");
        cases.count("captured.json is damaged");
    }
}

/// It can never be complete, and is not owed for ever.
#[test]
fn a_captured_set_that_lost_a_snapshot_is_forgotten_for_good() {
    let cluster = cluster_up(On::Copy);
    let mut cases = Cases::default();
    let set = name_of_set(&die_with_a_captured_set(&cluster));
    fs::remove_dir_all(cluster.place.snapshot(1, &set)).unwrap();
    let recovered = cluster.run(&["recover"]);
    assert_eq!(recovered.code, Some(1), "{recovered}");
    assert!(recovered.stderr.contains("no snapshot"), "{recovered}");
    assert_eq!(cluster.sets()[&set], "captured");
    cluster.run(&["forget", &set, "--yes"]).exits(0);
    settled(&cluster, "a captured set that lost a snapshot", UP, &[1]);
    cases.count("a snapshot of a captured set is gone");
}

/// Everybody is killed when a set is captured and not yet complete. What is written of that set.
fn die_with_a_captured_set(cluster: &Cluster) -> PathBuf {
    for _ in 0..10 {
        let mut run = cluster.begin(&["backup"]);
        until("the set to be captured", LONG, || {
            (captured(cluster).is_some() || run.has_ended()).then_some(())
        });
        let everybody = || agents(run.pid()).into_iter().chain([run.pid()]);
        everybody().for_each(|pid| signal(pid, Signal::STOP));
        everybody().for_each(|pid| signal(pid, Signal::KILL));
        run.finish();
        cluster.wait_for_silence();
        if let Some(file) = captured(cluster) {
            return file;
        }
        // It was faster.
        cluster.run(&["recover"]).exits(0);
    }
    panic!("no run died with a captured set");
}

fn name_of_set(file: &Path) -> String {
    let folder = file.parent().unwrap().file_name().unwrap();
    folder.to_str().unwrap().to_owned()
}

/// What is written of a set that is captured and not complete.
fn captured(cluster: &Cluster) -> Option<PathBuf> {
    let sets = fs::read_dir(cluster.state().join("sets")).ok()?;
    let mut files = sets.map(|set| set.unwrap().path().join("captured.json"));
    files.find(|file| file.exists())
}

/// A record of a process that the program started, a sidecar, a seal, and what is in the catalog.
#[test]
fn small_files_do_not_read() {
    small_files(&[On::Copy], 2);
}

#[test]
#[ignore = "long: the same in more ways, and on btrfs"]
fn small_files_do_not_read_in_any_way() {
    small_files(&[On::Btrfs, On::Copy], usize::MAX);
}

fn small_files(all: &[On], ways: usize) {
    for on in all.iter().copied() {
        let cluster = cluster_up(on);
        let mut cases = Cases::default();
        cluster.run(&["backup"]).exits(0);
        let set = newest(&cluster);
        for file in fs::read_dir(cluster.state().join("services")).unwrap() {
            let file = file.unwrap().path();
            for (what, text) in garbage(&fs::read(&file).unwrap()).into_iter().take(ways) {
                fs::write(&file, text).unwrap();
                cluster.run(&["status"]).exits(0);
                unharmed(&cluster, what, UP, &[1]);
                cases.count("a service record is damaged");
            }
        }
        // Brokers are found all the same, stopped and started again.
        cluster.run(&["backup"]).exits(0);
        unharmed(&cluster, "records do not read", UP, &[1]);
        let manifest = cluster
            .state()
            .join("sets")
            .join(&set)
            .join("manifest.json");
        let listing = manifest.with_file_name("node-1-entries.jsonl");
        for file in [&manifest, &listing] {
            let good = fs::read(file).unwrap();
            let ends: Vec<usize> = (1..6).map(|part| good.len() * part / 6).collect();
            let cut = ends.into_iter().map(|end| ("cut", good[..end].to_vec()));
            for (what, text) in cut.take(ways).chain(garbage(&good)) {
                if text == good {
                    continue;
                }
                fs::write(file, text).unwrap();
                let before = beside(&cluster);
                let said = cluster.run(&["restore", &set, "--yes"]);
                assert!(matches!(said.code, Some(1 | 3)), "{what}: {said}");
                assert!(
                    said.stderr.contains(file.to_str().unwrap()),
                    "{what}: {said}"
                );
                assert!(said.stderr.contains("recover --catalog"), "{what}: {said}");
                unharmed(&cluster, what, UP, &[1]);
                assert_eq!(beside(&cluster), before, "{what}");
                cases.count("a manifest or a listing is damaged");
            }
            cluster.run(&["recover", "--catalog"]).exits(0);
            assert_eq!(fs::read(file).unwrap(), good);
            let aside = fs::read_dir(cluster.state().join("sets")).unwrap();
            for aside in aside.map(|entry| entry.unwrap().path()) {
                if aside.to_str().unwrap().contains("damaged") {
                    fs::remove_dir_all(aside).unwrap();
                }
            }
        }
        let sidecar = cluster.place.snapshot(1, &set).with_extension("json");
        let seal = sidecar.with_extension("seal");
        for file in [sidecar, seal].into_iter().filter(|file| file.exists()) {
            let good = fs::read(&file).unwrap();
            for (what, text) in garbage(&good).into_iter().take(ways) {
                fs::write(&file, text).unwrap();
                let said = cluster.run(&["forget", &set, "--yes"]);
                assert_ne!(said.code, Some(0), "{what}: {said}");
                assert!(cluster.place.snapshot(1, &set).exists(), "{what}");
                assert!(
                    said.stderr
                        .contains(&file.with_extension("").display().to_string()),
                    "{what}: {said}"
                );
                assert!(cluster.run(&["status"]).stdout.contains(&set), "{what}");
                unharmed(&cluster, what, UP, &[1]);
                cases.count("a sidecar or a seal is damaged");
            }
            fs::write(&file, good).unwrap();
        }
        cluster.run(&["forget", &set, "--yes"]).exits(0);
        settled(&cluster, "small files", UP, &[1]);
    }
}

/// Nothing of what a set was made of is believed without a look: nobody runs here, and stays so.
#[test]
fn a_catalog_is_lost_and_found() {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    cluster.advance(2);
    fs::remove_dir_all(cluster.state()).unwrap();
    let status = cluster.run(&["status", "--json"]).exits(0).json();
    assert_eq!(status["lost"][0]["set"], set.as_str(), "{status}");
    cluster.run(&["recover", "--catalog"]).exits(0);
    cluster.run(&["verify", &set]).exits(0);
    cluster.run(&["restore", "latest", "--yes"]).exits(0);
    settled(&cluster, "a lost catalog", UP, &[1]);
    assert_ne!(cluster.up(), DOWN);
    cases.count("the state folder is lost");
}
