//! Exit codes.

use std::process::ExitCode;

/// How the program ends; scripts rely on these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// It failed, and everything is as it was.
    Failed = 1,
    /// The command line or cluster.toml is wrong; nothing was touched.
    Usage = 2,
    /// Refused; nothing was touched.
    Refused = 3,
    /// A person is needed.
    Person = 4,
    /// Differences were found.
    Differs = 5,
}

/// The context of an error that came when things were already changed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the run could not be ended as it should; `zeebe-snap status` shows the brokers, `zeebe-snap recover` settles what is owed"
)]
pub struct InDoubt;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// What an error that nobody handled means.
    pub fn of(error: &anyhow::Error) -> Exit {
        use crate::agent::protocol::{Fault, FaultKind};
        if error.downcast_ref::<crate::config::ConfigError>().is_some() {
            return Exit::Usage;
        }
        if error.downcast_ref::<InDoubt>().is_some()
            || error.downcast_ref::<crate::cmd::UnknownDebt>().is_some()
        {
            return Exit::Person;
        }
        if error.downcast_ref::<crate::catalog::NoSuchSet>().is_some()
            || error.downcast_ref::<crate::catalog::Damaged>().is_some()
        {
            return Exit::Refused;
        }
        match error.downcast_ref::<Fault>().map(|fault| fault.kind) {
            Some(FaultKind::Locked) => Exit::Refused,
            _ => Exit::Failed,
        }
    }
}
