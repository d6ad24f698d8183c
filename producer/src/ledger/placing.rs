//! Outputs that are still to be put in place: which there are, what became of them, and what a
//! worker is to do with its own.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use shared::{
    handover::{Fate, FinishedAttempt},
    script::OutputFile,
};

use super::{
    apply::{Applied, settle_and_write},
    epochs,
    open::{Ledger, LedgerError},
    runs::{self, RunRow},
    scripts::files_of,
};

/// A success whose files are not in the output folder yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaced {
    run_id: i64,
    place: u64,
    /// The run.
    pub run: String,
    /// The job.
    pub job: String,
    /// The publication of it that succeeded.
    pub seq: u32,
    /// The node that its files are on.
    pub node: String,
    /// Its files.
    pub files: Vec<OutputFile>,
    /// How they stood when that was tried last.
    pub stand: Stand,
    /// Seconds since the first file was missed.
    pub awaited_seconds: Option<u64>,
}

/// How a success's files stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stand {
    /// Why they can't be put in place: the run does not wait for them.
    pub trouble: Option<String>,
    /// The hash of the first that is not on this machine.
    pub awaits: Option<String>,
}

/// Which of them are meant.
#[derive(Debug, Clone, Copy)]
pub enum Outstanding<'a> {
    /// Those that were never tried.
    New,
    /// All.
    All,
    /// Those whose next file has this hash.
    Awaiting(&'a str),
}

#[cfg(test)]
impl Unplaced {
    /// One that no ledger holds.
    pub(crate) fn of(run: &str, job: &str, seq: u32, node: &str, files: Vec<OutputFile>) -> Self {
        let (run, job, node) = (run.to_owned(), job.to_owned(), node.to_owned());
        let (stand, awaited_seconds) = (Stand::default(), None);
        Self { run_id: 0, place: 0, run, job, seq, node, files, stand, awaited_seconds }
    }
}

impl Ledger {
    /// At most `most` successes whose files are not in place, in the ledger's order, past `after`.
    /// Where they belong is known with the run's manifest, not earlier.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn unplaced(
        &self,
        which: Outstanding<'_>,
        after: Option<&Unplaced>,
        most: u32,
        now: f64,
    ) -> Result<Vec<Unplaced>, LedgerError> {
        let (wanted, hash) = match which {
            Outstanding::New => ("r.trouble IS NULL AND r.awaits IS NULL AND ?1 = ''", ""),
            Outstanding::All => ("?1 = ''", ""),
            Outstanding::Awaiting(hash) => ("r.awaits = ?1", hash),
        };
        let sql = format!(
            "SELECT r.run, r.place, runs.name, r.job, r.seq, o.node, r.files, r.trouble, r.awaits,
                 r.awaited_since
             FROM script_results r JOIN runs ON runs.id = r.run JOIN outcomes o ON o.id = r.outcome
             WHERE {wanted} AND r.placed_at IS NULL AND runs.manifest IS NOT NULL
                 AND (r.run, r.place) > (?2, ?3)
             ORDER BY r.run, r.place LIMIT ?4"
        );
        let (run, place) = after
            .map_or((-1, -1), |row| (row.run_id, i64::try_from(row.place).unwrap_or(i64::MAX)));
        self.db
            .prepare_cached(&sql)?
            .query_and_then(params![hash, run, place, most], |row| {
                let job: String = row.get(3)?;
                let files: Vec<u8> = row.get(6)?;
                let since: Option<f64> = row.get(9)?;
                Ok(Unplaced {
                    run_id: row.get(0)?,
                    place: row.get(1)?,
                    run: row.get(2)?,
                    seq: row.get(4)?,
                    node: row.get(5)?,
                    files: files_of(&job, &files)?,
                    stand: Stand { trouble: row.get(7)?, awaits: row.get(8)? },
                    awaited_seconds: since.map(|since| (now - since).max(0.0) as u64),
                    job,
                })
            })?
            .collect()
    }

    /// Writes which files were put in place, and how the others stand; the runs that this
    /// completes have ended with it.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn placed(
        &mut self,
        tried: &[(Unplaced, Stand)],
        now: f64,
    ) -> Result<Applied, LedgerError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut applied = Applied::default();
        for (row, stand) in tried {
            let placed_at = (*stand == Stand::default()).then_some(now);
            let awaited_since = stand.awaits.as_ref().map(|_| now);
            tx.prepare_cached(
                "UPDATE script_results SET placed_at = ?3, trouble = ?4, awaits = ?5,
                     awaited_since = coalesce(awaited_since, ?6)
                 WHERE run = ?1 AND place = ?2",
            )?
            .execute(params![
                row.run_id,
                row.place,
                placed_at,
                stand.trouble,
                stand.awaits,
                awaited_since
            ])?;
            applied.touched.insert(row.run.clone());
        }
        for name in applied.touched.clone() {
            let Some(mut run) = runs::find(&tx, &name)? else { continue };
            run.note = note(&tx, &run)?;
            settle_and_write(&tx, &mut run, &mut applied, now)?;
        }
        tx.commit()?;
        Ok(applied)
    }

    /// What a worker is to do with the files of an attempt that has finished.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn fate(&self, attempt: &FinishedAttempt) -> Result<Fate, LedgerError> {
        let Some(run) = runs::find(&self.db, &attempt.run)? else {
            let was_forgotten = epochs::forgotten(&self.db, &attempt.run)?.is_some();
            return Ok(if was_forgotten { Fate::Settled } else { Fate::Unknown });
        };
        let accepted = self
            .db
            .prepare_cached(
                "SELECT files, placed_at IS NOT NULL FROM script_results WHERE run = ?1 AND job = ?2",
            )?
            .query_row(params![run.id, attempt.job], |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, bool>(1)?))
            })
            .optional()?;
        let Some((files, is_placed)) = accepted else { return Ok(Fate::Unknown) };
        let files = files_of(&attempt.job, &files)?;
        let is_this = files.first().is_some_and(|file| attempt.is_at(&file.folder));
        Ok(if is_this && !is_placed { Fate::Wanted(files) } else { Fate::Settled })
    }
}

/// What people should know of files that are not in place.
fn note(db: &Connection, run: &RunRow) -> Result<Option<String>, LedgerError> {
    const PREFIX: &str = "not in the output folder: ";
    let (count, first): (u64, Option<String>) = db
        .prepare_cached(
            "SELECT count(*), min(trouble) FROM script_results
             WHERE run = ?1 AND placed_at IS NULL AND trouble IS NOT NULL",
        )?
        .query_row([run.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(match first {
        Some(first) => Some(format!("{PREFIX}the outputs of {count} jobs; {first}")),
        None => run.note.clone().filter(|note| !note.starts_with(PREFIX)),
    })
}
