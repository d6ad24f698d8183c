//! Strikes: failures that were a device's own, and the devices that are kept from work for them.
//!
//! Three strikes in 24 hours put a device into quarantine for a minute. After that it is on
//! probation: its next strike puts it back for twice as long, up to an hour, and its next success
//! clears it.

use rusqlite::{Connection, OptionalExtension as _, params};
use shared::outcome::{Blame, Outcome, Verdict};

use super::open::LedgerError;

/// So many strikes put a device into quarantine …
const STRIKES: u32 = 3;
/// … when they fall within so many seconds.
const WITHIN: f64 = 24.0 * 3600.0;
/// The first quarantine, in seconds; each that follows is twice as long.
const FIRST_SECONDS: f64 = 60.0;
/// The longest quarantine, in seconds.
const LONGEST_SECONDS: f64 = 3600.0;

/// Counts what an outcome says about devices. `id` is its row; only the first of a key counts.
pub(super) fn judge(
    db: &Connection,
    run: i64,
    id: i64,
    outcome: &Outcome,
    now: f64,
) -> Result<(), LedgerError> {
    let device = &outcome.device.name;
    match &outcome.verdict {
        Verdict::Failed { failure, .. } if failure.blame() == Blame::Device => {
            strike(db, id, &outcome.node, device, now)
        }
        Verdict::Done(_) | Verdict::Finished(_) => {
            clear(db, &outcome.node, device, now)?;
            // A first try has no earlier ones to blame.
            if outcome.seq == 1 { Ok(()) } else { blame_crashes(db, run, outcome, now) }
        }
        Verdict::Failed { .. } | Verdict::Returned { .. } => Ok(()),
    }
}

/// A job that crashed elsewhere and succeeds here was not at fault: the devices were.
fn blame_crashes(
    db: &Connection,
    run: i64,
    outcome: &Outcome,
    now: f64,
) -> Result<(), LedgerError> {
    let device = &outcome.device.name;
    let crashes: Vec<(i64, String, String)> = db
        .prepare_cached(
            "SELECT id, node, device FROM outcomes WHERE run = ?1 AND job = ?2
             AND failure GLOB ?3 AND NOT (node = ?4 AND device = ?5)
             AND id NOT IN (SELECT outcome FROM strikes)",
        )?
        .query_map(params![run, outcome.job, CRASHED, outcome.node, device], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    for (id, node, device) in crashes {
        strike(db, id, &node, &device, now)?;
    }
    Ok(())
}

/// What [`Failure::Crashed`] is called in the ledger, whatever the signal.
const CRASHED: &str = "Crashed(*)";

fn strike(
    db: &Connection,
    outcome: i64,
    node: &str,
    device: &str,
    now: f64,
) -> Result<(), LedgerError> {
    db.prepare_cached("DELETE FROM strikes WHERE at < ?1")?.execute([now - WITHIN])?;
    db.prepare_cached("INSERT INTO strikes (outcome, node, device, at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![outcome, node, device, now])?;
    let strikes: u32 = db
        .prepare_cached("SELECT count(*) FROM strikes WHERE node = ?1 AND device = ?2")?
        .query_row([node, device], |row| row.get(0))?;
    let before: Option<(f64, f64)> = db
        .prepare_cached("SELECT until, seconds FROM quarantines WHERE node = ?1 AND device = ?2")?
        .query_row([node, device], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let seconds = match before {
        // What was started before it was put away says nothing new.
        Some((until, _)) if until > now => return Ok(()),
        Some((_, seconds)) => (seconds * 2.0).min(LONGEST_SECONDS),
        None if strikes >= STRIKES => FIRST_SECONDS,
        None => return Ok(()),
    };
    db.prepare_cached(
        "INSERT INTO quarantines (node, device, until, seconds) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (node, device) DO UPDATE SET until = ?3, seconds = ?4",
    )?
    .execute(params![node, device, now + seconds, seconds])?;
    Ok(())
}

/// A success on probation clears a device.
fn clear(db: &Connection, node: &str, device: &str, now: f64) -> Result<(), LedgerError> {
    let cleared = db
        .prepare_cached("DELETE FROM quarantines WHERE node = ?1 AND device = ?2 AND until <= ?3")?
        .execute(params![node, device, now])?;
    if cleared > 0 {
        db.prepare_cached("DELETE FROM strikes WHERE node = ?1 AND device = ?2")?
            .execute([node, device])?;
    }
    Ok(())
}

/// The devices that take nothing now, as `node/device`.
pub(super) fn quarantined(
    db: &Connection,
    now: f64,
) -> Result<impl IntoIterator<Item = String>, LedgerError> {
    let devices: Vec<String> = db
        .prepare_cached("SELECT node || '/' || device FROM quarantines WHERE until > ?1")?
        .query_map([now], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use shared::outcome::Failure;

    use super::*;

    #[test]
    fn a_crash_is_found_by_its_name() {
        let name = Failure::Crashed(11).to_string();
        assert!(name.starts_with(CRASHED.trim_end_matches("*)")) && name.ends_with(')'));
    }
}
