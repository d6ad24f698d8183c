//! How little of the window must be looked at before most seeds can be dropped.
//!
//! A near miss has some skip with `n` matches among its first `F` draws; so it has at least `n1`
//! among the first `F - (n - n1)`, for any `n1` up to `n`. A small `n1` looks at fewer draws, a
//! large one lets fewer seeds through. All estimates here concern speed alone.

use shared::{sieve::Sieve, witness::Witness};

/// The cheapest first stage: a condition that every near miss meets.
pub(crate) fn first_stage(sieve: &Sieve, witness: Witness) -> Witness {
    let mut best = (f64::INFINITY, witness);
    let mut least = 1;
    while least <= witness.least {
        let stage = Witness { first: witness.first - (witness.least - least), least };
        let one_skip = binomial_tail(stage.first, 1.0 / f64::from(sieve.modulus), least);
        let passing = 1.0 - (1.0 - one_skip).powf(f64::from(sieve.skips.count()));
        // A seed that passes is laid out again, in a group that is seldom full.
        let cost = work(sieve, stage.first) + 4.0 * passing * work(sieve, witness.first);
        if cost < best.0 {
            best = (cost, stage);
        }
        // Every count up to 32, then in steps that grow.
        least += 1 + least / 32;
    }
    best.1
}

/// The work of looking at the first draws under every skip, in outputs or comparisons.
pub(crate) fn work(sieve: &Sieve, first: u32) -> f64 {
    let outputs = f64::from(sieve.advance) + f64::from(first) * f64::from(sieve.skips.hi + 1);
    outputs + f64::from(first) * f64::from(sieve.skips.count())
}

/// The probability of at least `least` successes in `trials`, each with probability `p`.
pub(crate) fn binomial_tail(trials: u32, p: f64, least: u32) -> f64 {
    let n = f64::from(trials);
    if f64::from(least) <= n * p {
        return 1.0;
    }
    // In logarithms up to the first term of the tail, past the peak; from there terms shrink.
    let odds = p / (1.0 - p);
    let ratio = |successes: u32| (n - f64::from(successes)) / f64::from(successes + 1) * odds;
    let ln_term = (0..least).fold(n * (1.0 - p).ln(), |ln, successes| ln + ratio(successes).ln());
    let mut term = ln_term.exp();
    let mut sum = 0.0;
    for successes in least..=trials {
        sum += term;
        if term < sum * 1e-9 {
            break;
        }
        term *= ratio(successes);
    }
    f64::min(sum, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_agrees_with_the_table_of_chance_survivors() {
        // The table of expected chance survivors per seed and skip.
        for (k, least, expected) in
            [(8, 2, 2.8e-5), (8, 4, 7.0e-11), (30, 8, 5.7e-18), (30, 3, 4.0e-6), (512, 6, 1.6e-5)]
        {
            let tail = binomial_tail(k, 1e-3, least);
            assert!((tail / expected - 1.0).abs() < 0.02, "{k} {least}: {tail}");
        }
        assert_eq!(binomial_tail(10, 0.5, 5), 1.0);
    }
}
