//! The inner loops, built for several instruction sets.

use std::ops::Range;

use super::{
    cache::{Cache, Frame, Key},
    classes::Cycle,
    compare,
    lattice::{Lattice, Vector},
    progressions::{self, Progression},
    question::{Draws, Skip},
    search::Search,
    sweep::{Further, Translate, search_box, search_line},
};
use crate::{residue::Modulus, scan::Instructions};

/// The inner loops for one instruction set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loops(Built);

/// Functions that may be called only where the processor has their instructions, which holds
/// where [`Loops`] were made.
#[derive(Debug, Clone, Copy)]
struct Built {
    sieve: unsafe fn(&Cycle, &Draws, &Skip, u8, Range<usize>, &mut Vec<u32>),
    classes: unsafe fn(&mut Search<'_>, &Skip, &Draws, &[u32]),
    add: unsafe fn(&mut Cache, &Frame, Key) -> usize,
    boxes: [SearchBox; 3],
    line: unsafe fn(u32, &Translate, &[Further], &mut Vec<u32>),
    progress: unsafe fn(&Modulus, &mut [Progression], u32, u32, &mut Vec<u32>),
}

type SearchBox = unsafe fn(&Lattice, &[Vector], &Translate, &[Further], &mut Vec<u32>);

#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
impl Loops {
    /// The loops for instructions, or for the widest that this processor has where it lacks them.
    pub(super) fn new(instructions: Instructions) -> Self {
        Self(match instructions.or_widest() {
            Instructions::Baseline => baseline::LOOPS,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => avx2::LOOPS,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => avx512::LOOPS,
        })
    }

    /// See [`Cycle::sieve`].
    pub(super) fn sieve(
        &self,
        cycle: &Cycle,
        draws: &Draws,
        skip: &Skip,
        need: u8,
        places: Range<usize>,
        kept: &mut Vec<u32>,
    ) {
        // SAFETY: the processor has the instructions.
        unsafe { (self.0.sieve)(cycle, draws, skip, need, places, kept) }
    }

    /// See [`Search::classes`].
    pub(super) fn classes(
        &self,
        search: &mut Search<'_>,
        skip: &Skip,
        draws: &Draws,
        kept: &[u32],
    ) {
        // SAFETY: the processor has the instructions.
        unsafe { (self.0.classes)(search, skip, draws, kept) }
    }

    /// See [`Cache::add`].
    pub(super) fn add(&self, cache: &mut Cache, frame: &Frame, key: Key) -> usize {
        // SAFETY: the processor has the instructions.
        unsafe { (self.0.add)(cache, frame, key) }
    }

    /// See [`search_box`]; `n` is 2 to 4.
    #[inline(always)]
    pub(super) fn search_box(
        &self,
        n: usize,
        (lattice, list): (&Lattice, &[Vector]),
        translate: &Translate,
        further: &[Further],
        found: &mut Vec<u32>,
    ) {
        // SAFETY: the processor has the instructions.
        unsafe { (self.0.boxes[n - 2])(lattice, list, translate, further, found) }
    }

    /// See [`progress`].
    pub(super) fn progress(
        &self,
        modulus: &Modulus,
        progressions: &mut [Progression],
        blocks: u32,
        least: u32,
        found: &mut Vec<u32>,
    ) {
        // SAFETY: the processor has the instructions.
        unsafe { (self.0.progress)(modulus, progressions, blocks, least, found) }
    }

    /// See [`search_line`].
    pub(super) fn search_line(
        &self,
        granule: u32,
        translate: &Translate,
        further: &[Further],
        found: &mut Vec<u32>,
    ) {
        // SAFETY: the processor has the instructions.
        unsafe { (self.0.line)(granule, translate, further, found) }
    }
}

/// A module with the loops built with these attributes.
macro_rules! built_for {
    ($name:ident, $Compare:ty $(, #[$attribute:meta])*) => {
        mod $name {
            use super::*;

            pub(super) const LOOPS: Built = Built {
                sieve,
                classes,
                add,
                boxes: [in_box::<2>, in_box::<3>, in_box::<4>],
                line,
                progress,
            };

            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            fn sieve(
                cycle: &Cycle,
                draws: &Draws,
                skip: &Skip,
                need: u8,
                places: Range<usize>,
                kept: &mut Vec<u32>,
            ) {
                // SAFETY: these are the instructions.
                unsafe { cycle.sieve::<$Compare>(&draws.lows, skip.places(), need, places, kept) };
            }

            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            fn classes(search: &mut Search<'_>, skip: &Skip, draws: &Draws, kept: &[u32]) {
                // SAFETY: these are the instructions.
                unsafe { search.classes::<$Compare>(skip, draws, kept) };
            }

            $(#[$attribute])*
            fn add(cache: &mut Cache, frame: &Frame, key: Key) -> usize {
                cache.add(frame, key)
            }

            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            fn in_box<const D: usize>(
                lattice: &Lattice,
                list: &[Vector],
                translate: &Translate,
                further: &[Further],
                found: &mut Vec<u32>,
            ) {
                // SAFETY: these are the instructions.
                unsafe { search_box::<$Compare, D>((lattice, list), translate, further, found) };
            }

            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            fn progress(
                modulus: &Modulus,
                progressions: &mut [Progression],
                blocks: u32,
                least: u32,
                found: &mut Vec<u32>,
            ) {
                // SAFETY: these are the instructions.
                unsafe {
                    progressions::progress::<$Compare>(modulus, progressions, blocks, least, found);
                }
            }

            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            fn line(
                granule: u32,
                translate: &Translate,
                further: &[Further],
                found: &mut Vec<u32>,
            ) {
                // SAFETY: these are the instructions.
                unsafe { search_line::<$Compare>(granule, translate, further, found) };
            }
        }
    };
}

built_for!(baseline, compare::Baseline);
#[cfg(target_arch = "x86_64")]
built_for!(avx2, compare::Avx2, #[target_feature(enable = "avx2,bmi1,bmi2")]);
#[cfg(target_arch = "x86_64")]
built_for!(avx512, compare::Avx512, #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2")]);
