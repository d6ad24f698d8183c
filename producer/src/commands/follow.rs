//! Following a run through its ledger: until it has ended, with a progress bar for people.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use shared::exit_codes;

use crate::{
    ask::Ask,
    context::Context,
    failure::Failure,
    ledger::Ledger,
    output,
    server::Server,
    summary::{RunSummary, short},
};

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
    /// Of a run of scripts: failures so far, and dead jobs.
    pub(super) scripts: Option<(u64, u64)>,
}

/// Watches one run.
#[derive(Debug)]
pub(super) struct Watch {
    place: Place,
    run: String,
}

/// Where the run's ledger is.
#[derive(Debug)]
enum Place {
    /// In a data folder of this machine, with the version last seen.
    Here(Ledger, Option<i64>),
    /// Behind a server.
    There(Server),
}

impl Watch {
    /// Watches `run` in `ledger`, whether it is there yet or not.
    pub(super) const fn new(ledger: Ledger, run: String) -> Self {
        Self { place: Place::Here(ledger, None), run }
    }

    /// Watches `run` through a server, whether it is there yet or not.
    pub(super) const fn through(server: Server, run: String) -> Self {
        Self { place: Place::There(server), run }
    }

    /// Watches a run that is there.
    pub(super) fn of(context: &Context, run: &str) -> Result<Self, Failure> {
        let run = run.to_owned();
        match &context.server {
            Some(server) => {
                server.ask(&Ask::Status { run: run.clone(), limit: 0 })?;
                Ok(Self::through(server.clone(), run))
            }
            None => Ok(Self::new(context.find_run(&run)?.0, run)),
        }
    }

    /// Waits until the run has ended, calling `each` with its progress now and then. Returns how
    /// it ended, with at most `limit` survivors.
    pub(super) async fn until_ended(
        &mut self,
        limit: u64,
        mut each: impl FnMut(Step),
    ) -> Result<RunSummary, Failure> {
        let mut drawn: Option<Instant> = None;
        let mut unheard = Some(Instant::now());
        loop {
            let draw = drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
            if let Some(summary) = self.look(limit, draw)? {
                unheard = None;
                if draw || summary.is_ended() {
                    drawn = Some(Instant::now());
                    each(Step::of(&summary));
                }
                if summary.is_ended() {
                    return Ok(summary);
                }
            }
            if unheard.is_some_and(|since| since.elapsed() >= UNHEARD) {
                unheard = None;
                output::say(format!(
                    "run {} has not reached the ledger yet: does `producer aggregate` work on it?",
                    self.run
                ));
            }
            let wait = if matches!(self.place, Place::Here(..)) { LOOK } else { REDRAW };
            tokio::time::sleep(wait).await;
        }
    }

    /// How the run stands, if it is known and anything is worth telling: when it has ended, and
    /// when `draw` asks for its progress. Survivors are read at its end alone.
    fn look(&mut self, limit: u64, draw: bool) -> Result<Option<RunSummary>, Failure> {
        match &mut self.place {
            Place::Here(ledger, version) => {
                let changed = Some(ledger.data_version()?);
                if *version == changed {
                    return Ok(None);
                }
                let Some(run) = ledger.run(&self.run)? else { return Ok(None) };
                let ended = run.state.is_ended();
                if !ended && !draw {
                    return Ok(None);
                }
                *version = changed;
                let limit = if ended { limit } else { 0 };
                Ok(Some(RunSummary::read(ledger, &run, limit)?))
            }
            Place::There(server) => {
                let ask = |limit| -> Result<RunSummary, Failure> {
                    let ask = Ask::Status { run: self.run.clone(), limit };
                    let answer = server.ask(&ask)?;
                    Ok(serde_json::from_str(&answer)?)
                };
                match ask(0) {
                    Ok(summary) if summary.is_ended() => ask(limit).map(Some),
                    Ok(summary) => Ok(Some(summary)),
                    Err(Failure { code: exit_codes::NOT_FOUND, .. }) => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
        }
    }
}

impl Step {
    fn of(summary: &RunSummary) -> Self {
        let requested = summary.requested.map(|asked| asked.end - u128::from(asked.start));
        Self {
            requested: requested.unwrap_or_default(),
            tested: summary.covered + summary.in_progress,
            survivors: summary.survivor_count,
            expected: summary.expected_by_chance.unwrap_or_default(),
            scripts: summary.jobs.failed.map(|failed| (failed, summary.jobs.dead)),
        }
    }
}

/// A progress bar on stderr, where somebody watches it.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

/// A bar that no progress was shown on yet.
pub(super) fn progress_bar() -> Bar {
    let template = "{bar:30} {percent:>3} %  {human_pos} of {human_len}  {rate}  ETA {eta}  {msg}";
    let rate = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        // A line that can't be drawn is drawn again in a moment.
        write!(text, "{}/s", short(state.per_sec())).ok();
    };
    Bar(drawn(0, template, |style| style.with_key("rate", rate)))
}

/// A bar on stderr, where somebody watches it.
pub(crate) fn drawn(
    length: u64,
    template: &str,
    keys: impl FnOnce(ProgressStyle) -> ProgressStyle,
) -> ProgressBar {
    let target = if output::is_watched() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(keys(style));
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

impl Bar {
    /// Shows how far the run is.
    pub(super) fn show(&self, step: Step) {
        self.0.set_length(u64::try_from(step.requested).unwrap_or(u64::MAX));
        self.0.set_position(u64::try_from(step.tested).unwrap_or(u64::MAX));
        self.0.set_message(match step.scripts {
            Some((failed, dead)) => format!("scripts, {failed} failures, {dead} dead"),
            None => {
                let expected = crate::summary::figure(step.expected);
                format!("seeds, {} survivors ({expected} by chance)", step.survivors)
            }
        });
    }

    /// Clears the bar away.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
