//! Following a run through its ledger: until it has ended, with a progress bar for people.

use std::time::{Duration, Instant};

use crate::{
    failure::Failure,
    ledger::{Ledger, RunRow},
    output,
    summary::{RunSummary, short},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often the ledger is asked whether anything changed: one read of shared memory.
const LOOK: Duration = Duration::from_millis(20);
/// How often progress is read in full at most.
const REDRAW: Duration = Duration::from_millis(250);

/// A run that the ledger has not heard of after so long waits for an aggregator.
const UNHEARD: Duration = Duration::from_secs(5);

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Seeds asked for; 0 while the manifest has not arrived.
    pub(super) requested: u128,
    /// Seeds tested, those of running jobs included.
    pub(super) tested: u128,
    /// Survivors in the ledger.
    pub(super) survivors: u64,
    /// Survivors that chance alone would leave.
    pub(super) expected: f64,
}

/// Watches one run.
#[derive(Debug)]
pub(super) struct Watch {
    ledger: Ledger,
    run: String,
}

impl Watch {
    /// Watches `run` in `ledger`, whether it is there yet or not.
    pub(super) const fn new(ledger: Ledger, run: String) -> Self {
        Self { ledger, run }
    }

    /// The ledger that is watched.
    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Waits until the run has ended, calling `each` with its progress now and then.
    pub(super) async fn until_ended(
        &mut self,
        mut each: impl FnMut(Step),
    ) -> Result<RunRow, Failure> {
        let mut version = None;
        let mut drawn = Instant::now();
        let mut unheard = Some(Instant::now());
        loop {
            if unheard.is_some_and(|since| since.elapsed() >= UNHEARD) {
                unheard = None;
                if self.ledger.run(&self.run)?.is_none() {
                    output::say(format!(
                        "run {} has not reached the ledger yet: does `producer aggregate` work on it?",
                        self.run
                    ));
                }
            }
            let changed = Some(self.ledger.data_version()?);
            if version != changed {
                version = changed;
                let run = self.ledger.run(&self.run)?;
                let ended = run.as_ref().is_some_and(|run| run.state.is_ended());
                if let Some(run) = run.filter(|_| ended || drawn.elapsed() >= REDRAW) {
                    drawn = Instant::now();
                    let summary = RunSummary::read(&self.ledger, &run, 0)?;
                    each(Step {
                        requested: run.manifest.as_ref().map_or(0, |m| m.requested.len()),
                        tested: summary.covered + summary.in_progress,
                        survivors: summary.survivor_count,
                        expected: summary.expected_by_chance.unwrap_or_default(),
                    });
                    if ended {
                        return Ok(run);
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A progress bar on stderr, where somebody watches it.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

/// A bar that no progress was shown on yet.
pub(super) fn progress_bar() -> Bar {
    let target = if output::is_watched() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let template =
        "{bar:30} {percent:>3} %  {human_pos} of {human_len} seeds  {rate}  ETA {eta}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            // A line that can't be drawn is drawn again in a moment.
            write!(text, "{}/s", short(state.per_sec())).ok();
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    Bar(bar)
}

impl Bar {
    /// Shows how far the run is.
    pub(super) fn show(&self, step: Step) {
        self.0.set_length(u64::try_from(step.requested).unwrap_or(u64::MAX));
        self.0.set_position(u64::try_from(step.tested).unwrap_or(u64::MAX));
        let expected = crate::summary::figure(step.expected);
        self.0.set_message(format!("{} survivors ({expected} by chance)", step.survivors));
    }

    /// Clears the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
