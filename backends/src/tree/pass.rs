//! How a tree is gone through, whatever is done on the way.
//!
//! It must not know what that is.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;

/// Set it up with [`Pass::new`], and change what is to be different.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// No more threads than these run, the caller's among them.
    pub threads: NonZeroUsize,
    /// Names in the root that are passed over as if they were not there, with all that is below them.
    pub leave_out: &'a [OsString],
    /// Asked often, from any thread. Once it says yes the work ends soon, with [`super::TreeError::Interrupted`].
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Told the bytes done since it was last told, from any thread.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Pass<'_> {
    /// Over all of a tree, with a thread for each core.
    pub fn new() -> Self {
        Pass {
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            leave_out: &[],
            stop: &|| false,
            progress: &|_| {},
        }
    }
}

impl Default for Pass<'_> {
    fn default() -> Self {
        Pass::new()
    }
}

impl fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("threads", &self.threads)
            .field("leave_out", &self.leave_out)
            .finish_non_exhaustive()
    }
}
