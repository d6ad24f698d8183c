//! Reports of `correlation` and `analysis`: one a seed; a second one must agree.

use rusqlite::{Connection, params};
use shared::statistics::Report;

use super::{
    open::{Ledger, LedgerError, stored},
    runs::RunRow,
};

/// Writes an outcome's reports; those known must be the same.
pub(super) fn insert(
    db: &Connection,
    run: i64,
    outcome: i64,
    reports: &[Report],
) -> Result<(), LedgerError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO statistics (run, seed, report, score, outcome) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING",
    )?;
    for report in reports {
        let seed = stored(report.seed());
        let bytes = rmp_serde::to_vec_named(report)
            .map_err(|error| LedgerError::Refused(error.to_string()))?;
        if insert.execute(params![run, seed, bytes, report.score(), outcome])? == 0 {
            // The same arithmetic gives the same bits on every machine, so one of two is wrong.
            db.prepare_cached(
                "INSERT INTO disagreements (run, seed, first_outcome, second_outcome, detail)
                 SELECT run, seed, outcome, ?4, 'two different reports' FROM statistics
                 WHERE run = ?1 AND seed = ?2 AND report <> ?3 ON CONFLICT DO NOTHING",
            )?
            .execute(params![run, seed, bytes, outcome])?;
        }
    }
    Ok(())
}

impl Ledger {
    /// A run's reports, ascending by seed, at most `limit` of them.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn statistics(&self, run: &RunRow, limit: u64) -> Result<Vec<Report>, LedgerError> {
        let mut reports = Vec::new();
        self.each_report(run, limit, |report| -> Result<(), LedgerError> {
            reports.push(report);
            Ok(())
        })?;
        Ok(reports)
    }

    /// Calls `each` for at most `limit` reports of a run, ascending by seed, without holding them
    /// all.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read, or what `each` returns.
    pub fn each_report<E: From<LedgerError>>(
        &self,
        run: &RunRow,
        limit: u64,
        mut each: impl FnMut(Report) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = "SELECT report FROM statistics WHERE run = ?1 ORDER BY seed LIMIT ?2";
        let mut rows = self.db.prepare(sql).map_err(LedgerError::from)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = rows.query_map(params![run.id, limit], |row| row.get::<_, Vec<u8>>(0));
        for bytes in rows.map_err(LedgerError::from)? {
            let bytes = bytes.map_err(LedgerError::from)?;
            let report = rmp_serde::from_slice(&bytes).map_err(|error| {
                LedgerError::Corrupt(format!("a report of run {}: {error}", run.name))
            })?;
            each(report)?;
        }
        Ok(())
    }

    /// How many reports a run has, and the mean of their scores.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn reported(&self, run: &RunRow) -> Result<(u64, Option<f64>), LedgerError> {
        let sql = "SELECT count(*), avg(score) FROM statistics WHERE run = ?1";
        Ok(self.db.query_row(sql, [run.id], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }
}
