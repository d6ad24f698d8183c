//! The outbox: messages that the ledger wants published, written in the transaction that decided
//! so.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use shared::{
    job::Job,
    wire::{self, Message, Wire as _},
};

use super::{
    open::{Ledger, LedgerError},
    scripts,
};

/// Nothing waits longer than this, in seconds: a row that is due later was written before the
/// clock was set back.
const LONGEST_WAIT: f64 = 120.0;

/// A row of the outbox whose time has come.
#[derive(Debug, Clone)]
pub struct Due {
    /// The row, to delete once the broker has confirmed the message.
    pub id: i64,
    /// The queue it goes to.
    pub queue: String,
    /// The message.
    pub message: Message,
}

/// Writes a job to be published at `due_at`.
pub(super) fn post(db: &Connection, run: i64, job: &Job, due_at: f64) -> Result<(), LedgerError> {
    let message = wire::encode(job).map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    scripts::publishes(db, run, job)?;
    post_message(db, run, &job.queue(), &message, due_at)
}

/// Writes a message to be published at `due_at`.
pub(super) fn post_message(
    db: &Connection,
    run: i64,
    queue: &str,
    message: &Message,
    due_at: f64,
) -> Result<(), LedgerError> {
    let headers = serde_json::to_string(&message.headers)
        .map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    db.prepare_cached(
        "INSERT INTO outbox (run, queue, kind, headers, job, due_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![run, queue, message.kind, headers, message.body, due_at])?;
    Ok(())
}

fn message(
    kind: String,
    headers: Option<String>,
    body: Vec<u8>,
) -> Result<Message, Box<dyn std::error::Error>> {
    Ok(match headers {
        Some(headers) => Message { kind, headers: serde_json::from_str(&headers)?, body },
        None => wire::encode(&Job::from_body(&body)?)?,
    })
}

impl Ledger {
    /// The rows that are due, the oldest first, at most `most`.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn due(&self, now: f64, most: u32) -> Result<Vec<Due>, LedgerError> {
        self.db
            .prepare_cached(
                "SELECT id, queue, kind, headers, job FROM outbox WHERE due_at <= ?1 OR due_at > ?2
                 ORDER BY due_at, id LIMIT ?3",
            )?
            .query_and_then(params![now, now + LONGEST_WAIT, most], |row| {
                let message = message(row.get(2)?, row.get(3)?, row.get(4)?).map_err(|error| {
                    LedgerError::Corrupt(format!("a message in the outbox: {error}"))
                })?;
                Ok(Due { id: row.get(0)?, queue: row.get(1)?, message })
            })?
            .collect()
    }

    /// When the next row is due, in Unix seconds; `None` when the outbox is empty.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn next_due(&self, now: f64) -> Result<Option<f64>, LedgerError> {
        let (first, last): (Option<f64>, Option<f64>) = self
            .db
            .prepare_cached("SELECT min(due_at), max(due_at) FROM outbox")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(first.map(|first| if last > Some(now + LONGEST_WAIT) { now } else { first }))
    }

    /// The names of the runs that have something in the outbox.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn posting(&self) -> Result<BTreeSet<String>, LedgerError> {
        Ok(self
            .db
            .prepare_cached("SELECT name FROM runs WHERE id IN (SELECT run FROM outbox)")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?)
    }

    /// Deletes rows whose messages the broker has confirmed. A crash before this costs a
    /// repetition of the same key, never a branching.
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
