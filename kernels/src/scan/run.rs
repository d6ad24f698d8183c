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

use super::{
    group::Fill,
    matching::{EVENS, Matching, Progression},
    window::Window,
};
use crate::{
    affine::Affine,
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
    Power(Power),
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
        let from = self.at.map_or(first, |at| first.wrapping_sub(at));
        let next = self.at.is_some() && from == L as u64;
        let outputs = |seed| outputs(self.family, &self.positions, self.advance, seed);
        match &mut self.rule {
            Rule::Xor(xor) if next => xor.advance(first / L as u64),
            Rule::Xor(xor) => xor.base = outputs(first),
            Rule::Prime(prime) if next => prime.advance(),
            Rule::Prime(prime) => prime.base = outputs(first),
            Rule::Power(power) => power.advance(from),
        }
        self.at = Some(first);
        true
    }
}

impl<const L: usize> Fill<L> for Run<L> {
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    #[inline(always)]
    unsafe fn fill<M: Matching<L>>(&mut self, _: &Window, from: usize, keys: &mut [U32x<L>]) {
        let end = from + keys.len();
        let (modulus, first) = (self.modulus, self.slot);
        let left = &self.positions[first..];
        let count = left.partition_point(|&position| position < end);
        let places = left[..count].iter().map(|position| position - from);
        let slots = first..first + count;
        self.slot = slots.end;
        // One loop for each rule, so that the choice is made once.
        match &self.rule {
            Rule::Xor(Xor { base, lanes, .. }) => {
                let states = base[slots.clone()].iter().zip(&lanes[slots]);
                for (place, (&base, &lanes)) in places.zip(states) {
                    let outputs = lanes ^ base;
                    // SAFETY: the caller has the instructions.
                    keys[place] = unsafe { M::keys(&modulus, outputs) };
                }
            }
            Rule::Prime(Prime { base, lanes, .. }) => {
                let states = base[slots.clone()].iter().zip(&lanes[slots]);
                for (place, (&base, &lanes)) in places.zip(states) {
                    let outputs = lanes.map(|lane| sum(lane, base));
                    // SAFETY: the caller has the instructions.
                    keys[place] = unsafe { M::keys(&modulus, outputs) };
                }
            }
            Rule::Power(Power { first, each, evens }) => {
                let ways = each[slots.clone()].iter().zip(&evens[slots.clone()]);
                let progressions = first[slots].iter().zip(ways);
                for (place, (&first, (&each, &evens))) in places.zip(progressions) {
                    let progression = Progression { first, each, evens };
                    // SAFETY: the caller has the instructions.
                    keys[place] = unsafe {
                        let outputs = M::upper_halves(&progression);
                        M::keys(&modulus, outputs)
                    };
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

/// For each position the lanes' distances from the first lane.
fn spread<const L: usize>(difference: impl Fn(u64) -> Vec<u32>) -> Vec<U32x<L>> {
    let lanes: [Vec<u32>; L] = std::array::from_fn(|lane| difference(lane as u64));
    let positions = lanes[0].len();
    (0..positions).map(|slot| U32x(std::array::from_fn(|lane| lanes[lane][slot]))).collect()
}

struct Xor<const L: usize> {
    base: Vec<u32>,
    lanes: Vec<U32x<L>>,
    /// For each number of trailing zeros of a group's number what is flipped on the way to it.
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
            base: Vec::new(),
            lanes: spread(difference),
            flips: (0..widths).map(|zeros| difference(flipped(zeros) & 0xFFFF_FFFF)).collect(),
        }
    }

    #[inline(always)]
    fn advance(&mut self, group: u64) {
        let zeros = group.trailing_zeros() as usize;
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
        Self { base: Vec::new(), lanes: spread(difference), each: difference(L as u64) }
    }

    #[inline(always)]
    fn advance(&mut self) {
        for (base, &each) in self.base.iter_mut().zip(&self.each) {
            *base = sum(*base, each);
        }
    }
}

/// The sum modulo the prime of two numbers below it.
#[inline(always)]
fn sum(one: u32, other: u32) -> u32 {
    // What is below the prime wraps around when the prime is taken off, and is the larger then.
    let sum = one.wrapping_add(other);
    sum.min(sum.wrapping_sub(PRIME as u32))
}

/// The progressions of states at each position, their parts beside each other.
struct Power {
    first: Vec<u64>,
    each: Vec<u64>,
    evens: Vec<U64x<EVENS>>,
}

impl Power {
    /// Standing at seed 0.
    fn new(positions: &[usize], advance: usize) -> Self {
        let step = Affine { a: JAVA.0, c: JAVA.1 };
        let (mut way, mut steps) = (Affine { a: 1, c: 0 }, 0);
        let mut power = Self { first: Vec::new(), each: Vec::new(), evens: Vec::new() };
        for position in positions {
            while steps < advance + position + 1 {
                way = way.then(step);
                steps += 1;
            }
            let each = way.a << 16;
            power.first.push(way.c << 16);
            power.each.push(each);
            let even = |even| each.wrapping_mul(2 * even as u64);
            power.evens.push(U64x(std::array::from_fn(even)));
        }
        power
    }

    #[inline(always)]
    fn advance(&mut self, seeds: u64) {
        for (first, each) in self.first.iter_mut().zip(&self.each) {
            *first = first.wrapping_add(each.wrapping_mul(seeds));
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::sieve::Skips;

    use super::{super::matching::Baseline, *};

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
                    // SAFETY: every processor has these instructions.
                    #[expect(unsafe_code, reason = "the function is unsafe for others")]
                    unsafe {
                        run.fill::<Baseline>(&window, 0, head);
                        run.fill::<Baseline>(&window, 7, tail);
                    }
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
