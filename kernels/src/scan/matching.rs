//! The scan's innermost loop: one skip's draws against a tile of keys.
//!
//! Written out for each instruction set, with [`Modulus::matches`] as the definition: compilers
//! take the loop over lanes apart into pieces of every size.

use crate::{
    lanes::U32x,
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
}

/// How one instruction set counts matches.
pub(super) trait Matching<const L: usize> {
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

#[expect(unsafe_code, reason = "the trait's function is unsafe elsewhere")]
impl<const L: usize> Matching<L> for Baseline {
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

/// 256-bit vectors.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
impl Matching<16> for Avx2 {
    #[inline(always)]
    unsafe fn count(
        modulus: &Modulus,
        comb: Comb<'_, 16>,
        mut counts: U32x<16>,
    ) -> (U32x<16>, usize) {
        use std::arch::x86_64::{
            __m256i, _mm_cvtsi32_si128, _mm256_cmpeq_epi32, _mm256_load_si256, _mm256_min_epu32,
            _mm256_or_si256, _mm256_set1_epi32, _mm256_sll_epi32, _mm256_srl_epi32,
            _mm256_store_si256, _mm256_sub_epi32,
        };
        let (mut place, mut draw) = (comb.place, 0);
        let twos = modulus.twos().cast_signed();
        // SAFETY: lanes are aligned to 64 bytes; the caller has the instructions.
        unsafe {
            let (right, left) = (_mm_cvtsi32_si128(twos), _mm_cvtsi32_si128(32 - twos));
            let halves: *mut __m256i = counts.0.as_mut_ptr().cast();
            let (mut low, mut high) = (_mm256_load_si256(halves), _mm256_load_si256(halves.add(1)));
            while let (Some(keys), Some(target)) = (comb.keys.get(place), comb.targets.get(draw)) {
                let keys: *const __m256i = keys.0.as_ptr().cast();
                let key = _mm256_set1_epi32(target.key().cast_signed());
                let most = _mm256_set1_epi32(target.most().cast_signed());
                let hit = |keys| {
                    let product = _mm256_sub_epi32(keys, key);
                    let quotient = _mm256_or_si256(
                        _mm256_srl_epi32(product, right),
                        _mm256_sll_epi32(product, left),
                    );
                    _mm256_cmpeq_epi32(_mm256_min_epu32(quotient, most), quotient)
                };
                low = _mm256_sub_epi32(low, hit(_mm256_load_si256(keys)));
                high = _mm256_sub_epi32(high, hit(_mm256_load_si256(keys.add(1))));
                place += comb.stride;
                draw += 1;
            }
            _mm256_store_si256(halves, low);
            _mm256_store_si256(halves.add(1), high);
        }
        (counts, draw)
    }

    #[inline(always)]
    unsafe fn at_least(counts: &U32x<16>, least: u32) -> u64 {
        use std::arch::x86_64::{
            __m256i, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_load_si256, _mm256_max_epu32,
            _mm256_movemask_ps, _mm256_set1_epi32,
        };
        let halves: *const __m256i = counts.0.as_ptr().cast();
        // SAFETY: as above.
        let (low, high) = unsafe {
            let least = _mm256_set1_epi32(least.cast_signed());
            let (low, high) = (_mm256_load_si256(halves), _mm256_load_si256(halves.add(1)));
            let low = _mm256_cmpeq_epi32(_mm256_max_epu32(low, least), low);
            let high = _mm256_cmpeq_epi32(_mm256_max_epu32(high, least), high);
            let bits = |half| _mm256_movemask_ps(_mm256_castsi256_ps(half)).cast_unsigned();
            (bits(low), bits(high))
        };
        u64::from(low | high << 8)
    }
}

/// 512-bit vectors.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
impl Matching<32> for Avx512 {
    #[inline(always)]
    unsafe fn count(
        modulus: &Modulus,
        comb: Comb<'_, 32>,
        mut counts: U32x<32>,
    ) -> (U32x<32>, usize) {
        use std::arch::x86_64::{
            __m512i, _mm512_cmple_epu32_mask, _mm512_load_si512, _mm512_mask_sub_epi32,
            _mm512_rorv_epi32, _mm512_set1_epi32, _mm512_store_si512, _mm512_sub_epi32,
        };
        let (mut place, mut draw) = (comb.place, 0);
        // SAFETY: lanes are aligned to 64 bytes; the caller has the instructions.
        unsafe {
            let twos = _mm512_set1_epi32(modulus.twos().cast_signed());
            let minus_one = _mm512_set1_epi32(-1);
            let halves: *mut __m512i = counts.0.as_mut_ptr().cast();
            let (mut low, mut high) = (_mm512_load_si512(halves), _mm512_load_si512(halves.add(1)));
            while let (Some(keys), Some(target)) = (comb.keys.get(place), comb.targets.get(draw)) {
                let keys: *const __m512i = keys.0.as_ptr().cast();
                let key = _mm512_set1_epi32(target.key().cast_signed());
                let most = _mm512_set1_epi32(target.most().cast_signed());
                let hit = |keys| {
                    let quotient = _mm512_rorv_epi32(_mm512_sub_epi32(keys, key), twos);
                    _mm512_cmple_epu32_mask(quotient, most)
                };
                let (one, two) =
                    (hit(_mm512_load_si512(keys)), hit(_mm512_load_si512(keys.add(1))));
                low = _mm512_mask_sub_epi32(low, one, low, minus_one);
                high = _mm512_mask_sub_epi32(high, two, high, minus_one);
                place += comb.stride;
                draw += 1;
            }
            _mm512_store_si512(halves, low);
            _mm512_store_si512(halves.add(1), high);
        }
        (counts, draw)
    }

    #[inline(always)]
    unsafe fn at_least(counts: &U32x<32>, least: u32) -> u64 {
        use std::arch::x86_64::{
            __m512i, _mm512_cmpge_epu32_mask, _mm512_load_si512, _mm512_set1_epi32,
        };
        let halves: *const __m512i = counts.0.as_ptr().cast();
        // SAFETY: as above.
        let [low, high] = unsafe {
            let least = _mm512_set1_epi32(least.cast_signed());
            let reached = |half| u32::from(_mm512_cmpge_epu32_mask(_mm512_load_si512(half), least));
            [reached(halves), reached(halves.add(1))]
        };
        u64::from(low | high << 16)
    }
}
