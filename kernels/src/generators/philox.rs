//! Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, SC11): a counter run through ten rounds.

use super::generator::Generator;
use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What the key grows by each round: the fractions of the golden ratio and of the root of 3.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Outputs are the first `WORDS` words of blocks `(p, 0, 0, 0)`.
pub(super) struct Philox<const WORDS: u32, const L: usize> {
    key: [U32x<L>; 2],
    position: u32,
    /// The words of the block that `position` last fell in.
    words: [U32x<L>; 4],
    /// Which block they are of.
    held: Option<u32>,
}

/// Word 0 of each block.
pub(super) type Philox4x32<const L: usize> = Philox<1, L>;
/// All four words of each block.
pub(super) type Philox4x32Full<const L: usize> = Philox<4, L>;

impl<const WORDS: u32, const L: usize> Philox<WORDS, L> {
    #[inline(always)]
    fn block(&self, number: u32) -> [U32x<L>; 4] {
        let [mut x0, mut x1, mut x2, mut x3] = [number, 0, 0, 0].map(U32x::splat);
        let [mut k0, mut k1] = self.key;
        for _ in 0..ROUNDS {
            let (high0, low0) = (x0.high_product(MULTIPLIERS[0]), x0 * MULTIPLIERS[0]);
            let (high2, low2) = (x2.high_product(MULTIPLIERS[1]), x2 * MULTIPLIERS[1]);
            [x0, x1, x2, x3] = [high2 ^ x1 ^ k0, low2, high0 ^ x3 ^ k1, low0];
            k0 = k0 + WEYL[0];
            k1 = k1 + WEYL[1];
        }
        [x0, x1, x2, x3]
    }
}

impl<const WORDS: u32, const L: usize> Generator<L> for Philox<WORDS, L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        let zero = U32x::splat(0);
        Self { key: [zero; 2], position: 0, words: [zero; 4], held: None }
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.key = [seeds.low(), seeds.high()];
        self.position = 0;
        self.held = None;
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        let (number, word) = (self.position / WORDS, self.position % WORDS);
        self.position += 1;
        if WORDS == 1 {
            return self.block(number)[0];
        }
        if self.held != Some(number) {
            self.words = self.block(number);
            self.held = Some(number);
        }
        self.words[word as usize]
    }

    #[inline(always)]
    fn pass(&mut self) {
        self.position += 1;
    }
}
