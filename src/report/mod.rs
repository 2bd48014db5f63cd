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
