//! What was reported, by whom and when: for verifying a run and for its certificate.

use rusqlite::{OptionalExtension as _, Row, params};
use shared::{
    job::Engine,
    outcome::Survivor,
    spans::{Span, Spans},
    witness::NearMisses,
};

use super::{
    open::{Ledger, LedgerError, loaded, stored},
    runs::RunRow,
    survivors::survivor,
};

/// One `Done` outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its number in the ledger; outcomes are numbered in the order of their arrival.
    pub id: i64,
    /// The job.
    pub job: String,
    /// The node that ran it.
    pub node: String,
    /// The device on that node.
    pub device: String,
    /// The device's model.
    pub model: String,
    /// The engine that computed; `None` for one that this build does not know.
    pub engine: Option<Engine>,
    /// The seeds (or candidate indices) that were tested. Never empty.
    pub tested: Vec<Span>,
    /// What its witness saw, if the engine counts near misses.
    pub near_misses: Option<NearMisses>,
    /// Seconds from the child's start to its end.
    pub seconds: f64,
    /// When it was written, in Unix seconds.
    pub at: f64,
}

impl Report {
    /// How many seeds (or candidates) it tested.
    #[must_use]
    pub fn seeds(&self) -> u128 {
        self.tested.iter().map(|span| span.len()).sum()
    }
}

/// A survivor and the number of the outcome that reported it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// The survivor.
    pub survivor: Survivor,
    /// [`Report::id`] of the outcome.
    pub outcome: i64,
}

const COLUMNS: &str =
    "id, job, node, device, model, engine, tested, near_misses, near_miss_sum, seconds, at";

fn report(row: &Row<'_>) -> Result<Report, LedgerError> {
    let id: i64 = row.get(0)?;
    let engine: Option<String> = row.get(5)?;
    let tested: Vec<u8> = row.get(6)?;
    let tested: Vec<Span> = rmp_serde::from_slice(&tested)
        .map_err(|error| LedgerError::Corrupt(format!("what outcome {id} tested: {error}")))?;
    if tested.is_empty() {
        return Err(LedgerError::Corrupt(format!("outcome {id} tested nothing")));
    }
    let near_misses: (Option<i64>, Option<i64>) = (row.get(7)?, row.get(8)?);
    Ok(Report {
        id,
        job: row.get(1)?,
        node: row.get(2)?,
        device: row.get(3)?,
        model: row.get(4)?,
        engine: engine.and_then(|name| name.parse().ok()),
        tested,
        near_misses: match near_misses {
            (Some(count), Some(sum)) => Some(NearMisses { count: loaded(count), sum: loaded(sum) }),
            _ => None,
        },
        seconds: row.get(9)?,
        at: row.get(10)?,
    })
}

fn reported(row: &Row<'_>) -> rusqlite::Result<Reported> {
    Ok(Reported { survivor: survivor(row)?, outcome: row.get(5)? })
}

impl Ledger {
    /// Every `Done` outcome of a run, in the order of arrival.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn reports(&self, run: &RunRow) -> Result<Vec<Report>, LedgerError> {
        self.db
            .prepare(&format!(
                "SELECT {COLUMNS} FROM outcomes WHERE run = ?1 AND verdict = 'done' ORDER BY id"
            ))?
            .query_and_then([run.id], report)?
            .collect()
    }

    /// The `Done` outcomes of a run that were the first to cover something, in the order of
    /// arrival: repetitions are left out.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn first_reports(&self, run: &RunRow) -> Result<Vec<Report>, LedgerError> {
        let mut covered = Spans::default();
        let mut reports = self.reports(run)?;
        reports.retain(|report| {
            let is_new = report.tested.iter().any(|span| !covered.holes(*span).is_empty());
            covered.extend(report.tested.iter().copied());
            is_new
        });
        Ok(reports)
    }

    /// The outcome of that number, if it was `Done`.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn report(&self, outcome: i64) -> Result<Option<Report>, LedgerError> {
        self.db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM outcomes WHERE id = ?1 AND verdict = 'done'"
            ))?
            .query_and_then([outcome], report)?
            .next()
            .transpose()
    }

    /// At most `limit` of a run's survivors beyond the seed `after`, ascending by seed, with who
    /// reported them: for going through any number of them part by part.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn survivors_after(
        &self,
        run: &RunRow,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Reported>, LedgerError> {
        let first = match after {
            None => 0,
            Some(u64::MAX) => return Ok(Vec::new()),
            Some(seed) => seed + 1,
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .prepare_cached(
                "SELECT seed, matches, skip, reverse_matches, reverse_skip, outcome FROM survivors
                 WHERE run = ?1 AND seed >= ?2 ORDER BY seed LIMIT ?3",
            )?
            .query_and_then(params![run.id, stored(first), limit], |row| Ok(reported(row)?))?
            .collect()
    }

    /// A run's survivors with seeds in `span`, ascending, with who reported them.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn survivors_within(&self, run: &RunRow, span: Span) -> Result<Vec<Reported>, LedgerError> {
        self.db
            .prepare_cached(
                "SELECT seed, matches, skip, reverse_matches, reverse_skip, outcome FROM survivors
                 WHERE run = ?1 AND seed BETWEEN ?2 AND ?3 ORDER BY seed",
            )?
            .query_and_then(params![run.id, stored(span.first()), stored(span.last())], |row| {
                Ok(reported(row)?)
            })?
            .collect()
    }

    /// What a run's ledger says of one seed.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn survivor(&self, run: &RunRow, seed: u64) -> Result<Option<Reported>, LedgerError> {
        Ok(self
            .db
            .prepare_cached(
                "SELECT seed, matches, skip, reverse_matches, reverse_skip, outcome FROM survivors
                 WHERE run = ?1 AND seed = ?2",
            )?
            .query_row(params![run.id, stored(seed)], reported)
            .optional()?)
    }
}
