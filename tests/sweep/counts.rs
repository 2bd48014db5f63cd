//! How many cases were run, by kind, for whoever asks by `ZEEBE_SNAP_CASES`: a file to which lines are added.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

/// Adds what was run.
pub fn add(counts: &BTreeMap<String, usize>) {
    let Some(file) = std::env::var_os("ZEEBE_SNAP_CASES") else {
        return;
    };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .unwrap();
    for (kind, count) in counts {
        file.write_all(format!("real program\t{kind}\t{count}\n").as_bytes())
            .unwrap();
    }
}
