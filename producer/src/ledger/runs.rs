//! Runs: what was asked, where it stands, what it still lacks.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use shared::{
    messages::{MaxDead, RunOpened},
    spans::{Span, Spans},
    wire::Wire as _,
};

use super::{
    coverage, dead, epochs,
    open::{Ledger, LedgerError, stored},
    scripts,
};

/// A run whose first so many finished jobs are all dead is failed.
const FIRST_ALL_DEAD: u64 = 10;
/// The least number of dead jobs that a share of dead jobs may forbid.
const LEAST_MAX_DEAD: u64 = 10;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Being worked on.
    Open,
    /// Held by its owner.
    Paused,
    /// The union of tested intervals equals the request.
    Complete,
    /// Given up by its owner.
    Cancelled,
    /// Ended by dead jobs.
    Failed,
}

impl RunState {
    const ALL: [Self; 5] =
        [Self::Open, Self::Paused, Self::Complete, Self::Cancelled, Self::Failed];

    /// Its name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more will happen to it.
    #[must_use]
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Open | Self::Paused)
    }
}

/// How many of a run's jobs went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that the outbox made of untested rests.
    pub rests: u64,
    /// Jobs done.
    pub done: u64,
    /// Tries after a failure.
    pub retried: u64,
    /// Jobs queued again by reconciliation.
    pub requeued: u64,
    /// Dead jobs.
    pub dead: u64,
    /// Survivors found so far.
    pub survivors: u64,
}

/// A run as the ledger holds it.
#[derive(Debug, Clone)]
pub struct RunRow {
    pub(super) id: i64,
    /// Its id.
    pub name: String,
    /// Its epoch.
    pub epoch: u32,
    /// Its first one: what comes of an older epoch is of a run of the same name that was deleted.
    pub(super) first_epoch: u32,
    /// Whether what it lacks is to be queued by the aggregator.
    pub requeue: bool,
    /// What was done about it without being asked for, for people.
    pub note: Option<String>,
    /// Where it stands.
    pub state: RunState,
    /// What was asked; `None` while only outcomes were heard.
    pub manifest: Option<RunOpened>,
    /// When it was opened (or first heard of), in Unix seconds.
    pub opened_at: f64,
    /// When it ended.
    pub ended_at: Option<f64>,
    /// When its last outcome was written.
    pub last_outcome_at: Option<f64>,
    /// How its jobs went.
    pub counts: Counts,
}

/// A job that nothing more will be done for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// Its id.
    pub job: String,
    /// What it died of.
    pub failure: String,
    /// One line for people.
    pub detail: String,
    /// What it would have covered, where that is known.
    pub span: Option<Span>,
}

const COLUMNS: &str = "id, name, epoch, state, manifest, opened_at, ended_at, last_outcome_at,
    rests, done, retried, requeued, dead, survivors, first_epoch, requeue, note";

fn run_row(row: &Row<'_>) -> Result<RunRow, LedgerError> {
    let name: String = row.get(1)?;
    let state: String = row.get(3)?;
    let state = RunState::ALL
        .into_iter()
        .find(|known| known.name() == state)
        .ok_or_else(|| LedgerError::Corrupt(format!("run {name} has the state '{state}'")))?;
    let manifest: Option<Vec<u8>> = row.get(4)?;
    let manifest = manifest
        .map(|bytes| RunOpened::from_body(&bytes))
        .transpose()
        .map_err(|error| LedgerError::Corrupt(format!("the manifest of run {name}: {error}")))?;
    Ok(RunRow {
        id: row.get(0)?,
        name,
        epoch: row.get(2)?,
        state,
        manifest,
        opened_at: row.get(5)?,
        ended_at: row.get(6)?,
        last_outcome_at: row.get(7)?,
        counts: Counts {
            rests: row.get(8)?,
            done: row.get(9)?,
            retried: row.get(10)?,
            requeued: row.get(11)?,
            dead: row.get(12)?,
            survivors: row.get(13)?,
        },
        first_epoch: row.get(14)?,
        requeue: row.get(15)?,
        note: row.get(16)?,
    })
}

pub(super) fn find(db: &Connection, name: &str) -> Result<Option<RunRow>, LedgerError> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE name = ?1"))?
        .query_and_then([name], run_row)?
        .next()
        .transpose()
}

/// The run of that name, opened as a placeholder if it was never heard of.
pub(super) fn find_or_open(db: &Connection, name: &str, now: f64) -> Result<RunRow, LedgerError> {
    if let Some(run) = find(db, name)? {
        return Ok(run);
    }
    let epoch = epochs::forgotten(db, name)?.map_or(1, |(last, _)| last + 1);
    db.execute(
        "INSERT INTO runs (name, epoch, first_epoch, state, opened_at)
         VALUES (?1, ?2, ?2, 'open', ?3)",
        params![name, epoch, now],
    )?;
    find(db, name)?.ok_or_else(|| LedgerError::Corrupt(format!("run {name} vanished")))
}

/// Writes the manifest of a run: a new one, or a placeholder's.
pub(super) fn open(db: &Connection, manifest: &RunOpened, now: f64) -> Result<RunRow, LedgerError> {
    let refused =
        |why: String| LedgerError::Refused(format!("the manifest of run {}: {why}", manifest.run));
    match (&manifest.sieve, &manifest.statistics, &manifest.scripts) {
        (Some(sieve), None, None) => {
            sieve.validate().map_err(|error| refused(error.to_string()))?;
        }
        (None, Some(question), None) => {
            question.validate().map_err(|error| refused(error.to_string()))?;
        }
        (None, None, Some(_)) => {
            let dir = manifest.scripts.as_ref().and_then(|scripts| scripts.dir.as_deref());
            if dir.is_some_and(|dir| !Path::new(dir).is_absolute()) {
                return Err(refused("its output folder is no absolute path".to_owned()));
            }
        }
        _ => return Err(refused("it must ask one question".to_owned())),
    }
    let mut run = find_or_open(db, &manifest.run, now)?;
    match &run.manifest {
        // The same manifest, delivered again.
        Some(known) if known == manifest => return Ok(run),
        Some(_) => {
            let why = format!("there is another run called '{}' already", manifest.run);
            return Err(LedgerError::Refused(why));
        }
        None => {}
    }
    let bytes = manifest.to_body().map_err(|error| LedgerError::Refused(error.to_string()))?;
    let (first, last) = manifest.requested.into();
    // Its jobs are of an epoch that the name has left behind: they are queued anew.
    run.requeue |= manifest.epoch < run.first_epoch;
    run.epoch = run.epoch.max(manifest.epoch);
    run.opened_at = manifest.opened_at;
    run.manifest = Some(manifest.clone());
    db.execute(
        "UPDATE runs SET manifest = ?2, first = ?3, last = ?4, opened_at = ?5 WHERE id = ?1",
        params![run.id, bytes, stored(first), stored(last), run.opened_at],
    )?;
    Ok(run)
}

/// Ends a run if it is complete or has failed. One that has failed is complete after all when what
/// it gave up was done late.
pub(super) fn settle(db: &Connection, run: &mut RunRow, now: f64) -> Result<(), LedgerError> {
    let may_complete = matches!(run.state, RunState::Open | RunState::Paused | RunState::Failed);
    let Some(manifest) = run.manifest.as_ref().filter(|_| may_complete) else {
        return Ok(());
    };
    let mut complete = true;
    for span in manifest.wanted() {
        complete &= coverage::covers(db, run.id, span)?;
    }
    if complete {
        if !scripts::is_placing(db, run.id)? {
            run.state = RunState::Complete;
            run.ended_at = Some(now);
        }
    } else if !run.state.is_ended() && has_failed(db, run, manifest)? {
        run.state = RunState::Failed;
        run.ended_at = Some(now);
        // What is still queued is acked away unrun.
        epochs::raise(db, run)?;
    }
    Ok(())
}

/// Writes back what may change of a run.
pub(super) fn write(db: &Connection, run: &RunRow) -> Result<(), LedgerError> {
    db.prepare_cached(
        "UPDATE runs SET epoch = ?2, state = ?3, ended_at = ?4, last_outcome_at = ?5, rests = ?6,
         done = ?7, retried = ?8, requeued = ?9, dead = ?10, survivors = ?11, requeue = ?12,
         note = ?13 WHERE id = ?1",
    )?
    .execute(params![
        run.id,
        run.epoch,
        run.state.name(),
        run.ended_at,
        run.last_outcome_at,
        run.counts.rests,
        run.counts.done,
        run.counts.retried,
        run.counts.requeued,
        run.counts.dead,
        run.counts.survivors,
        run.requeue,
        run.note
    ])?;
    Ok(())
}

fn has_failed(db: &Connection, run: &RunRow, manifest: &RunOpened) -> Result<bool, LedgerError> {
    let Counts { rests, done, dead, .. } = run.counts;
    if dead == 0 {
        return Ok(false);
    }
    let limit = match manifest.max_dead {
        MaxDead::Jobs(jobs) => Some(jobs),
        MaxDead::Percent(percent) if percent >= 100.0 => None,
        MaxDead::Percent(percent) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of at most some millions of jobs"
            )]
            let share = (percent / 100.0 * (manifest.jobs + rests) as f64) as u64;
            Some(share.max(LEAST_MAX_DEAD))
        }
    };
    if limit.is_some_and(|limit| dead > limit || (done == 0 && dead >= FIRST_ALL_DEAD)) {
        return Ok(true);
    }
    // Nothing is left but dead jobs when what they would have covered fills every hole.
    Ok(lacking(db, run)?.is_empty() && !scripts::is_placing(db, run.id)?)
}

/// What a run lacks and no dead job stands for.
pub(super) fn lacking(db: &Connection, run: &RunRow) -> Result<Spans, LedgerError> {
    let mut reached = coverage::covered(db, run.id)?;
    reached.extend(dead::of_run(db, run.id)?.into_iter().filter_map(|job| job.span));
    let wanted = run.manifest.iter().flat_map(RunOpened::wanted);
    Ok(wanted.flat_map(|span| reached.holes(span)).collect())
}

impl Ledger {
    /// The run of that name.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn run(&self, name: &str) -> Result<Option<RunRow>, LedgerError> {
        find(&self.db, name)
    }

    /// Every run, the newest first.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn runs(&self) -> Result<Vec<RunRow>, LedgerError> {
        self.db
            .prepare(&format!("SELECT {COLUMNS} FROM runs ORDER BY opened_at DESC, id DESC"))?
            .query_and_then([], run_row)?
            .collect()
    }

    /// What of a run was tested.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn covered(&self, run: &RunRow) -> Result<Spans, LedgerError> {
        coverage::covered(&self.db, run.id)
    }

    /// The dead jobs of a run, the first to die first.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn dead_jobs(&self, run: &RunRow) -> Result<Vec<DeadJob>, LedgerError> {
        dead::of_run(&self.db, run.id)
    }

    /// The candidates of a `reverse_sieve` run, as far as its parts have arrived, in order.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn candidates(&self, run: &RunRow) -> Result<Vec<u64>, LedgerError> {
        let mut parts = self.db.prepare("SELECT seeds FROM parts WHERE run = ?1 ORDER BY part")?;
        let mut seeds = Vec::new();
        for part in parts.query_map([run.id], |row| row.get::<_, Vec<u8>>(0))? {
            let part: Vec<u64> = rmp_serde::from_slice(&part?).map_err(|error| {
                LedgerError::Corrupt(format!("a part of {}: {error}", run.name))
            })?;
            seeds.extend(part);
        }
        Ok(seeds)
    }

    /// Complete runs whose outputs were not written yet.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn without_outputs(&self) -> Result<Vec<String>, LedgerError> {
        let mut rows = self.db.prepare(
            "SELECT name FROM runs WHERE state = 'complete' AND outputs_at IS NULL
                      AND id NOT IN (SELECT run FROM script_jobs)",
        )?;
        Ok(rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// Runs of scripts that have ended and whose manifests were not written since.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn scripts_without_manifest(&self) -> Result<Vec<String>, LedgerError> {
        let mut rows = self.db.prepare_cached(
            "SELECT name FROM runs WHERE state IN ('complete', 'failed', 'cancelled')
             AND outputs_at IS NULL AND id IN (SELECT run FROM script_jobs)",
        )?;
        Ok(rows.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// Records that a run's outputs were written.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn outputs_written(&self, name: &str, now: f64) -> Result<(), LedgerError> {
        self.db.execute("UPDATE runs SET outputs_at = ?2 WHERE name = ?1", params![name, now])?;
        Ok(())
    }

    /// The ledger's own id.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn uuid(&self) -> Result<String, LedgerError> {
        let uuid = self.db.query_row("SELECT uuid FROM ledger", [], |row| row.get(0)).optional()?;
        uuid.ok_or_else(|| LedgerError::Corrupt("it has no uuid".to_owned()))
    }
}
