//! Dead letters: jobs that nothing more is done for, and results that could not be taken.

use rusqlite::{Connection, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use shared::{
    job::Job,
    outcome::{Failure, Outcome},
    topology,
    wire::{self, Message, SCHEMA, Wire as _},
};

use super::{
    coverage,
    open::{Ledger, LedgerError, stored},
    outbox,
    runs::{self, DeadJob, RunRow, RunState},
    scripts,
};

/// What `kind` is of a result that could not be taken.
const RESULT: &str = "result";
/// What the job of such a result is called: this and its number.
const RESULT_PREFIX: &str = "result.";

/// The header that says what a copy died of.
const LAST_ERROR: &str = "last_error";

/// Which dead letters are meant: those that meet every condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadFilter {
    /// Jobs, by id; empty for all.
    #[serde(default)]
    pub jobs: Vec<String>,
    /// Of this run.
    pub run: Option<String>,
    /// Of this kind of failure, with or without its value: `Crashed`, `Crashed(11)`.
    pub failure: Option<String>,
}

impl DeadFilter {
    fn takes(&self, letter: &DeadLetter) -> bool {
        let kind = letter.failure.split('(').next();
        (self.jobs.is_empty() || self.jobs.contains(&letter.job))
            && self.run.as_ref().is_none_or(|run| *run == letter.run)
            && self.failure.as_deref().is_none_or(|f| f == letter.failure || Some(f) == kind)
    }
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The job's id.
    pub job: String,
    /// Its run.
    pub run: String,
    /// What it was to do; `result` for a result that could not be taken.
    pub kind: String,
    /// What it died of.
    pub failure: String,
    /// How many tries it had.
    pub attempts: u32,
    /// Where it was tried last, as `node/device`; empty when nowhere.
    pub node: String,
    /// One line for people.
    pub last_error: String,
    /// The end of the last child's stderr.
    pub stderr_tail: String,
    /// When it died, in Unix seconds.
    pub at: f64,
}

/// One try of a job, or one time that it came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which try.
    pub attempt: u32,
    /// Which publication of the job.
    pub seq: u32,
    /// The node.
    pub node: String,
    /// Its device.
    pub device: String,
    /// The device's model.
    pub model: String,
    /// `done`, `failed` or `returned`.
    pub verdict: String,
    /// What kind of failure, with the exit code or signal, or why it came back.
    pub failure: Option<String>,
    /// One line for people.
    pub detail: Option<String>,
    /// The end of the child's stderr.
    pub stderr_tail: Option<String>,
    /// How long the child ran, in seconds.
    pub seconds: f64,
    /// When the ledger heard of it, in Unix seconds.
    pub at: f64,
}

/// A dead letter with all its tries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadDetail {
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// Every try, the first first.
    pub tries: Vec<Attempt>,
}

/// Writes a job as dead, with a copy for people at the broker. Twice is once.
pub(super) fn bury(
    db: &Connection,
    run: &mut RunRow,
    outcome: &Outcome,
    (failure, detail): (Failure, &str),
    job: Option<&Job>,
    now: f64,
) -> Result<(), LedgerError> {
    let ends = job.and_then(Job::span).map(<(u64, u64)>::from);
    let new = db
        .prepare_cached(
            "INSERT INTO dead (run, job, kind, failure, detail, first, last, body, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            run.id,
            outcome.job,
            job.map_or_else(String::new, kind_of),
            failure.to_string(),
            detail,
            ends.map(|(first, _)| stored(first)),
            ends.map(|(_, last)| stored(last)),
            outcome.echo,
            now
        ])?;
    if new == 0 {
        return Ok(());
    }
    run.counts.dead += 1;
    let copy = copy_of(outcome, job, &format!("{failure}: {detail}"));
    outbox::post_message(db, run.id, topology::DEAD_JOBS, &copy, now)
}

fn kind_of(job: &Job) -> String {
    job.headers().remove("kind").unwrap_or_default()
}

fn as_header(text: &str) -> String {
    let mut text = text.to_owned();
    wire::truncate(&mut text, wire::MAX_HEADER);
    text
}

/// The dead job as people at the management UI should see it.
fn copy_of(outcome: &Outcome, job: Option<&Job>, error: &str) -> Message {
    let mut headers = job.map(Job::headers).unwrap_or_default();
    headers.insert("run".to_owned(), outcome.run.clone());
    headers.insert("job".to_owned(), outcome.job.clone());
    headers.insert("node".to_owned(), format!("{}/{}", outcome.node, outcome.device.name));
    headers.insert(SCHEMA.to_owned(), Job::SCHEMA.to_string());
    headers.insert(LAST_ERROR.to_owned(), as_header(error));
    Message { kind: Job::TYPE.to_owned(), headers, body: outcome.echo.clone().unwrap_or_default() }
}

/// Forgets that a job is dead: it was done after all.
pub(super) fn revive(db: &Connection, run: &mut RunRow, job: &str) -> Result<(), LedgerError> {
    let revived = db
        .prepare_cached("DELETE FROM dead WHERE run = ?1 AND job = ?2")?
        .execute(params![run.id, job])?;
    run.counts.dead = run.counts.dead.saturating_sub(revived as u64);
    Ok(())
}

/// The dead jobs of a run, discarded ones among them: what they cover is given up.
pub(super) fn of_run(db: &Connection, run: i64) -> Result<Vec<DeadJob>, LedgerError> {
    db.prepare_cached(
        "SELECT job, failure, detail, first, last FROM dead WHERE run = ?1 ORDER BY at, job",
    )?
    .query_and_then([run], |row| {
        let ends: (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
        let span = match ends {
            (Some(first), Some(last)) => Some(coverage::span_of((first, last))?),
            _ => None,
        };
        Ok(DeadJob { job: row.get(0)?, failure: row.get(1)?, detail: row.get(2)?, span })
    })?
    .collect()
}

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        job: row.get(0)?,
        run: row.get(1)?,
        kind: row.get(2)?,
        failure: row.get(3)?,
        last_error: row.get(4)?,
        at: row.get(5)?,
        attempts: row.get(6)?,
        node: row.get(7)?,
        stderr_tail: row.get(8)?,
    })
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        attempt: row.get(0)?,
        seq: row.get(1)?,
        node: row.get(2)?,
        device: row.get(3)?,
        model: row.get(4)?,
        verdict: row.get(5)?,
        failure: row.get(6)?,
        detail: row.get(7)?,
        stderr_tail: row.get(8)?,
        seconds: row.get(9)?,
        at: row.get(10)?,
    })
}

fn letters(db: &Connection, filter: &DeadFilter) -> Result<Vec<DeadLetter>, LedgerError> {
    let mut jobs = db.prepare_cached(
        "SELECT d.job, r.name, d.kind, d.failure, d.detail, d.at,
                coalesce((SELECT max(attempt) FROM outcomes o WHERE o.run = d.run AND o.job = d.job), 0),
                coalesce(l.node || '/' || l.device, ''), coalesce(l.stderr_tail, '')
         FROM dead d JOIN runs r ON r.id = d.run LEFT JOIN outcomes l ON l.id =
              (SELECT max(id) FROM outcomes o WHERE o.run = d.run AND o.job = d.job)
         WHERE d.discarded_at IS NULL ORDER BY d.at, d.job",
    )?;
    let mut results = db.prepare_cached(
        "SELECT ?1 || id, coalesce(headers ->> '$.run', ''), ?2, 'Poison', why, at, 0,
                coalesce(headers ->> '$.node', ''), '' FROM dead_results ORDER BY id",
    )?;
    let jobs = jobs.query_map([], letter)?;
    let results = results.query_map([RESULT_PREFIX, RESULT], letter)?;
    let all: Vec<DeadLetter> = jobs.chain(results).collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|letter| filter.takes(letter)).collect())
}

fn result_id(letter: &DeadLetter) -> Option<i64> {
    let number = letter.job.strip_prefix(RESULT_PREFIX).filter(|_| letter.kind == RESULT)?;
    number.parse().ok()
}

impl Ledger {
    /// Sets a result aside that can't be read or makes no sense, with a copy at the broker.
    /// Twice is once.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn set_aside(&mut self, message: &Message, why: &str, now: f64) -> Result<(), LedgerError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut copy = message.clone();
        let error = as_header(why);
        let headers = serde_json::to_string(&copy.headers)
            .map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        let new = tx.execute(
            "INSERT INTO dead_results (kind, headers, body, why, at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
            params![message.kind, headers, message.body, error, now],
        )?;
        if new > 0 {
            copy.headers.insert(LAST_ERROR.to_owned(), error);
            outbox::post_message(&tx, 0, topology::DEAD_RESULTS, &copy, now)?;
        }
        Ok(tx.commit()?)
    }

    /// The dead letters that a filter takes: jobs, the first to die first, then results.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn dead_letters(&self, filter: &DeadFilter) -> Result<Vec<DeadLetter>, LedgerError> {
        letters(&self.db, filter)
    }

    /// The same with every try.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn dead_details(&self, filter: &DeadFilter) -> Result<Vec<DeadDetail>, LedgerError> {
        let mut tries = self.db.prepare_cached(
            "SELECT attempt, seq, node, device, model, verdict, failure, detail, stderr_tail, seconds,
                    at FROM outcomes WHERE run = (SELECT id FROM runs WHERE name = ?1) AND job = ?2
             ORDER BY id",
        )?;
        let letters = letters(&self.db, filter)?.into_iter();
        letters
            .map(|letter| {
                let tries = tries.query_map([&letter.run, &letter.job], attempt)?;
                let tries = tries.collect::<Result<_, _>>()?;
                Ok(DeadDetail { letter, tries })
            })
            .collect()
    }

    /// Every try of a job, the first first; without what its children wrote to stderr.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn attempts(&self, run: &RunRow, job: &str) -> Result<Vec<Attempt>, LedgerError> {
        let mut tries = self.db.prepare_cached(
            "SELECT attempt, seq, node, device, model, verdict, failure, detail, NULL, seconds, at
             FROM outcomes WHERE run = ?1 AND job = ?2 ORDER BY id",
        )?;
        Ok(tries.query_map(params![run.id, job], attempt)?.collect::<Result<_, _>>()?)
    }

    /// Queues dead letters again as if they had never been tried, and opens failed runs again.
    /// Returns what was queued.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] for a job of a cancelled run; nothing is queued then.
    pub fn requeue_dead(
        &mut self,
        filter: &DeadFilter,
        now: f64,
    ) -> Result<Vec<DeadLetter>, LedgerError> {
        self.change_dead(filter, |tx, letter| match result_id(letter) {
            Some(id) => requeue_result(tx, id, now),
            None => requeue_job(tx, letter, now),
        })
    }

    /// Takes dead letters off the list for good. What their jobs would have covered stays
    /// uncovered. Returns what was discarded.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn discard_dead(
        &mut self,
        filter: &DeadFilter,
        now: f64,
    ) -> Result<Vec<DeadLetter>, LedgerError> {
        self.change_dead(filter, |tx, letter| {
            match result_id(letter) {
                Some(id) => tx.execute("DELETE FROM dead_results WHERE id = ?1", [id])?,
                None => tx.execute(
                    "UPDATE dead SET discarded_at = ?3, body = NULL
                     WHERE run = (SELECT id FROM runs WHERE name = ?1) AND job = ?2",
                    params![letter.run, letter.job, now],
                )?,
            };
            Ok(())
        })
    }

    /// Changes the letters that a filter takes, all or none; returns them as they were.
    fn change_dead(
        &mut self,
        filter: &DeadFilter,
        change: impl Fn(&Connection, &DeadLetter) -> Result<(), LedgerError>,
    ) -> Result<Vec<DeadLetter>, LedgerError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let letters = letters(&tx, filter)?;
        for letter in &letters {
            change(&tx, letter)?;
        }
        tx.commit()?;
        Ok(letters)
    }
}

fn requeue_job(db: &Connection, letter: &DeadLetter, now: f64) -> Result<(), LedgerError> {
    let gone = || LedgerError::Corrupt(format!("run {} vanished", letter.run));
    let mut run = runs::find(db, &letter.run)?.ok_or_else(gone)?;
    if run.state == RunState::Cancelled {
        return Err(LedgerError::Refused(format!(
            "run {0} was cancelled: `producer resume {0}` first",
            run.name
        )));
    }
    let body: Option<Vec<u8>> = db.query_row(
        "SELECT body FROM dead WHERE run = ?1 AND job = ?2",
        params![run.id, letter.job],
        |row| row.get(0),
    )?;
    revive(db, &mut run, &letter.job)?;
    let job = body.and_then(|body| Job::from_body(&body).ok());
    match (run.state, job) {
        (RunState::Open, Some(job)) => {
            let (refused_by, failed_on) = (Vec::new(), Vec::new());
            let epoch = run.epoch;
            let seq = scripts::next_seq(db, run.id, &letter.job)?;
            let again = Job { attempt: 1, starts: 0, seq, epoch, refused_by, failed_on, ..job };
            outbox::post(db, run.id, &again, now)?;
            run.counts.requeued += 1;
        }
        // Its run was stopped: all that it lacks is queued again.
        (RunState::Failed, _) => {
            run.state = RunState::Open;
            run.ended_at = None;
            run.requeue = true;
        }
        // A paused run's holes are queued when it is resumed, and a hole that no job is queued
        // for is found by reconciliation.
        _ => {}
    }
    runs::write(db, &run)
}

fn requeue_result(db: &Connection, id: i64, now: f64) -> Result<(), LedgerError> {
    let (kind, headers, body): (String, String, Vec<u8>) = db.query_row(
        "DELETE FROM dead_results WHERE id = ?1 RETURNING kind, headers, body",
        [id],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let headers = serde_json::from_str(&headers)
        .map_err(|error| LedgerError::Corrupt(format!("headers of a dead result: {error}")))?;
    let message = Message { kind, headers, body };
    outbox::post_message(db, 0, topology::RESULTS_SEED, &message, now)
}
