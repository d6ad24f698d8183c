//! Runs of consecutive seeds in families whose outputs go from seed to seed by a rule that is
//! simpler than the generator's own step: no output is generated, each position's is carried on
//! (SIEVES.md section 3.2, tricks 4 and 5).
//!
//! - Linear over GF(2) (`xorshift32`, `xorshift128`): with `first` a multiple of `L`, output `p`
//!   of seed `first + l` is that of `first` xor a constant of `p` and `l`; and from one group to
//!   the next it changes by a constant of `p` and of which bits the seed's increment flips.
//! - Linear congruential: output `p` is an arithmetic progression in the seed, modulo 2^31 - 1
//!   (`lcg32`, `minstd`, `minstd_rand0`) or, as a 48-bit state kept in the upper bits of 64,
//!   modulo 2^48 (`java_lcg`).

use shared::families::Family;

use super::{group::Fill, window::Window};
use crate::{
    generators::stream,
    lanes::{U32x, U64x},
    residue::Modulus,
};

/// The prime 2^31 - 1.
const PRIME: u64 = (1 << 31) - 1;
/// `java_lcg`'s multiplier and increment.
const JAVA: (u64, u64) = (0x5_DEEC_E66D, 11);
/// More positions than this are not carried: the lanes' constants would leave the cache.
const MOST: usize = 8192;

/// Outputs of `L` consecutive seeds at the positions that a window wants.
pub(super) struct Run<const L: usize> {
    family: Family,
    modulus: Modulus,
    /// The wanted positions, ascending, counted from the advance.
    positions: Vec<usize>,
    advance: usize,
    /// The group that `rule` stands at, if at any.
    at: Option<u64>,
    /// Which of the positions is filled next.
    slot: usize,
    rule: Rule<L>,
}

enum Rule<const L: usize> {
    Xor(Xor<L>),
    Prime(Prime<L>),
    Power(Power<L>),
}

impl<const L: usize> Run<L> {
    /// For a window, if there is a rule for the family.
    pub(super) fn new(family: Family, modulus: Modulus, window: &Window) -> Option<Self> {
        let wanted = 0..window.positions();
        let positions: Vec<usize> = wanted.filter(|&position| window.wants(position)).collect();
        if positions.len() > MOST {
            return None;
        }
        let advance = window.advance as usize;
        let outputs = |seed| outputs(family, &positions, advance, seed);
        let rule = match family {
            Family::Xorshift32 | Family::Xorshift128 => Rule::Xor(Xor::new(outputs)),
            Family::Lcg32 | Family::Minstd | Family::MinstdRand0 => {
                Rule::Prime(Prime::new(outputs))
            }
            Family::JavaLcg => Rule::Power(Power::new(&positions, advance)),
            _ => return None,
        };
        Some(Self { family, modulus, positions, advance, at: None, slot: 0, rule })
    }

    /// Goes to the seeds from `first` on, a multiple of `L`; says whether the rule holds for them.
    #[inline(always)]
    pub(super) fn go_to(&mut self, first: u64) -> bool {
        self.slot = 0;
        // A multiple of the prime is the one seed that minstd replaces.
        if matches!(self.family, Family::Minstd | Family::MinstdRand0)
            && (first.is_multiple_of(PRIME) || first / PRIME != (first + L as u64 - 1) / PRIME)
        {
            return false;
        }
        if self.at.is_some_and(|at| at + L as u64 == first) {
            match &mut self.rule {
                Rule::Xor(xor) => xor.advance(first),
                Rule::Prime(prime) => prime.advance(),
                Rule::Power(power) => power.advance(),
            }
        } else {
            let outputs = || outputs(self.family, &self.positions, self.advance, first);
            match &mut self.rule {
                Rule::Xor(xor) => xor.base = outputs(),
                Rule::Prime(prime) => prime.base = outputs(),
                Rule::Power(power) => power.go_to(first),
            }
        }
        self.at = Some(first);
        true
    }
}

impl<const L: usize> Fill<L> for Run<L> {
    #[inline(always)]
    fn fill(&mut self, _: &Window, from: usize, keys: &mut [U32x<L>]) {
        let end = from + keys.len();
        let (modulus, first) = (self.modulus, self.slot);
        let left = &self.positions[first..];
        let count = left.iter().position(|&position| position >= end).unwrap_or(left.len());
        let places = left[..count].iter().map(|position| position - from);
        let slots = first..first + count;
        self.slot = slots.end;
        // One loop for each rule, so that the choice is made once.
        match &self.rule {
            Rule::Xor(Xor { base, lanes, .. }) => {
                let states = base[slots.clone()].iter().zip(&lanes[slots]);
                for (place, (&base, &lanes)) in places.zip(states) {
                    keys[place] = modulus.keys(lanes ^ base);
                }
            }
            Rule::Prime(Prime { base, lanes, .. }) => {
                let states = base[slots.clone()].iter().zip(&lanes[slots]);
                for (place, (&base, &lanes)) in places.zip(states) {
                    keys[place] = modulus.keys(sum(lanes, base));
                }
            }
            Rule::Power(Power { base, lanes, .. }) => {
                let states = base[slots.clone()].iter().zip(&lanes[slots]);
                for (place, (&base, &lanes)) in places.zip(states) {
                    keys[place] = modulus.keys((lanes + base).high());
                }
            }
        }
    }
}

/// The outputs of a seed at certain positions, from the family's own definition.
fn outputs(family: Family, positions: &[usize], advance: usize, seed: u64) -> Vec<u32> {
    let last = positions.last().map_or(0, |last| advance + last + 1);
    // None of these families has outputs that depend on the modulus, or wider than 32 bits.
    let all = stream(family, 2, seed, last);
    positions.iter().map(|position| all[advance + position] as u32).collect()
}

struct Xor<const L: usize> {
    base: Vec<u32>,
    lanes: Vec<U32x<L>>,
    /// For each number of trailing zeros of `first / L` what is flipped on the way to `first`.
    flips: Vec<Vec<u32>>,
}

impl<const L: usize> Xor<L> {
    fn new(outputs: impl Fn(u64) -> Vec<u32>) -> Self {
        let zero = outputs(0);
        let difference = |seed| {
            let mut outputs = outputs(seed);
            outputs.iter_mut().zip(&zero).for_each(|(output, zero)| *output ^= zero);
            outputs
        };
        let flipped = |zeros: u32| ((2 << zeros) - 1) * L as u64;
        let widths = 32 - L.trailing_zeros();
        Self {
            base: zero.clone(),
            lanes: spread(difference),
            flips: (0..widths).map(|zeros| difference(flipped(zeros) & 0xFFFF_FFFF)).collect(),
        }
    }

    #[inline(always)]
    fn advance(&mut self, first: u64) {
        let zeros = (first / L as u64).trailing_zeros() as usize;
        for (base, flip) in self.base.iter_mut().zip(&self.flips[zeros]) {
            *base ^= flip;
        }
    }
}

struct Prime<const L: usize> {
    base: Vec<u32>,
    lanes: Vec<U32x<L>>,
    each: Vec<u32>,
}

impl<const L: usize> Prime<L> {
    fn new(outputs: impl Fn(u64) -> Vec<u32>) -> Self {
        // Seed 0 may be replaced by 1, so differences are taken from there.
        let one = outputs(1);
        let difference = |seeds: u64| {
            let mut outputs = outputs(1 + seeds);
            for (output, one) in outputs.iter_mut().zip(&one) {
                *output = ((u64::from(*output) + PRIME - u64::from(*one)) % PRIME) as u32;
            }
            outputs
        };
        Self { lanes: spread(difference), each: difference(L as u64), base: one.clone() }
    }

    #[inline(always)]
    fn advance(&mut self) {
        for (base, &each) in self.base.iter_mut().zip(&self.each) {
            *base = sum(U32x([each]), *base).0[0];
        }
    }
}

/// The sum modulo the prime of two numbers below it.
#[inline(always)]
fn sum<const N: usize>(lanes: U32x<N>, base: u32) -> U32x<N> {
    // What is below the prime wraps around when the prime is taken off, and is the larger then.
    (lanes + base).map(|sum| sum.min(sum.wrapping_sub(PRIME as u32)))
}

/// For each position the lanes' distances from the first lane.
fn spread<const L: usize>(difference: impl Fn(u64) -> Vec<u32>) -> Vec<U32x<L>> {
    let lanes: [Vec<u32>; L] = std::array::from_fn(|lane| difference(lane as u64));
    let positions = lanes[0].len();
    (0..positions).map(|slot| U32x(std::array::from_fn(|lane| lanes[lane][slot]))).collect()
}

struct Power<const L: usize> {
    /// For each position multiplier and increment of the whole way there.
    ways: Vec<(u64, u64)>,
    base: Vec<u64>,
    lanes: Vec<U64x<L>>,
}

impl<const L: usize> Power<L> {
    fn new(positions: &[usize], advance: usize) -> Self {
        let mut ways = Vec::with_capacity(positions.len());
        let (mut way, mut steps) = ((1_u64, 0_u64), 0);
        for position in positions {
            while steps < advance + position + 1 {
                let (a, c) = way;
                way = (a.wrapping_mul(JAVA.0), c.wrapping_mul(JAVA.0).wrapping_add(JAVA.1));
                steps += 1;
            }
            ways.push((way.0 << 16, way.1 << 16));
        }
        let lane = |a: u64| U64x(std::array::from_fn(|lane| a.wrapping_mul(lane as u64)));
        let lanes = ways.iter().map(|&(a, _)| lane(a)).collect();
        Self { base: vec![0; ways.len()], lanes, ways }
    }

    fn go_to(&mut self, first: u64) {
        for (base, (a, c)) in self.base.iter_mut().zip(&self.ways) {
            *base = a.wrapping_mul(first).wrapping_add(*c);
        }
    }

    #[inline(always)]
    fn advance(&mut self) {
        for (base, (a, _)) in self.base.iter_mut().zip(&self.ways) {
            *base = base.wrapping_add(a.wrapping_mul(L as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::sieve::Skips;

    use super::*;

    /// Every family with a rule, against its own stream, across whatever is awkward: the start,
    /// carries of the seed, the prime's multiples, the end of the seeds.
    #[test]
    fn a_run_has_the_outputs_of_the_definition() {
        const L: usize = 8;
        let modulus = Modulus::new(1000);
        let skips = Skips { lo: 1, hi: 3 };
        let window = Window::new(&[1, 2, 3, 4, 5], &modulus, skips, 6, 1);
        for family in Family::ALL {
            let Some(mut run) = Run::<L>::new(*family, modulus, &window) else { continue };
            let top = family.seed_end();
            for start in [0, 4096 - 24, (1 << 31) - 40, (1 << 32) - 48, top - 32] {
                let start = u64::try_from(start).unwrap();
                for first in (start..).step_by(L).take(4) {
                    if !run.go_to(first) {
                        assert!((first..first + 8).any(|seed| seed % PRIME == 0));
                        continue;
                    }
                    let mut keys = vec![U32x::splat(0); window.positions()];
                    let (head, tail) = keys.split_at_mut(7);
                    run.fill(&window, 0, head);
                    run.fill(&window, 7, tail);
                    for (position, keys) in keys.iter().enumerate() {
                        for lane in (0..L).filter(|_| window.wants(position)) {
                            let seed = first + lane as u64;
                            let output = stream(*family, 1000, seed, position + 7)[position + 6];
                            let expected = modulus.keys(U32x([output as u32])).0[0];
                            assert_eq!(keys.0[lane], expected, "{family} {seed} {position}");
                        }
                    }
                }
            }
        }
    }
}
