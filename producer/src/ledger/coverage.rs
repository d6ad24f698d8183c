//! Coverage: which seeds (or candidate indices) of a run were tested, as joined intervals.

use rusqlite::{Connection, params};
use shared::spans::{Span, Spans};

use super::open::{LedgerError, loaded, stored};

/// Adds a tested span, joining it with what it overlaps or touches.
pub(super) fn cover(db: &Connection, run: i64, span: Span) -> Result<(), LedgerError> {
    // Rows are disjoint, so in their order the last values ascend too: the rows to join are those
    // that end at or after the value before the span and begin at or before the one after it.
    let mut joined = span;
    let before = stored(span.first().saturating_sub(1));
    let after = stored(span.last().saturating_add(1));
    let mut touching = db.prepare_cached(
        "SELECT first, last FROM coverage WHERE run = ?1 AND first <= ?2 AND last >= ?3
         AND first >= coalesce((SELECT max(first) FROM coverage WHERE run = ?1 AND first <= ?3), ?3)",
    )?;
    let mut rows = touching.query(params![run, after, before])?;
    let mut swallowed = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, last): (i64, i64) = (row.get(0)?, row.get(1)?);
        swallowed.push(first);
        joined = Span::new(joined.first().min(loaded(first)), joined.last().max(loaded(last)))
            .map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    }
    for first in swallowed {
        db.prepare_cached("DELETE FROM coverage WHERE run = ?1 AND first = ?2")?
            .execute(params![run, first])?;
    }
    db.prepare_cached("INSERT INTO coverage (run, first, last) VALUES (?1, ?2, ?3)")?
        .execute(params![run, stored(joined.first()), stored(joined.last())])?;
    Ok(())
}

/// Everything that was covered.
pub(super) fn covered(db: &Connection, run: i64) -> Result<Spans, LedgerError> {
    let mut rows =
        db.prepare_cached("SELECT first, last FROM coverage WHERE run = ?1 ORDER BY first")?;
    let spans = rows.query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))?;
    spans.map(|row| span_of(row?)).collect()
}

/// Whether a span was covered whole.
pub(super) fn covers(db: &Connection, run: i64, span: Span) -> Result<bool, LedgerError> {
    let mut found = db.prepare_cached(
        "SELECT last >= ?3 FROM coverage WHERE run = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1",
    )?;
    let mut rows = found.query(params![run, stored(span.first()), stored(span.last())])?;
    Ok(rows.next()?.map_or(Ok(false), |row| row.get(0))?)
}

pub(super) fn span_of((first, last): (i64, i64)) -> Result<Span, LedgerError> {
    Span::new(loaded(first), loaded(last)).map_err(|error| LedgerError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Ledger, *};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against the set in memory, at both ends of the number line.
        #[test]
        fn agrees_with_the_set_in_memory(
            top in any::<bool>(),
            pairs in prop::collection::vec((0u64..60, 0u64..12), 1..25),
        ) {
            let home = tempfile::tempdir().unwrap();
            let ledger = Ledger::write(home.path()).unwrap();
            ledger.db.pragma_update(None, "synchronous", "off").unwrap();
            let base = if top { u64::MAX - 71 } else { 0 };
            let mut plain = Spans::default();
            for (first, more) in pairs {
                let span = Span::new(base + first, base + first + more).unwrap();
                plain.insert(span);
                cover(&ledger.db, 1, span).unwrap();
                prop_assert!(covers(&ledger.db, 1, span).unwrap());
            }
            prop_assert_eq!(covered(&ledger.db, 1).unwrap(), plain.clone());
            let whole = Span::new(base + 3, base + 40).unwrap();
            prop_assert_eq!(covers(&ledger.db, 1, whole).unwrap(), plain.holes(whole).is_empty());
            prop_assert!(covered(&ledger.db, 2).unwrap().is_empty());
        }
    }
}
