//! Script jobs: a run's list of them, and the first success of each. What is covered is a job's place in the list, so that completion, holes and
//! dead jobs are the same as for seeds.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use shared::{
    job::{Job, Task},
    messages::RunPart,
    outcome::Outcome,
    script::{OutputFile, ScriptResult},
    spans::Span,
    wire::Wire as _,
};

use super::{
    coverage, dead,
    open::{Ledger, LedgerError},
    runs::RunRow,
};

/// How one script job of a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ScriptRow {
    /// The job as it was published first.
    pub job: Job,
    /// How often a child was started for it, as far as the ledger has heard.
    pub attempts: u32,
    /// Where it came to its last outcome.
    pub node: Option<String>,
    /// Seconds that its last child ran.
    pub seconds: Option<f64>,
    /// Its success: the JSON text, if there is one, and its files.
    pub success: Option<(Option<String>, Vec<OutputFile>)>,
    /// Why its files are not in place.
    pub trouble: Option<String>,
    /// Whether nothing more is done for it.
    pub is_dead: bool,
    /// What it died of or failed of last, and one line for people.
    pub failure: Option<(String, String)>,
}

fn refused(job: &str, why: &str) -> LedgerError {
    LedgerError::Refused(format!("the script job {job} {why}"))
}

fn corrupt(what: &str, error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Corrupt(format!("{what}: {error}"))
}

/// Keeps the jobs that a part of a manifest brought.
pub(super) fn keep(db: &Connection, run: i64, part: &RunPart) -> Result<(), LedgerError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO script_jobs (run, place, job, body, seq) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (run, place) DO NOTHING",
    )?;
    for job in &part.jobs {
        job.validate().map_err(|error| refused(&job.id, &format!("makes no sense: {error}")))?;
        let Task::Script(script) = &job.task else { return Err(refused(&job.id, "is none")) };
        let body = job.to_body().map_err(|error| refused(&job.id, &error.to_string()))?;
        match insert.execute(params![run, script.index, job.id, body, job.seq]) {
            Ok(_) => {}
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                return Err(refused(&job.id, "is twice in the run's list"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Takes a success: the first of each job counts, a later one says nothing new.
pub(super) fn finish(
    db: &Connection,
    run: &mut RunRow,
    (id, outcome): (i64, &Outcome),
    result: &ScriptResult,
    now: f64,
) -> Result<(), LedgerError> {
    let files = rmp_serde::to_vec_named(&result.files)
        .map_err(|error| refused(&outcome.job, &error.to_string()))?;
    let placed_at = result.files.is_empty().then_some(now);
    let new = db
        .prepare_cached(
            "INSERT INTO script_results (run, place, job, seq, outcome, value, files, placed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            run.id,
            result.index,
            outcome.job,
            outcome.seq,
            id,
            result.value,
            files,
            placed_at
        ])?;
    run.counts.done += new as u64;
    let place = Span::new(result.index, result.index)
        .map_err(|error| refused(&outcome.job, &error.to_string()))?;
    coverage::cover(db, run.id, place)?;
    dead::revive(db, run, &outcome.job)
}

/// Refuses a success that can't be one of this run's.
pub(super) fn check(
    db: &Connection,
    run: &RunRow,
    outcome: &Outcome,
    result: &ScriptResult,
) -> Result<(), LedgerError> {
    result.validate().map_err(|why| refused(&outcome.job, &why))?;
    if let Some(manifest) = &run.manifest {
        if manifest.scripts.is_none() {
            return Err(refused(&outcome.job, "answers a run that asks for no scripts"));
        }
        if !manifest.requested.contains(result.index) {
            let why = format!("has place {}, outside of {}", result.index, manifest.requested);
            return Err(refused(&outcome.job, &why));
        }
    }
    let listed: Option<u64> = db
        .prepare_cached("SELECT place FROM script_jobs WHERE run = ?1 AND job = ?2")?
        .query_row(params![run.id, outcome.job], |row| row.get(0))
        .optional()?;
    match listed {
        Some(place) if place != result.index => {
            let why = format!("has place {}, but {place} in the run's list", result.index);
            Err(refused(&outcome.job, &why))
        }
        _ => Ok(()),
    }
}

/// Whether a job has succeeded already.
pub(super) fn is_done(db: &Connection, run: i64, job: &Job) -> Result<bool, LedgerError> {
    let Task::Script(script) = &job.task else { return Ok(false) };
    Ok(db
        .prepare_cached("SELECT 1 FROM script_results WHERE run = ?1 AND place = ?2")?
        .exists(params![run, script.index])?)
}

/// Notes that a job is published again.
pub(super) fn publishes(db: &Connection, run: i64, job: &Job) -> Result<(), LedgerError> {
    if let Task::Script(script) = &job.task {
        db.prepare_cached(
            "UPDATE script_jobs SET seq = max(seq, ?3) WHERE run = ?1 AND place = ?2",
        )?
        .execute(params![run, script.index, job.seq])?;
    }
    Ok(())
}

/// The number of a job's next publication: past every one that there was.
pub(super) fn next_seq(db: &Connection, run: i64, job: &str) -> Result<u32, LedgerError> {
    let newest: u32 = db
        .prepare_cached(
            "SELECT max(coalesce((SELECT seq FROM script_jobs WHERE run = ?1 AND job = ?2), 0),
                        coalesce((SELECT max(seq) FROM outcomes WHERE run = ?1 AND job = ?2), 0))",
        )?
        .query_row(params![run, job], |row| row.get(0))?;
    Ok(newest + 1)
}

/// Whether files of a run are about to be put in place: it ends when they are.
pub(super) fn is_placing(db: &Connection, run: i64) -> Result<bool, LedgerError> {
    Ok(db
        .prepare_cached(
            "SELECT 1 FROM script_results WHERE run = ?1 AND placed_at IS NULL AND trouble IS NULL",
        )?
        .exists([run])?)
}

pub(super) fn files_of(job: &str, bytes: &[u8]) -> Result<Vec<OutputFile>, LedgerError> {
    rmp_serde::from_slice(bytes).map_err(|error| corrupt(&format!("the files of {job}"), error))
}

fn script_row(row: &Row<'_>) -> Result<ScriptRow, LedgerError> {
    let body: Vec<u8> = row.get(0)?;
    let job = Job::from_body(&body).map_err(|error| corrupt("a script job", error))?;
    let files: Option<Vec<u8>> = row.get(5)?;
    let success = match files {
        Some(files) => Some((row.get(4)?, files_of(&job.id, &files)?)),
        None => None,
    };
    let (kind, detail): (Option<String>, Option<String>) = (row.get(8)?, row.get(9)?);
    Ok(ScriptRow {
        attempts: row.get(1)?,
        node: row.get(2)?,
        seconds: row.get(3)?,
        trouble: row.get(6)?,
        is_dead: row.get(7)?,
        failure: kind.filter(|_| success.is_none()).map(|kind| (kind, detail.unwrap_or_default())),
        success,
        job,
    })
}

impl Ledger {
    /// The first `limit` script jobs of a run, in the order of its list, and how each stands.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn scripts(&self, run: &RunRow, limit: u64) -> Result<Vec<ScriptRow>, LedgerError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .prepare_cached(
                "SELECT j.body,
                    (SELECT count(*) FROM outcomes o WHERE o.run = j.run AND o.job = j.job
                     AND o.seconds > 0),
                    coalesce(s.node, l.node), coalesce(s.seconds, l.seconds),
                    r.value, r.files, r.trouble, d.job IS NOT NULL,
                    coalesce(d.failure, f.failure), coalesce(d.detail, f.detail)
                 FROM script_jobs j
                 LEFT JOIN script_results r ON r.run = j.run AND r.place = j.place
                 LEFT JOIN dead d ON d.run = j.run AND d.job = j.job
                 LEFT JOIN outcomes s ON s.id = r.outcome
                 LEFT JOIN outcomes l ON l.id = (SELECT max(id) FROM outcomes o
                                                 WHERE o.run = j.run AND o.job = j.job)
                 LEFT JOIN outcomes f ON f.id = (SELECT max(id) FROM outcomes o
                    WHERE o.run = j.run AND o.job = j.job AND o.verdict = 'failed')
                 WHERE j.run = ?1 ORDER BY j.place LIMIT ?2",
            )?
            .query_and_then(params![run.id, limit], script_row)?
            .collect()
    }

    /// How many outcomes of a run were failures.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn failures(&self, run: &RunRow) -> Result<u64, LedgerError> {
        Ok(self.db.query_row(
            "SELECT count(*) FROM outcomes WHERE run = ?1 AND verdict = 'failed'",
            [run.id],
            |row| row.get(0),
        )?)
    }

    /// The script jobs of a run that arrived with its manifest's parts, in their order.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn script_jobs(&self, run: &RunRow) -> Result<Vec<Job>, LedgerError> {
        self.db
            .prepare("SELECT body FROM script_jobs WHERE run = ?1 ORDER BY place")?
            .query_and_then([run.id], |row| {
                let body: Vec<u8> = row.get(0)?;
                Job::from_body(&body).map_err(|error| corrupt("a script job", error))
            })?
            .collect()
    }
}
