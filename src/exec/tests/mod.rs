//! Whole runs on a machine in memory: the planners, the executor, the actions of the backends, the journal's text and the
//! recovery are the program's own; the disks, services, processes and the clock are here.
//!
//! [`sweep`] ends a run at every moment and lets every step fail; [`invariants`] says what must be true afterwards.

mod agent;
mod asking;
mod cases;
mod host;
mod invariants;
mod layout;
mod machine;
mod session;
mod state;
mod sweep;
mod tree;
mod verbs;
mod volumes;
