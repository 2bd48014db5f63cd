//! Waiting: always for something, never for a time. Must not know what is waited for.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The answer of `ask`, asked until it has one; a panic that names `what` once `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            begun.elapsed() < limit,
            "gave up after {limit:?} waiting for {what}"
        );
        sleep(Duration::from_millis(50));
    }
}

/// Seconds.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
