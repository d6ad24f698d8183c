//! Reduction of small lattice bases.
//!
//! Greedy, as Nguyen and Stehlé describe it (ACM Transactions on Algorithms 5(4), 2009) but with
//! Babai's nearest plane (Combinatorica 6, 1986) in place of the exact closest vector: each
//! vector is made as short as the shorter ones before it can make it. How well it is done decides
//! how long lists become, never what is found; so doubles are good enough for its decisions.
//! The vectors themselves are whole numbers below 2^53, and exact.

/// At most so many coordinates.
pub(super) const MAX: usize = 4;

/// Row vectors; of a lattice of dimension `n` the first `n` rows and columns count.
pub(super) type Matrix = [[f64; MAX]; MAX];

/// A double below 2^51 in size that this is added to and taken from again is rounded to a whole
/// number: the sum has no bits to spare for a fraction.
pub(super) const ROUND: f64 = 6_755_399_441_055_744.0;

/// More rounds than any reduction takes; what is left then is a basis as well.
const ROUNDS: usize = 1000;

/// Shortens the first `n` rows, measuring coordinate `j` in units of `1 / weights[j]`.
pub(super) fn reduce(basis: &mut Matrix, n: usize, weights: &[f64; MAX]) {
    for _ in 0..ROUNDS {
        let norm = |row: &[f64; MAX]| dot(&weigh(row, weights), &weigh(row, weights));
        let mut norms = [0.0; MAX];
        for (norm_of, row) in norms.iter_mut().zip(basis.iter()).take(n) {
            *norm_of = norm(row);
        }
        for row in 1..n {
            let mut at = row;
            while at > 0 && norms[at] < norms[at - 1] {
                norms.swap(at, at - 1);
                basis.swap(at, at - 1);
                at -= 1;
            }
        }
        if !shorten_one(basis, n, weights, &norms) {
            return;
        }
    }
}

/// Reduces rows from the shortest on until one becomes shorter than the one before it.
fn shorten_one(basis: &mut Matrix, n: usize, weights: &[f64; MAX], norms: &[f64; MAX]) -> bool {
    // The rows' parts orthogonal to those before (Gram and Schmidt), weighed, and their norms.
    let mut orthogonal = [[0.0; MAX]; MAX];
    let mut lengths = [1.0; MAX];
    for row in 0..n {
        let mut shorter = basis[row];
        for other in (0..row).rev() {
            let share = dot(&weigh(&shorter, weights), &orthogonal[other]) / lengths[other];
            let times = (share + ROUND) - ROUND;
            for (x, &y) in shorter.iter_mut().zip(&basis[other]) {
                *x -= times * y;
            }
        }
        let weighed = weigh(&shorter, weights);
        let length = dot(&weighed, &weighed);
        if length < norms[row] * (1.0 - 1e-9) {
            basis[row] = shorter;
            if row > 0 && length < norms[row - 1] {
                return true;
            }
        }
        let mut rest = weigh(&basis[row], weights);
        for other in 0..row {
            let share = dot(&rest, &orthogonal[other]) / lengths[other];
            for (x, &y) in rest.iter_mut().zip(&orthogonal[other]) {
                *x -= share * y;
            }
        }
        (orthogonal[row], lengths[row]) = (rest, dot(&rest, &rest));
    }
    false
}

fn weigh(row: &[f64; MAX], weights: &[f64; MAX]) -> [f64; MAX] {
    std::array::from_fn(|j| row[j] * weights[j])
}

fn dot(a: &[f64; MAX], b: &[f64; MAX]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The inverse of the first `n` rows and columns, by Gauss and Jordan with pivots; `None` when
/// there is none.
pub(super) fn invert(basis: &Matrix, n: usize) -> Option<Matrix> {
    let mut left = *basis;
    let mut right: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| f64::from(i == j)));
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&a, &b| left[a][column].abs().total_cmp(&left[b][column].abs()))?;
        left.swap(column, pivot);
        right.swap(column, pivot);
        if left[column][column] == 0.0 {
            return None;
        }
        let scale = left[column][column].recip();
        for j in 0..n {
            left[column][j] *= scale;
            right[column][j] *= scale;
        }
        for row in (0..n).filter(|&row| row != column) {
            let times = left[row][column];
            for j in 0..n {
                left[row][j] -= times * left[column][j];
                right[row][j] -= times * right[column][j];
            }
        }
    }
    Some(right)
}
