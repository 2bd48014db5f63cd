//! How much memory a clone takes: little, and no more for more files.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Outcome, PROGRAM};
use crate::volume::{apart, tool, volume};

/// Clones, and gives the most memory that was resident at a time, in KiB.
fn clone(from: &Path, to: &Path) -> u64 {
    let mut child = Command::new(PROGRAM)
        .args(["tree", "clone"])
        .args([from, to])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        // The kernel keeps the maximum, and it is looked at up to the end.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let value = line.and_then(|line| line.split_whitespace().next());
        most = most.max(value.map_or(0, |value| value.parse().unwrap()));
        std::thread::yield_now();
    }
    Outcome::from(child.wait_with_output().unwrap()).exits(0);
    most
}

#[test]
fn ten_times_the_files_take_no_more_memory() {
    apart(|folder| {
        let at = volume(folder, "xfs", 4000);
        let [few, many] = [30, 300].map(|folders| {
            let from = at.join(format!("source {folders}"));
            for number in 0..folders {
                let folder = from.join(format!("{}/{number}", number % 7));
                fs::create_dir_all(&folder).unwrap();
                for number in 0..1000 {
                    fs::File::create(folder.join(format!("{number:020}.log"))).unwrap();
                }
            }
            let most = clone(&from, &at.join(format!("target {folders}")));
            tool(Command::new("rm").arg("-rf").arg(from));
            most
        });
        eprintln!("{few} KiB for 30,000 files, {many} KiB for 300,000");
        assert!(many < 64 * 1024, "{many} KiB");
        assert!(
            many < few + 2 * 1024,
            "{few} KiB for 30,000 files, {many} KiB for 300,000"
        );
    });
}
