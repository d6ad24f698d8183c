//! One strategy of variable skips on one stream, as fast as it goes.

use shared::variable::{FIRST_EXPECTED, Strategy};

use super::streams::BLOCK;
use crate::{
    lanes::U32x,
    residue::{Modulus, Target},
};

/// Where a walk is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// How many draws were found.
    pub(super) matches: u32,
    /// The next draw.
    draw: usize,
    /// The output after the last one that counts.
    cursor: usize,
    expected: u32,
    misses: u32,
}

/// How far a walk came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The stream must be laid out further.
    Wanting,
    /// All draws were looked for, or too few are left for what is asked: others can't do more.
    Done,
    /// It gave up after its misses in a row; a more patient strategy of the same tolerance goes on
    /// from here.
    GaveUp,
}

impl Walk {
    pub(super) const fn new() -> Self {
        Self { matches: 0, draw: 0, cursor: 0, expected: FIRST_EXPECTED, misses: 0 }
    }

    /// Goes on along a stream, until the end or until fewer than `least` matches are possible.
    #[inline(always)]
    pub(super) fn go(
        &mut self,
        strategy: Strategy,
        modulus: &Modulus,
        targets: &[Target],
        least: u32,
        keys: &[u32],
    ) -> Step {
        while let Some(&target) = targets.get(self.draw) {
            if (self.matches as usize + targets.len() - self.draw) < least as usize {
                return Step::Done;
            }
            let (lo, hi) = strategy.gaps(self.expected);
            // Whole blocks: what lies past the last gap counts only if nothing before it matches.
            let width = (hi - lo + 1) as usize;
            let blocks = width.div_ceil(BLOCK);
            let Some(window) = keys.get(self.cursor + lo as usize..) else { return Step::Wanting };
            let Some(window) = window.get(..blocks * BLOCK) else { return Step::Wanting };
            self.draw += 1;
            match first(modulus, target, window).filter(|&place| place < width) {
                Some(place) => {
                    self.matches += 1;
                    self.misses = 0;
                    self.expected = lo + place as u32;
                    self.cursor += self.expected as usize + 1;
                }
                None => {
                    self.cursor += hi as usize;
                    self.misses += 1;
                    if self.misses >= strategy.max_misses {
                        return Step::GaveUp;
                    }
                }
            }
        }
        Step::Done
    }
}

/// The first key that belongs to the target, in whole blocks.
#[inline(always)]
fn first(modulus: &Modulus, target: Target, window: &[u32]) -> Option<usize> {
    // Mostly there is none: the least quotient of all is found without a branch.
    let mut lanes = U32x::splat(u32::MAX);
    let (blocks, _) = window.as_chunks::<BLOCK>();
    for block in blocks {
        lanes = lanes.zip(modulus.quotients(U32x(*block), target), u32::min);
    }
    let mut least = u32::MAX;
    for lane in lanes.0 {
        least = least.min(lane);
    }
    if !target.takes(least) {
        return None;
    }
    window.iter().position(|&key| modulus.matches(U32x([key]), target).0[0] == 1)
}
