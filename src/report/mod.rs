//! What a person or a program is told: progress, times, the end of a run.
//!
//! Reads journals and endings; must not know agents or disks.

pub mod ending;
pub mod progress;
pub mod table;
pub mod times;
