//! glibc's `random()` with its default state (TYPE_3): additive feedback over 31 words.

use super::{generator::Generator, lcg::modulo_prime};
use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

const WORDS: usize = 31;
/// Each word adds the one that came this many before it.
const LAG: usize = 3;
/// `srandom` throws away ten outputs for each word.
const DISCARDED: usize = 310;

/// `srandom(seed)`, `random()`.
pub(super) struct GlibcRandom<const L: usize> {
    words: [U32x<L>; WORDS],
    /// The word that the next output is added to.
    at: usize,
}

impl<const L: usize> GlibcRandom<L> {
    #[inline(always)]
    fn advance(&mut self) -> U32x<L> {
        let before = if self.at < LAG { self.at + WORDS - LAG } else { self.at - LAG };
        let sum = self.words[self.at] + self.words[before];
        self.words[self.at] = sum;
        self.at = if self.at + 1 == WORDS { 0 } else { self.at + 1 };
        sum
    }
}

impl<const L: usize> Generator<L> for GlibcRandom<L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        Self { words: [U32x::splat(0); WORDS], at: LAG }
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        let first = seeds.low().map(|seed| seed.max(1));
        self.words[0] = first;
        // srandom_r reads the seed as a signed number and takes 16807 times the word before
        // modulo 2^31 - 1, never negative; -2^31 is -1 modulo that prime.
        let mut word = first.widen();
        word =
            word.map(
                |seed| {
                    if seed >> 31 == 0 { seed } else { (seed & 0x7FFF_FFFF) + ((1 << 31) - 2) }
                },
            );
        word = modulo_prime(word);
        for slot in 1..WORDS {
            word = modulo_prime((word & 0xFFFF_FFFF) * 16_807);
            self.words[slot] = word.low();
        }
        self.at = LAG;
        for _ in 0..DISCARDED {
            self.advance();
        }
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        self.advance() >> 1
    }
}
