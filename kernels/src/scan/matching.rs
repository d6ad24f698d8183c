//! The scan's innermost loop: one skip's draws against a tile of keys.
//!
//! Written out for each instruction set, with [`Modulus::matches`] as the definition: compilers
//! take the loop over lanes apart into pieces of every size.

use crate::{
    lanes::{U32x, U64x},
    residue::{Modulus, Target},
};

/// What one skip compares in a tile: every `stride`th place from `place` on with the next target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comb<'a, const L: usize> {
    pub(super) keys: &'a [U32x<L>],
    pub(super) targets: &'a [Target],
    pub(super) place: usize,
    /// At least 1.
    pub(super) stride: usize,
    /// What a match adds: 1, which compilers are not to know, or they make a vector of every mask.
    pub(super) one: u32,
}

/// So many states of an arithmetic progression are laid out: one of every two.
pub(super) const EVENS: usize = 8;

/// An arithmetic progression of 64-bit states whose upper halves are outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progression {
    pub(super) first: u64,
    pub(super) each: u64,
    /// The distances of the first, third, fifth and so on from the first.
    pub(super) evens: U64x<EVENS>,
}

/// How one instruction set counts matches.
pub(super) trait Matching<const L: usize> {
    /// The outputs as [`Matching::count`] wants them.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn keys(modulus: &Modulus, outputs: U32x<L>) -> U32x<L>;

    /// The upper halves of the first states of a progression.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn upper_halves(progression: &Progression) -> U32x<L>;

    /// The counts with the matches of a comb added, and how many draws the tile had places for.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn count(modulus: &Modulus, comb: Comb<'_, L>, counts: U32x<L>) -> (U32x<L>, usize);

    /// A bit for each lane with a count of at least so much.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn at_least(counts: &U32x<L>, least: u32) -> u64;
}

/// What every processor has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline;

#[expect(unsafe_code, reason = "the trait's functions are unsafe elsewhere")]
impl<const L: usize> Matching<L> for Baseline {
    #[inline(always)]
    unsafe fn keys(modulus: &Modulus, outputs: U32x<L>) -> U32x<L> {
        modulus.keys(outputs)
    }

    #[inline(always)]
    unsafe fn upper_halves(&Progression { first, each, .. }: &Progression) -> U32x<L> {
        let state = |lane: usize| first.wrapping_add(each.wrapping_mul(lane as u64));
        U64x(std::array::from_fn::<_, L, _>(state)).high()
    }

    #[inline(always)]
    unsafe fn count(modulus: &Modulus, comb: Comb<'_, L>, mut counts: U32x<L>) -> (U32x<L>, usize) {
        let (mut place, mut draw) = (comb.place, 0);
        while let (Some(keys), Some(target)) = (comb.keys.get(place), comb.targets.get(draw)) {
            counts = counts + modulus.matches(*keys, *target);
            place += comb.stride;
            draw += 1;
        }
        (counts, draw)
    }

    #[inline(always)]
    unsafe fn at_least(counts: &U32x<L>, least: u32) -> u64 {
        let bits = counts.0.iter().enumerate();
        bits.fold(0, |bits, (lane, &count)| bits | u64::from(count >= least) << lane)
    }
}

/// 256-bit vectors, `V` to a group. They have neither rotations nor comparisons without signs, so
/// marks take the place of keys ([`Modulus::mark`]) and a match is plain equality.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2<const V: usize>;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
impl<const L: usize, const V: usize> Matching<L> for Avx2<V> {
    #[inline(always)]
    unsafe fn keys(modulus: &Modulus, outputs: U32x<L>) -> U32x<L> {
        use std::arch::x86_64::{
            __m256i, _mm256_blend_epi32, _mm256_load_si256, _mm256_mul_epu32, _mm256_or_si256,
            _mm256_set1_epi32, _mm256_shuffle_epi32, _mm256_sllv_epi32, _mm256_store_si256,
        };
        const { assert!(L == 8 * V) };
        let mut keys = modulus.keys(outputs);
        let vectors: *mut __m256i = keys.0.as_mut_ptr().cast();
        // SAFETY: lanes are aligned to 64 bytes and fill `V` vectors; the caller has the
        // instructions.
        unsafe {
            let odd = _mm256_set1_epi32(modulus.odd().cast_signed());
            let left = _mm256_set1_epi32(32 - modulus.twos().cast_signed());
            for vector in 0..V {
                let key = _mm256_load_si256(vectors.add(vector));
                // The products of every other lane, then their upper halves beside each other.
                let even = _mm256_mul_epu32(key, odd);
                let uneven = _mm256_mul_epu32(_mm256_shuffle_epi32::<0xF5>(key), odd);
                let upper = _mm256_blend_epi32::<0xAA>(_mm256_shuffle_epi32::<0xF5>(even), uneven);
                let mark = _mm256_or_si256(upper, _mm256_sllv_epi32(key, left));
                _mm256_store_si256(vectors.add(vector), mark);
            }
        }
        keys
    }

    #[inline(always)]
    unsafe fn upper_halves(progression: &Progression) -> U32x<L> {
        use std::arch::x86_64::{
            __m256i, _mm256_add_epi64, _mm256_blend_epi32, _mm256_load_si256, _mm256_set1_epi64x,
            _mm256_shuffle_epi32, _mm256_slli_epi64, _mm256_store_si256,
        };
        const { assert!(L == 8 * V) };
        let mut halves = U32x::splat(0);
        let vectors: *mut __m256i = halves.0.as_mut_ptr().cast();
        // SAFETY: as above; of the distances half are read.
        unsafe {
            let each = _mm256_set1_epi64x(progression.each.cast_signed());
            let eight = _mm256_slli_epi64::<3>(each);
            let first = _mm256_set1_epi64x(progression.first.cast_signed());
            let evens = _mm256_load_si256(progression.evens.0.as_ptr().cast());
            let mut even = _mm256_add_epi64(first, evens);
            let mut uneven = _mm256_add_epi64(even, each);
            for vector in 0..V {
                let upper = _mm256_blend_epi32::<0xAA>(_mm256_shuffle_epi32::<0xF5>(even), uneven);
                _mm256_store_si256(vectors.add(vector), upper);
                even = _mm256_add_epi64(even, eight);
                uneven = _mm256_add_epi64(uneven, eight);
            }
        }
        halves
    }

    #[inline(always)]
    unsafe fn count(_: &Modulus, comb: Comb<'_, L>, mut counts: U32x<L>) -> (U32x<L>, usize) {
        use std::arch::x86_64::{
            __m256i, _mm256_cmpeq_epi32, _mm256_load_si256, _mm256_set1_epi32,
            _mm256_setzero_si256, _mm256_store_si256, _mm256_sub_epi32,
        };
        const { assert!(L == 8 * V) };
        let (mut place, mut draw) = (comb.place, 0);
        let vectors: *mut __m256i = counts.0.as_mut_ptr().cast();
        // SAFETY: as above.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); V];
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_load_si256(vectors.add(vector));
            }
            while let (Some(keys), Some(target)) = (comb.keys.get(place), comb.targets.get(draw)) {
                let keys: *const __m256i = keys.0.as_ptr().cast();
                let mark = _mm256_set1_epi32(target.mark().cast_signed());
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let hit = _mm256_cmpeq_epi32(_mm256_load_si256(keys.add(vector)), mark);
                    *sum = _mm256_sub_epi32(*sum, hit);
                }
                place += comb.stride;
                draw += 1;
            }
            for (vector, sum) in sums.into_iter().enumerate() {
                _mm256_store_si256(vectors.add(vector), sum);
            }
        }
        (counts, draw)
    }

    #[inline(always)]
    unsafe fn at_least(counts: &U32x<L>, least: u32) -> u64 {
        use std::arch::x86_64::{
            __m256i, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_load_si256, _mm256_max_epu32,
            _mm256_movemask_ps, _mm256_set1_epi32,
        };
        const { assert!(L == 8 * V) };
        let vectors: *const __m256i = counts.0.as_ptr().cast();
        let mut bits = 0;
        // SAFETY: as above.
        unsafe {
            let least = _mm256_set1_epi32(least.cast_signed());
            for vector in 0..V {
                let counts = _mm256_load_si256(vectors.add(vector));
                let reached = _mm256_cmpeq_epi32(_mm256_max_epu32(counts, least), counts);
                let reached = _mm256_movemask_ps(_mm256_castsi256_ps(reached)).cast_unsigned();
                bits |= u64::from(reached) << (8 * vector);
            }
        }
        bits
    }
}

/// 512-bit vectors, `V` to a group.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512<const V: usize>;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
impl<const L: usize, const V: usize> Matching<L> for Avx512<V> {
    #[inline(always)]
    unsafe fn keys(modulus: &Modulus, outputs: U32x<L>) -> U32x<L> {
        modulus.keys(outputs)
    }

    #[inline(always)]
    unsafe fn upper_halves(progression: &Progression) -> U32x<L> {
        use std::arch::x86_64::{
            __m512i, _mm512_add_epi64, _mm512_load_si512, _mm512_mask_blend_epi32,
            _mm512_set1_epi64, _mm512_shuffle_epi32, _mm512_slli_epi64, _mm512_store_si512,
        };
        const { assert!(L == 16 * V) };
        let mut halves = U32x::splat(0);
        let vectors: *mut __m512i = halves.0.as_mut_ptr().cast();
        // SAFETY: lanes are aligned to 64 bytes and fill `V` vectors; the caller has the
        // instructions.
        unsafe {
            let each = _mm512_set1_epi64(progression.each.cast_signed());
            let sixteen = _mm512_slli_epi64::<4>(each);
            let first = _mm512_set1_epi64(progression.first.cast_signed());
            let evens = _mm512_load_si512(progression.evens.0.as_ptr().cast());
            let mut even = _mm512_add_epi64(first, evens);
            let mut uneven = _mm512_add_epi64(even, each);
            for vector in 0..V {
                let upper = _mm512_shuffle_epi32::<0xF5>(even);
                let upper = _mm512_mask_blend_epi32(0xAAAA, upper, uneven);
                _mm512_store_si512(vectors.add(vector), upper);
                even = _mm512_add_epi64(even, sixteen);
                uneven = _mm512_add_epi64(uneven, sixteen);
            }
        }
        halves
    }

    #[inline(always)]
    unsafe fn count(modulus: &Modulus, comb: Comb<'_, L>, mut counts: U32x<L>) -> (U32x<L>, usize) {
        use std::arch::x86_64::{
            __m512i, _mm512_cmple_epu32_mask, _mm512_load_si512, _mm512_mask_add_epi32,
            _mm512_rorv_epi32, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_store_si512,
            _mm512_sub_epi32,
        };
        const { assert!(L == 16 * V) };
        let (mut place, mut draw) = (comb.place, 0);
        let vectors: *mut __m512i = counts.0.as_mut_ptr().cast();
        // SAFETY: as above.
        unsafe {
            let twos = _mm512_set1_epi32(modulus.twos().cast_signed());
            let one = _mm512_set1_epi32(comb.one.cast_signed());
            let mut sums = [_mm512_setzero_si512(); V];
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_load_si512(vectors.add(vector));
            }
            while let (Some(keys), Some(target)) = (comb.keys.get(place), comb.targets.get(draw)) {
                let keys: *const __m512i = keys.0.as_ptr().cast();
                let key = _mm512_set1_epi32(target.key().cast_signed());
                let most = _mm512_set1_epi32(target.most().cast_signed());
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let keys = _mm512_load_si512(keys.add(vector));
                    let quotient = _mm512_rorv_epi32(_mm512_sub_epi32(keys, key), twos);
                    let hit = _mm512_cmple_epu32_mask(quotient, most);
                    *sum = _mm512_mask_add_epi32(*sum, hit, *sum, one);
                }
                place += comb.stride;
                draw += 1;
            }
            for (vector, sum) in sums.into_iter().enumerate() {
                _mm512_store_si512(vectors.add(vector), sum);
            }
        }
        (counts, draw)
    }

    #[inline(always)]
    unsafe fn at_least(counts: &U32x<L>, least: u32) -> u64 {
        use std::arch::x86_64::{
            __m512i, _mm512_cmpge_epu32_mask, _mm512_load_si512, _mm512_set1_epi32,
        };
        const { assert!(L == 16 * V) };
        let vectors: *const __m512i = counts.0.as_ptr().cast();
        let mut bits = 0;
        // SAFETY: as above.
        unsafe {
            let least = _mm512_set1_epi32(least.cast_signed());
            for vector in 0..V {
                let counts = _mm512_load_si512(vectors.add(vector));
                bits |= u64::from(_mm512_cmpge_epu32_mask(counts, least)) << (16 * vector);
            }
        }
        bits
    }
}
