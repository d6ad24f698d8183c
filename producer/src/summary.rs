//! What `status`, `run` and `enqueue --wait` say of a run: the JSON that others rely on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shared::{
    messages::RunOpened,
    outcome::{Best, Sequences},
    sieve::{Direction, Mode},
    spans::Span,
    statistics::{Report, Statistics},
};

use crate::{
    aggregate::now,
    chance,
    ledger::{Kept, Ledger, LedgerError, RunRow, RunState},
    script_summary::{self, ScriptRecord},
};

/// Survivors shown unless `--limit` says otherwise.
pub const DEFAULT_LIMIT: u64 = 1000;
/// A worker whose last heartbeat is older is not counted into progress.
const HEARD_LATELY: f64 = 15.0;

/// Everything about a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub run: String,
    /// The pipeline step.
    pub step: Option<String>,
    /// `sieve`, `reverse_sieve`, `correlation`, `analysis`, `script` or `study`.
    pub kind: Option<String>,
    /// `open`, `paused`, `complete`, `cancelled` or `failed`.
    pub state: String,
    /// Its epoch: what is published of it must have it.
    #[serde(default)]
    pub epoch: u32,
    /// The generator.
    pub family: Option<String>,
    /// `forward`, `reverse` or `both`.
    pub direction: Option<Direction>,
    /// `fixed` or `variable`.
    pub mode: Option<Mode>,
    /// What was asked.
    pub requested: Option<HalfOpen>,
    /// How many seeds (or candidates) were tested.
    pub covered: u128,
    /// What was not, half-open.
    pub holes: Vec<(u64, u128)>,
    /// How many survivors there are.
    pub survivor_count: u64,
    /// How many chance alone would leave.
    pub expected_by_chance: Option<f64>,
    /// The standard error of that, if it was sampled.
    #[serde(default)]
    pub expected_error: Option<f64>,
    /// How that was computed.
    pub expected_method: Option<String>,
    /// The first of them.
    pub survivors: Vec<Record>,
    /// What a correlation or an analysis asks, with its reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Reported>,
    /// The script jobs, the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<ScriptRecord>>,
    /// What to bear in mind of the family and the question.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What was done about the run without being asked for.
    #[serde(default)]
    pub note: Option<String>,
    /// How the jobs went.
    pub jobs: Jobs,
    /// Dead jobs, the first few.
    pub dead: Vec<Dead>,
    /// Seeds that two devices report differently.
    pub disagreements: usize,
    /// From opening to the end, or to now.
    pub seconds: f64,
    /// Seeds tested over those seconds.
    pub seeds_per_second: f64,
    /// Seeds tested by jobs that still run, as their workers say.
    #[serde(default)]
    pub in_progress: u128,
}

/// What a correlation or an analysis asked, and what was reported.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reported {
    /// The question.
    pub question: Statistics,
    /// How many seeds were reported on.
    pub report_count: u64,
    /// The first of the reports, ascending by seed.
    pub reports: Vec<Report>,
    /// The mean of the scores of an analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composite_score: Option<f64>,
}

/// A half-open range; its end may be 2^64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalfOpen {
    /// The first value.
    pub start: u64,
    /// One past the last value.
    pub end: u128,
}

impl From<Span> for HalfOpen {
    fn from(span: Span) -> Self {
        Self { start: span.first(), end: span.end() }
    }
}

/// How a run's jobs went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    /// Jobs there are: the producer's, and those made of untested rests.
    pub published: u64,
    /// Done.
    pub done: u64,
    /// Failures of scripts, those that were tried again among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Tries after a failure.
    pub retried: u64,
    /// Queued again by reconciliation.
    pub requeued: u64,
    /// Dead.
    pub dead: u64,
}

/// A dead job, in one line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dead {
    /// Its id.
    pub job: String,
    /// What it died of.
    pub failure: String,
    /// One line for people.
    pub detail: String,
}

/// A survivor as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The seed.
    pub seed: u64,
    /// The same for readers that lose digits.
    pub seed_hex: String,
    /// How many draws matched.
    pub matches: u32,
    /// Of so many.
    pub total: usize,
    /// `matches / total`.
    pub rate: f64,
    /// The smallest skip that attains it; with variable skips the one before the first draw.
    pub skip: u32,
    /// `both`: the same in reverse order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse: Option<ReverseRecord>,
    /// What else there is with variable skips.
    #[serde(flatten)]
    pub walk: WalkRecord,
}

/// How a strategy of variable skips came to its matches; empty with a fixed one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkRecord {
    /// The id of the first strategy that attains the matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<u32>,
    /// Its skips, draw by draw up to where it ended; of a draw that it missed the expected one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skips: Option<Vec<u16>>,
}

impl WalkRecord {
    /// Of a result whose skips are known, and the skip that stands for them in a record.
    fn of(best: Best, skips: Option<Vec<u16>>) -> (u32, Self) {
        match skips {
            None => (best.skip, Self::default()),
            Some(skips) => {
                let first = skips.first().copied().unwrap_or_default();
                (first.into(), Self { strategy: Some(best.skip), skips: Some(skips) })
            }
        }
    }
}

/// A survivor's result in reverse order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReverseRecord {
    /// How many draws matched.
    pub matches: u32,
    /// The share of all.
    pub rate: f64,
    /// The smallest skip that attains it; with variable skips the one before the first draw.
    pub skip: u32,
    /// What else there is with variable skips.
    #[serde(flatten)]
    pub walk: WalkRecord,
}

impl Record {
    /// The record of a survivor of a window of `window` draws.
    #[must_use]
    pub fn new(Kept { survivor, sequences }: Kept, window: usize) -> Self {
        let (leading, reversed) = match sequences {
            Some(Sequences { leading, reverse }) => (Some(leading), Some(reverse)),
            None => (None, None),
        };
        let (skip, walk) = WalkRecord::of(survivor.best, leading);
        Self {
            seed: survivor.seed,
            seed_hex: format!("{:#x}", survivor.seed),
            matches: survivor.best.matches,
            total: window,
            rate: rate(survivor.best, window),
            skip,
            walk,
            reverse: survivor.reverse.map(|best| {
                let (skip, walk) = WalkRecord::of(best, reversed);
                ReverseRecord { matches: best.matches, rate: rate(best, window), skip, walk }
            }),
        }
    }
}

/// matches / k.
#[must_use]
pub fn rate(best: Best, window: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "windows have at most 65,536 draws")]
    let window = window as f64;
    f64::from(best.matches) / window
}

impl RunSummary {
    /// Reads everything about a run, at most `limit` survivors among it.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn read(ledger: &Ledger, run: &RunRow, limit: u64) -> Result<Self, LedgerError> {
        let manifest = run.manifest.as_ref();
        let covered = ledger.covered(run)?;
        let wanted = manifest.map_or_else(Vec::new, RunOpened::wanted);
        let holes: Vec<Span> = wanted.into_iter().flat_map(|span| covered.holes(span)).collect();
        let covered = manifest.map_or_else(|| covered.clone(), |m| covered.within(m.requested));
        let covered = covered.count();
        let survivors = ledger.survivors(run, limit)?;
        let sieve = manifest.and_then(|m| m.sieve.as_ref());
        let window = sieve.map_or(1, |sieve| sieve.draws.len());
        let seconds = (run.ended_at.unwrap_or_else(now) - run.opened_at).max(0.0);
        let (held, in_progress) = held(ledger, run)?;
        let mut dead = ledger.dead_jobs(run)?;
        dead.truncate(20);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let seeds_per_second = if seconds > 0.0 { covered as f64 / seconds } else { 0.0 };
        Ok(Self {
            run: run.name.clone(),
            step: manifest.map(|m| m.step.clone()),
            kind: manifest.map(|m| m.kind.clone()),
            state: run.state.name().to_owned(),
            epoch: run.epoch,
            family: manifest.and_then(RunOpened::generator).map(str::to_owned),
            direction: sieve.map(|sieve| sieve.direction),
            mode: sieve.map(|sieve| sieve.mode),
            requested: manifest.map(|m| m.requested.into()),
            covered,
            holes: holes.into_iter().map(|hole| (hole.first(), hole.end())).collect(),
            survivor_count: run.counts.survivors,
            expected_by_chance: manifest.filter(|_| sieve.is_some()).map(|m| m.expected_by_chance),
            expected_error: manifest.and_then(|m| m.expected_error),
            expected_method: manifest.map(|m| m.expected_method.clone()),
            survivors: survivors.into_iter().map(|s| Record::new(s, window)).collect(),
            statistics: statistics(ledger, run, limit)?,
            results: script_summary::records(ledger, run, limit, |job| held.contains(job))?,
            notes: match (sieve, manifest) {
                (Some(sieve), Some(m)) => chance::notes(sieve, m.requested.len()),
                _ => Vec::new(),
            },
            note: run.note.clone(),
            jobs: Jobs {
                published: manifest.map_or(0, |m| m.jobs) + run.counts.rests,
                done: run.counts.done,
                failed: match manifest.and_then(|m| m.scripts.as_ref()) {
                    Some(_) => Some(ledger.failures(run)?),
                    None => None,
                },
                retried: run.counts.retried,
                requeued: run.counts.requeued,
                dead: run.counts.dead,
            },
            dead: dead
                .into_iter()
                .map(|d| Dead { job: d.job, failure: d.failure, detail: d.detail })
                .collect(),
            disagreements: ledger.disagreements(run)?.len(),
            seconds,
            seeds_per_second,
            in_progress,
        })
    }

    /// Whether the run has ended well.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == RunState::Complete.name()
    }

    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        ![RunState::Open, RunState::Paused].map(RunState::name).contains(&self.state.as_str())
    }

    /// The number of survivors beside what chance alone would leave, in words.
    #[must_use]
    pub fn beside_chance(&self) -> String {
        let (count, expected) = (self.survivor_count, self.expected_by_chance.unwrap_or_default());
        let error = self.expected_error.unwrap_or_default();
        let expected_text = with_error(expected, self.expected_error);
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let count_f = count as f64;
        // Five standard deviations of a Poisson count whose mean is known no better than that.
        let verdict = if count == 0 {
            "no seed survived"
        } else if expected < 1e-3 {
            "chance does not explain them"
        } else if count_f <= expected + 5.0 * (expected + error * error).sqrt() {
            "all of them are expected by chance"
        } else {
            "more than chance alone would leave"
        };
        let noun = if count == 1 { "survivor" } else { "survivors" };
        let mut text =
            format!("{count} {noun}, {expected_text} expected by chance alone: {verdict}");
        for note in &self.notes {
            text += &format!("; {note}");
        }
        text
    }
}

fn statistics(ledger: &Ledger, run: &RunRow, limit: u64) -> Result<Option<Reported>, LedgerError> {
    let Some(question) = run.manifest.as_ref().and_then(|manifest| manifest.statistics) else {
        return Ok(None);
    };
    let (report_count, composite_score) = ledger.reported(run)?;
    let reports = ledger.statistics(run, limit)?;
    Ok(Some(Reported { question, report_count, reports, composite_score }))
}

/// The jobs of a run that workers hold, and how many seeds those have tested.
fn held(ledger: &Ledger, run: &RunRow) -> Result<(BTreeSet<String>, u128), LedgerError> {
    let (mut jobs, mut tested) = (BTreeSet::new(), 0);
    if run.state.is_ended() {
        return Ok((jobs, tested));
    }
    let nodes = ledger.nodes(now() - HEARD_LATELY)?;
    let held = nodes.iter().flat_map(|node| &node.heartbeat.slots).filter_map(|s| s.job.as_ref());
    for job in held.filter(|job| job.run == run.name) {
        jobs.insert(job.job.clone());
        tested += u128::from(job.tested);
    }
    Ok((jobs, tested))
}

/// An expected count, with its standard error if it was sampled.
#[must_use]
pub fn with_error(expected: f64, error: Option<f64>) -> String {
    match error {
        None => figure(expected),
        Some(error) => format!("{} ± {}", figure(expected), figure(error)),
    }
}

/// A figure with three significant digits, in plain notation where that is short.
#[must_use]
pub fn figure(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value) {
        let digits = if value >= 100.0 || value == 0.0 { 0 } else { 3 };
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        text.to_owned()
    } else {
        format!("{value:.2e}")
    }
}

/// A large number as people say it: `151 M`, `9.2 k`.
#[must_use]
pub fn short(value: f64) -> String {
    let scaled = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (scale, unit) = scaled.into_iter().find(|(scale, _)| value >= *scale).unwrap_or((1.0, ""));
    let scaled = value / scale;
    let digits = if scaled >= 100.0 { 0 } else { 1 };
    format!("{scaled:.digits$}{unit}")
}
