//! The lattice of a set of positions, and the list of its vectors that any box could need.
//!
//! A set's coordinates are affine in one of them, with multipliers that depend on the skip and on
//! how far the positions lie apart, and not on the class. So the points of all classes are
//! translates of one lattice, which is reduced once. A point is wanted when it lies in a box of
//! given widths. Babai's rounding moves a translate by a lattice vector to within half a basis
//! vector, in each direction, of the box's centre; from there a wanted point is a short lattice
//! vector away, one of a list that is made once.

use super::reduce::{MAX, Matrix, invert};
use crate::lanes::U32x;

/// Lanes in a vector of the list.
pub(super) const LANES: usize = 16;
/// As many numbers modulo 2^32.
pub(super) type Vector = U32x<LANES>;

/// By how much a rounded coefficient may be off, beyond the half that rounding brings.
const EPSILON: f64 = 1e-5;
/// What is added to bounds on coordinates, which are whole numbers, for the rounding of doubles.
const SLACK: f64 = 1e-3;
/// The most coefficient vectors that a list is searched among.
const MAX_SEARCHED: f64 = 4e6;

/// A lattice, ready for boxes.
#[derive(Debug, Clone)]
pub(super) struct Lattice {
    /// What a unit of coordinate `j` adds to the coefficients: the inverse of the basis.
    pub(super) inverse: Matrix,
    /// The coefficients of the box's centre.
    pub(super) centre: [f64; MAX],
    /// The basis modulo 2^32.
    pub(super) basis: [[u32; MAX]; MAX],
    /// Where its list stands in the cache, in vectors.
    pub(super) list: std::ops::Range<usize>,
}

/// What a list must cover.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boxes {
    /// The number of coordinates.
    pub(super) n: usize,
    /// The widths: a wanted point's coordinate `j` is at most `widths[j]`.
    pub(super) widths: [f64; MAX],
    /// Whether the first coordinate of every translate is 0: the seed's own.
    pub(super) from_zero: bool,
}

impl Lattice {
    /// Prepares a reduced basis and appends its list to `lists`: for each vector of lanes one
    /// vector a coordinate. `None` when doubles can't be trusted with it, or when the list would
    /// be too long to search for.
    pub(super) fn new(basis: &Matrix, boxes: &Boxes, lists: &mut Vec<Vector>) -> Option<Self> {
        let n = boxes.n;
        let inverse = invert(basis, n)?;
        let mut centre = [0.0; MAX];
        let mut most = [0.0; MAX];
        let mut offset_error = 0.0_f64;
        for i in 0..n {
            let mut reach = 0.5 + 2.0 * EPSILON;
            let mut spread = 0.0;
            for j in 0..n {
                let half = boxes.widths[j] / 2.0;
                reach += half * inverse[j][i].abs();
                centre[i] += half * inverse[j][i];
                if !(boxes.from_zero && j == 0) {
                    spread += 2_f64.powi(32) * inverse[j][i].abs();
                }
            }
            most[i] = reach.floor();
            offset_error = offset_error.max(spread);
        }
        // A coefficient below `offset_error` is a product with an inverse that is off by the
        // product's distance from the identity, in sums that round.
        let mut distance = 0.0_f64;
        for i in 0..n {
            for j in 0..n {
                let product: f64 = (0..n).map(|q| basis[i][q] * inverse[q][j]).sum();
                distance = distance.max((product - f64::from(i == j)).abs());
            }
        }
        let error = offset_error * (n as f64 * distance + 2_f64.powi(-48));
        let searched: f64 = most[1..n].iter().map(|most| 2.0 * most + 1.0).product();
        if !(error <= EPSILON / 2.0 && searched <= MAX_SEARCHED) {
            return None;
        }
        let reach: [f64; MAX] = std::array::from_fn(|j| {
            let halves: f64 = (0..n).map(|i| basis[i][j].abs() * (0.5 + EPSILON)).sum();
            boxes.widths[j] / 2.0 + halves + SLACK
        });
        let from = lists.len();
        list(basis, n, &most, &reach, lists);
        Some(Self {
            inverse,
            centre,
            basis: basis.map(|row| row.map(wrapped)),
            list: from..lists.len(),
        })
    }
}

/// Lists all vectors `z B` with `|z_i| <= most[i]` and `|(z B)_j| <= reach[j]`.
fn list(
    basis: &Matrix,
    n: usize,
    most: &[f64; MAX],
    reach: &[f64; MAX],
    lists: &mut Vec<Vector>,
) {
    let step = basis[0].map(wrapped);
    let mut z = most.map(|most| -most);
    let mut lane = LANES;
    loop {
        // Of the first coefficient an interval is left, once the others are chosen.
        let mut fixed = [0.0; MAX];
        for (z, row) in z.iter().zip(basis).take(n).skip(1) {
            for (x, y) in fixed.iter_mut().zip(row) {
                *x += z * y;
            }
        }
        let (mut lo, mut hi) = (-most[0], most[0]);
        for j in 0..n {
            if basis[0][j] == 0.0 {
                if fixed[j].abs() > reach[j] {
                    hi = lo - 1.0;
                }
                continue;
            }
            let scale = basis[0][j].recip();
            let (middle, half) = (-fixed[j] * scale, reach[j] * scale.abs() + 1e-9);
            lo = lo.max((middle - half).ceil());
            hi = hi.min((middle + half).floor());
        }
        let mut point: [u32; MAX] =
            std::array::from_fn(|j| wrapped(fixed[j] + lo * basis[0][j]));
        while lo <= hi {
            if lane == LANES {
                // The lanes that stay free at the end repeat the first: found twice is found.
                lists.extend(point[..n].iter().map(|&x| Vector::splat(x)));
                lane = 0;
            }
            let at = lists.len() - n;
            for (vector, (x, step)) in lists[at..].iter_mut().zip(point.iter_mut().zip(step)) {
                vector.0[lane] = *x;
                *x = x.wrapping_add(step);
            }
            lane += 1;
            lo += 1.0;
        }
        let mut i = 1;
        while i < n && z[i] >= most[i] {
            z[i] = -most[i];
            i += 1;
        }
        if i >= n {
            return;
        }
        z[i] += 1.0;
    }
}

/// A whole number below 2^53 in size, modulo 2^32.
#[inline(always)]
fn wrapped(x: f64) -> u32 {
    x as i64 as u32
}
