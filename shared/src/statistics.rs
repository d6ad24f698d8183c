//! `correlation` and `analysis`: statistics of single seeds' outputs, as questions and as reports.
//!
//! Both kinds are the fleet's existing ones (SIEVES.md section 2). Each seed yields one
//! [`Report`]; the processor computes them on whatever worker takes the job.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{families::Family, job::UnknownName};

/// The seed that is looked at when none is named, as it always was.
pub const DEFAULT_SEED: u64 = 12_345;
/// The fewest samples of a seed: two lags can be computed.
pub const MIN_SAMPLES: u32 = 8;
/// The most samples of a seed.
pub const MAX_SAMPLES: u32 = 1 << 24;
/// The most lags of a correlation.
pub const MAX_LAGS: u32 = 1000;
/// The bytes of reports after which a runner stops, so that an outcome stays small.
pub const MAX_REPORT_BYTES: usize = 448 * 1024;
/// How many equal bins an analysis counts values in.
pub const BINS: usize = 100;

/// The generators by the names that the existing analyses have for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Prng {
    /// Marsaglia's xorshift, 13, 17, 5, on 32 bits.
    Xorshift,
    /// s = 1664525 s + 1013904223 modulo 2^32 (Numerical Recipes).
    Lcg,
    /// NumPy's `MT19937`, seeded through its `SeedSequence`.
    Mt,
}

impl Prng {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Xorshift, Self::Lcg, Self::Mt];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xorshift => "xorshift",
            Self::Lcg => "lcg",
            Self::Mt => "mt",
        }
    }
}

impl FromStr for Prng {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|prng| prng.name() == name).ok_or_else(|| UnknownName {
            what: "generator of the statistics",
            name: name.chars().take(64).collect(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// How raw outputs become values below the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// The remainder.
    #[default]
    Mod,
    /// The output's share of all outputs, times the range, rounded down.
    Scale,
}

/// Where an analysis has its numbers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The outputs of a family, in order.
    Stream(Family),
    /// One step from each value of a hashed counter: what the existing analysis looked at. There
    /// is none for [`Prng::Mt`].
    Hashed(Prng),
}

/// The question put to every seed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Statistics {
    /// Autocorrelations of a stream.
    Correlation {
        /// The generator.
        prng: Prng,
        /// How many outputs.
        samples: u32,
        /// Lags 1 to this are computed, and at most a quarter of the samples.
        lags: u32,
    },
    /// Uniformity, autocorrelations and runs of a stream.
    Analysis {
        /// Where the numbers come from.
        source: Source,
        /// How many.
        samples: u32,
        /// How they become values.
        mapping: Mapping,
        /// Values are below this.
        range: u32,
    },
}

/// A question that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStatistics {
    /// Too few samples, or too many.
    #[error("{0} samples are asked for; it must be {MIN_SAMPLES} to {MAX_SAMPLES}")]
    Samples(u32),
    /// No lag, or too many.
    #[error("{0} lags are asked for; it must be 1 to {MAX_LAGS}")]
    Lags(u32),
    /// A range that leaves nothing to look at, or that the family can't take.
    #[error("the range {0} is out of range: it must be 2 to {1}")]
    Range(u32, u32),
    /// A sequence that does not exist.
    #[error(
        "there is no hashed sequence of mt (it was another generator altogether): use xorshift or \
         lcg, or the stream of a family"
    )]
    Hashed,
}

impl Statistics {
    /// `correlation` or `analysis`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Correlation { .. } => "correlation",
            Self::Analysis { .. } => "analysis",
        }
    }

    /// The generator's name, as whoever asked gave it.
    #[must_use]
    pub const fn generator(&self) -> &'static str {
        match self {
            Self::Correlation { prng, .. }
            | Self::Analysis { source: Source::Hashed(prng), .. } => prng.name(),
            Self::Analysis { source: Source::Stream(family), .. } => family.name(),
        }
    }

    /// How wide a seed is.
    #[must_use]
    pub const fn seed_bits(&self) -> u32 {
        match self {
            Self::Correlation { prng: Prng::Mt, .. } => 64,
            Self::Correlation { .. } | Self::Analysis { source: Source::Hashed(_), .. } => 32,
            Self::Analysis { source: Source::Stream(family), .. } => family.about().seed_bits,
        }
    }

    /// How many outputs of a seed are looked at.
    #[must_use]
    pub const fn samples(&self) -> u32 {
        match self {
            Self::Correlation { samples, .. } | Self::Analysis { samples, .. } => *samples,
        }
    }

    /// The lags whose autocorrelations are computed, ascending.
    ///
    /// Of an analysis: 1 to 11 and the even ones to 30 as far as the number of samples bears
    /// them, and the calendar's (a week, a month, a year) as far as it bears those.
    #[must_use]
    pub fn lags(&self) -> Vec<u32> {
        let n = self.samples();
        let most = match self {
            Self::Correlation { lags, .. } => return (1..=(n / 4).min(*lags)).collect(),
            Self::Analysis { .. } if n < 100 => (n / 4).min(20),
            Self::Analysis { .. } if n < 1000 => (n / 10).min(50),
            Self::Analysis { .. } if n < 10_000 => (n / 20).min(100),
            Self::Analysis { .. } => (n / 50).min(200),
        };
        let calendar = [7, 14, 21, 28, 30, 60, 90, 180, 365];
        let mut lags: Vec<u32> = (1..=11).chain((12..=30).step_by(2)).chain(calendar).collect();
        lags.sort_unstable();
        lags.dedup();
        lags.retain(|&lag| lag <= most);
        lags
    }

    /// The most bytes that a report takes on the wire, by a guess that is rather too high.
    #[must_use]
    pub fn report_bytes(&self) -> usize {
        match self {
            Self::Correlation { .. } => 120 + 9 * self.lags().len(),
            Self::Analysis { .. } => 900 + 40 * self.lags().len(),
        }
    }

    /// Checks every limit of this module.
    ///
    /// # Errors
    /// [`InvalidStatistics`] names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidStatistics> {
        let samples = self.samples();
        if !(MIN_SAMPLES..=MAX_SAMPLES).contains(&samples) {
            return Err(InvalidStatistics::Samples(samples));
        }
        match *self {
            Self::Correlation { lags, .. } if !(1..=MAX_LAGS).contains(&lags) => {
                Err(InvalidStatistics::Lags(lags))
            }
            Self::Correlation { .. } => Ok(()),
            Self::Analysis { source: Source::Hashed(Prng::Mt), .. } => {
                Err(InvalidStatistics::Hashed)
            }
            Self::Analysis { source, range, .. } => {
                let nextint = source == Source::Stream(Family::JavaRandom);
                let most = if nextint { i32::MAX as u32 } else { u32::MAX };
                let fits = (2..=most).contains(&range);
                if fits { Ok(()) } else { Err(InvalidStatistics::Range(range, most)) }
            }
        }
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.generator())
    }
}

/// What was computed of one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// Of an analysis.
    Analysis(Box<Analysis>),
    /// Of a correlation.
    Correlation(Correlation),
}

/// The autocorrelations of one seed's stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correlation {
    /// The seed.
    pub seed: u64,
    /// What the generator started from: for `mt` the first output of the seed's own stream.
    pub initial_state: u32,
    /// Of lag 1, 2, …: Pearson's r of the stream with itself, so far later. 0 for a constant.
    pub autocorrelations: Vec<f64>,
    /// Whether all values are the same, so that nothing can be said of their correlation.
    pub constant: bool,
}

/// Uniformity, autocorrelations and runs of one seed's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The seed.
    pub seed: u64,
    /// The values' mean.
    pub mean: f64,
    /// Their standard deviation (of the population).
    pub std: f64,
    /// The smallest value.
    pub min: u32,
    /// The largest value.
    pub max: u32,
    /// How many values lie in each of [`BINS`] equal bins from the smallest to one past the
    /// largest.
    pub histogram: Vec<u32>,
    /// The chi-square statistic of the bins, with one degree of freedom less than there are bins.
    pub chi2: f64,
    /// The probability of at least that under uniformity (one-sided).
    pub chi2_p: f64,
    /// The autocorrelations, by ascending lag.
    pub lags: Vec<Lag>,
    /// The lags with the largest correlations by absolute value, the largest first.
    pub top_lags: Vec<u32>,
    /// How many runs above and below the median there are.
    pub runs: u32,
    /// How many standard deviations that is from what is expected; `None` where every value lies
    /// on one side.
    pub runs_z: Option<f64>,
    /// The probability of at least as large a deviation (two-sided).
    pub runs_p: Option<f64>,
    /// As standard normal figures: the uniformity, the three largest correlations, the runs.
    pub z_scores: Vec<f64>,
    /// A quarter of the sum of both probabilities and the sizes of the correlations at lags 1
    /// and 5, as the existing analysis mixes them. `None` where one of them does not exist.
    pub score: Option<f64>,
}

/// One autocorrelation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// So much later.
    pub lag: u32,
    /// The correlation.
    pub r: f64,
    /// What chance alone passes in one of twenty cases: 2 / sqrt(n - lag).
    pub significance: f64,
}

impl Report {
    /// The seed it is about.
    #[must_use]
    pub fn seed(&self) -> u64 {
        match self {
            Self::Analysis(analysis) => analysis.seed,
            Self::Correlation(correlation) => correlation.seed,
        }
    }

    /// The score of an analysis.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        match self {
            Self::Analysis(analysis) => analysis.score,
            Self::Correlation(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analysis(samples: u32) -> Statistics {
        let source = Source::Stream(Family::Mt19937);
        Statistics::Analysis { source, samples, mapping: Mapping::Mod, range: 1000 }
    }

    #[test]
    fn lag_eleven_is_there_and_every_limit_is_kept() {
        assert_eq!(analysis(8).lags(), [1, 2]);
        assert_eq!(analysis(99).lags(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20]);
        assert_eq!(analysis(100).lags().len(), 10);
        let many = analysis(10_000).lags();
        assert_eq!(many[10..], [11, 12, 14, 16, 18, 20, 21, 22, 24, 26, 28, 30, 60, 90, 180]);
        let of = |samples, lags| Statistics::Correlation { prng: Prng::Mt, samples, lags }.lags();
        assert_eq!((of(1000, 8).len(), of(20, 8).len()), (8, 5));
    }

    #[test]
    fn nonsense_is_refused_with_the_value() {
        let correlation =
            |samples, lags| Statistics::Correlation { prng: Prng::Lcg, samples, lags };
        let of = |source, range| {
            let mapping = Mapping::Scale;
            Statistics::Analysis { source, samples: 100, mapping, range }
        };
        for (question, part) in [
            (correlation(7, 8), "7 samples"),
            (correlation(MAX_SAMPLES + 1, 8), "16777217 samples"),
            (correlation(100, 0), "0 lags"),
            (correlation(100, 1001), "1001 lags"),
            (of(Source::Hashed(Prng::Mt), 1000), "no hashed sequence of mt"),
            (of(Source::Hashed(Prng::Lcg), 1), "range 1 "),
            (of(Source::Stream(Family::JavaRandom), 1 << 31), "2 to 2147483647"),
        ] {
            let refusal = question.validate().unwrap_err().to_string();
            assert!(refusal.contains(part), "{refusal}");
        }
        assert_eq!(analysis(1000).validate(), Ok(()));
    }
}
