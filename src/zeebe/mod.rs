//! What is known of a broker: its version, what it is told, its data folder, what its management API says, and when a cluster is healthy.
//!
//! Must not know volumes, services or plans.

pub mod api;
pub mod data;
pub mod health;
pub mod settings;
pub mod version;
