//! What people see of a study while it runs: one line that changes where somebody watches, else a
//! line for each trial that ends.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::{board::Board, trial::Trial};
use crate::{commands::follow::drawn, output};

/// The progress of one session.
pub(super) struct Progress {
    bar: ProgressBar,
    began: Instant,
    ended: u32,
}

impl Progress {
    /// Of a session that begins now.
    pub(super) fn new() -> Self {
        let template = "{bar:20} {pos} of {len} trials  {msg}";
        Self { bar: drawn(0, template, |style| style), began: Instant::now(), ended: 0 }
    }

    /// Says something beside the line.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| output::say(line));
    }

    /// A trial has ended.
    pub(super) fn ended(&mut self, trial: &Trial) {
        self.ended += 1;
        if !output::is_watched() {
            output::say(describe(trial));
        }
    }

    /// Shows how the study stands.
    pub(super) fn show(&self, board: &Board) {
        let (mut done, mut failed) = (0u64, 0u64);
        for trial in board.trials() {
            match trial.state() {
                "done" => done += 1,
                "failed" | "lost" => failed += 1,
                _ => {}
            }
        }
        self.bar.set_length(board.end());
        self.bar.set_position(done + failed);
        let best = board.best(None).map_or_else(String::new, |trial| {
            let value = trial.value().unwrap_or_default();
            format!("  best {} by {}", figure(value), trial.about.model)
        });
        let left = board.end().saturating_sub(done + failed);
        let eta = self
            .eta(left)
            .map_or_else(String::new, |eta| format!("  ETA {}", indicatif::HumanDuration(eta)));
        let running = board.running();
        self.bar.set_message(format!("{running} running, {failed} failed{best}{eta}"));
    }

    /// At the rate of this session.
    fn eta(&self, left: u64) -> Option<Duration> {
        let left = u32::try_from(left).ok()?;
        self.began.elapsed().checked_div(self.ended)?.checked_mul(left)
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A trial that has ended, in one line.
fn describe(trial: &Trial) -> String {
    let outcome = trial.outcome();
    let seconds = outcome.and_then(|outcome| outcome.seconds).unwrap_or_default();
    let what = match (trial.value(), outcome.and_then(|outcome| outcome.failure.as_deref())) {
        (Some(value), _) => figure(value),
        (None, failure) => failure.unwrap_or("failed").to_owned(),
    };
    format!("trial {} ({}), {seconds:.1} s: {what}", trial.number, trial.about.model)
}

/// A value as people read it.
pub(super) fn figure(value: f64) -> String {
    if value == 0.0 || (1e-4..1e6).contains(&value.abs()) {
        let text = format!("{value:.6}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    format!("{value:.4e}")
}
