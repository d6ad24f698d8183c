//! The draws of one order as the scan compares them.

use shared::sieve::Skips;

use crate::residue::{Modulus, Target};

/// Draws to compare with, and how many of them must match under one skip.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// The draws in order.
    pub(super) targets: Vec<Target>,
    /// The skips to try.
    pub(super) skips: Skips,
    /// Outputs that are passed over before anything else.
    pub(super) advance: u32,
    /// How many matches under one skip are asked for.
    pub(super) least: u32,
    /// Which positions, counted from `advance`, some draw is compared with: one bit each.
    wanted: Vec<u64>,
}

impl Window {
    pub(super) fn new(
        draws: &[u32],
        modulus: &Modulus,
        skips: Skips,
        advance: u32,
        least: u32,
    ) -> Self {
        let targets: Vec<Target> = draws.iter().map(|&draw| modulus.target(draw)).collect();
        let positions = (skips.hi as usize + 1) * targets.len();
        let mut wanted = vec![0; positions.div_ceil(64)];
        for skip in skips.iter() {
            let stride = skip as usize + 1;
            for position in (1..=targets.len()).map(|turn| turn * stride - 1) {
                wanted[position / 64] |= 1 << (position % 64);
            }
        }
        Self { targets, skips, advance, least, wanted }
    }

    /// How many positions there are up to the last that is wanted.
    pub(super) fn positions(&self) -> usize {
        (self.skips.hi as usize + 1) * self.targets.len()
    }

    /// Whether some draw is compared with this position.
    #[inline(always)]
    pub(super) fn wants(&self, position: usize) -> bool {
        self.wanted[position / 64] >> (position % 64) & 1 == 1
    }
}
