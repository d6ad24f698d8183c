//! Marsaglia's xorshift generators and Vigna's multiplied ones.

use super::generator::Generator;
use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

/// Marsaglia's 32-bit xorshift, 13/17/5.
pub(super) struct Xorshift32<const L: usize>(U32x<L>);

impl<const L: usize> Generator<L> for Xorshift32<L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        Self(U32x::splat(0))
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.0 = seeds.low();
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        let mut s = self.0;
        s = s ^ (s << 13);
        s = s ^ (s >> 17);
        s = s ^ (s << 5);
        self.0 = s;
        s
    }
}

/// Marsaglia's 128-bit xorshift with his constants in all words but the first.
pub(super) struct Xorshift128<const L: usize>([U32x<L>; 4]);

impl<const L: usize> Generator<L> for Xorshift128<L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        Self([U32x::splat(0); 4])
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        let [y, z, w] = [362_436_069, 521_288_629, 88_675_123].map(U32x::splat);
        self.0 = [seeds.low(), y, z, w];
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        let [x, y, z, w] = self.0;
        let t = x ^ (x << 11);
        let out = w ^ (w >> 19) ^ t ^ (t >> 8);
        self.0 = [y, z, w, out];
        out
    }
}

/// Vigna's multiplier M_32.
const MULTIPLIER: u64 = 0x2545_F491_4F6C_DD1D;

/// The xorshift 12/25/27 on 64 bits; the multiplied word comes out and, if `KEPT`, stays in the
/// state.
pub(super) struct Shift64<const KEPT: bool, const L: usize>(U64x<L>);

/// The fleet's xorshift64, which keeps the product.
pub(super) type Xorshift64<const L: usize> = Shift64<true, L>;
/// The published xorshift64*.
pub(super) type Xorshift64star<const L: usize> = Shift64<false, L>;

impl<const KEPT: bool, const L: usize> Generator<L> for Shift64<KEPT, L> {
    type Output = U64x<L>;

    fn blank(_: &Modulus) -> Self {
        Self(U64x::splat(0))
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        self.0 = seeds;
    }

    #[inline(always)]
    fn next(&mut self) -> U64x<L> {
        let mut s = self.0;
        s = s ^ (s >> 12);
        s = s ^ (s << 25);
        s = s ^ (s >> 27);
        let product = s * MULTIPLIER;
        self.0 = if KEPT { product } else { s };
        product
    }
}
