//! A disk that fails: the state folder's dies for good in the middle of a run, or one write or sync of one file fails.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cases, UP, cluster_up, ended, mount, newest, settled, unharmed, wait_for_line};
use crate::case::On;
use crate::cluster::{Cluster, Outcome};
use crate::killing::{lines, tidy};
use crate::rig::{MARK, tool};

const SAID: [&str; 2] = ["Input/output error", "os error 5"];

/// `EXT4_IOC_SHUTDOWN`, fs/ext4/ext4.h: from here on every access to the file system fails, as on a disk that died.
#[allow(unsafe_code)]
fn kill_file_system(at: &Path) {
    const SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let without_flushing: u32 = 2;
    let folder = File::open(at).unwrap();
    // SAFETY: the call reads one number behind the pointer, which outlives it.
    let done = unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, &raw const without_flushing) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// The state folder on a disk of its own.
fn mount_state(cluster: &Cluster) -> PathBuf {
    let disk = cluster.dir().join("state-disk");
    File::create(&disk).unwrap().set_len(32 << 20).unwrap();
    tool(Command::new("mkfs.ext4").arg("-q").arg(&disk));
    fs::create_dir_all(cluster.state()).unwrap();
    mount(&["-o", "loop", disk.to_str().unwrap()], &cluster.state());
    disk
}

/// What is left of it when its file system was killed.
fn mount_state_again(cluster: &Cluster, disk: &Path) {
    tool(Command::new("umount").arg(cluster.state()));
    mount(&["-o", "loop", disk.to_str().unwrap()], &cluster.state());
}

fn the_disk_of_the_state_dies(backups: &[usize], restores: &[usize]) {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    let disk = mount_state(&cluster);
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    let backups = backups.iter().map(|line| (vec!["backup"], line));
    let restores = restores
        .iter()
        .map(|line| (vec!["restore", &set, "--yes"], line));
    for (number, (words, line)) in backups.chain(restores).enumerate() {
        let now = 10 + number as u64;
        cluster.advance(now);
        tidy(&cluster.state());
        tool(Command::new("sync").arg("-f").arg(cluster.state()));
        let times: &[u64] = if words[0] == "backup" {
            &[now]
        } else {
            &[now, 1]
        };
        let what = format!("{words:?}, whose state is lost at line {line}");
        let before = lines(&cluster.state());
        let mut run = cluster.begin(&words);
        let was_there = wait_for_line(&cluster, &mut run, before, *line);
        kill_file_system(&cluster.state());
        let outcome = run.finish();
        if was_there {
            ended(&outcome, &what, &SAID);
        }
        unharmed(&cluster, &what, UP, times);
        mount_state_again(&cluster, &disk);
        settled(&cluster, &what, UP, times);
        cases.count(&format!("{}: the disk of the state folder dies", words[0]));
    }
}

#[test]
fn the_disk_of_the_state_folder_dies() {
    the_disk_of_the_state_dies(&[3, 9, 16], &[4, 12]);
}

#[test]
#[ignore = "long: the same at every line"]
fn the_disk_of_the_state_folder_dies_at_every_line() {
    let every: Vec<usize> = (1..40).collect();
    the_disk_of_the_state_dies(&every, &every);
}

/// The shim, built with the compiler that links Rust's programs.
pub fn shim(cluster: &Cluster) -> PathBuf {
    let shim = cluster.dir().join("shim.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sweep/machine/shim.c");
    let mut cc = Command::new("cc");
    tool(
        cc.args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&shim)
            .arg(source),
    );
    shim
}

/// The program with these in its environment.
pub fn command(cluster: &Cluster, environment: &[(&str, &Path)], words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zeebe-snap"));
    command
        .arg("--cluster")
        .arg(cluster.dir().join("cluster.toml"))
        .arg("--state-dir")
        .arg(cluster.state())
        .args(words)
        .env(MARK, cluster.dir())
        .envs(environment.iter().copied());
    command
}

/// Runs it.
pub fn run_to_its_end(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The writes and syncs below a folder, of which one fails.
struct Calls<'a> {
    cluster: &'a Cluster,
    shim: PathBuf,
    below: PathBuf,
}

impl Calls<'_> {
    fn below(cluster: &Cluster, below: PathBuf) -> Calls<'_> {
        let shim = shim(cluster);
        Calls {
            cluster,
            shim,
            below,
        }
    }

    /// Runs the program, whose call of that number fails; how it ended, and how many calls it made.
    fn run(&self, number: usize, words: &[&str]) -> (Outcome, usize) {
        let [count, fails] = ["count", "fails"].map(|name| self.cluster.dir().join(name));
        fs::write(&count, "").unwrap();
        fs::write(&fails, number.to_string()).unwrap();
        let environment: [(&str, &Path); 4] = [
            ("LD_PRELOAD", &self.shim),
            ("SHIM_BELOW", &self.below),
            ("SHIM_COUNT", &count),
            ("SHIM_FAILS", &fails),
        ];
        let outcome = run_to_its_end(&mut command(self.cluster, &environment, words));
        (outcome, fs::metadata(&count).unwrap().len() as usize)
    }
}

/// Writes and syncs below `below` that a verb makes are counted, and then one after the other fails: every `step`th.
fn one_write_fails(below: fn(&Cluster) -> PathBuf, place: &str, most: usize) {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    cluster.run(&["backup"]).exits(0);
    let set = newest(&cluster);
    let calls = Calls::below(&cluster, below(&cluster));
    let verbs: [&[&str]; 2] = [&["backup"], &["restore", &set, "--yes"]];
    let mut now = 10;
    for words in verbs {
        let mut with = |number: usize| {
            now += 1;
            cluster.advance(now);
            tidy(&cluster.state());
            let times: &[u64] = if words[0] == "backup" {
                &[now]
            } else {
                &[now, 1]
            };
            let what = format!("{words:?}, call {number} below {place} fails");
            let (outcome, calls) = calls.run(number, words);
            if number > 0 {
                ended(&outcome, &what, &SAID);
            }
            unharmed(&cluster, &what, UP, times);
            settled(&cluster, &what, UP, times);
            calls
        };
        let all = with(0);
        assert!(all > 0, "{words:?} writes nothing below {place}");
        let step = all.div_ceil(most);
        for number in (1..=all).step_by(step) {
            with(number);
            cases.count(&format!(
                "{}: a write or sync below {place} fails",
                words[0]
            ));
        }
    }
}

#[test]
fn one_write_of_the_state_fails() {
    one_write_fails(|cluster| cluster.state(), "the state folder", 5);
}

#[test]
fn one_write_beside_the_data_fails() {
    one_write_fails(|cluster| cluster.place.root(), "the data's volume", 4);
}

/// A line of the journal is not written or not synced, every `step`th in turn, and after the run the power goes: what was
/// not synced is gone.
fn one_line_is_not_synced(step: usize) {
    let cluster = cluster_up(On::Btrfs);
    let mut cases = Cases::default();
    let disk = mount_state(&cluster);
    cluster.run(&["backup"]).exits(0);
    let calls = Calls::below(&cluster, cluster.state().join("runs"));
    for number in (2..).step_by(step) {
        let now = 10 + number as u64;
        cluster.advance(now);
        tidy(&cluster.state());
        tool(Command::new("sync").arg("-f").arg(cluster.state()));
        let what = format!("call {number} for the journal fails, and the power goes");
        let (outcome, calls) = calls.run(number, &["backup"]);
        kill_file_system(&cluster.state());
        unharmed(&cluster, &what, UP, &[now]);
        mount_state_again(&cluster, &disk);
        settled(&cluster, &what, UP, &[now]);
        if calls < number {
            assert!(number > 10, "it writes no journal: {outcome}");
            break;
        }
        ended(&outcome, &what, &SAID);
        cases.count("backup: a line is not written or synced, and the power goes");
    }
}

#[test]
fn one_line_is_not_synced_and_the_power_goes() {
    one_line_is_not_synced(3);
}

#[test]
#[ignore = "long: the same with every line"]
fn every_line_is_not_synced_once() {
    one_line_is_not_synced(1);
}

#[test]
#[ignore = "long: the same with every one"]
fn every_write_fails_once() {
    one_write_fails(|cluster| cluster.state(), "the state folder", usize::MAX);
    one_write_fails(
        |cluster| cluster.place.root(),
        "the data's volume",
        usize::MAX,
    );
}
