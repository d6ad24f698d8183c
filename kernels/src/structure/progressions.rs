//! Progressions modulo the prime 2^31 - 1, many terms at a time.
#![expect(clippy::needless_range_loop, reason = "as in `reduce`: loops that are inlined")]

use shared::structure::PrimeLcg;

use super::{
    compare::Compare,
    lattice::{LANES, Vector},
};
use crate::residue::{Modulus, Target};

/// Vectors side by side.
const SIDE: usize = 2;
/// So many terms are tested at once.
pub(super) const ABREAST: u32 = (SIDE * LANES) as u32;

/// A progression and the draw that its terms are compared with.
#[derive(Debug, Clone)]
pub(super) struct Progression {
    terms: [Vector; SIDE],
    /// From each term to the one [`ABREAST`] behind it.
    step: u32,
    target: Target,
}

impl Progression {
    /// The progression that begins with a term and grows by `step`, both below the prime.
    pub(super) fn new(first: u64, step: u64, target: Target) -> Self {
        let prime = u64::from(PrimeLcg::PRIME);
        let mut terms = [Vector::splat(0); SIDE];
        for (at, lane) in (0..).zip(terms.iter_mut().flat_map(|terms| &mut terms.0)) {
            *lane = ((first + at * step) % prime) as u32;
        }
        Self { terms, step: (u64::from(ABREAST) * step % prime) as u32, target }
    }
}

/// Appends the places at which `least` of the progressions match, in the first `blocks` blocks of
/// [`ABREAST`] places; the progressions move on.
///
/// # Safety
/// The processor must have the instructions of `C`.
#[inline(always)]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
pub(super) unsafe fn progress<C: Compare>(
    modulus: &Modulus,
    progressions: &mut [Progression],
    blocks: u32,
    least: u32,
    found: &mut Vec<u32>,
) {
    let modulus = *modulus;
    for block in 0..blocks {
        let mut counts = [Vector::splat(0); SIDE];
        for progression in &mut *progressions {
            for side in 0..SIDE {
                let terms = progression.terms[side];
                let matches = modulus.matches(modulus.keys(terms), progression.target);
                counts[side] = counts[side] + matches;
                let next = terms + progression.step;
                // Below the prime taking it away wraps around, to more than there was.
                progression.terms[side] = next.zip(next - PrimeLcg::PRIME, u32::min);
            }
        }
        for side in 0..SIDE {
            // SAFETY: the caller's.
            let mut reached = unsafe { C::at_most(Vector::splat(least), counts[side]) };
            while reached != 0 {
                let lane = (side * LANES) as u32 + reached.trailing_zeros();
                found.push(block * ABREAST + lane);
                reached &= reached - 1;
            }
        }
    }
}
