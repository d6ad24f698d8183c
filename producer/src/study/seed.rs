//! The seeds of a study, derived so that every trial's is known before anything runs.

/// What a seed is for; each purpose has a stream of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Given to the trial's script as `--seed`.
    Trial,
    /// Given to Optuna's sampler before it proposes the trial's parameters.
    Sampler,
}

/// The seed of trial `number` of a study: the first four bytes, little endian, of BLAKE3's derived
/// key hash of the study's seed and the number (both eight bytes, little endian). 32 bits are what
/// NumPy takes.
pub(crate) fn seed_of(study: u64, number: u64, purpose: Purpose) -> u32 {
    let context = match purpose {
        Purpose::Trial => "rigqueue 2026-11-22 study trial seed",
        Purpose::Sampler => "rigqueue 2026-11-22 study sampler seed",
    };
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&study.to_le_bytes()).update(&number.to_le_bytes());
    let mut first = [0; 4];
    hasher.finalize_xof().fill(&mut first);
    u32::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seeds_are_apart_and_stay_what_they_are() {
        let mut all = BTreeSet::new();
        for purpose in [Purpose::Trial, Purpose::Sampler] {
            for (study, number) in [(42, 0), (42, 1), (43, 0), (0, 42)] {
                assert!(all.insert(seed_of(study, number, purpose)));
            }
        }
        // A study that goes on under another build must find the same.
        let known = [0, 1, 2].map(|number| seed_of(42, number, Purpose::Trial));
        assert_eq!(known, KNOWN);
    }

    // As the `blake3` package of PyPI has them.
    const KNOWN: [u32; 3] = [147_274_367, 3_445_278_182, 3_355_748_064];
}
