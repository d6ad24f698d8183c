//! What every family's arithmetic offers.

use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

/// A generator with its seeding, for `L` seeds at once. `L = 1` is the definition; every lane of
/// a larger `L` does the same.
pub trait Generator<const L: usize> {
    /// Outputs of 32 or of 64 bits.
    type Output: Output<L>;

    /// A generator that is yet to be seeded. What can be prepared without a seed is done here.
    fn blank(modulus: &Modulus) -> Self;

    /// Starts the streams of these seeds, each within the family's seed width.
    fn seed(&mut self, seeds: U64x<L>);

    /// The next output of each stream.
    fn next(&mut self) -> Self::Output;

    /// Passes over one output of each stream.
    #[inline(always)]
    fn pass(&mut self) {
        self.next();
    }
}

/// One output of each of `L` streams.
pub trait Output<const L: usize>: Copy {
    /// Numbers below 2^32 with the same residues.
    fn fold(self, modulus: &Modulus) -> U32x<L>;

    /// The raw output of one lane.
    fn raw(self, lane: usize) -> u64;
}

impl<const L: usize> Output<L> for U32x<L> {
    #[inline(always)]
    fn fold(self, _: &Modulus) -> U32x<L> {
        self
    }

    fn raw(self, lane: usize) -> u64 {
        u64::from(self.0[lane])
    }
}

impl<const L: usize> Output<L> for U64x<L> {
    #[inline(always)]
    fn fold(self, modulus: &Modulus) -> U32x<L> {
        modulus.fold(self)
    }

    fn raw(self, lane: usize) -> u64 {
        self.0[lane]
    }
}
