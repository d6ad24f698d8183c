//! Seeds whose stream rejects an output and draws again.
//!
//! `nextInt(bound)` throws away the few outputs past the last multiple of the bound, and every
//! later position shifts. Such seeds lie outside the progressions that the search relies on, so
//! they are listed, step by step, and put to another engine one by one.
//!
//! The states from which step `t` rejects are an interval at the upper end, and the state is an
//! affine function of the first one modulo a power of two. The first states at which a multiple
//! moves into an interval follow each other at only three distances, the largest being the sum of
//! the others (the three gap theorem; Slater, Proceedings of the Cambridge Philosophical Society
//! 63, 1967): so each takes an addition to find.

use shared::{spans::Span, structure::PowerLcg};

use super::question::steps;

/// The first states of a range from which one of some steps rejects, in no order, some twice.
#[derive(Debug)]
pub(super) struct Rejections<'a> {
    lcg: &'a PowerLcg,
    /// From this output on, outputs are rejected.
    fair: u64,
    /// A stream that rejects nowhere among these steps gives all outputs that are looked at.
    pub(super) steps: std::ops::Range<u64>,
}

impl<'a> Rejections<'a> {
    /// The rejections of a bound, which is no power of two, in the outputs up to number `last`.
    pub(super) const fn new(lcg: &'a PowerLcg, bound: u32, last: u64) -> Self {
        let outputs = 1_u64 << lcg.output_bits();
        Self { lcg, fair: outputs - outputs % bound as u64, steps: 1..last + 2 }
    }

    /// Calls `each` with every first state of the range from which step `step` rejects.
    pub(super) fn each(&self, step: u64, states: Span, mut each: impl FnMut(u64)) {
        let mask = (1 << self.lcg.state_bits) - 1;
        let map = steps(self.lcg, step);
        let low = self.fair << self.lcg.low_bit;
        let width = mask - low;
        if low > mask {
            return;
        }
        // How far past the interval's start the state is that `first` leads to.
        let past = map.a.wrapping_mul(states.first()).wrapping_add(map.c).wrapping_sub(low) & mask;
        let Some(gaps) = Gaps::new(map.a & mask, mask + 1, width) else { return };
        let Some(start) = first_in(map.a & mask, mask + 1, past, width) else { return };
        let mut moved = u128::from(start);
        let mut past = map.a.wrapping_mul(start).wrapping_add(past) & mask;
        while moved < states.len() {
            each(states.first() + moved as u64);
            let (gap, after) = gaps.next(past);
            (moved, past) = (moved + u128::from(gap), after);
        }
    }
}

/// The distances between those multiples of a number, modulo another, that lie from 0 to `width`.
#[derive(Debug)]
struct Gaps {
    width: u64,
    /// The least number of multiples that moves up by at most the width, and by how much.
    up: (u64, u64),
    /// The same downwards.
    down: (u64, u64),
}

impl Gaps {
    fn new(a: u64, modulus: u64, width: u64) -> Option<Self> {
        let up = 1 + first_in(a, modulus, a, width)?;
        let back = modulus - a;
        let down = 1 + first_in(back, modulus, back, width)?;
        let by =
            |a: u64, times: u64| (u128::from(a) * u128::from(times) % u128::from(modulus)) as u64;
        Some(Self { width, up: (up, by(a, up)), down: (down, by(back, down)) })
    }

    /// How many multiples it takes from `past` back into the interval, and to where.
    const fn next(&self, past: u64) -> (u64, u64) {
        let (rises, falls) = (past + self.up.1 <= self.width, past >= self.down.1);
        if rises && (self.up.0 < self.down.0 || !falls) {
            (self.up.0, past + self.up.1)
        } else if falls {
            (self.down.0, past - self.down.1)
        } else {
            (self.up.0 + self.down.0, past + self.up.1 - self.down.1)
        }
    }
}

/// The least `x` for which `start + a x` modulo `modulus` is at most `width`.
fn first_in(a: u64, modulus: u64, start: u64, width: u64) -> Option<u64> {
    if start <= width {
        return Some(0);
    }
    // a x must lie between these, which do not wrap.
    let low = modulus - start;
    first_between(a, modulus, low, low + width)
}

/// The least `x` for which `a x` modulo `modulus` lies in `low..=high`, `0 < low`,
/// `high < modulus`; by Euclid's steps on `a` and the modulus.
fn first_between(a: u64, modulus: u64, low: u64, high: u64) -> Option<u64> {
    if a == 0 {
        return None;
    }
    if 2 * a > modulus {
        return first_between(modulus - a, modulus, modulus - high, modulus - low);
    }
    let before = low.div_ceil(a);
    if before * a <= high {
        return Some(before);
    }
    // No multiple of `a` lies between: so many times around it takes until one does.
    let around = first_between((a - modulus % a) % a, a, low % a, high % a)?;
    let x = (u128::from(low) + u128::from(modulus) * u128::from(around)).div_ceil(u128::from(a));
    Some(x as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn returns_to_an_interval_are_found(
            bits in 4_u32..13,
            a in any::<u64>(),
            start in any::<u64>(),
            width in any::<u64>(),
        ) {
            let modulus = 1 << bits;
            let (a, start, width) = ((a | 1) % modulus, start % modulus, width % modulus / 2);
            let at = |x: u64| (start + a * x) % modulus;
            let expected: Vec<u64> = (0..3 * modulus).filter(|&x| at(x) <= width).collect();
            prop_assert_eq!(first_in(a, modulus, start, width), expected.first().copied());
            let gaps = Gaps::new(a, modulus, width).unwrap();
            let mut x = expected[0];
            let mut found = Vec::new();
            while x < 3 * modulus {
                found.push(x);
                let (gap, after) = gaps.next(at(x));
                x += gap;
                prop_assert_eq!(at(x), after);
            }
            prop_assert_eq!(found, expected);
        }
    }

    /// Against a plain walk through a small range, at a bound that rejects often.
    #[test]
    fn rejecting_states_are_those_that_reject() {
        let lcg = PowerLcg::of(shared::families::Family::JavaRandom).unwrap();
        for bound in [67_000_001, 66_000_007] {
            let rejections = Rejections::new(&lcg, bound, 4);
            let states = Span::new(77_000_000_123, 77_000_060_000).unwrap();
            let mut seen = 0;
            for step in rejections.steps.clone() {
                let mut found = Vec::new();
                rejections.each(step, states, |state| found.push(state));
                let map = steps(&lcg, step);
                let rejects = |state: &u64| {
                    let state = map.a.wrapping_mul(*state).wrapping_add(map.c);
                    (state & ((1 << 48) - 1)) >> 17
                        >= (1 << 31) / u64::from(bound) * u64::from(bound)
                };
                let expected: Vec<u64> = (states.first()..=states.last()).filter(rejects).collect();
                assert_eq!(found, expected);
                seen += found.len();
            }
            assert!(seen > 100);
        }
    }
}
