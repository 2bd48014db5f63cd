//! The program from outside, on a Debian with a systemd of its own: a container in which a real Zeebe broker is a unit with
//! `Restart=always`, and other units need it.
//!
//! Needs root, `ZEEBE_HOME` (an unpacked Zeebe 8.5.8), `JAVA_HOME` (21 or later) and `CONTAINER_ROOT` (`scripts/setup container`
//! makes it). `KEEP=1` leaves the container's folder for a look; its processes end.
//!
//! Nothing here knows how the program does its work: tests see what an admin of that host sees.

// A test ends by panicking, and says with `expect` what it had relied on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod container;
mod dependants;
mod hold;
mod init;
#[path = "../real/instances.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod instances;
mod outside;
#[path = "../tree/program.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod program;
mod reset;
mod rig;
mod round_trip;
mod running;
#[path = "../real/wait.rs"]
mod wait;
