//! Generators of several 64-bit words: xoshiro256++ and sfc64.

use shared::witness::splitmix64;

use super::generator::Generator;
use crate::{lanes::U64x, residue::Modulus};

/// The fractions of the golden ratio and of the square roots of 2 and 3: the fleet's words for
/// what the seed does not fill.
const FILL: [u64; 3] = [0x9E37_79B9_7F4A_7C15, 0x6A09_E667_F3BC_C908, 0xBB67_AE85_84CA_A73B];

/// xoshiro256++ (Blackman and Vigna, xoshiro256plusplus.c); `SPLITMIX` tells how it is seeded.
pub(super) struct Xoshiro<const SPLITMIX: bool, const L: usize>([U64x<L>; 4]);

/// Seeded in its first word, the fleet's way.
pub(super) type Xoshiro256pp<const L: usize> = Xoshiro<false, L>;
/// Seeded by splitmix64, its authors' way.
pub(super) type Xoshiro256ppSplitmix<const L: usize> = Xoshiro<true, L>;

impl<const SPLITMIX: bool, const L: usize> Generator<L> for Xoshiro<SPLITMIX, L> {
    type Output = U64x<L>;

    fn blank(_: &Modulus) -> Self {
        Self([U64x::splat(0); 4])
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.0 = if SPLITMIX {
            // Output n of splitmix64 is its first output for the seed moved on by n increments.
            [0_u64, 1, 2, 3].map(|n| (seeds + n.wrapping_mul(FILL[0])).map(splitmix64))
        } else {
            let [s1, s2, s3] = FILL.map(U64x::splat);
            [seeds, s1, s2, s3]
        };
    }

    #[inline(always)]
    fn next(&mut self) -> U64x<L> {
        let [s0, s1, s2, s3] = self.0;
        let out = (s0 + s3).rotate_left(23) + s0;
        let s2 = s2 ^ s0;
        let s3 = s3 ^ s1;
        self.0 = [s0 ^ s3, s1 ^ s2, s2 ^ (self.0[1] << 17), s3.rotate_left(45)];
        out
    }
}

/// PractRand's sfc64, seeded in its first word, its counter at 1.
pub(super) struct Sfc64<const L: usize> {
    words: [U64x<L>; 3],
    counter: u64,
}

impl<const L: usize> Generator<L> for Sfc64<L> {
    type Output = U64x<L>;

    fn blank(_: &Modulus) -> Self {
        Self { words: [U64x::splat(0); 3], counter: 1 }
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.words = [seeds, U64x::splat(FILL[0]), U64x::splat(FILL[1])];
        self.counter = 1;
    }

    #[inline(always)]
    fn next(&mut self) -> U64x<L> {
        let [a, b, c] = self.words;
        let out = a + b + self.counter;
        self.counter = self.counter.wrapping_add(1);
        self.words = [b ^ (b >> 11), c + (c << 3), c.rotate_left(24) + out];
        out
    }
}
