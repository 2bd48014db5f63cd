//! Waiting: always for something, never for a time.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The answer of `ask`, asked until it has one; a panic that names `what` if it has none for a minute.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed().as_secs() < 60, "gave up waiting for {what}");
        sleep(Duration::from_millis(1));
    }
}
