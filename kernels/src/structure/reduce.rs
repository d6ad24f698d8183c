//! Reduction of small lattice bases.
//!
//! Greedy, as Nguyen and Stehlé describe it (ACM Transactions on Algorithms 5(4), 2009) but with
//! Babai's nearest plane (Combinatorica 6, 1986) in place of the exact closest vector: each
//! vector is made as short as the shorter ones before it can make it. How well it is done decides
//! how long lists become, never what is found; so doubles are good enough for its decisions.
//! The vectors themselves are whole numbers below 2^53, and exact.
//!
//! Indices rather than iterators: this runs tens of thousands of times in a tenth of a second, and
//! calls of the standard library's adapters are not inlined across a crate's parts.
#![expect(clippy::needless_range_loop, reason = "see above")]

/// At most so many coordinates.
pub(super) const MAX: usize = 4;

/// A row vector.
pub(super) type Row = [f64; MAX];
/// Row vectors; of a lattice of dimension `n` the first `n` rows and columns count, and the other
/// columns are 0.
pub(super) type Matrix = [Row; MAX];

/// A double below 2^51 in size that this is added to and taken from again is rounded to a whole
/// number: the sum has no bits to spare for a fraction.
pub(super) const ROUND: f64 = 6_755_399_441_055_744.0;

/// More rounds than any reduction takes; what is left then is a basis as well.
const ROUNDS: usize = 1000;

/// Shortens the first `n` rows, measuring coordinate `j` in units of `1 / weights[j]`.
#[inline(always)]
pub(super) fn reduce(basis: &mut Matrix, n: usize, weights: &Row) {
    let mut norms = [0.0; MAX];
    for row in 0..n {
        norms[row] = norm(&basis[row], weights);
    }
    for _ in 0..ROUNDS {
        for row in 1..n {
            let mut at = row;
            while at > 0 && norms[at] < norms[at - 1] {
                norms.swap(at, at - 1);
                basis.swap(at, at - 1);
                at -= 1;
            }
        }
        if !shorten(basis, n, weights, &mut norms) {
            return;
        }
    }
}

/// Reduces rows from the shortest on until one becomes shorter than the one before it.
#[inline(always)]
fn shorten(basis: &mut Matrix, n: usize, weights: &Row, norms: &mut Row) -> bool {
    // The weighed rows' parts orthogonal to those before (Gram and Schmidt), and one by their
    // norms.
    let mut orthogonal = [[0.0; MAX]; MAX];
    let mut inverses = [1.0; MAX];
    for row in 0..n {
        let mut shorter = basis[row];
        let mut same = true;
        for other in (0..row).rev() {
            let share = dot(&weigh(&shorter, weights), &orthogonal[other]) * inverses[other];
            let times = (share + ROUND) - ROUND;
            if times != 0.0 {
                same = false;
                subtract(&mut shorter, times, &basis[other]);
            }
        }
        if !same {
            let length = norm(&shorter, weights);
            if length < norms[row] * (1.0 - 1e-9) {
                basis[row] = shorter;
                norms[row] = length;
                if row > 0 && length < norms[row - 1] {
                    return true;
                }
            }
        }
        let mut rest = weigh(&basis[row], weights);
        for other in 0..row {
            let share = dot(&rest, &orthogonal[other]) * inverses[other];
            subtract(&mut rest, share, &orthogonal[other]);
        }
        inverses[row] = dot(&rest, &rest).recip();
        orthogonal[row] = rest;
    }
    false
}

#[inline(always)]
fn norm(row: &Row, weights: &Row) -> f64 {
    let weighed = weigh(row, weights);
    dot(&weighed, &weighed)
}

#[inline(always)]
fn weigh(row: &Row, weights: &Row) -> Row {
    let mut weighed = *row;
    for j in 0..MAX {
        weighed[j] *= weights[j];
    }
    weighed
}

#[inline(always)]
fn dot(a: &Row, b: &Row) -> f64 {
    (a[0] * b[0] + a[1] * b[1]) + (a[2] * b[2] + a[3] * b[3])
}

#[inline(always)]
fn subtract(row: &mut Row, times: f64, other: &Row) {
    for j in 0..MAX {
        row[j] -= times * other[j];
    }
}

/// The inverse of the first `n` rows and columns, by Gauss and Jordan with pivots; `None` when
/// there is none.
#[inline(always)]
pub(super) fn invert(basis: &Matrix, n: usize) -> Option<Matrix> {
    let mut left = *basis;
    let mut right = [[0.0; MAX]; MAX];
    for row in 0..n {
        right[row][row] = 1.0;
    }
    for column in 0..n {
        let mut pivot = column;
        for row in column + 1..n {
            if left[row][column].abs() > left[pivot][column].abs() {
                pivot = row;
            }
        }
        left.swap(column, pivot);
        right.swap(column, pivot);
        if left[column][column] == 0.0 {
            return None;
        }
        let scale = left[column][column].recip();
        for j in 0..MAX {
            left[column][j] *= scale;
            right[column][j] *= scale;
        }
        let (from_left, from_right) = (left[column], right[column]);
        for row in 0..n {
            if row != column {
                let times = left[row][column];
                subtract(&mut left[row], times, &from_left);
                subtract(&mut right[row], times, &from_right);
            }
        }
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The determinant of the first `n` rows and columns, by cofactors of whole numbers.
    fn determinant(basis: &Matrix, n: usize) -> i128 {
        fn of(rows: &[Vec<i128>]) -> i128 {
            let Some((first, rest)) = rows.split_first() else { return 1 };
            let minor = |column: usize| -> Vec<Vec<i128>> {
                let without = |row: &Vec<i128>| {
                    row.iter().enumerate().filter(|(j, _)| *j != column).map(|(_, &x)| x).collect()
                };
                rest.iter().map(without).collect()
            };
            let sign = |column: usize| if column.is_multiple_of(2) { 1 } else { -1 };
            first.iter().enumerate().map(|(j, &x)| sign(j) * x * of(&minor(j))).sum()
        }
        let whole = |row: &Row| row[..n].iter().map(|&x| x as i128).collect();
        of(&basis[..n].iter().map(whole).collect::<Vec<_>>())
    }

    proptest! {
        /// The bases that come up: multiples of a first coordinate, and a power of two for each
        /// further one.
        #[test]
        fn a_reduced_basis_spans_the_same_lattice_in_shorter_vectors(
            multipliers in any::<[u32; 3]>(),
            n in 2_usize..5,
            bits in 9_u32..30,
            widths in (1_u32..1 << 27, 1_u32..1 << 27),
        ) {
            let size = f64::from(bits).exp2();
            let mut basis = [[0.0; MAX]; MAX];
            basis[0][0] = 1.0;
            for j in 1..n {
                basis[0][j] = f64::from(multipliers[j - 1] >> (32 - bits));
                basis[j][j] = size;
            }
            let (first, others) = (f64::from(widths.0).recip(), f64::from(widths.1).recip());
            let weights = [first, others, others, others];
            let mut reduced = basis;
            reduce(&mut reduced, n, &weights);
            prop_assert_eq!(determinant(&reduced, n).abs(), 1_i128 << (bits as usize * (n - 1)));
            for row in &reduced[..n] {
                for j in 1..n {
                    let off = (row[0] as i128 * basis[0][j] as i128 - row[j] as i128) % (1 << bits);
                    prop_assert_eq!(off, 0);
                }
            }
            let longest = |basis: &Matrix| {
                basis[..n].iter().map(|row| norm(row, &weights)).fold(0.0, f64::max)
            };
            prop_assert!(longest(&reduced) <= longest(&basis));
            let inverse = invert(&reduced, n).unwrap();
            for i in 0..n {
                for j in 0..n {
                    let product: f64 = (0..n).map(|q| reduced[i][q] * inverse[q][j]).sum();
                    prop_assert!((product - f64::from(i == j)).abs() < 1e-3);
                }
            }
        }
    }
}
