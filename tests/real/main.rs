//! The program from outside, against three real Zeebe brokers on loop volumes.
//!
//! Needs root, `ZEEBE_HOME` (an unpacked Zeebe 8.5.8), `ZEEBE_NEXT_HOME` (8.6.0) and `JAVA_HOME` (21 or later). The brokers
//! listen on 127.0.30.1 to 127.0.30.3, or the next such addresses that are free, with Zeebe's own ports. `KEEP=1` leaves
//! folder, logs and mounts of a cluster for a look; its processes end.
//!
//! Nothing here knows how the program does its work: tests see what an admin sees, which is exit codes, output, brokers,
//! process instances and what lies on the disks.

// A test ends by panicking, and says with `expect` what it had relied on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod addresses;
mod carried;
mod cluster;
mod data_folder;
mod every_instance_is_back;
mod faults;
mod frozen;
mod gate;
mod init;
mod install;
mod instances;
mod interrupted;
#[allow(dead_code, reason = "tests/volumes has more layouts")]
mod layout;
mod mapped;
mod other_layouts;
mod plain_copy;
mod program;
mod random;
mod refused;
mod replacement;
mod rig;
mod running;
mod setup;
mod stuck;
mod terminal;
mod undo;
mod versions;
mod wait;
