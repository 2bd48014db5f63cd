//! The real program, killed anywhere: on real btrfs and copy volumes, with processes that are to it what brokers are.
//!
//! Nothing here uses the program's own code: what is on disk and who runs is looked at by other means. Needs root. What a
//! test makes is below one temporary folder, and gone with it.

// A test ends by panicking, and says with `expect` what it had relied on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broker;
mod case;
mod cluster;
mod counts;
mod folder;
mod invariants;
mod killing;
mod locks;
mod machine;
mod processes;
mod round_trip;
mod sweep;

// The rig of the tests on real Zeebe brokers.
#[path = "../real/addresses.rs"]
#[allow(dead_code)]
mod addresses;
#[path = "../real/layout.rs"]
#[allow(dead_code)]
mod layout;
#[path = "../real/rig.rs"]
mod rig;
#[path = "../real/wait.rs"]
mod wait;
