//! Statistics of single seeds: what `correlation` and `analysis` compute (SIEVES.md section 2).

mod analysis;
mod correlation;
mod series;
mod values;

pub use series::Series;
pub use values::{outputs, values};

use shared::statistics::{Report, Statistics};

/// What a validated question finds of one seed, which is within the question's seed width.
#[must_use]
pub fn compute(question: &Statistics, seed: u64) -> Report {
    match *question {
        Statistics::Correlation { prng, samples, .. } => {
            Report::Correlation(correlation::of(prng, samples, &question.lags(), seed))
        }
        Statistics::Analysis { source, samples, mapping, range } => {
            let values = values(source, samples, mapping, range, seed);
            Report::Analysis(Box::new(analysis::of(&values, &question.lags(), seed)))
        }
        // `Statistics` may grow; a job of a newer producer does not decode here.
        _ => unreachable!("a validated job asks for what this build knows"),
    }
}
