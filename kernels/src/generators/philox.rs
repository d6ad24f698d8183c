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
    /// In the lower halves; above them stands anything.
    key: [U64x<L>; 2],
    /// The second round's product of word 0, which is the key's word 0 in every block.
    product: U64x<L>,
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

/// The 64-bit products of the lower halves.
#[inline(always)]
fn products<const L: usize>(words: U64x<L>, multiplier: u32) -> U64x<L> {
    (words & 0xFFFF_FFFF) * u64::from(multiplier)
}

impl<const WORDS: u32, const L: usize> Philox<WORDS, L> {
    /// A block. Words are kept in the lower halves of 64 bits, as multiplications want them; what
    /// stands above them is dropped where it matters.
    #[inline(always)]
    fn block(&self, number: u32) -> [U32x<L>; 4] {
        // The first round has one word that is not zero, the same in every lane.
        let product = u64::from(number) * u64::from(MULTIPLIERS[0]);
        let [mut k0, mut k1] = self.key;
        let x2 = k1 ^ (product >> 32);
        (k0, k1) = (k0 + u64::from(WEYL[0]), k1 + u64::from(WEYL[1]));
        let product2 = products(x2, MULTIPLIERS[1]);
        let mut x0 = (product2 >> 32) ^ k0;
        let mut x1 = product2;
        let mut x2 = (self.product >> 32) ^ k1 ^ (product & 0xFFFF_FFFF);
        let mut x3 = self.product;
        for _ in 2..ROUNDS {
            (k0, k1) = (k0 + u64::from(WEYL[0]), k1 + u64::from(WEYL[1]));
            let product0 = products(x0, MULTIPLIERS[0]);
            let product2 = products(x2, MULTIPLIERS[1]);
            x0 = (product2 >> 32) ^ x1 ^ k0;
            x2 = (product0 >> 32) ^ x3 ^ k1;
            (x1, x3) = (product2, product0);
        }
        [x0, x1, x2, x3].map(U64x::low)
    }
}

impl<const WORDS: u32, const L: usize> Generator<L> for Philox<WORDS, L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        let zero = U32x::splat(0);
        let wide = U64x::splat(0);
        Self { key: [wide; 2], product: wide, position: 0, words: [zero; 4], held: None }
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.key = [seeds, seeds >> 32];
        self.product = products(seeds, MULTIPLIERS[0]);
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
