//! Which draws are compared with which output, in the order of the stream.

use std::collections::BTreeMap;

use shared::sieve::Sieve;

use super::leap::Leaper;

/// A draw that is compared with an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// The residue that it must have.
    pub(super) draw: u32,
    /// The number of the skip that compares it, from 0.
    pub(super) skip: u32,
}

/// The outputs that are wanted, with their position in the stream.
#[derive(Debug, Clone)]
pub(super) struct Rows(pub(super) BTreeMap<u64, Vec<Pair>>);

impl Rows {
    /// Those of a window's draws under every skip of the sieve.
    pub(super) fn new(sieve: &Sieve, draws: &[u32]) -> Self {
        let mut rows: BTreeMap<u64, Vec<Pair>> = BTreeMap::new();
        for (number, skip) in (0..).zip(sieve.skips.iter()) {
            for (index, &draw) in (0..).zip(draws) {
                let row = rows.entry(sieve.position(index, skip)).or_default();
                row.push(Pair { draw, skip: number });
            }
        }
        Self(rows)
    }

    /// Appends them to the device's tables in the form that `reaches` of sieve.c reads, and returns
    /// where they begin.
    pub(super) fn lay_out(&self, leaper: Option<Leaper>, tables: &mut Vec<u32>) -> usize {
        let begin = tables.len();
        tables.push(self.0.len() as u32);
        let mut before = None;
        for (&position, pairs) in &self.0 {
            match leaper {
                Some(leaper) => {
                    let leap = leaper.leap(before, position);
                    for word in [leap.a, leap.c] {
                        tables.extend([word as u32, (word >> 32) as u32]);
                    }
                }
                None => tables.push((position - before.map_or(0, |before| before + 1)) as u32),
            }
            tables.push(pairs.len() as u32);
            tables.extend(pairs.iter().flat_map(|pair| [pair.draw, pair.skip]));
            before = Some(position);
        }
        begin
    }
}
