//! The witness: what lets a piece without survivors prove that it was tested.
//!
//! A near miss is a seed for which some skip has at least `least` matches among its first `first`
//! draws. Every correct engine counts the same near misses, so an engine that skipped work or
//! computed wrongly is found out by comparing counts.

use serde::{Deserialize, Serialize};

/// What counts as a near miss: at least `least` (n) matches among the first `first`
/// (F = k - need + n) draws of the window. Every survivor is a near miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// F: how many draws are looked at.
    pub first: u32,
    /// n: how many of them must match, 1 to `need`.
    pub least: u32,
}

impl Witness {
    /// The witness with `least` matches for a window of `k` draws of which `need` must match.
    #[must_use]
    pub const fn new(k: u32, need: u32, least: u32) -> Self {
        Self { first: k - need + least, least }
    }
}

/// The near misses of some seeds, as every engine must report them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMisses {
    /// How many seeds were near misses.
    pub count: u64,
    /// The wrapping sum of [`splitmix64`] over them.
    pub sum: u64,
}

impl NearMisses {
    /// Counts one seed in.
    pub fn add(&mut self, seed: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(splitmix64(seed));
    }

    /// Counts in what another part of the same range saw.
    pub fn merge(&mut self, other: Self) {
        // Counts come from afar: a senseless one must not stop whoever adds it up.
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// The first output of splitmix64 seeded with `x` (Steele, Lea and Flood, OOPSLA 2014; constants
/// from Vigna's splitmix64.c).
#[must_use]
pub const fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_agrees_with_java_util_splittable_random() {
        // jshell> new SplittableRandom(0).nextLong() and (42).
        assert_eq!(splitmix64(0).cast_signed(), -2_152_535_657_050_944_081);
        assert_eq!(splitmix64(42).cast_signed(), -4_767_286_540_954_276_203);
    }
}
