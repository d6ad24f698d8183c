//! Linear congruential generators, modulo a power of two and modulo 2^31 - 1.

use super::generator::Generator;
use crate::{
    lanes::{U32x, U64x},
    residue::Modulus,
};

/// `s = A s + C` modulo 2^31 or 2^32; the output is `(s >> SHIFT) & MASK`. Only `MASK` tells the
/// two apart: low bits of the state do not depend on higher ones.
pub(super) struct PowerLcg<
    const A: u32,
    const C: u32,
    const SHIFT: u32,
    const MASK: u32,
    const L: usize,
>(U32x<L>);

/// glibc's `random_r` with the 8-byte state of TYPE_0; the constants of ISO C's example.
pub(super) type AnsiC<const L: usize> = PowerLcg<1_103_515_245, 12_345, 0, 0x7FFF_FFFF, L>;
/// Microsoft C's `rand()`.
pub(super) type MsvcRand<const L: usize> = PowerLcg<214_013, 2_531_011, 16, 0x7FFF, L>;

impl<const A: u32, const C: u32, const SHIFT: u32, const MASK: u32, const L: usize> Generator<L>
    for PowerLcg<A, C, SHIFT, MASK, L>
{
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
        self.0 = self.0 * A + C;
        (self.0 >> SHIFT) & MASK
    }
}

/// The prime 2^31 - 1.
const PRIME: u64 = (1 << 31) - 1;

/// `s = A s + C` modulo 2^31 - 1, out `s`, with `A` below 2^31. As in `std::linear_congruential_engine`, a seed that would
/// stay 0 for ever (`C = 0`) becomes 1.
pub(super) struct PrimeLcg<const A: u64, const C: u64, const L: usize>(U64x<L>);

/// The fleet's LCG.
pub(super) type Lcg32<const L: usize> = PrimeLcg<1_103_515_245, 12_345, L>;
/// `std::minstd_rand` (Park, Miller and Stockmeyer, 1993).
pub(super) type Minstd<const L: usize> = PrimeLcg<48_271, 0, L>;
/// `std::minstd_rand0` (Park and Miller, 1988).
pub(super) type MinstdRand0<const L: usize> = PrimeLcg<16_807, 0, L>;

/// `x` modulo 2^31 - 1 for `x` below `2^31 (2^31 - 1)`: since 2^31 is 1, the two halves add up.
#[inline(always)]
pub(super) fn modulo_prime<const L: usize>(x: U64x<L>) -> U64x<L> {
    ((x & PRIME) + (x >> 31)).map(|sum| if sum >= PRIME { sum - PRIME } else { sum })
}

impl<const A: u64, const C: u64, const L: usize> Generator<L> for PrimeLcg<A, C, L> {
    type Output = U32x<L>;

    fn blank(_: &Modulus) -> Self {
        Self(U64x::splat(0))
    }

    #[inline(always)]
    fn seed(&mut self, seeds: U64x<L>) {
        let state = modulo_prime(seeds & 0xFFFF_FFFF);
        self.0 = state.map(|s| if C == 0 && s == 0 { 1 } else { s });
    }

    #[inline(always)]
    fn next(&mut self) -> U32x<L> {
        // The mask says that the state fits 32 bits: one 32 by 32 multiplication.
        self.0 = modulo_prime((self.0 & 0xFFFF_FFFF) * A + C);
        self.0.low()
    }
}
