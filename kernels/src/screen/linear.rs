//! Generators that are linear over GF(2): every visible bit of a draw is a linear equation in the
//! bits of the state, and either they have a solution or no seed whatever made the draws.

use std::{iter, ops::Range};

use shared::{
    families::Family,
    screen::{Finding, Verdict},
    sieve::Skips,
};

use super::{
    Draws, SPARE_BITS,
    elimination::{Equations, Solved},
    symbols::{Kind, Symbols},
    too_few,
};

/// Equations beyond the dimension: random draws agree with none of them by chance.
const MORE: usize = 64;
/// When a solution fails at a draw, this many draws from there on are taken in.
const AFTER: usize = 40;

/// Tries every skip until one has a solution.
pub(super) fn test<E>(
    family: Family,
    kind: Kind,
    draws: Draws<'_>,
    skips: Skips,
    threads: usize,
    progress: &mut impl FnMut(f64) -> Result<(), E>,
) -> Result<Finding, E> {
    let bits = draws.bits.min(kind.linear_bits());
    let needed = (kind.dimension() as u64 + SPARE_BITS).div_ceil(u64::from(bits));
    let range = match (skips.lo, skips.hi) {
        (lo, hi) if lo == hi => lo.to_string(),
        (lo, hi) => format!("{lo} to {hi}"),
    };
    let finding = Finding {
        family,
        verdict: Verdict::Refuted,
        method: "elimination".to_owned(),
        assumptions: format!(
            "every draw is an output, reduced, and the same number of outputs, {range}, lies \
             between two; any state of {} bits, however it was seeded",
            kind.dimension()
        ),
        detail: format!("no state makes these draws under a skip of {range}"),
        draws_used: draws.values.len() as u64,
        draws_needed: needed,
        skip: None,
        skip_modulus: None,
        seconds: 0.0,
    };
    if (draws.values.len() as u64) < needed {
        return Ok(too_few(finding, draws.values.len()));
    }
    for skip in skips.iter() {
        let share = |part: f64| (f64::from(skip - skips.lo) + part) / f64::from(skips.count());
        let mut progress = |part: f64| progress(share(part));
        if has_state(kind, draws.values, bits, skip, threads, &mut progress)? {
            return Ok(Finding {
                verdict: Verdict::Consistent,
                detail: format!(
                    "a state makes the lowest {bits} bits of all draws under the skip {skip}"
                ),
                skip: Some(skip.into()),
                ..finding
            });
        }
    }
    Ok(finding)
}

/// Whether some state makes the lowest bits of all draws under this skip.
fn has_state<E>(
    kind: Kind,
    draws: &[u32],
    bits: u32,
    skip: u32,
    threads: usize,
    progress: &mut impl FnMut(f64) -> Result<(), E>,
) -> Result<bool, E> {
    let first = (kind.dimension() + MORE).div_ceil(bits as usize).min(draws.len());
    // The draws that equations are made of: the first ones, and those where a solution failed.
    let mut taken: Vec<Range<usize>> = iter::once(0..first).collect();
    loop {
        let equations = equations(kind, draws, bits, skip, &taken);
        let Solved::Solution(state) = equations.solve(threads, &mut *progress)? else {
            return Ok(false);
        };
        let Some(wrong) = first_wrong(kind, &state, draws, bits, skip) else { return Ok(true) };
        // Either they have no solution either, or the solution was one of several.
        taken.push(wrong..draws.len().min(wrong + AFTER));
    }
}

fn equations(kind: Kind, draws: &[u32], bits: u32, skip: u32, taken: &[Range<usize>]) -> Equations {
    let mut equations = Equations::new(kind.unknowns());
    let mut symbols = Symbols::unknown(kind);
    let last = taken.iter().map(|range| range.end).max().unwrap_or(0);
    for (number, draw) in draws.iter().enumerate().take(last) {
        (0..=skip).for_each(|_| symbols.step());
        if taken.iter().any(|range| range.contains(&number)) {
            let mut bit = 0;
            symbols.output(bits, |row| {
                equations.push(row, draw >> bit & 1 == 1);
                bit += 1;
            });
        }
    }
    equations
}

/// The first draw whose lowest bits are not those that a state makes.
fn first_wrong(kind: Kind, state: &[u64], draws: &[u32], bits: u32, skip: u32) -> Option<usize> {
    let mut symbols = Symbols::known(kind, state);
    draws.iter().position(|draw| {
        (0..=skip).for_each(|_| symbols.step());
        let (mut bit, mut wrong) = (0, false);
        symbols.output(bits, |row| {
            wrong |= row[0] != u64::from(draw >> bit & 1);
            bit += 1;
        });
        wrong
    })
}
