//! Survivors: unique by (run, seed); a second report must agree.

use rusqlite::{Connection, params};
use shared::{
    outcome::{Best, Sequences, Survivor, Survivors},
    sieve::Mode,
    spans::Span,
};

use super::{
    open::{Ledger, LedgerError, loaded, stored},
    runs::RunRow,
};

/// Two devices that report one seed differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The seed.
    pub seed: u64,
    /// Who said what.
    pub detail: String,
    /// The device that reported first, as `node/device`.
    pub first: String,
    /// The device that reported otherwise.
    pub second: String,
}

/// A survivor as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The survivor.
    pub survivor: Survivor,
    /// With variable skips: those of its strategies.
    pub sequences: Option<Sequences>,
}

fn text(survivor: Survivor, mode: Mode) -> String {
    let one = |best: Best| format!("{} matches {} {}", best.matches, found_by(mode), best.skip);
    match survivor.reverse {
        None => one(survivor.best),
        Some(reverse) => format!("{}, reversed {}", one(survivor.best), one(reverse)),
    }
}

/// What `skip` of a result tells, in words that go before it.
#[must_use]
pub const fn found_by(mode: Mode) -> &'static str {
    match mode {
        Mode::Variable => "by strategy",
        _ => "at skip",
    }
}

/// Writes an outcome's survivors and returns how many are new; those known must be the same.
pub(super) fn insert(
    db: &Connection,
    run: i64,
    outcome: i64,
    survivors: &Survivors,
) -> Result<u64, LedgerError> {
    let mut all_new = 0;
    let mut insert = db.prepare_cached(
        "INSERT INTO survivors
             (run, seed, matches, skip, reverse_matches, reverse_skip, outcome, sequence,
              reverse_sequence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
    )?;
    let mode = if survivors.sequences.is_empty() { Mode::Fixed } else { Mode::Variable };
    for (row, survivor) in survivors.iter().enumerate() {
        let reverse = survivor.reverse;
        let sequences = survivors.sequences(row);
        let bytes = |skips: &Vec<u16>| -> Vec<u8> {
            skips.iter().flat_map(|skip| skip.to_le_bytes()).collect()
        };
        let new = insert.execute(params![
            run,
            stored(survivor.seed),
            survivor.best.matches,
            survivor.best.skip,
            reverse.map(|best| best.matches),
            reverse.map(|best| best.skip),
            outcome,
            sequences.as_ref().map(|both| bytes(&both.leading)),
            sequences.as_ref().filter(|_| reverse.is_some()).map(|both| bytes(&both.reverse)),
        ])?;
        if new == 0 {
            compare(db, run, outcome, (survivor, mode))?;
        } else {
            all_new += 1;
        }
    }
    Ok(all_new)
}

fn compare(
    db: &Connection,
    run: i64,
    outcome: i64,
    (second, mode): (Survivor, Mode),
) -> Result<(), LedgerError> {
    let (first, first_outcome): (Survivor, i64) = db
        .prepare_cached(
            "SELECT seed, matches, skip, reverse_matches, reverse_skip, outcome FROM survivors
             WHERE run = ?1 AND seed = ?2",
        )?
        .query_row(params![run, stored(second.seed)], |row| Ok((survivor(row)?, row.get(5)?)))?;
    if first != second {
        let detail = format!("first {}, then {}", text(first, mode), text(second, mode));
        db.execute(
            "INSERT INTO disagreements (run, seed, first_outcome, second_outcome, detail)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            params![run, stored(second.seed), first_outcome, outcome, detail],
        )?;
    }
    Ok(())
}

pub(super) fn survivor(row: &rusqlite::Row<'_>) -> rusqlite::Result<Survivor> {
    let reverse: (Option<u32>, Option<u32>) = (row.get(3)?, row.get(4)?);
    Ok(Survivor {
        seed: loaded(row.get(0)?),
        best: Best { matches: row.get(1)?, skip: row.get(2)? },
        reverse: match reverse {
            (Some(matches), Some(skip)) => Some(Best { matches, skip }),
            _ => None,
        },
    })
}

const COLUMNS: &str =
    "seed, matches, skip, reverse_matches, reverse_skip, sequence, reverse_sequence";

fn kept(row: &rusqlite::Row<'_>) -> rusqlite::Result<Kept> {
    let skips = |column: usize| -> rusqlite::Result<Option<Vec<u16>>> {
        let bytes: Option<Vec<u8>> = row.get(column)?;
        let words = |bytes: Vec<u8>| {
            bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
        };
        Ok(bytes.map(words))
    };
    let reverse = skips(6)?.unwrap_or_default();
    let sequences = skips(5)?.map(|leading| Sequences { leading, reverse });
    Ok(Kept { survivor: survivor(row)?, sequences })
}

impl Ledger {
    /// A run's survivors, ascending by seed, at most `limit` of them.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn survivors(&self, run: &RunRow, limit: u64) -> Result<Vec<Kept>, LedgerError> {
        Ok(self
            .db
            .prepare(&format!(
                "SELECT {COLUMNS} FROM survivors WHERE run = ?1 ORDER BY seed LIMIT ?2"
            ))?
            .query_map(params![run.id, i64::try_from(limit).unwrap_or(i64::MAX)], kept)?
            .collect::<Result<_, _>>()?)
    }

    /// Calls `each` for every survivor of a run, ascending by seed, without holding them all.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read, or what `each` returns.
    pub fn each_survivor<E: From<LedgerError>>(
        &self,
        run: &RunRow,
        mut each: impl FnMut(Kept) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rows = self
            .db
            .prepare(&format!("SELECT {COLUMNS} FROM survivors WHERE run = ?1 ORDER BY seed"))
            .map_err(LedgerError::from)?;
        for row in rows.query_map([run.id], kept).map_err(LedgerError::from)? {
            each(row.map_err(LedgerError::from)?)?;
        }
        Ok(())
    }

    /// The seeds that two devices reported differently.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn disagreements(&self, run: &RunRow) -> Result<Vec<Disagreement>, LedgerError> {
        let rows = self
            .db
            .prepare(
                "SELECT d.seed, d.detail, a.node || '/' || a.device, b.node || '/' || b.device
                 FROM disagreements d JOIN outcomes a ON a.id = d.first_outcome
                 JOIN outcomes b ON b.id = d.second_outcome WHERE d.run = ?1 ORDER BY d.seed",
            )?
            .query_map([run.id], |row| {
                Ok(Disagreement {
                    seed: loaded(row.get(0)?),
                    detail: row.get(1)?,
                    first: row.get(2)?,
                    second: row.get(3)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(rows)
    }
}

/// Whether every survivor lies in what was tested.
pub(super) fn all_inside(survivors: &Survivors, tested: &[Span]) -> bool {
    survivors.seeds.iter().all(|&seed| tested.iter().any(|span| span.contains(seed)))
}
