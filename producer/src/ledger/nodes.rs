//! Nodes: who was heard lately, with what slots, holding which jobs.

use rusqlite::{Connection, params};
use shared::{
    job::{Job, Task},
    messages::Heartbeat,
    wire::Wire as _,
};

use super::{
    open::{Ledger, LedgerError},
    rates::{self, LearnedRate},
};

/// After how many seconds of silence a worker is forgotten.
const FORGET: f64 = 7.0 * 24.0 * 3600.0;

/// A worker as it was last heard.
#[derive(Debug, Clone)]
pub struct NodeSeen {
    /// What it said.
    pub heartbeat: Heartbeat,
    /// When, in Unix seconds of the aggregator's clock.
    pub heard_at: f64,
}

/// A node that was not heard for so many seconds is not there.
const LIVE: f64 = 30.0;

/// Whether every node that is there and has a slot that the job could run on is among those that
/// refused it; not when there is none.
pub(super) fn all_refused(db: &Connection, job: &Job, now: f64) -> Result<bool, LedgerError> {
    let mut live = db.prepare_cached("SELECT node, heartbeat FROM nodes WHERE heard_at >= ?1")?;
    let mut live = live.query([now - LIVE])?;
    let mut any = false;
    while let Some(row) = live.next()? {
        let (node, heartbeat): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if job.refused_by.contains(&node) {
            any = true;
            continue;
        }
        // Every runner can run every sieve, and some scripts run anywhere.
        let could = !matches!(&job.task, Task::Script(script) if !script.anywhere)
            || Heartbeat::from_body(&heartbeat)
                .is_ok_and(|beat| beat.slots.iter().any(|slot| slot.arch == job.arch));
        if could {
            return Ok(false);
        }
    }
    Ok(any)
}

impl Ledger {
    /// Writes what workers said last, and the rates that they measured where jobs have taught none
    /// yet. Losing it in a power cut loses nothing.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn heard<'a>(
        &mut self,
        heartbeats: impl IntoIterator<Item = &'a Heartbeat>,
        now: f64,
    ) -> Result<(), LedgerError> {
        let tx = self.db.transaction()?;
        tx.prepare_cached("DELETE FROM nodes WHERE heard_at < ?1")?.execute([now - FORGET])?;
        for heartbeat in heartbeats {
            let bytes =
                heartbeat.to_body().map_err(|error| LedgerError::Corrupt(error.to_string()))?;
            tx.prepare_cached(
                "INSERT INTO nodes (node, instance, heartbeat, heard_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (node, instance) DO UPDATE SET heartbeat = ?3, heard_at = ?4",
            )?
            .execute(params![heartbeat.node, heartbeat.instance, bytes, now])?;
            // All slots of a worker are alike.
            let Some(slot) = heartbeat.slots.first() else { continue };
            for rate in &heartbeat.measured {
                if let Some(rate) = LearnedRate::measured(slot.arch, &slot.device, rate) {
                    rates::assume(&tx, &rate, now)?;
                }
            }
        }
        Ok(tx.commit()?)
    }

    /// The workers heard since `since`, in Unix seconds.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn nodes(&self, since: f64) -> Result<Vec<NodeSeen>, LedgerError> {
        self.db
            .prepare_cached(
                "SELECT heartbeat, heard_at FROM nodes WHERE heard_at >= ?1 ORDER BY node, instance",
            )?
            .query_and_then([since], |row| {
                let bytes: Vec<u8> = row.get(0)?;
                let heartbeat = Heartbeat::from_body(&bytes)
                    .map_err(|error| LedgerError::Corrupt(format!("a heartbeat: {error}")))?;
                Ok(NodeSeen { heartbeat, heard_at: row.get(1)? })
            })?
            .collect()
    }
}
