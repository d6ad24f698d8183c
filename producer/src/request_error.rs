//! What is wrong with a request.

use shared::{
    families::Family,
    sieve::{InvalidSieve, MAX_SKIP},
    statistics::InvalidStatistics,
    structure::Unsuited,
};

use crate::{candidates::CandidatesError, draws::DrawsError};

/// A request that makes no sense, with what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The draws file.
    #[error(transparent)]
    Draws(#[from] DrawsError),
    /// The candidates file.
    #[error(transparent)]
    Candidates(#[from] CandidatesError),
    /// A number outside its limits.
    #[error("{flag} is {value}; it must be {low} to {high}")]
    OutOfRange {
        /// The option.
        flag: &'static str,
        /// Its value.
        value: u128,
        /// The smallest value.
        low: u64,
        /// The largest value.
        high: u64,
    },
    /// A share that is none.
    #[error("{flag} is {value}; it must be above 0 and at most 1, the share of draws that match")]
    Threshold {
        /// The option.
        flag: &'static str,
        /// Its value.
        value: f64,
    },
    /// More draws asked for than there are.
    #[error("the window needs {window} draws but there are {there}: use --window {there} or less")]
    FewDraws {
        /// The window.
        window: usize,
        /// How many draws there are, after `--sessions`.
        there: usize,
    },
    /// Skips backwards.
    #[error("--skip {lo}..={hi} is backwards: write the smaller number first, {hi}..={lo}")]
    SkipsBackwards {
        /// The first number.
        lo: u32,
        /// The second, smaller one.
        hi: u32,
    },
    /// An absurd skip.
    #[error("--skip goes up to {hi}; the largest skip is {MAX_SKIP}")]
    SkipTooLarge {
        /// The largest skip asked for.
        hi: u32,
    },
    /// An empty range.
    #[error("--seed-end ({end}) must be above --seed-start ({start}): the end is not included")]
    EmptyRange {
        /// The first seed.
        start: u128,
        /// The end.
        end: u128,
    },
    /// A range past what the family takes.
    #[error(
        "{flag} is {value}, but {family} takes {bits}-bit seeds: it must be at most {most} (2^{bits}{less})",
        less = if *most == family.seed_end() { "" } else { "-1" }
    )]
    SeedWidth {
        /// The option.
        flag: &'static str,
        /// Its value.
        value: u128,
        /// The family.
        family: Family,
        /// Its seed width.
        bits: u32,
        /// The largest value.
        most: u128,
    },
    /// Options that belong to the other kind.
    #[error("{flag} {problem}")]
    Kind {
        /// The option.
        flag: &'static str,
        /// What is wrong and what to do.
        problem: &'static str,
    },
    /// An option without which there is nothing to do.
    #[error("{flag} is missing: {problem}")]
    Missing {
        /// The option.
        flag: &'static str,
        /// What to name by it.
        problem: &'static str,
    },
    /// A list of seeds that is none.
    #[error("--seeds: {0} (seeds are separated by commas)")]
    Seeds(String),
    /// A seed past what the generator of a correlation or an analysis takes.
    #[error("{flag} is {value}, but {generator} takes {bits}-bit seeds (below 2^{bits})")]
    StatisticsWidth {
        /// The option.
        flag: &'static str,
        /// Its value.
        value: u128,
        /// The generator.
        generator: &'static str,
        /// Its seed width.
        bits: u32,
    },
    /// More reports than anybody would read.
    #[error(
        "a report of each of {seeds} seeds would be kept, more than --max-survivors {limit}: ask \
         for fewer seeds, or raise it"
    )]
    ManyReports {
        /// How many seeds.
        seeds: u128,
        /// The limit.
        limit: u64,
    },
    /// Statistics that make no sense.
    #[error(transparent)]
    Statistics(#[from] InvalidStatistics),
    /// Anything else that the sieve itself refuses.
    #[error(transparent)]
    Sieve(#[from] InvalidSieve),
    /// An engine that has no way to it.
    #[error(transparent)]
    Engine(#[from] Unsuited),
}
