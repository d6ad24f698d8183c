//! The candidates file of a `reverse_sieve`: the seeds to test, in the file's order.

use std::{collections::HashSet, path::Path};

use shared::families::Family;

use crate::rows::{self, RowsError, Wanted};

/// The most bytes a candidates file may have: survivor records are wordy.
pub const MAX_BYTES: u64 = 512 << 20;
/// The most candidates of one run.
pub const MAX_CANDIDATES: usize = 10_000_000;

const CANDIDATES: Wanted = Wanted {
    what: "seed",
    flag: "--candidates",
    key: "seed",
    preferred: None,
    max_bytes: MAX_BYTES,
    max_rows: MAX_CANDIDATES,
};

/// Candidates, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// The seeds, in the order of their first mention.
    pub seeds: Vec<u64>,
    /// How many repetitions were left out.
    pub repeated: usize,
}

/// A candidates file that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CandidatesError {
    /// The file itself.
    #[error(transparent)]
    File(#[from] RowsError),
    /// A seed that the family does not have.
    #[error(
        "the seeds file '{file}', entry {entry}: {seed} is no seed of {family}, which takes \
         {bits}-bit seeds (below 2^{bits}); remove it or choose another family"
    )]
    SeedWidth {
        /// The file.
        file: String,
        /// Which seed, from 1.
        entry: usize,
        /// The seed.
        seed: u64,
        /// The family.
        family: Family,
        /// Its seed width.
        bits: u32,
    },
}

/// Reads a candidates file: a JSON array of integers or of records with a `seed`, a CSV with a
/// `seed` column, or one integer per line. Repetitions are left out and counted: coverage is
/// kept by index, so a seed that is listed twice would be searched twice.
///
/// # Errors
/// [`CandidatesError`] with the file, the place and what to do.
pub fn read(path: &Path, family: Family) -> Result<Candidates, CandidatesError> {
    let listed = rows::read(path, CANDIDATES)?.values;
    let outside = listed.iter().position(|&seed| u128::from(seed) >= family.seed_end());
    if let Some(index) = outside {
        return Err(CandidatesError::SeedWidth {
            file: path.display().to_string(),
            entry: index + 1,
            seed: listed[index],
            family,
            bits: family.about().seed_bits,
        });
    }
    let total = listed.len();
    let mut seen = HashSet::with_capacity(total);
    let seeds: Vec<u64> = listed.into_iter().filter(|&seed| seen.insert(seed)).collect();
    let repeated = total - seeds.len();
    Ok(Candidates { seeds, repeated })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Candidates, CandidatesError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), Family::Mt19937)
    }

    #[test]
    fn survivor_records_csv_and_lines_are_candidates() {
        let records = r#"[{"seed": 9, "matches": 8, "rate": 0.3}, {"seed": 4}, {"seed": 9}]"#;
        for text in [records, "matches,seed\n1,9\n1,4\n1,9\n", "9\n4\n9\n", "[9, 4, 9]"] {
            let read = read_text(text).unwrap();
            assert_eq!(read, Candidates { seeds: vec![9, 4], repeated: 1 }, "{text}");
        }
    }

    #[test]
    fn a_seed_past_the_width_is_named() {
        let message = read_text("1\n4294967296\n").unwrap_err().to_string();
        assert!(message.contains("entry 2: 4294967296"), "{message}");
        assert!(message.contains("32-bit"), "{message}");
    }
}
