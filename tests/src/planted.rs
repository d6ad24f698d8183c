//! Searches with a known answer: three generators written once more, from their published
//! definitions, and a sieve that counts every hypothesis of every seed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A generator of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Marsaglia's xorshift with 13, 17, 5.
    Xorshift32,
    /// Park and Miller's with the multiplier 48271.
    Minstd,
}

impl Generator {
    /// The family's name.
    #[must_use]
    pub const fn family(self) -> &'static str {
        match self {
            Self::Xorshift32 => "xorshift32",
            Self::Minstd => "minstd",
        }
    }

    /// The outputs of a seed below 2^31 - 1.
    pub fn outputs(self, seed: u32) -> impl Iterator<Item = u32> {
        let mut state = seed;
        if self == Self::Minstd && state == 0 {
            state = 1;
        }
        std::iter::repeat_with(move || {
            match self {
                Self::Xorshift32 => {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                }
                Self::Minstd => {
                    let next = u64::from(state) * 48271 % 0x7FFF_FFFF;
                    state = u32::try_from(next).unwrap_or(u32::MAX);
                }
            }
            state
        })
    }

    /// `count` draws below 1000 at a skip, after `advance` outputs.
    #[must_use]
    pub fn draws(self, seed: u32, advance: usize, skip: usize, count: usize) -> Vec<u64> {
        let outputs = self.outputs(seed).skip(advance + skip).step_by(skip + 1);
        outputs.take(count).map(|output| u64::from(output % 1000)).collect()
    }

    /// Every survivor of seeds `0..end` for skips `0..=most`, by seed: (matches, smallest skip).
    #[must_use]
    pub fn survivors(
        self,
        draws: &[u64],
        end: u32,
        most: usize,
        need: u64,
    ) -> BTreeMap<u64, (u64, u64)> {
        let mut found = BTreeMap::new();
        let mut outputs = Vec::new();
        for seed in 0..end {
            outputs.clear();
            let needed = draws.len() * (most + 1);
            outputs.extend(self.outputs(seed).take(needed).map(|output| u64::from(output % 1000)));
            for skip in 0..=most {
                let shown = outputs.iter().skip(skip).step_by(skip + 1);
                let matches = shown.zip(draws).filter(|(output, draw)| output == draw).count();
                let matches = matches as u64;
                let best = found.get(&u64::from(seed)).map_or(0, |&(matches, _)| matches);
                if matches >= need && matches > best {
                    found.insert(u64::from(seed), (matches, skip as u64));
                }
            }
        }
        found
    }
}

/// Survivors of a run's JSON: (matches, skip) by seed.
///
/// # Panics
/// When a seed is listed twice, or is no number.
#[must_use]
pub fn listed(status: &Value) -> BTreeMap<u64, (u64, u64)> {
    let mut found = BTreeMap::new();
    for survivor in status["survivors"].as_array().expect("survivors") {
        let number = |key: &str| survivor[key].as_u64().expect(key);
        let seed = number("seed");
        assert_eq!(survivor["seed_hex"], format!("{seed:#x}"));
        assert!(found.insert(seed, (number("matches"), number("skip"))).is_none(), "{seed} twice");
    }
    assert_eq!(status["survivor_count"].as_u64(), Some(found.len() as u64), "--limit is too low");
    found
}

/// Checks what every run without faults must say: all of `start..end` covered, exactly, and every
/// job done once.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn assert_whole(status: &Value, start: u64, end: u64) {
    assert_covered(status, start, end);
    let jobs = &status["jobs"];
    assert_eq!(jobs["done"], jobs["published"], "{status}");
    assert_eq!([&jobs["dead"], &jobs["retried"], &jobs["requeued"]], [0, 0, 0], "{status}");
}

/// Checks that all of `start..end` is covered, exactly.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn assert_covered(status: &Value, start: u64, end: u64) {
    assert_eq!(status["state"], "complete", "{status}");
    assert_eq!(status["requested"], json!({ "start": start, "end": end }));
    assert_eq!(status["covered"].as_u64(), Some(end - start));
    assert_eq!(status["holes"], json!([]));
    assert_eq!(status["jobs"]["dead"], 0, "{status}");
    assert_eq!(status["disagreements"], 0, "{status}");
}

/// Draws as a file has them, one a line.
#[must_use]
pub fn lines(draws: &[u64]) -> String {
    draws.iter().map(|draw| format!("{draw}\n")).collect()
}
