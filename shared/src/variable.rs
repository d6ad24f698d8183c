//! Variable skip: the gap before each draw is looked for around the gap before the last one.
//!
//! A strategy walks the stream once. It expects the gap that it last saw, at first
//! [`FIRST_EXPECTED`], and looks for draw after draw within its tolerance of that, nearest outputs
//! first. A draw that it does not find is a miss: it steps over the widest gap that it looked at
//! less one output, and after so many misses in a row it gives up.

/// The gap that every strategy expects before the first draw.
pub const FIRST_EXPECTED: u32 = 5;

/// How a walk looks for the next draw, and when it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy {
    /// Its name.
    pub name: &'static str,
    /// It ends with so many misses in a row.
    pub max_misses: u32,
    /// How far from the expected gap it looks.
    pub tolerance: u32,
}

/// The strategies; a strategy's id is its place here. They are tried in this order and the first
/// with the most matches is a seed's result.
pub const STRATEGIES: [Strategy; 5] = [
    Strategy { name: "strict_continuous", max_misses: 3, tolerance: 5 },
    Strategy { name: "lenient_continuous", max_misses: 10, tolerance: 20 },
    Strategy { name: "aggressive_reseed", max_misses: 5, tolerance: 5 },
    Strategy { name: "balanced_hybrid", max_misses: 7, tolerance: 10 },
    Strategy { name: "extreme_tolerance", max_misses: 20, tolerance: 50 },
];

impl Strategy {
    /// The gaps at which it looks, first and last, when it expects one.
    #[must_use]
    pub const fn gaps(&self, expected: u32) -> (u32, u32) {
        (expected.saturating_sub(self.tolerance), expected + self.tolerance)
    }
}

/// The last output that any strategy can look at: each draw found at the widest gap.
#[must_use]
pub fn last_position(advance: u32, window: u64) -> u64 {
    let widest = STRATEGIES.iter().map(|s| u64::from(s.tolerance)).max().unwrap_or_default();
    let before = window.saturating_sub(1);
    // The gaps grow by the tolerance from draw to draw, and each draw is an output itself.
    let gaps = window * u64::from(FIRST_EXPECTED) + widest * (window * (window + 1) / 2);
    u64::from(advance) + gaps + before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_position_is_where_the_widest_gaps_lead() {
        for window in 1..40 {
            let (mut cursor, mut expected) = (7, FIRST_EXPECTED);
            let mut last = 0;
            for _ in 0..window {
                let (_, hi) = STRATEGIES[4].gaps(expected);
                last = cursor + u64::from(hi);
                (cursor, expected) = (last + 1, hi);
            }
            assert_eq!(last_position(7, window), last, "{window}");
        }
    }
}
