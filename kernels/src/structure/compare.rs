//! Comparisons of a vector's lanes, as a bit for each lane.
//!
//! Plain loops over lanes become vector instructions wherever the result is lanes again; a bit
//! for each is asked for by name, since compilers take it apart.

use super::lattice::{LANES, Vector};

/// How one instruction set compares.
pub(super) trait Compare: Copy {
    /// A bit for each lane that is at most as large as the one beside it.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn at_most(lanes: Vector, most: Vector) -> u32;

    /// A bit for each lane that is at most `most` once `start` is added to it.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[inline(always)]
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn sum_at_most(lanes: &Vector, start: u32, most: u32) -> u32 {
        // SAFETY: the caller's.
        unsafe { Self::at_most(*lanes + start, Vector::splat(most)) }
    }

    /// Appends those lanes whose bits are set to a list.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[inline(always)]
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn append(lanes: &Vector, wanted: u32, list: &mut Vec<u32>) {
        let mut wanted = wanted;
        while wanted != 0 {
            list.push(lanes.0[wanted.trailing_zeros() as usize]);
            wanted &= wanted - 1;
        }
    }

    /// A bit for each byte that is at least `least`.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn at_least(bytes: &[u8; 64], least: u8) -> u64;
}

/// What every processor has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline;

#[expect(unsafe_code, reason = "the trait's function is unsafe elsewhere")]
impl Compare for Baseline {
    #[inline(always)]
    unsafe fn at_most(lanes: Vector, most: Vector) -> u32 {
        let mut bits = 0;
        for lane in 0..LANES {
            bits |= u32::from(lanes.0[lane] <= most.0[lane]) << lane;
        }
        bits
    }

    #[inline(always)]
    unsafe fn at_least(bytes: &[u8; 64], least: u8) -> u64 {
        let mut any = false;
        for &byte in bytes {
            any |= byte >= least;
        }
        let mut bits = 0;
        if any {
            for (lane, &byte) in bytes.iter().enumerate() {
                bits |= u64::from(byte >= least) << lane;
            }
        }
        bits
    }
}

/// 256-bit vectors.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
impl Compare for Avx2 {
    #[inline(always)]
    unsafe fn at_most(lanes: Vector, most: Vector) -> u32 {
        use std::arch::x86_64::{
            _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_load_si256, _mm256_min_epu32,
            _mm256_movemask_ps,
        };
        let mut bits = 0;
        for half in 0..2 {
            // SAFETY: both arrays have 16 lanes and are aligned; the caller has the instructions.
            let eight = unsafe {
                let lanes = _mm256_load_si256(lanes.0.as_ptr().add(8 * half).cast());
                let most = _mm256_load_si256(most.0.as_ptr().add(8 * half).cast());
                let same = _mm256_cmpeq_epi32(_mm256_min_epu32(lanes, most), lanes);
                _mm256_movemask_ps(_mm256_castsi256_ps(same))
            };
            bits |= eight.cast_unsigned() << (8 * half);
        }
        bits
    }

    #[inline(always)]
    unsafe fn at_least(bytes: &[u8; 64], least: u8) -> u64 {
        use std::arch::x86_64::{
            _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_max_epu8, _mm256_movemask_epi8,
            _mm256_set1_epi8,
        };
        let mut bits = 0;
        for half in 0..2 {
            // SAFETY: there are 64 bytes; the caller has the instructions.
            let reached = unsafe {
                let bytes = _mm256_loadu_si256(bytes.as_ptr().add(32 * half).cast());
                let most = _mm256_max_epu8(bytes, _mm256_set1_epi8(least.cast_signed()));
                _mm256_movemask_epi8(_mm256_cmpeq_epi8(most, bytes))
            };
            bits |= u64::from(reached.cast_unsigned()) << (32 * half);
        }
        bits
    }
}

/// 512-bit vectors.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
impl Compare for Avx512 {
    #[inline(always)]
    unsafe fn at_most(lanes: Vector, most: Vector) -> u32 {
        use std::arch::x86_64::{_mm512_cmple_epu32_mask, _mm512_load_si512};
        // SAFETY: both arrays have 16 lanes and are aligned; the caller has the instructions.
        u32::from(unsafe {
            _mm512_cmple_epu32_mask(
                _mm512_load_si512(lanes.0.as_ptr().cast()),
                _mm512_load_si512(most.0.as_ptr().cast()),
            )
        })
    }

    #[inline(always)]
    unsafe fn sum_at_most(lanes: &Vector, start: u32, most: u32) -> u32 {
        use std::arch::x86_64::{
            _mm512_add_epi32, _mm512_cmple_epu32_mask, _mm512_load_si512, _mm512_set1_epi32,
        };
        // SAFETY: the array has 16 lanes and is aligned; the caller has the instructions.
        u32::from(unsafe {
            let lanes = _mm512_load_si512(lanes.0.as_ptr().cast());
            let sum = _mm512_add_epi32(lanes, _mm512_set1_epi32(start.cast_signed()));
            _mm512_cmple_epu32_mask(sum, _mm512_set1_epi32(most.cast_signed()))
        })
    }

    #[inline(always)]
    unsafe fn append(lanes: &Vector, wanted: u32, list: &mut Vec<u32>) {
        use std::arch::x86_64::{
            _mm512_load_si512, _mm512_maskz_compress_epi32, _mm512_storeu_si512,
        };
        list.reserve(LANES);
        // SAFETY: the array has 16 lanes and is aligned, the list has room for as many, and those
        // that are wanted come first; the caller has the instructions.
        unsafe {
            let lanes = _mm512_load_si512(lanes.0.as_ptr().cast());
            let first = _mm512_maskz_compress_epi32(wanted as u16, lanes);
            _mm512_storeu_si512(list.as_mut_ptr().add(list.len()).cast(), first);
            list.set_len(list.len() + (wanted & 0xFFFF).count_ones() as usize);
        }
    }

    #[inline(always)]
    unsafe fn at_least(bytes: &[u8; 64], least: u8) -> u64 {
        use std::arch::x86_64::{_mm512_cmpge_epu8_mask, _mm512_loadu_si512, _mm512_set1_epi8};
        // SAFETY: there are 64 bytes; the caller has the instructions.
        unsafe {
            _mm512_cmpge_epu8_mask(
                _mm512_loadu_si512(bytes.as_ptr().cast()),
                _mm512_set1_epi8(least.cast_signed()),
            )
        }
    }
}
