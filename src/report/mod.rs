//! What a person or a program is told: progress, times, the end of a run.
//!
//! Reads journals and endings; must not know agents or disks.

use std::io::Write;

pub mod ending;
pub mod progress;
pub mod table;
pub mod times;

/// A line for people, on standard error. That the terminal is gone is no reason to stop in the middle of a run.
pub fn tell(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// For a name that is not there: the nearest of those that are.
pub fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> String {
    let mut near: Vec<&str> = all.collect();
    near.sort_by(|a, b| strsim::jaro(b, name).total_cmp(&strsim::jaro(a, name)));
    near.truncate(3);
    match near.is_empty() {
        true => "there are none".to_owned(),
        false => format!("the nearest are {}", near.join(", ")),
    }
}
