//! The low sieve: which classes of seeds match often enough in their low bits.
//!
//! Where the modulus is `2^e` times an odd number, an output's residue modulo `2^e` is the `e`
//! bits of the state from its lowest output bit on. They depend on the seed modulo
//! `2^class_bits` alone. Modulo that power the generator runs through one cycle of all classes,
//! so the bits of all states, laid out along the cycle, are a text in which a draw's bits are
//! compared with many classes at once, a byte each.

use shared::structure::PowerLcg;

/// How many classes are looked at side by side.
const WIDTH: usize = 256;

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
        let states: Vec<u32> = (0..classes)
            .map(|_| {
                let class = state as u32;
                state = state.wrapping_mul(lcg.multiplier).wrapping_add(lcg.increment) & mask;
                class
            })
            .collect();
        let once: Vec<u8> = states.iter().map(|state| (state >> lcg.low_bit) as u8).collect();
        let residues = once.iter().copied().cycle().take(2 * classes + WIDTH).collect();
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
    #[inline(always)]
    pub(super) fn sieve(
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
            let mut counts = [0_u8; WIDTH];
            let mut at = 0;
            for &draw in draws {
                at = (at + stride as usize) & mask;
                let text = &self.residues[from + at..][..WIDTH];
                for (count, &residue) in counts.iter_mut().zip(text) {
                    *count += u8::from(residue == draw);
                }
            }
            let end = places.end.min(from + WIDTH);
            for (part, counts) in counts.chunks_exact(32).enumerate() {
                // Few classes are kept: most parts have none.
                if counts.iter().fold(false, |any, &count| any | (count >= need)) {
                    let places = from + 32 * part..end;
                    for (place, _) in places.zip(counts).filter(|(_, count)| **count >= need) {
                        kept.push(self.states[(place + back) & mask]);
                    }
                }
            }
            from = end;
        }
    }
}
