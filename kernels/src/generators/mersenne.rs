//! The Mersenne twister (Matsumoto and Nishimura, mt19937ar.c), as C++, PHP and Python seed it.
//!
//! The twist is done one word at a time, when its output is wanted, and so is `init_genrand`:
//! output `p` of the first 227 needs no initial word past `p + 397`.

use super::generator::Generator;
use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

/// The words of the state.
pub(super) const WORDS: usize = 624;
const MIDDLE: usize = 397;
const MATRIX: u32 = 0x9908_B0DF;
pub(super) const UPPER: u32 = 0x8000_0000;
/// `init_genrand`'s multiplier (Knuth, TAOCP volume 2, 3rd edition, page 106, line 27).
const INIT: u32 = 1_812_433_253;

/// The state words, of which the first `filled` are initialised.
pub(super) struct Twister<const L: usize> {
    words: Box<[U32x<L>; WORDS]>,
    filled: usize,
    /// The word that the next output comes from.
    at: usize,
}

impl<const L: usize> Twister<L> {
    fn blank() -> Self {
        Self { words: Box::new([U32x::splat(0); WORDS]), filled: 1, at: 0 }
    }

    /// A state of which all words are known.
    pub(super) fn whole(words: Box<[U32x<L>; WORDS]>) -> Self {
        Self { words, filled: WORDS, at: 0 }
    }

    #[inline(always)]
    fn init_genrand(&mut self, seeds: U32x<L>) {
        self.words[0] = seeds;
        self.filled = 1;
        self.at = 0;
    }

    /// Initialises words until `end` are.
    #[inline(always)]
    fn fill(&mut self, end: usize) {
        let mut word = self.words[self.filled - 1];
        for index in self.filled..end {
            word = (word ^ (word >> 30)) * INIT + index as u32;
            self.words[index] = word;
        }
        self.filled = end;
    }

    /// Twists the word of the next output.
    #[inline(always)]
    fn twist(&mut self) -> U32x<L> {
        let wrap = |index: usize| if index >= WORDS { index - WORDS } else { index };
        if self.filled < WORDS {
            self.fill(WORDS.min(self.at + MIDDLE + 1).max(self.filled));
        }
        let next = wrap(self.at + 1);
        let y = (self.words[self.at] & UPPER) | (self.words[next] & !UPPER);
        let word = self.words[wrap(self.at + MIDDLE)]
            ^ (y >> 1)
            ^ y.map(|y| if y & 1 == 1 { MATRIX } else { 0 });
        self.words[self.at] = word;
        self.at = next;
        word
    }

    #[inline(always)]
    pub(super) fn next(&mut self) -> U32x<L> {
        temper(self.twist())
    }
}

/// What comes out of a word of the state.
#[inline(always)]
pub(super) fn temper<const L: usize>(mut y: U32x<L>) -> U32x<L> {
    y = y ^ (y >> 11);
    y = y ^ ((y << 7) & 0x9D2C_5680);
    y = y ^ ((y << 15) & 0xEFC6_0000);
    y ^ (y >> 18)
}

/// `init_genrand(seed)`; the output is `genrand_int32() >> SHIFT`.
pub(super) struct Mersenne<const SHIFT: u32, const L: usize>(Twister<L>);

/// `std::mt19937`.
pub(super) type Mt19937<const L: usize> = Mersenne<0, L>;
/// PHP's `mt_srand` and `mt_rand()` since 7.1.
pub(super) type PhpMtRand<const L: usize> = Mersenne<1, L>;

impl<const SHIFT: u32, const L: usize> Generator<L> for Mersenne<SHIFT, L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        Self(Twister::blank())
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.0.init_genrand(seeds.low());
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        self.0.next() >> SHIFT
    }

    #[inline(always)]
    fn pass(&mut self) {
        self.0.twist();
    }
}

/// What `init_by_array` starts from.
const ARRAY_START: u32 = 19_650_218;

/// CPython's `random.seed(n)` and `getrandbits(32)`: `init_by_array` with the 32-bit words of the
/// number, low first; a number below 2^32 has one word.
pub(super) struct PythonRandom<const L: usize> {
    twister: Twister<L>,
    /// `init_genrand(19650218)`, which does not depend on the seed.
    start: Box<[u32; WORDS]>,
}

impl<const L: usize> Generator<L> for PythonRandom<L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        let mut start = Box::new([ARRAY_START; WORDS]);
        for index in 1..WORDS {
            let word = start[index - 1];
            start[index] = (word ^ (word >> 30)).wrapping_mul(INIT).wrapping_add(index as u32);
        }
        Self { twister: Twister::blank(), start }
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        let words = &mut *self.twister.words;
        // What the steps add, in turn: word j of the key, and j. With one word j stays 0.
        let low = seeds.low();
        let other = seeds.map(|n| if n >> 32 == 0 { n } else { (n >> 32) + 1 }).low();
        let mut word = U32x::splat(self.start[0]);
        let mix = |word: U32x<L>| word ^ (word >> 30);
        for (index, (slot, start)) in words.iter_mut().zip(&*self.start).enumerate().skip(1) {
            let add = if index % 2 == 1 { low } else { other };
            word = ((mix(word) * 1_664_525) ^ *start) + add;
            *slot = word;
        }
        // The 624th step: word 0 takes the last word's value, word 1 its second turn.
        word = ((mix(word) * 1_664_525) ^ words[1]) + other;
        words[1] = word;
        for (index, slot) in words.iter_mut().enumerate().skip(2) {
            word = ((mix(word) * 1_566_083_941) ^ *slot) - index as u32;
            *slot = word;
        }
        word = ((mix(word) * 1_566_083_941) ^ words[1]) - 1;
        words[1] = word;
        words[0] = U32x::splat(UPPER);
        self.twister.filled = WORDS;
        self.twister.at = 0;
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        self.twister.next()
    }

    #[inline(always)]
    fn pass(&mut self) {
        self.twister.twist();
    }
}
