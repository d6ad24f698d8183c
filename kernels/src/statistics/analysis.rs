//! `analysis`: whether a seed's values look uniform and independent.

use std::f64::consts::SQRT_2;

use shared::statistics::{Analysis, BINS, Lag};
use statrs::function::{
    erf::{erfc, erfc_inv},
    gamma::gamma_ur,
};

use super::series::Series;

/// How many of the largest correlations are named.
const TOP: usize = 3;
/// Probabilities nearer to 0 or 1 than this make no larger normal figure.
const LEAST_P: f64 = 1e-16;

/// What there is to say of a seed's values, at least two of them, and of their correlations at
/// these lags, each at most a quarter of their number.
pub(super) fn of(values: &[u32], lags: &[u32], seed: u64) -> Analysis {
    let n = values.len() as f64;
    let series = Series::new(values);
    let (min, max) = extremes(values);
    let histogram = histogram(values, min, max);
    let (chi2, chi2_p) = uniformity(&histogram, n);
    let (runs, runs_z) = runs(values);
    let runs_p = runs_z.map(|z| erfc(z.abs() / SQRT_2));
    let lags: Vec<Lag> = lags
        .iter()
        .map(|&lag| Lag {
            lag,
            r: series.autocorrelation(lag),
            significance: 2.0 / (n - f64::from(lag)).sqrt(),
        })
        .collect();
    let top = top(&lags);
    let figure = |lag: &Lag| lag.r * (n - f64::from(lag.lag) - 1.0).sqrt();
    let z_scores = [normal(chi2_p)].into_iter().chain(top.iter().map(figure)).chain(runs_z);
    let r = |wanted| lags.iter().find(|lag| lag.lag == wanted).map(|lag| lag.r.abs());
    let score = || Some(0.25 * (chi2_p + runs_p? + r(1)? + r(5)?));
    Analysis {
        seed,
        mean: series.mean(),
        std: series.deviation(),
        min,
        max,
        chi2,
        chi2_p,
        top_lags: top.iter().map(|lag| lag.lag).collect(),
        runs,
        runs_z,
        runs_p,
        z_scores: z_scores.collect(),
        score: score(),
        histogram,
        lags,
    }
}

fn extremes(values: &[u32]) -> (u32, u32) {
    values.iter().fold((u32::MAX, 0), |(min, max), &value| (min.min(value), max.max(value)))
}

/// How many values lie in each of [`BINS`] equal bins from `min` to `max + 1`. The edges are
/// computed as NumPy's `linspace` does, so that a value beside one falls on its side.
fn histogram(values: &[u32], min: u32, max: u32) -> Vec<u32> {
    let (start, end) = (f64::from(min), f64::from(max) + 1.0);
    let step = (end - start) / BINS as f64;
    let edge = |bin: usize| if bin == BINS { end } else { bin as f64 * step + start };
    let mut counts = vec![0; BINS];
    for value in values.iter().map(|&value| f64::from(value)) {
        let mut bin = (((value - start) / step) as usize).min(BINS - 1);
        while bin > 0 && value < edge(bin) {
            bin -= 1;
        }
        while bin + 1 < BINS && value >= edge(bin + 1) {
            bin += 1;
        }
        counts[bin] += 1;
    }
    counts
}

/// Pearson's chi-square against equal bins, and the probability of at least that.
fn uniformity(histogram: &[u32], n: f64) -> (f64, f64) {
    let expected = n / BINS as f64;
    let chi2: f64 = histogram.iter().map(|&count| (f64::from(count) - expected).powi(2)).sum();
    let chi2 = chi2 / expected;
    let p = if chi2 > 0.0 { gamma_ur((BINS - 1) as f64 / 2.0, chi2 / 2.0) } else { 1.0 };
    (chi2, p)
}

/// The runs at or above the median and below it, and how far their number is from what is
/// expected, in standard deviations (Wald and Wolfowitz).
fn runs(values: &[u32]) -> (u32, Option<f64>) {
    let median = median(values);
    let above = |value: u32| f64::from(value) >= median;
    let runs = 1 + values.windows(2).filter(|w| above(w[0]) != above(w[1])).count() as u32;
    let n = values.len() as f64;
    let n1 = values.iter().filter(|&&value| above(value)).count() as f64;
    let twice = 2.0 * n1 * (n - n1);
    let variance = twice * (twice - n) / (n * n * (n - 1.0));
    let z = (f64::from(runs) - (1.0 + twice / n)) / variance.sqrt();
    (runs, (variance > 0.0).then_some(z))
}

fn median(values: &[u32]) -> f64 {
    let mut values = values.to_vec();
    let (middle, is_even) = (values.len() / 2, values.len().is_multiple_of(2));
    let (below, &mut upper, _) = values.select_nth_unstable(middle);
    // Of an even number it is the mean of the two in the middle.
    let lower = below.iter().max().filter(|_| is_even);
    f64::midpoint(f64::from(*lower.unwrap_or(&upper)), f64::from(upper))
}

/// The largest correlations by absolute value, the largest first.
fn top(lags: &[Lag]) -> Vec<Lag> {
    let mut sorted = lags.to_vec();
    sorted.sort_by(|a, b| b.r.abs().total_cmp(&a.r.abs()));
    sorted.truncate(TOP);
    sorted
}

/// The standard normal figure that this probability lies below.
fn normal(p: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * p.clamp(LEAST_P, 1.0 - LEAST_P))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Within this much of SciPy 1.17.1's figure, relatively.
    fn assert_near(ours: f64, scipy: f64) {
        assert!((ours - scipy).abs() <= 1e-9 * scipy.abs(), "{ours} is not {scipy}");
    }

    #[test]
    fn probabilities_are_scipys() {
        // scipy.stats.chi2.sf(x, 99)
        for (chi2, p) in [
            (89.4, 0.744_678_890_871_805_2),
            (99.0, 0.481_096_912_408_263_9),
            (325.8, 5.567_104_463_629_457e-26),
            (13.1, 1.0),
        ] {
            assert_near(gamma_ur(49.5, chi2 / 2.0), p);
        }
        // 2 * scipy.stats.norm.sf(z)
        for (z, p) in [
            (0.5, 0.617_075_077_451_973_8),
            (1.96, 0.049_995_790_296_440_87),
            (5.0, 5.733_031_437_583_866e-7),
        ] {
            assert_near(erfc(z / SQRT_2), p);
        }
        // scipy.stats.norm.ppf(p)
        for (p, z) in [(1e-10, -6.361_340_902_404_056), (0.975, 1.959_963_984_540_054)] {
            assert_near(normal(p), z);
        }
    }

    /// A p near 1 says "too even", a p near 0 "not uniform": two-sided, they were told apart by
    /// nothing.
    #[test]
    fn the_uniformitys_probability_is_one_sided() {
        let even = uniformity(&[50; BINS], 5000.0);
        assert_eq!(even, (0.0, 1.0));
        let mut lumped = [50; BINS];
        (lumped[0], lumped[1]) = (100, 0);
        let (chi2, p) = uniformity(&lumped, 5000.0);
        assert_eq!(chi2, 100.0);
        assert!((0.4..0.5).contains(&p), "{p}");
    }

    #[test]
    fn the_strongest_correlation_leads_whatever_its_sign() {
        let lag = |lag, r| Lag { lag, r, significance: 0.1 };
        let lags = [lag(1, 0.1), lag(2, -0.9), lag(3, 0.5), lag(4, -0.2)];
        assert_eq!(top(&lags).iter().map(|lag| lag.lag).collect::<Vec<_>>(), [2, 3, 4]);
        // A zigzag's neighbours are opposites; its second neighbours are the same.
        let zigzag: Vec<u32> = (0..400).map(|i| i % 2 * 100 + i % 7).collect();
        let found = of(&zigzag, &[1, 2], 0);
        assert!(found.lags[0].r < 0.0 && found.lags[1].r > 0.0);
    }

    #[test]
    fn medians_and_runs_are_those_done_by_hand() {
        assert_eq!((median(&[3, 1, 2]), median(&[4, 1, 3, 2]), median(&[5])), (2.0, 2.5, 5.0));
        // The median is 4.5; high, low, low, high, high, low, high, low: 6 runs, 5 expected.
        let (runs, z) = runs(&[5, 1, 2, 6, 7, 3, 8, 4]);
        assert_eq!(runs, 6);
        assert!((z.unwrap() - 1.0 / (32.0 * 24.0 / (64.0 * 7.0_f64)).sqrt()).abs() < 1e-12);
        assert_eq!(super::runs(&[7; 30]), (1, None));
    }

    #[test]
    fn a_constant_has_no_score() {
        let found = of(&[7; 40], &[1, 2], 3);
        assert_eq!((found.score, found.runs_p, found.std), (None, None, 0.0));
        assert!(found.lags.iter().all(|lag| lag.r == 0.0));
    }
}
