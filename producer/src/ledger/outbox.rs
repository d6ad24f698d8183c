//! The outbox: jobs that the ledger wants published, written in the transaction that decided so.

use rusqlite::{Connection, params};
use shared::{job::Job, topology, wire::Wire as _};

use super::open::{Ledger, LedgerError};

/// A row of the outbox whose time has come.
#[derive(Debug, Clone)]
pub struct Due {
    /// The row, to delete once the broker has confirmed the job.
    pub id: i64,
    /// The queue it goes to.
    pub queue: String,
    /// The job.
    pub job: Job,
}

/// Writes a job to be published at `due_at`.
pub(super) fn post(db: &Connection, run: i64, job: &Job, due_at: f64) -> Result<(), LedgerError> {
    let queue = topology::seed_queue(job.arch, job.urgency);
    let body = job.to_body().map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    db.prepare_cached("INSERT INTO outbox (run, queue, job, due_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![run, queue, body, due_at])?;
    Ok(())
}

impl Ledger {
    /// The rows that are due, the oldest first, at most `most`.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn due(&self, now: f64, most: u32) -> Result<Vec<Due>, LedgerError> {
        self.db
            .prepare_cached(
                "SELECT id, queue, job FROM outbox WHERE due_at <= ?1 ORDER BY due_at, id LIMIT ?2",
            )?
            .query_and_then(params![now, most], |row| {
                let body: Vec<u8> = row.get(2)?;
                let job = Job::from_body(&body).map_err(|error| {
                    LedgerError::Corrupt(format!("a job in the outbox: {error}"))
                })?;
                Ok(Due { id: row.get(0)?, queue: row.get(1)?, job })
            })?
            .collect()
    }

    /// When the next row is due, in Unix seconds; `None` when the outbox is empty.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn next_due(&self) -> Result<Option<f64>, LedgerError> {
        Ok(self
            .db
            .prepare_cached("SELECT min(due_at) FROM outbox")?
            .query_row([], |row| row.get(0))?)
    }

    /// Deletes rows whose jobs the broker has confirmed. A crash before this costs a repetition
    /// of the same key, never a branching.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn posted(&mut self, rows: &[Due]) -> Result<(), LedgerError> {
        let tx = self.db.transaction()?;
        for row in rows {
            tx.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute([row.id])?;
        }
        Ok(tx.commit()?)
    }
}
