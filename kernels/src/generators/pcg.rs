//! PCG XSH-RR 64/32 (O'Neill, HMC-CS-2014-0905).

use super::generator::Generator;
use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

/// The generator; `LIBRARY` tells whether it is seeded as its library does.
pub(super) struct Pcg<const LIBRARY: bool, const L: usize>(U64x<L>);

/// The seed is the state.
pub(super) type Pcg32<const L: usize> = Pcg<false, L>;
/// `pcg32_srandom_r(seed, 54)`, the stream of pcg32-demo.
pub(super) type Pcg32Srandom<const L: usize> = Pcg<true, L>;

impl<const LIBRARY: bool, const L: usize> Pcg<LIBRARY, L> {
    /// The library's default increment, or that of stream 54: twice the stream plus one.
    const INCREMENT: u64 = if LIBRARY { (54 << 1) | 1 } else { 1_442_695_040_888_963_407 };
}

impl<const LIBRARY: bool, const L: usize> Generator<L> for Pcg<LIBRARY, L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        Self(U64x::splat(0))
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.0 = seeds;
        if LIBRARY {
            // From state 0: one step, which leaves the increment, add the seed, one step.
            self.0 = seeds + Self::INCREMENT;
            self.pass();
        }
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        let old = self.0;
        self.pass();
        let shifted = (((old >> 18) ^ old) >> 27).low();
        shifted.rotate_right_each((old >> 59).low())
    }

    #[inline(always)]
    fn pass(&mut self) {
        self.0 = self.0 * MULTIPLIER + Self::INCREMENT;
    }
}
