//! The real program on real datasets and logical volumes, with processes that are to it what brokers are.
//!
//! Its tests need a kernel that has ZFS and device-mapper; scripts/test runs them through scripts/vm, and they are ignored
//! without. Real Zeebe is too slow where that kernel is emulated: tests/real carries its data there and back. Needs root.

// A test ends by panicking, and says with `expect` what it had relied on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bench;
mod killed;
mod round_trip;
mod traces;

// The brokers and their cluster are those of the sweep.
#[path = "../sweep/broker.rs"]
mod broker;
#[path = "../sweep/cluster.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod cluster;
#[path = "../sweep/folder.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod folder;
#[path = "../sweep/locks.rs"]
mod locks;
#[path = "../sweep/processes.rs"]
mod processes;

// The rig is that of the tests on real Zeebe brokers.
#[path = "../real/addresses.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod addresses;
#[path = "../real/layout.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod layout;
#[path = "../real/rig.rs"]
mod rig;
#[path = "../real/wait.rs"]
mod wait;
