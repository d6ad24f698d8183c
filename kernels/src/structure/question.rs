//! A sieve in the numbers of the structural search.
//!
//! Outputs are kept at the upper end of 32 bits. With a modulus `2^e o`, `o` odd, a class of seeds
//! modulo `2^class_bits` settles an output modulo `2^e`; where that agrees with a draw, their
//! difference is a multiple of a granule, `2^granule`, and divided by `o` it is so still. Of these
//! multiples modulo 2^32 the draw matches the lowest few (Granlund and Montgomery, PLDI 1994,
//! section 9, as in [`crate::residue`]). And they are affine in the rest of the seed.

use shared::{
    sieve::{Direction, Sieve},
    structure::PowerLcg,
};

use super::lattice::{LANES, TRUSTED, Vector};
use crate::{affine::Affine, lanes::U64x, residue::odd_inverse};

/// What all skips share.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) lcg: PowerLcg,
    /// The exponent of 2 in the modulus, and the rest of it.
    pub(super) twos: u32,
    pub(super) odd: u32,
    /// The inverse of `odd` modulo 2^32.
    odd_inverse: u32,
    /// Outputs before anything else.
    advance: u64,
    /// How many draws must match.
    pub(super) need: usize,
    pub(super) draws: Draws,
    /// The draws in the order in which they are compared, as they were asked for.
    pub(super) leading: Vec<u32>,
    /// How far off a coefficient in a lattice may be.
    pub(super) trusted: f64,
}

/// Draws as they are compared.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    /// At the upper end of 32 bits, as many as fill vectors.
    tops: Vec<Vector>,
    /// Modulo `2^e`.
    pub(super) lows: Vec<u8>,
    /// The largest number that matches.
    pub(super) most: Vec<u32>,
}

impl Question {
    /// The question that a sieve puts in the order that leaves fewer seeds.
    pub(super) fn new(sieve: &Sieve, lcg: PowerLcg) -> Self {
        let (leading, need) = leading(sieve);
        let twos = sieve.modulus.trailing_zeros();
        let odd = sieve.modulus >> twos;
        let mut question = Self {
            lcg,
            twos,
            odd,
            odd_inverse: odd_inverse(odd),
            advance: u64::from(sieve.advance),
            need,
            draws: Draws { tops: Vec::new(), lows: Vec::new(), most: Vec::new() },
            leading,
            trusted: TRUSTED,
        };
        question.draws = question.compared(&question.leading);
        question
    }

    /// Draws, each below the modulus, as they are compared.
    pub(super) fn compared(&self, draws: &[u32]) -> Draws {
        let width = self.lcg.output_bits();
        let rests = u32::MAX >> self.granule();
        let most = |draw: u32| (rests - (draw >> self.twos)) / self.odd;
        Draws {
            tops: draws
                .chunks(LANES)
                .map(|draws| {
                    let mut tops = Vector::splat(0);
                    for (top, draw) in tops.0.iter_mut().zip(draws) {
                        *top = draw << (32 - width);
                    }
                    tops
                })
                .collect(),
            lows: draws.iter().map(|draw| (draw & ((1 << self.twos) - 1)) as u8).collect(),
            most: draws.iter().map(|&draw| most(draw) << self.granule()).collect(),
        }
    }

    /// The window's length.
    pub(super) fn window(&self) -> usize {
        self.draws.most.len()
    }

    /// Classes are seeds modulo two to this.
    pub(super) const fn class_bits(&self) -> u32 {
        self.lcg.low_bit + self.twos
    }

    /// The rest of a seed has so many bits.
    pub(super) const fn high_bits(&self) -> u32 {
        self.lcg.state_bits - self.class_bits()
    }

    /// Numbers are multiples of two to this, and modulo 2^32.
    pub(super) const fn granule(&self) -> u32 {
        32 - self.high_bits()
    }

    /// The largest number that matches any draw.
    pub(super) const fn widest(&self) -> u32 {
        ((u32::MAX >> self.granule()) / self.odd) << self.granule()
    }

    /// The class of a first state.
    pub(super) const fn class(&self, state: u64) -> u32 {
        (state & ((1 << self.class_bits()) - 1)) as u32
    }

    /// Whether a seed's stream rejects none of the outputs up to number `last`.
    pub(super) fn steady(&self, seed: u64, bound: u32, last: u64) -> bool {
        let step = steps(&self.lcg, 1);
        let outputs = 1_u64 << self.lcg.output_bits();
        let fair = outputs - outputs % u64::from(bound);
        let mut state = Affine { a: 0, c: seed ^ self.lcg.scramble };
        (0..=last).all(|_| {
            state = state.then(step);
            (state.c & ((1 << self.lcg.state_bits) - 1)) >> self.lcg.low_bit < fair
        })
    }

    /// The tables of a skip.
    pub(super) fn skip(&self, skip: u32) -> Skip {
        let stride = u64::from(skip) + 1;
        let step = steps(&self.lcg, stride);
        let mut map = steps(&self.lcg, self.advance);
        let top = 64 - self.lcg.state_bits;
        let window = self.window();
        let mut tables = Skip {
            skip,
            advance: self.advance,
            stride,
            maps: vec![[U64x::splat(0); 2]; window.div_ceil(LANES)],
            slopes: Vec::with_capacity(window),
            powers: vec![1; 2 * window - 1],
            mask: u32::MAX << (32 - self.lcg.output_bits()),
            odd_inverse: self.odd_inverse,
        };
        for draw in 0..window {
            map = map.then(step);
            let [a, c] = &mut tables.maps[draw / LANES];
            (a.0[draw % LANES], c.0[draw % LANES]) = (map.a << top, map.c << top);
            tables.slopes.push((map.a as u32).wrapping_mul(self.odd_inverse));
        }
        let factor = step.a as u32;
        let back = odd_inverse(factor);
        let middle = window - 1;
        for distance in 1..window {
            tables.powers[middle + distance] =
                tables.powers[middle + distance - 1].wrapping_mul(factor);
            tables.powers[middle - distance] =
                tables.powers[middle + 1 - distance].wrapping_mul(back);
        }
        tables
    }
}

/// The draws in the order that leaves fewer seeds, and how many of them must match.
pub(super) fn leading(sieve: &Sieve) -> (Vec<u32>, usize) {
    let reverse = match sieve.direction {
        Direction::Forward => false,
        Direction::Reverse => true,
        Direction::Both => sieve.reverse_need > sieve.need,
    };
    let strict = reverse && sieve.direction == Direction::Both;
    let need = if strict { sieve.reverse_need } else { sieve.need };
    (if reverse { sieve.reversed_draws() } else { sieve.draws.clone() }, need as usize)
}

/// The map that `count` steps of a generator are.
pub(super) fn steps(lcg: &PowerLcg, count: u64) -> Affine {
    Affine { a: lcg.multiplier, c: lcg.increment }.times(count, Affine::then)
}

/// What depends on the skip.
#[derive(Debug, Clone)]
pub(super) struct Skip {
    pub(super) skip: u32,
    advance: u64,
    pub(super) stride: u64,
    /// From a seed to the state whose output each draw is compared with, at the upper end of 64
    /// bits: what it is multiplied by, and what is added.
    maps: Vec<[U64x<LANES>; 2]>,
    /// By how much each draw's number grows for each granule that the rest of the seed grows by.
    pub(super) slopes: Vec<u32>,
    /// The multiplier from one draw's number to another's, by how far behind it is.
    powers: Vec<u32>,
    /// The output's bits at the upper end of 32.
    mask: u32,
    odd_inverse: u32,
}

impl Skip {
    /// Where the classes' text is compared with draws: see [`super::classes::Cycle::sieve`].
    pub(super) const fn places(&self) -> (u64, u64) {
        (self.advance, self.stride)
    }

    /// By how much the number of draw `to` grows for each 1 that draw `from`'s grows by.
    #[inline(always)]
    pub(super) fn multiplier(&self, from: usize, to: usize) -> u32 {
        self.powers[self.slopes.len() - 1 + to - from]
    }

    /// The numbers of [`LANES`] draws, from number `LANES * part` on, for the seed of a class whose
    /// rest is 0.
    #[inline(always)]
    pub(super) fn numbers(&self, class: u32, draws: &Draws, part: usize) -> Vector {
        let [a, c] = self.maps[part];
        let class = u64::from(class);
        // Two products of 32 bits by 32, since vectors have no 64 by 64.
        let state = (a & 0xFFFF_FFFF) * class + (((a >> 32) * class) << 32) + c;
        ((state.high() & self.mask) - draws.tops[part]) * self.odd_inverse
    }
}
