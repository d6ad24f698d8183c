//! Streams: what generators put out, where a sieve would compare it with draws.
//!
//! A runner is started as `runner-cpu stream --family F --count C [--modulus M]` with rows on
//! stdin up to end of file: 16 bytes each, little-endian, a seed (`u64`), a skip (`u32`) and an
//! advance (`u32`). On stdout it writes one NumPy array (NPY 1.0) of a line a row and C columns:
//! `<u4` residues modulo M, or `<u8` raw outputs. Column `i` is output number
//! `advance + skip + i (skip + 1)`, as in [`crate::sieve`]. What makes no sense is refused with one
//! line on stderr and the exit code [`EXIT_REJECTED`](crate::runner::EXIT_REJECTED), before
//! anything is written. The format is for scripts: `docs/steps.md` describes it.

use crate::{
    families::Family,
    sieve::{MAX_POSITION, MAX_SKIP},
};

/// The most rows of one question.
pub const MAX_ROWS: usize = 1 << 20;
/// The most outputs of one question, of all its rows.
pub const MAX_OUTPUTS: u64 = 1 << 28;
/// The bytes of one row.
pub const ROW: usize = 16;

/// Whose outputs are asked for: one line of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The seed.
    pub seed: u64,
    /// How many outputs are passed over before each that counts.
    pub skip: u32,
    /// How many are passed over before anything else.
    pub advance: u32,
}

impl Row {
    /// As a runner reads it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        bytes[..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.skip.to_le_bytes());
        bytes[12..].copy_from_slice(&self.advance.to_le_bytes());
        bytes
    }

    /// The opposite of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; ROW]) -> Self {
        let all = u128::from_le_bytes(bytes);
        Self { seed: all as u64, skip: (all >> 64) as u32, advance: (all >> 96) as u32 }
    }

    /// The output number that column `index` is.
    #[must_use]
    pub fn position(self, index: u64) -> u64 {
        let (skip, advance) = (u64::from(self.skip), u64::from(self.advance));
        advance + skip + index * (skip + 1)
    }
}

/// What all rows have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The generator and its seeding.
    pub family: Family,
    /// Outputs are reduced modulo this, at least 2; `None` for raw ones.
    pub modulus: Option<u32>,
    /// How many outputs a row.
    pub count: u32,
}

/// A question that makes no sense, with what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStream {
    /// Nothing asked, or too much.
    #[error("{0} outputs are asked; it must be 1 to {MAX_POSITION}")]
    Count(u32),
    /// Too many rows, or none.
    #[error("{0} rows are asked; it must be 1 to {MAX_ROWS}")]
    Rows(usize),
    /// Too many outputs of so many rows.
    #[error("{0} outputs of {1} rows are asked; at most {MAX_OUTPUTS} together at a time")]
    Outputs(u32, usize),
    /// A modulus that the family can't take.
    #[error("the modulus {0} is out of range: it must be 2 to {1}")]
    Modulus(u32, u32),
    /// A family whose outputs depend on it.
    #[error("{0}'s outputs are those of nextInt(modulus): they need a modulus")]
    NoModulus(Family),
    /// A seed that the family does not have.
    #[error("{0} is no seed of {1}, which takes {bits}-bit seeds (below 2^{bits})", bits = .1.about().seed_bits)]
    Seed(u64, Family),
    /// A skip past the limit.
    #[error("the skip {0} is past the limit of {MAX_SKIP}")]
    Skip(u32),
    /// A position past the limit.
    #[error(
        "the last output asked of seed {0} is number {1}, past the limit of {MAX_POSITION}: use a \
         smaller count, skip or advance"
    )]
    Position(u64, u64),
}

impl Question {
    /// Checks every limit of this module.
    ///
    /// # Errors
    /// [`InvalidStream`] names the first thing that is wrong.
    pub fn validate(&self, rows: &[Row]) -> Result<(), InvalidStream> {
        let Self { family, modulus, count } = *self;
        let java = family == Family::JavaRandom;
        // nextInt takes a positive int; every other family is reduced after the fact.
        let most = if java { i32::MAX as u32 } else { u32::MAX };
        match modulus {
            None if java => return Err(InvalidStream::NoModulus(family)),
            Some(modulus) if modulus < 2 || modulus > most => {
                return Err(InvalidStream::Modulus(modulus, most));
            }
            _ => {}
        }
        if count == 0 || u64::from(count) > MAX_POSITION {
            return Err(InvalidStream::Count(count));
        }
        if rows.is_empty() || rows.len() > MAX_ROWS {
            return Err(InvalidStream::Rows(rows.len()));
        }
        if u64::from(count) * rows.len() as u64 > MAX_OUTPUTS {
            return Err(InvalidStream::Outputs(count, rows.len()));
        }
        for row in rows {
            if u128::from(row.seed) >= family.seed_end() {
                return Err(InvalidStream::Seed(row.seed, family));
            }
            if row.skip > MAX_SKIP {
                return Err(InvalidStream::Skip(row.skip));
            }
            let last = row.position(u64::from(count) - 1);
            if last > MAX_POSITION {
                return Err(InvalidStream::Position(row.seed, last));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = Row { seed: u64::MAX - 5, skip: 7, advance: 1 << 23 };
        assert_eq!(Row::from_bytes(row.to_bytes()), row);
        assert_eq!(row.to_bytes()[8..], [7, 0, 0, 0, 0, 0, 128, 0]);
    }

    #[test]
    fn nonsense_is_refused() {
        let question = Question { family: Family::JavaRandom, modulus: Some(1000), count: 30 };
        let row = Row { seed: 1, skip: 2, advance: 3 };
        assert_eq!(question.validate(&[row]), Ok(()));
        for (question, rows, words) in [
            (question, vec![], "0 rows"),
            (question, vec![row, Row { seed: 1 << 48, ..row }], "48-bit"),
            (question, vec![Row { skip: 65_536, ..row }], "skip 65536"),
            (question, vec![Row { advance: 1 << 24, ..row }], "number 16777305"),
            (Question { count: 0, ..question }, vec![row], "0 outputs"),
            (Question { modulus: Some(1), ..question }, vec![row], "modulus 1 "),
            (Question { modulus: Some(1 << 31), ..question }, vec![row], "2147483647"),
            (Question { modulus: None, ..question }, vec![row], "need a modulus"),
        ] {
            let refused = question.validate(&rows).expect_err(words).to_string();
            assert!(refused.contains(words), "{refused}");
        }
    }
}
