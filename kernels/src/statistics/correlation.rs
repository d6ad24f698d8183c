//! `correlation`: a stream's autocorrelations.

use shared::statistics::{Correlation, Prng};

use super::{series::Series, values::outputs};

/// The autocorrelations of a seed's stream at these lags.
pub(super) fn of(prng: Prng, samples: u32, lags: &[u32], seed: u64) -> Correlation {
    let (initial_state, outputs) = outputs(prng, seed, samples);
    let series = Series::new(&outputs);
    Correlation {
        seed,
        initial_state,
        autocorrelations: lags.iter().map(|&lag| series.pearson(lag)).collect(),
        constant: outputs.iter().all(|&output| output == outputs[0]),
    }
}
