//! The `tree` verb from outside, on real file systems: ext4, xfs with reflink and btrfs, each on a loop device.
//!
//! Needs root, python3, strace, chattr and the three mkfs. What is a faithful clone is judged by a comparer that shares no
//! code with the program (compare.py), and that the comparer itself sees every difference is tested, too.

// A test ends by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod comparer;
mod comparing;
mod faults;
mod interrupted;
mod memory;
mod program;
mod random;
mod refusing;
mod round_trip;
mod sample;
mod strace;
mod volume;
mod wait;
