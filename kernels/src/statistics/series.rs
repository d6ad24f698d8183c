//! A series of numbers about its mean, and sums of it with itself, so far later.

/// Partial sums that a product is accumulated in side by side; their order is part of the result.
const SUMS: usize = 8;

/// Numbers less their mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    centred: Vec<f64>,
    mean: f64,
    squares: f64,
}

impl Series {
    /// The series of these numbers, of which there is at least one.
    #[must_use]
    pub fn new(numbers: &[u32]) -> Self {
        // Below 2^24 numbers of 32 bits: the sum is exact in 64.
        let sum: u64 = numbers.iter().copied().map(u64::from).sum();
        let mean = sum as f64 / numbers.len() as f64;
        let centred: Vec<f64> = numbers.iter().map(|&number| f64::from(number) - mean).collect();
        let squares = product(&centred, &centred);
        Self { centred, mean, squares }
    }

    /// The mean.
    #[must_use]
    pub const fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation of the population.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        (self.squares / self.centred.len() as f64).sqrt()
    }

    /// The correlation with the series itself `lag` later, about the mean of the whole; 0 for a
    /// constant. `lag` is below the length.
    #[must_use]
    pub fn autocorrelation(&self, lag: u32) -> f64 {
        let pairs = self.centred.len() - lag as usize;
        let cross = product(&self.centred[..pairs], &self.centred[lag as usize..]);
        let variance = self.squares / self.centred.len() as f64;
        if variance > 0.0 { cross / (pairs as f64 * variance) } else { 0.0 }
    }

    /// Pearson's correlation of the head with the tail that begins `lag` later, each about its
    /// own mean; 0 where one of them is constant. `lag` is below the length.
    #[must_use]
    pub fn pearson(&self, lag: u32) -> f64 {
        let pairs = self.centred.len() - lag as usize;
        let (head, tail) = (&self.centred[..pairs], &self.centred[lag as usize..]);
        let count = pairs as f64;
        let sum = |part: &[f64]| part.iter().sum::<f64>();
        let (head_sum, tail_sum) = (sum(head), sum(tail));
        let covariance = product(head, tail) - head_sum * tail_sum / count;
        let spread = |part: &[f64], sum: f64| product(part, part) - sum * sum / count;
        let r = covariance / (spread(head, head_sum) * spread(tail, tail_sum)).sqrt();
        if r.is_nan() { 0.0 } else { r.clamp(-1.0, 1.0) }
    }
}

/// The sum of the products of two series of one length.
fn product(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; SUMS];
    let (a_chunks, b_chunks) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_of_small_series_are_those_done_by_hand() {
        let zigzag = Series::new(&[1, 3, 1, 3, 1, 3, 1, 3, 1, 3]);
        assert_eq!((zigzag.mean(), zigzag.deviation()), (2.0, 1.0));
        assert!((zigzag.autocorrelation(1) + 1.0).abs() < 1e-12);
        assert!((zigzag.autocorrelation(2) - 1.0).abs() < 1e-12);
        assert!((zigzag.pearson(3) + 1.0).abs() < 1e-12);
        // The pairs (1, 2), (2, 4), (4, 3): their products about 7/3 and 3 sum to 1, their
        // squares to 14/3 and 2.
        let pairs = Series::new(&[1, 2, 4, 3]);
        assert!((pairs.pearson(1) - 1.0 / (28.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        let constant = Series::new(&[7; 20]);
        assert_eq!((constant.pearson(1), constant.autocorrelation(1)), (0.0, 0.0));
    }
}
