//! What is shown while a run goes on: on standard error, and only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::agent::protocol::Fault;
use crate::exec::{Cause, Sink};
use crate::plan::{Stage, Step};

/// A line that says what is going on. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::new()
    }
}

impl Progress {
    /// Hidden where standard error is not a terminal.
    pub fn new() -> Progress {
        let bar = ProgressBar::no_length();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Progress { bar }
    }

    /// What is going on now.
    pub fn say(&self, message: String) {
        if self.bar.is_finished() {
            self.bar.reset();
        }
        // A thread of its own, for nothing where nobody looks.
        if !self.bar.is_hidden() {
            self.bar.enable_steady_tick(Duration::from_millis(120));
        }
        self.bar.set_position(0);
        self.bar.set_message(message);
    }

    /// So many bytes more have been digested.
    pub fn hashed(&self, bytes: u64) {
        self.bar.inc(bytes);
        if !self.bar.is_hidden() {
            let done = super::table::bytes(self.bar.position());
            let what = self
                .bar
                .message()
                .split(':')
                .next()
                .unwrap_or_default()
                .to_owned();
            self.bar.set_message(format!("{what}: {done}"));
        }
    }

    /// So many bytes have flowed, of about so many.
    pub fn flowed(&self, bytes: u64, of: Option<u64>) {
        if self.bar.is_hidden() {
            return;
        }
        let so_far = super::table::bytes;
        let what = self.bar.message();
        let what = what.split(':').next().unwrap_or_default();
        let rate = bytes as f64 / self.bar.elapsed().as_secs_f64().max(0.1);
        let left = of
            .filter(|_| rate > 1.0)
            .map(|of| of.saturating_sub(bytes) as f64 / rate);
        let of = of.map(|of| format!(" of about {}", so_far(of)));
        let left = left.map(|left| format!(", {left:.0} s left"));
        let (of, left) = (of.unwrap_or_default(), left.unwrap_or_default());
        let (bytes, rate) = (so_far(bytes), so_far(rate as u64));
        self.bar
            .set_message(format!("{what}: {bytes}{of}, {rate}/s{left}"));
    }

    /// A line that stays, for people: on standard error.
    pub fn note(&self, line: &str) {
        self.bar.suspend(|| super::tell(line));
    }

    /// Nothing goes on any more.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(stage: &Stage) -> String {
    let Some(first) = stage.steps.first() else {
        return String::new();
    };
    match first.node() {
        Some(_) if stage.steps.len() > 1 => {
            format!("{} of {} brokers", first.word(), stage.steps.len())
        }
        _ => first.to_string(),
    }
}

impl Sink for Progress {
    fn stage(&mut self, stage: &Stage) {
        tracing::info!(stage = message(stage));
        self.say(message(stage));
    }

    fn failed(&mut self, _step: &Step, fault: &Fault) {
        self.note(&format!("zeebe-snap: {fault}"));
    }

    fn unwinding(&mut self, why: &Cause) {
        match why {
            // It was said already.
            Cause::Failed { .. } => self.note("zeebe-snap: undoing what was done"),
            other => self.note(&format!("zeebe-snap: {other}; undoing what was done")),
        }
    }
}
