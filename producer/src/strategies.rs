//! What chance does to the strategies of variable skips: a model of their walks over random
//! outputs.
//!
//! An output matches a draw with probability p, each independently. What a strategy does next
//! depends on the gap that it expects and on its misses in a row alone, so the distribution of its
//! matches follows draw by draw. Two things are left out: after a miss the last output that was
//! looked at is looked at again, for another draw; and gaps past [`widest`] count as that one.
//! Both are of the order of p.
//!
//! A seed survives when one of the strategies has enough. They walk over the same outputs, but
//! mostly not over the same stretches: all but strategy 0, which is the beginning of strategy 2's
//! walk, are taken as independent. A sample shows how far that holds (see the tests): within a
//! factor of two.

use shared::{
    sieve::{Direction, Sieve},
    variable::{FIRST_EXPECTED, STRATEGIES, Strategy},
};

use crate::chance::match_probability;

/// Less than this changes no expected count of 2^64 seeds.
const NOTHING: f64 = 1e-30;

/// The probability that some strategy of a random seed has as many matches as the sieve needs.
#[must_use]
pub fn survivor_probability(sieve: &Sieve) -> f64 {
    let (k, p) = (sieve.window(), match_probability(sieve));
    let mut ln_none = [0.0; 2];
    // Strategy 2 begins as strategy 0 does and never has fewer matches.
    for strategy in &STRATEGIES[1..] {
        let tails = tails(*strategy, k, p, sieve.need.max(sieve.reverse_need));
        for (ln_none, need) in ln_none.iter_mut().zip([sieve.need, sieve.reverse_need]) {
            *ln_none += (-tails[need as usize]).ln_1p();
        }
    }
    // Not `-x`: where nothing can survive that is a negative zero.
    let [forward, reverse] = ln_none.map(|ln_none: f64| 0.0 - ln_none.exp_m1());
    if sieve.direction == Direction::Both { forward * reverse } else { forward }
}

/// The probability that strategy 0 of a random seed has at least so many matches.
#[must_use]
pub fn near_miss_probability(sieve: &Sieve, least: u32) -> f64 {
    tails(STRATEGIES[0], sieve.window(), match_probability(sieve), least)[least as usize]
}

/// The widest gap that is told apart from others: from there it takes some draws to come back to
/// where a gap matters.
const fn widest(strategy: Strategy) -> usize {
    (FIRST_EXPECTED + 4 * strategy.tolerance) as usize
}

/// The probabilities of at least 0, 1, … `most` matches in `k` draws, `most` at least 1.
fn tails(strategy: Strategy, k: u32, p: f64, most: u32) -> Vec<f64> {
    let (k, most, most_misses) = (k as usize, most as usize, strategy.max_misses as usize);
    let gaps = widest(strategy) + 1;
    // By matches: for each number of misses in a row the probability of each expected gap.
    let mut alive = vec![vec![vec![0.0; gaps]; most_misses]; most + 1];
    alive[0][0][FIRST_EXPECTED as usize] = 1.0;
    let mut ended = vec![0.0; most + 1];
    let missed: Vec<f64> =
        (0..gaps).map(|expected| (1.0 - p).powi(looked_at(strategy, expected))).collect();
    for draw in 0..k {
        // Walks with the most are not followed any further.
        for matches in (0..=draw.min(most - 1)).rev() {
            let walks = &mut alive[matches];
            let total: f64 = walks.iter().flatten().sum();
            if total < NOTHING {
                continue;
            }
            let mut expecting = vec![0.0; gaps];
            for walk in walks.iter() {
                expecting.iter_mut().zip(walk).for_each(|(sum, walk)| *sum += walk);
            }
            // Misses: one more in a row.
            for walk in walks.iter_mut() {
                walk.iter_mut().zip(&missed).for_each(|(walk, missed)| *walk *= missed);
            }
            walks.rotate_right(1);
            ended[matches] += walks[0].iter().sum::<f64>();
            walks[0].fill(0.0);
            found(strategy, &expecting, &missed, p, &mut alive[matches + 1][0]);
        }
    }
    let mut tail = 0.0;
    let mut tails = vec![0.0; most + 1];
    for matches in (0..=most).rev() {
        tail += ended[matches] + alive[matches].iter().flatten().sum::<f64>();
        tails[matches] = f64::min(tail, 1.0);
    }
    tails
}

/// How many outputs are looked at for a draw.
fn looked_at(strategy: Strategy, expected: usize) -> i32 {
    let (lo, hi) = strategy.gaps(u32::try_from(expected).unwrap_or(u32::MAX));
    (hi - lo + 1).cast_signed()
}

/// Adds to `arriving` where the walks go that find their draw: from each expected gap to the first
/// output that matches, its lowest gap with p, the next with p (1 - p), and so on.
fn found(strategy: Strategy, expecting: &[f64], missed: &[f64], p: f64, arriving: &mut [f64]) {
    let tolerance = strategy.tolerance as usize;
    let widest = expecting.len() - 1;
    let mut begin = vec![0.0; widest + tolerance + 2];
    let mut end = begin.clone();
    for (expected, (walks, missed)) in expecting.iter().zip(missed).enumerate() {
        begin[expected.saturating_sub(tolerance)] += walks;
        end[expected + tolerance + 1] += walks * missed;
    }
    let mut reaching = 0.0;
    for (gap, (begin, end)) in begin.iter().zip(&end).enumerate() {
        // What is left by rounding is not below nothing.
        reaching = f64::max(reaching * (1.0 - p) + begin - end, 0.0);
        arriving[gap.min(widest)] += reaching * p;
    }
}

#[cfg(test)]
mod tests {
    use shared::{
        families::Family,
        sieve::{Mode, Skips},
        witness::splitmix64,
    };

    use super::*;

    fn sieve(k: usize, need: u32, modulus: u32) -> Sieve {
        Sieve {
            family: Family::JavaLcg,
            direction: Direction::Forward,
            mode: Mode::Variable,
            modulus,
            draws: vec![7; k],
            advance: 0,
            skips: Skips { lo: 0, hi: 0 },
            need,
            reverse_need: need,
        }
    }

    /// The matches of a strategy on random outputs.
    fn walk(strategy: Strategy, k: u32, modulus: u64, seed: u64) -> usize {
        let (mut cursor, mut expected, mut misses, mut matches) = (0, FIRST_EXPECTED, 0, 0);
        for draw in 0..u64::from(k) {
            let (lo, hi) = strategy.gaps(expected);
            let output =
                |gap: &u32| splitmix64(splitmix64(seed) ^ (cursor + u64::from(*gap))) % modulus;
            // Draws that differ from each other, as far as the modulus goes.
            if let Some(gap) = (lo..=hi).find(|gap| output(gap) == draw % modulus) {
                (matches, misses, expected) = (matches + 1, 0, gap);
                cursor += u64::from(gap) + 1;
            } else {
                (cursor, misses) = (cursor + u64::from(hi), misses + 1);
                if misses >= strategy.max_misses {
                    break;
                }
            }
        }
        matches
    }

    #[test]
    fn the_model_agrees_with_walks_over_random_outputs() {
        const SEEDS: u32 = 20_000;
        for strategy in STRATEGIES {
            for (k, modulus) in [(30, 1000), (12, 100), (30, 20), (8, 2)] {
                let mut counts = vec![0u32; k as usize + 1];
                for seed in 0..u64::from(SEEDS) {
                    counts[walk(strategy, k, modulus, seed)] += 1;
                }
                let tails = tails(strategy, k, 1.0 / modulus as f64, k);
                assert!((tails[0] - 1.0).abs() < 1e-9);
                let mut seen = SEEDS;
                for (matches, count) in counts.into_iter().enumerate() {
                    let expected = tails[matches] * f64::from(SEEDS);
                    // Five standard deviations, and what the model leaves out.
                    let allowed = 5.0 * expected.sqrt() + 0.06 * expected + 1.0;
                    let off = (f64::from(seen) - expected).abs();
                    assert!(
                        off < allowed,
                        "{strategy:?} {k} {modulus} {matches}: {seen}, {expected}"
                    );
                    seen -= count;
                }
            }
        }
    }

    /// SIEVES.md section 3.4: 0.2 % at k = 30, threshold .25, and 0.15 % at k = 8, threshold .5.
    #[test]
    fn survivors_are_as_frequent_as_was_measured() {
        for (sieve, measured) in [(sieve(30, 8, 1000), 2e-3), (sieve(8, 4, 1000), 1.5e-3)] {
            let modelled = survivor_probability(&sieve);
            assert!((0.5..2.0).contains(&(modelled / measured)), "{modelled} {measured}");
        }
    }

    #[test]
    fn more_is_rarer_and_the_longest_window_is_done() {
        let rare = |need| survivor_probability(&sieve(30, need, 1000));
        assert!((1..30).all(|need| rare(need + 1) < rare(need)));
        let both = Sieve { direction: Direction::Both, ..sieve(30, 3, 1000) };
        let squared = survivor_probability(&sieve(30, 3, 1000)).powi(2);
        assert!((survivor_probability(&both) / squared - 1.0).abs() < 1e-9);
        for (k, modulus) in [(60, 2), (60, 10), (800, 1000), (800, u32::MAX)] {
            let chance = survivor_probability(&sieve(k, 30, modulus));
            assert!((0.0..=1.0).contains(&chance), "{modulus}: {chance}");
        }
    }
}
