//! Epochs: cancel, pause, resume, requeue and forget. Each raises a run's epoch, so that what is
//! still queued of it is acked away unrun; the ledger then says what must be queued anew.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{
    Connection, OptionalExtension as _, Params, Transaction, TransactionBehavior, params,
};
use shared::{
    job::Job,
    messages::{FleetState, NodeOrder},
    spans::Spans,
};

use super::{
    open::{Ledger, LedgerError},
    outbox,
    runs::{self, RunRow, RunState},
    scripts, strikes,
};

/// How long after its end a run's jobs may still be in queues, in seconds.
const JOBS_LINGER: f64 = 24.0 * 3600.0;

impl Ledger {
    /// Changes a run in one short transaction of its own; `None` when there is no such run.
    fn change(
        &mut self,
        name: &str,
        change: impl FnOnce(&Transaction<'_>, &mut RunRow) -> Result<(), LedgerError>,
    ) -> Result<Option<RunRow>, LedgerError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(mut run) = runs::find(&tx, name)? else { return Ok(None) };
        change(&tx, &mut run)?;
        runs::write(&tx, &run)?;
        tx.commit()?;
        Ok(Some(run))
    }

    /// Gives a run up: what is queued of it is not run, what runs is ended.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when it is complete or has failed.
    pub fn cancel(&mut self, name: &str, now: f64) -> Result<Option<RunRow>, LedgerError> {
        self.change(name, |db, run| match run.state {
            RunState::Cancelled => Ok(()),
            RunState::Open | RunState::Paused => {
                run.state = RunState::Cancelled;
                run.ended_at = Some(now);
                raise(db, run)
            }
            RunState::Complete | RunState::Failed => {
                Err(refused(run, "there is nothing to cancel"))
            }
        })
    }

    /// Holds a run: what is queued of it is not run, what runs finishes short.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when it has ended.
    pub fn pause(&mut self, name: &str) -> Result<Option<RunRow>, LedgerError> {
        self.change(name, |db, run| match run.state {
            RunState::Paused => Ok(()),
            RunState::Open => {
                run.state = RunState::Paused;
                raise(db, run)
            }
            _ => Err(refused(run, "there is nothing to pause")),
        })
    }

    /// Goes on with a run that was paused or cancelled: the aggregator queues what it lacks. An
    /// open run is left as it is.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when it is complete or has failed.
    pub fn resume(&mut self, name: &str) -> Result<Option<RunRow>, LedgerError> {
        self.change(name, |_, run| match run.state {
            RunState::Open => Ok(()),
            RunState::Paused | RunState::Cancelled => {
                run.state = RunState::Open;
                run.ended_at = None;
                run.requeue = true;
                Ok(())
            }
            RunState::Complete => Err(refused(run, "there is nothing left to do")),
            RunState::Failed => {
                let how = format!(
                    "`producer dead requeue --run {}` queues its dead jobs again and opens it",
                    run.name
                );
                Err(refused(run, &how))
            }
        })
    }

    /// Raises an open run's epoch and writes `jobs` to the outbox under the new one, in place of
    /// whatever was queued. Returns whether it was open.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn requeue(
        &mut self,
        name: &str,
        jobs: Vec<Job>,
        note: Option<String>,
        now: f64,
    ) -> Result<bool, LedgerError> {
        let mut was_open = false;
        self.change(name, |db, run| {
            was_open = run.state == RunState::Open;
            if !was_open {
                return Ok(());
            }
            raise(db, run)?;
            run.requeue = false;
            run.note = note.or_else(|| run.note.take());
            run.counts.requeued += jobs.len() as u64;
            let epoch = run.epoch;
            for job in jobs {
                let job = if job.is_script() {
                    let seq = scripts::next_seq(db, run.id, &job.id)?;
                    Job { epoch, seq, ..job }
                } else {
                    let id = format!("{}.e{epoch}.{}", run.name, job.id);
                    Job { epoch, id, ..job }
                };
                outbox::post(db, run.id, &job, now)?;
            }
            // Nothing may be left to queue: then the run has ended.
            runs::settle(db, run, now)
        })?;
        Ok(was_open)
    }

    /// Ends a run that nothing can be done for any more, and says why.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn give_up(&mut self, name: &str, why: &str, now: f64) -> Result<(), LedgerError> {
        self.change(name, |db, run| {
            run.state = RunState::Failed;
            run.ended_at = Some(now);
            run.note = Some(why.to_owned());
            raise(db, run)
        })?;
        Ok(())
    }

    /// The names of the open runs, with whether their holes are to be queued.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn open_runs(&self) -> Result<BTreeMap<String, bool>, LedgerError> {
        let mut rows =
            self.db.prepare_cached("SELECT name, requeue FROM runs WHERE state = 'open'")?;
        let runs = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(runs.collect::<Result<_, _>>()?)
    }

    /// What a run lacks and no dead job stands for.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn lacking(&self, run: &RunRow) -> Result<Spans, LedgerError> {
        runs::lacking(&self.db, run)
    }

    /// Deletes everything about a run that has ended; `None` when there is no such run.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when it has not ended.
    pub fn forget(&mut self, name: &str, now: f64) -> Result<Option<RunRow>, LedgerError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(run) = runs::find(&tx, name)? else { return Ok(None) };
        if !run.state.is_ended() {
            return Err(refused(&run, &format!("`producer cancel {name}` first")));
        }
        tx.execute(
            "DELETE FROM strikes WHERE outcome IN (SELECT id FROM outcomes WHERE run = ?1)",
            [run.id],
        )?;
        for table in [
            "parts",
            "coverage",
            "survivors",
            "statistics",
            "script_jobs",
            "script_results",
            "disagreements",
            "outcomes",
            "outbox",
            "dead",
        ] {
            tx.execute(&format!("DELETE FROM {table} WHERE run = ?1"), [run.id])?;
        }
        tx.execute("DELETE FROM runs WHERE id = ?1", [run.id])?;
        tx.execute("DELETE FROM forgotten WHERE at < ?1", [now - JOBS_LINGER])?;
        tx.execute(
            "INSERT INTO forgotten (name, epoch, opened_at, at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET epoch = max(epoch, ?2), opened_at = ?3, at = ?4",
            params![name, run.epoch, run.opened_at, now],
        )?;
        tx.commit()?;
        Ok(Some(run))
    }

    /// Tells a node to stand aside, or (`None`) to work again.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn order_node(
        &mut self,
        node: &str,
        order: Option<NodeOrder>,
        now: f64,
    ) -> Result<(), LedgerError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("DELETE FROM node_orders WHERE node = ?1", [node])?;
        if let Some(order) = order {
            tx.execute(
                "INSERT INTO node_orders (node, asked, at) VALUES (?1, ?2, ?3)",
                params![node, order_name(order), now],
            )?;
        }
        Ok(tx.commit()?)
    }

    /// What every worker must know.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn fleet_state(&self, now: f64) -> Result<FleetState, LedgerError> {
        let since = now - JOBS_LINGER;
        let mut epochs = self.db.prepare_cached(
            "SELECT name, epoch + (state IN ('complete', 'cancelled', 'failed')) FROM runs
             WHERE ended_at IS NULL OR ended_at > ?1
             UNION ALL SELECT name, epoch + 1 FROM forgotten
             WHERE at > ?1 AND name NOT IN (SELECT name FROM runs)",
        )?;
        let epochs = epochs.query_map([since], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(FleetState {
            min_epochs: epochs.collect::<Result<_, _>>()?,
            ended: self.names(
                "SELECT name FROM runs WHERE state IN ('cancelled', 'failed') AND ended_at > ?1
                 UNION SELECT name FROM forgotten
                 WHERE at > ?1 AND name NOT IN (SELECT name FROM runs)",
                [since],
            )?,
            paused: self.names("SELECT name FROM runs WHERE state = 'paused'", [])?,
            nodes: self.node_orders()?,
            quarantined: strikes::quarantined(&self.db, now)?.into_iter().collect(),
            staged: self.staged()?,
        })
    }

    fn names(&self, sql: &str, params: impl Params) -> Result<BTreeSet<String>, LedgerError> {
        let mut rows = self.db.prepare_cached(sql)?;
        let names = rows.query_map(params, |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// What nodes were told.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn node_orders(&self) -> Result<BTreeMap<String, NodeOrder>, LedgerError> {
        let mut rows = self.db.prepare_cached("SELECT node, asked FROM node_orders")?;
        rows.query_and_then([], |row| {
            let asked: String = row.get(1)?;
            let order = [NodeOrder::Pause, NodeOrder::Drain]
                .into_iter()
                .find(|order| order_name(*order) == asked)
                .ok_or_else(|| LedgerError::Corrupt(format!("a node was told to '{asked}'")))?;
            Ok((row.get(0)?, order))
        })?
        .collect()
    }
}

const fn order_name(order: NodeOrder) -> &'static str {
    match order {
        NodeOrder::Pause => "pause",
        NodeOrder::Drain => "drain",
    }
}

fn refused(run: &RunRow, what: &str) -> LedgerError {
    LedgerError::Refused(format!("run {} is {}: {what}", run.name, run.state.name()))
}

/// Leaves everything behind that was queued so far.
pub(super) fn raise(db: &Connection, run: &mut RunRow) -> Result<(), LedgerError> {
    run.epoch += 1;
    db.execute(
        "DELETE FROM outbox WHERE run = ?1 AND queue != ?2",
        params![run.id, shared::topology::DEAD_JOBS],
    )?;
    Ok(())
}

/// A run of that name was deleted lately: its last epoch, and when it had been opened.
pub(super) fn forgotten(db: &Connection, name: &str) -> Result<Option<(u32, f64)>, LedgerError> {
    Ok(db
        .prepare_cached("SELECT epoch, opened_at FROM forgotten WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}
