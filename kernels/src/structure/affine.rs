//! Affine maps of a generator's state, and inverses modulo 2^32.

use shared::structure::PowerLcg;

/// `s -> a s + c`, modulo 2^64 and so modulo every smaller power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Affine {
    pub(super) a: u64,
    pub(super) c: u64,
}

impl Affine {
    /// The map that changes nothing.
    const IDENTITY: Self = Self { a: 1, c: 0 };

    /// This map, then `next`.
    pub(super) const fn then(self, next: Self) -> Self {
        Self { a: self.a.wrapping_mul(next.a), c: self.c.wrapping_mul(next.a).wrapping_add(next.c) }
    }

    /// `count` steps of a generator, by squaring.
    pub(super) fn steps(lcg: &PowerLcg, count: u64) -> Self {
        let mut square = Self { a: lcg.multiplier, c: lcg.increment };
        let mut steps = Self::IDENTITY;
        let mut left = count;
        while left > 0 {
            if left & 1 == 1 {
                steps = steps.then(square);
            }
            square = square.then(square);
            left >>= 1;
        }
        steps
    }
}

/// The inverse of an odd number modulo 2^32: Newton's iteration doubles the number of correct
/// bits, of which `odd` itself has three.
pub(super) const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 4 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}
