//! Comparing outputs with draws modulo a number, without dividing.
//!
//! For a modulus `m = o 2^e` with `o` odd, `x` of 32 bits and a draw `d < m`: `x % m == d` exactly
//! when `x - d` is one of the multiples of `m` from 0 to `2^32 - 1 - d`. Multiplied by the inverse
//! of `o` modulo 2^32 and rotated right by `e`, such a multiple becomes its quotient by `m`, and
//! every other number becomes something larger than `(2^32 - 1 - d) / m` (Granlund and Montgomery,
//! PLDI 1994, section 9; Warren, Hacker's Delight, 10-17). The multiplication distributes over
//! the difference, so an output is multiplied once however many draws it is compared with.

use crate::lanes::{U32x, U64x};

/// A modulus with what the tests derive from it.
#[derive(Debug, Clone, Copy)]
pub struct Modulus {
    value: u32,
    /// The inverse of the odd part modulo 2^32.
    inverse: u32,
    /// The exponent of 2 in the modulus.
    twos: u32,
    /// 2^32 modulo the modulus, and 2^31.
    fold_32: u32,
    fold_31: u32,
}

/// Up to this modulus 64-bit outputs are brought below 2^32 with two multiplications.
const MAX_FOLDED: u32 = 1 << 15;

/// The inverse of an odd number modulo 2^32: Newton's iteration doubles the number of correct
/// bits, of which `odd` itself has three.
pub(crate) const fn odd_inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 4 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

impl Modulus {
    /// Prepares a modulus of at least 1.
    #[must_use]
    pub fn new(value: u32) -> Self {
        let value = value.max(1);
        let twos = value.trailing_zeros();
        let odd = value >> twos;
        let inverse = odd_inverse(odd);
        let modulo = |x: u64| (x % u64::from(value)) as u32;
        Self { value, inverse, twos, fold_32: modulo(1 << 32), fold_31: modulo(1 << 31) }
    }

    /// The modulus itself.
    #[must_use]
    pub const fn value(&self) -> u32 {
        self.value
    }

    /// The odd part of the modulus.
    #[inline(always)]
    pub(crate) const fn odd(&self) -> u32 {
        self.value >> self.twos
    }

    /// The exponent of 2 in the modulus.
    #[inline(always)]
    pub(crate) const fn twos(&self) -> u32 {
        self.twos
    }

    /// What the keys of matching outputs are compared with for a draw below the modulus.
    #[must_use]
    pub const fn target(&self, draw: u32) -> Target {
        let key = draw.wrapping_mul(self.inverse);
        Target { key, most: (u32::MAX - draw) / self.value, mark: self.mark(key) }
    }

    /// A number that the keys of equal residues share, and no others.
    ///
    /// The upper half of a key's product with the odd part `o`, below `o`, is minus the output
    /// divided by 2^32, modulo `o` (Montgomery, Mathematics of Computation 44, 1985); the key's
    /// low bits tell those of the output, and are put above it.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn mark(&self, key: u32) -> u32 {
        let upper = ((key as u64 * self.odd() as u64) >> 32) as u32;
        upper | ((key as u64) << (32 - self.twos)) as u32
    }

    /// The keys of 32-bit outputs, to be compared with [`Target`]s.
    #[inline(always)]
    #[must_use]
    pub fn keys<const L: usize>(&self, outputs: U32x<L>) -> U32x<L> {
        outputs * self.inverse
    }

    /// 1 in the lanes whose key belongs to the target's residue, 0 in the others.
    #[inline(always)]
    #[must_use]
    pub fn matches<const L: usize>(&self, keys: U32x<L>, target: Target) -> U32x<L> {
        keys.map(|key| {
            u32::from(key.wrapping_sub(target.key).rotate_right(self.twos) <= target.most)
        })
    }

    /// What keys say to [`Target::takes`].
    #[inline(always)]
    #[must_use]
    pub fn quotients<const L: usize>(&self, keys: U32x<L>, target: Target) -> U32x<L> {
        (keys - target.key).rotate_right(self.twos)
    }

    /// Numbers below 2^32 with the residues of 64-bit outputs.
    #[inline(always)]
    #[must_use]
    pub fn fold<const L: usize>(&self, outputs: U64x<L>) -> U32x<L> {
        if self.value <= MAX_FOLDED {
            // Below 2^32 m, then below 2^31 + 2 m^2 <= 2^32. What is multiplied is seen to fit 32
            // bits: one 32 by 32 multiplication.
            let once = (outputs >> 32) * u64::from(self.fold_32) + (outputs & 0xFFFF_FFFF);
            let upper = (once >> 31) & 0xFFFF_FFFF;
            (upper * u64::from(self.fold_31) + (once & 0x7FFF_FFFF)).low()
        } else {
            outputs.map(|output| output % u64::from(self.value)).low()
        }
    }
}

/// A draw as the division-free test wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    key: u32,
    /// The largest quotient that a matching 32-bit output leaves.
    most: u32,
    /// What [`Modulus::mark`] says of the draw.
    mark: u32,
}

impl Target {
    /// Whether one of [`Modulus::quotients`] is that of a matching output; of many the smallest tells.
    #[inline(always)]
    #[must_use]
    pub const fn takes(self, quotient: u32) -> bool {
        quotient <= self.most
    }

    /// What is taken off a key.
    #[inline(always)]
    pub(crate) const fn key(self) -> u32 {
        self.key
    }

    /// The mark of a match.
    #[inline(always)]
    pub(crate) const fn mark(self) -> u32 {
        self.mark
    }

    /// The largest quotient of a match.
    #[inline(always)]
    pub(crate) const fn most(self) -> u32 {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agrees(modulus: u32, output: u64) {
        let prepared = Modulus::new(modulus);
        let folded = prepared.fold(U64x([output]));
        assert_eq!(folded.0[0] % modulus, (output % u64::from(modulus)) as u32);
        let low = output as u32;
        let residue = low % modulus;
        let key = prepared.keys(U32x([low]));
        for draw in [0, 1, residue.saturating_sub(1), residue, residue + 1, modulus - 1] {
            let draw = draw.min(modulus - 1);
            let matches = prepared.matches(key, prepared.target(draw)).0[0];
            assert_eq!(matches == 1, draw == residue, "{low} against {draw} modulo {modulus}");
            let marked = prepared.mark(key.0[0]) == prepared.target(draw).mark();
            assert_eq!(marked, draw == residue, "mark of {low} and {draw} modulo {modulus}");
        }
    }

    #[test]
    fn agrees_with_division_at_the_edges() {
        let edges = [2, 3, 10, 1000, 1024, 32_767, 32_768, 32_769, 1 << 31, (1 << 31) + 1];
        for modulus in edges.into_iter().chain([u32::MAX - 1, u32::MAX]) {
            for near in [0, 1 << 31, 1 << 32, 1 << 63, u64::from(modulus), 0_u64.wrapping_sub(4)] {
                for output in (0..8).map(|more| near.wrapping_add(more).wrapping_sub(4)) {
                    agrees(modulus, output);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_division(
            modulus in prop_oneof![2_u32..2000, 2_u32.., (1_u32..32).prop_map(|e| 1 << e)],
            output in any::<u64>(),
        ) {
            agrees(modulus, output);
        }
    }
}
