//! zeebe-snap takes cold backups of a Zeebe broker cluster and brings them back.
//!
//! # The way through the house
//! ```text
//! cluster.toml ─> config ─> Cluster ─┐
//! agent: inspect (reads only) ───────┴─> plan (pure) ─> Plan ─> exec ─> steps, journalled before and after
//!                                                                │
//!                          world ── link (a pipe) ──> agent ─> service   (stop, start, is it up?)
//!                            │                            ├──> process   (who holds the data?)
//!                            │                            └──> backends  (snapshot, swap, digest)
//!                            └─> catalog (sets, manifests)
//! discover (running processes) ─> draft of a cluster.toml
//! journal ─> plan::recovery (pure): what a run still owes         journal ─> report: times, the end
//! ```
//! Data flows one way. Inspecting reads, planning computes, executing changes: a [`plan::Plan`] is a value that
//! `--dry-run` prints, the journal stores and [`exec`] walks. No planner touches a disk and nothing in the executor
//! decides.
//!
//! A run has one point: before it a failure is undone, after it nothing is. A backup is past it when the last broker has
//! been proven down after the last snapshot, a restore when the commit is in the journal. Which side a run is on, and
//! what it owes, is computed from its journal alone, by [`plan::recovery`]: the unwinding of a failed run and `recover`
//! after a crash are the same code.
//!
//! # Who does what
//! The coordinator is the process a person runs. It starts an [`agent`], the same program, as a child, and only agents
//! touch volumes and services. If the coordinator dies the agent notices the end of its pipe and becomes `recover`. If
//! the agent dies the coordinator starts another and unwinds. Tools and starting brokers carry their locks with them, so
//! that whoever comes next waits for what is still going on.

pub mod agent;
pub mod catalog;
pub mod cmd;
pub mod config;
pub mod discover;
pub mod exec;
pub mod exit;
pub mod id;
pub mod journal;
pub mod link;
pub mod lock;
pub mod plan;
pub mod process;
pub mod report;
pub mod service;
pub mod world;
pub mod zeebe;
