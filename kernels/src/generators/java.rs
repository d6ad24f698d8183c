//! `java.util.Random`'s 48-bit generator: bare, as the fleet's sieve has it, and as Java
//! programs use it.
//!
//! States are kept in the upper 48 bits of 64, where the reduction modulo 2^48 comes by itself.

use super::generator::Generator;
use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 11;
/// What `new Random(seed)` xors its seed with.
const SCRAMBLE: u64 = MULTIPLIER;

#[inline(always)]
fn step<const L: usize>(state: U64x<L>) -> U64x<L> {
    state * MULTIPLIER + (INCREMENT << 16)
}

/// The bare generator: no scramble, bits 16 to 47 come out.
pub(super) struct JavaLcg<const L: usize>(U64x<L>);

impl<const L: usize> Generator<L> for JavaLcg<L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        Self(U64x::splat(0))
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.0 = seeds << 16;
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        self.0 = step(self.0);
        self.0.high()
    }
}

/// `new Random(seed).nextInt(modulus)`. An output is one call, however many steps it takes.
///
/// For a bound that is no power of two the 31 bits that `nextInt` would reduce come out: the
/// residue, which is all that is compared, is the same.
pub(super) struct JavaRandom<const L: usize> {
    state: U64x<L>,
    /// 31-bit values from here on are rejected: the multiples of the bound end here.
    fair: u32,
    /// A power of two takes the highest bits: all but this many of the 31.
    dropped: u32,
}

impl<const L: usize> JavaRandom<L> {
    #[inline(always)]
    fn bits(&self) -> U32x<L> {
        (self.state >> 33).low()
    }

    /// Steps the lanes that were rejected until none is.
    #[cold]
    #[inline(always)]
    fn redo(&mut self) -> U32x<L> {
        loop {
            let again = self.bits();
            if again.0.iter().all(|&bits| bits < self.fair) {
                return again;
            }
            let stepped = step(self.state);
            for lane in 0..L {
                if again.0[lane] >= self.fair {
                    self.state.0[lane] = stepped.0[lane];
                }
            }
        }
    }
}

impl<const L: usize> Generator<L> for JavaRandom<L> {
    type Output = U32x<L>;

    fn blank(modulus: &Modulus) -> Self {
        let bound = modulus.value();
        Self {
            state: U64x::splat(0),
            fair: (1 << 31) / bound * bound,
            dropped: if bound.is_power_of_two() { 31 - bound.trailing_zeros() } else { 0 },
        }
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.state = (seeds ^ SCRAMBLE) << 16;
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        self.state = step(self.state);
        let mut bits = self.bits();
        if bits.0.iter().fold(false, |rejected, &bits| rejected | (bits >= self.fair)) {
            bits = self.redo();
        }
        bits >> self.dropped
    }
}
