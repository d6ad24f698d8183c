//! The low sieve: which classes of seeds match often enough in their low bits.
//!
//! Where the modulus is `2^e` times an odd number, an output's residue modulo `2^e` is the `e`
//! bits of the state from its lowest output bit on. They depend on the seed modulo
//! `2^class_bits` alone. Modulo that power the generator runs through one cycle of all classes,
//! so the bits of all states, laid out along the cycle, are a text in which a draw's bits are
//! compared with many classes at once, a byte each.

use shared::structure::PowerLcg;

use super::compare::Compare;

/// How many classes are looked at side by side.
const WIDTH: usize = 256;
/// How many of them are looked through at once for those that are kept.
const PART: usize = 64;

/// The cycle of classes with the bits that decide residues.
#[derive(Debug)]
pub(super) struct Cycle {
    /// The states in the order in which the generator steps through them, from 0 on.
    states: Vec<u32>,
    /// Their residues modulo `2^e`, as often as it takes to read past the end.
    residues: Vec<u8>,
}

impl Cycle {
    /// The cycle of a generator for a modulus with `twos` factors of 2.
    pub(super) fn new(lcg: &PowerLcg, twos: u32) -> Self {
        let classes = 1_usize << (lcg.low_bit + twos);
        let mask = classes as u64 - 1;
        let mut state = 0_u64;
        let mut states = vec![0; classes];
        let mut residues = vec![0; 2 * classes + WIDTH];
        for place in &mut states {
            *place = state as u32;
            state = state.wrapping_mul(lcg.multiplier).wrapping_add(lcg.increment) & mask;
        }
        for (residue, state) in residues.iter_mut().zip(&states) {
            *residue = (state >> lcg.low_bit) as u8;
        }
        let mut filled = classes;
        while filled < residues.len() {
            let more = classes.min(residues.len() - filled);
            residues.copy_within(..more, filled);
            filled += more;
        }
        Self { states, residues }
    }

    /// How many classes there are.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Where in the cycle the class stands that is `class` after `steps` steps back.
    pub(super) fn place(&self, class: u32, steps: u64) -> usize {
        let at = self.states.iter().position(|&state| state == class).unwrap_or_default();
        (at + steps as usize) & (self.len() - 1)
    }

    /// Appends those classes of `places` of the cycle that match `need` of the draws in their
    /// low bits. `places` counts from the state `advance` steps after the seed; draw `i` is
    /// compared `(i + 1) stride` steps later.
    ///
    /// # Safety
    /// The processor must have the instructions of `C`.
    #[inline(always)]
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    pub(super) unsafe fn sieve<C: Compare>(
        &self,
        draws: &[u8],
        (advance, stride): (u64, u64),
        need: u8,
        places: std::ops::Range<usize>,
        kept: &mut Vec<u32>,
    ) {
        let mask = self.len() - 1;
        let back = self.len() - (advance as usize & mask);
        let mut from = places.start;
        while from < places.end {
            let counts = self.counts(draws, from, stride as usize & mask);
            let (parts, _) = counts.as_chunks::<PART>();
            for (part, bytes) in parts.iter().enumerate() {
                let first = from + part * PART;
                // SAFETY: the caller's.
                let mut reached = unsafe { C::at_least(bytes, need) };
                if first + PART > places.end {
                    reached &= (1_u64 << places.end.saturating_sub(first)) - 1;
                }
                while reached != 0 {
                    let place = first + reached.trailing_zeros() as usize;
                    kept.push(self.states[(place + back) & mask]);
                    reached &= reached - 1;
                }
            }
            from += WIDTH;
        }
    }
    /// How many of the draws match in their low bits in [`WIDTH`] classes, from a place of the
    /// cycle on.
    #[inline(always)]
    fn counts(&self, draws: &[u8], from: usize, stride: usize) -> [u8; WIDTH] {
        let mask = self.len() - 1;
        let mut counts = [0_u8; WIDTH];
        let mut at = 0;
        for &draw in draws {
            at = (at + stride) & mask;
            let text = &self.residues[from + at..][..WIDTH];
            for lane in 0..WIDTH {
                counts[lane] += u8::from(text[lane] == draw);
            }
        }
        counts
    }
}
