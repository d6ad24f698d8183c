//! The lattice of a set of positions, and the list of its vectors that any box could need.
//!
//! A set's coordinates are affine in one of them, with multipliers that depend on the skip and on
//! how far the positions lie apart, and not on the class. So the points of all classes are
//! translates of one lattice, which is reduced once. A point is wanted when it lies in a box of
//! given widths. Babai's rounding moves a translate by a lattice vector to within half a basis
//! vector, in each direction, of the box's centre; from there a wanted point is a short lattice
//! vector away, one of a list that is made once.
#![expect(clippy::needless_range_loop, reason = "as in `reduce`: loops that are inlined")]

use super::reduce::{MAX, Matrix, ROUND, Row, invert};
use crate::lanes::U32x;

/// Lanes in a vector of the list.
pub(super) const LANES: usize = 16;
/// As many numbers modulo 2^32.
pub(super) type Vector = U32x<LANES>;

/// By how much a rounded coefficient may be off, beyond the half that rounding brings: twice what
/// is [`TRUSTED`].
const EPSILON: f64 = 1e-5;
/// How far off a coefficient may be before doubles are not trusted with a lattice.
pub(super) const TRUSTED: f64 = EPSILON / 2.0;
/// What sums of four products lose to rounding, as a share: with room to spare.
const ROUNDING: f64 = 1.0 / (1_u64 << 48) as f64;
const TWO_TO_32: f64 = 4_294_967_296.0;
/// What is added to bounds on coordinates, which are whole numbers, for the rounding of doubles.
const SLACK: f64 = 0.25;
/// So many values of a coefficient are looked at beside each other.
const ABREAST: usize = 8;
/// The most coefficient vectors that a list is searched among.
const MAX_SEARCHED: f64 = 4e6;

/// A lattice, ready for boxes.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct Lattice {
    /// What a unit of coordinate `j` adds to the coefficients: the inverse of the basis.
    pub(super) inverse: Matrix,
    /// The coefficients of the box's centre.
    pub(super) centre: Row,
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
    pub(super) widths: Row,
    /// Whether the first coordinate of every translate is 0: the seed's own.
    pub(super) from_zero: bool,
}

impl Lattice {
    /// Prepares a reduced basis and appends its list to `lists`: for each vector of lanes one
    /// vector a coordinate. `None` when coefficients may be off by more than `trusted`, at most
    /// [`TRUSTED`], or when the list would be too long to search for.
    #[inline(always)]
    pub(super) fn new(
        basis: &Matrix,
        boxes: &Boxes,
        trusted: f64,
        lists: &mut Vec<Vector>,
    ) -> Option<Self> {
        let n = boxes.n;
        let inverse = invert(basis, n)?;
        let mut centre = [0.0; MAX];
        let mut bounds = Bounds { coefficients: [0.0; MAX], coordinates: [0.0; MAX] };
        let mut spread = 0.0_f64;
        let mut searched = 1.0;
        for i in 0..n {
            let mut reach = 0.5 + 2.0 * EPSILON;
            let mut farthest = 0.0;
            for j in 0..n {
                let half = boxes.widths[j] / 2.0;
                reach += half * inverse[j][i].abs();
                centre[i] += half * inverse[j][i];
                if !(boxes.from_zero && j == 0) {
                    farthest += TWO_TO_32 * inverse[j][i].abs();
                }
            }
            bounds.coefficients[i] = floor(reach);
            spread = larger(farthest, spread);
            if i > 0 {
                searched *= 2.0 * bounds.coefficients[i] + 1.0;
            }
        }
        // A coefficient, below `spread`, is a product with an inverse that is off by as much as
        // its product with the basis is off the identity, in sums that round.
        let mut distance = 0.0_f64;
        for i in 0..n {
            for j in 0..n {
                let mut product = if i == j { -1.0 } else { 0.0 };
                for q in 0..n {
                    product += basis[i][q] * inverse[q][j];
                }
                distance = larger(product.abs(), distance);
            }
        }
        let error = spread * (n as f64 * distance + ROUNDING);
        if !(error <= trusted && searched <= MAX_SEARCHED) {
            return None;
        }
        let mut wrapped_basis = [[0; MAX]; MAX];
        for j in 0..n {
            let mut reach = boxes.widths[j] / 2.0 + SLACK;
            for i in 0..n {
                reach += basis[i][j].abs() * (0.5 + EPSILON);
                wrapped_basis[i][j] = wrapped(basis[i][j]);
            }
            bounds.coordinates[j] = reach;
        }
        let from = lists.len();
        list(basis, n, &bounds, lists);
        Some(Self { inverse, centre, basis: wrapped_basis, list: from..lists.len() })
    }
}

/// How far the vectors of a list may reach.
#[derive(Debug)]
struct Bounds {
    /// In multiples of the basis vectors, whole numbers.
    coefficients: Row,
    /// In each coordinate.
    coordinates: Row,
}

/// Lists all vectors within the bounds. Of the coefficients the first is left an interval by the
/// others, of which the second takes several values at once, a lane each.
#[inline(always)]
fn list(basis: &Matrix, n: usize, bounds: &Bounds, lists: &mut Vec<Vector>) {
    let most = &bounds.coefficients;
    // What a unit of coordinate `j`, and of the second coefficient, moves the interval by.
    let mut scale = [0.0; MAX];
    let mut slope = [0.0; MAX];
    let mut half = [0.0; MAX];
    let mut step = [0; MAX];
    for j in 0..n {
        step[j] = wrapped(basis[0][j]);
        if basis[0][j] != 0.0 {
            scale[j] = -basis[0][j].recip();
            slope[j] = basis[1][j] * scale[j];
            half[j] = bounds.coordinates[j] * scale[j].abs() + 1e-9;
        }
    }
    let mut z = [0.0; MAX];
    let mut fixed = [0.0; MAX];
    for i in 2..n {
        z[i] = -most[i];
        for j in 0..n {
            fixed[j] -= most[i] * basis[i][j];
        }
    }
    let mut block = [Vector::splat(0); MAX];
    let mut lane = 0;
    loop {
        let mut second = -most[1];
        while second <= most[1] {
            let mut lo = [-most[0]; ABREAST];
            let mut hi = [most[0]; ABREAST];
            for j in 0..n {
                if basis[0][j] == 0.0 {
                    for at in 0..ABREAST {
                        let x = fixed[j] + (second + at as f64) * basis[1][j];
                        hi[at] = if x.abs() > bounds.coordinates[j] { f64::MIN } else { hi[at] };
                    }
                    continue;
                }
                let middle = fixed[j] * scale[j] + second * slope[j];
                for at in 0..ABREAST {
                    let middle = middle + at as f64 * slope[j];
                    // As the instructions for it compare, unlike the standard library's.
                    lo[at] = larger(middle - half[j], lo[at]);
                    hi[at] = smaller(middle + half[j], hi[at]);
                }
            }
            let mut first = [0.0; ABREAST];
            for at in 0..ABREAST {
                first[at] = -floor(-lo[at]);
            }
            for at in 0..ABREAST {
                let mut left = hi[at] - first[at];
                let z = second + at as f64;
                if left < 0.0 || z > most[1] {
                    continue;
                }
                let mut point = [0; MAX];
                for j in 0..n {
                    point[j] = wrapped(fixed[j] + z * basis[1][j] + first[at] * basis[0][j]);
                }
                while left >= 0.0 {
                    if lane == 0 {
                        // Lanes that stay free at the end repeat the first: what is found twice
                        // is counted once.
                        for j in 0..n {
                            block[j] = Vector::splat(point[j]);
                        }
                    }
                    for j in 0..n {
                        block[j].0[lane] = point[j];
                        point[j] = point[j].wrapping_add(step[j]);
                    }
                    lane += 1;
                    if lane == LANES {
                        append(&block, n, lists);
                        lane = 0;
                    }
                    left -= 1.0;
                }
            }
            second += ABREAST as f64;
        }
        // The next choice of the other coefficients.
        let mut i = 2;
        while i < n && z[i] >= most[i] {
            for j in 0..n {
                fixed[j] -= 2.0 * most[i] * basis[i][j];
            }
            z[i] = -most[i];
            i += 1;
        }
        if i >= n {
            break;
        }
        for j in 0..n {
            fixed[j] += basis[i][j];
        }
        z[i] += 1.0;
    }
    if lane > 0 {
        append(&block, n, lists);
    }
}

/// Appends the first vectors of a block; too few for a call that copies them.
#[inline(always)]
fn append(block: &[Vector; MAX], n: usize, lists: &mut Vec<Vector>) {
    for j in 0..n {
        lists.push(block[j]);
    }
}

/// The larger of two numbers.
#[inline(always)]
const fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The smaller of two numbers.
#[inline(always)]
const fn smaller(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// A whole number below 2^51 in size, modulo 2^32: rounded so, it stands in the low bits.
#[inline(always)]
fn wrapped(x: f64) -> u32 {
    (x + ROUND).to_bits() as u32
}

/// The largest whole number up to one below 2^51 in size; the standard library's is a call where
/// the instruction may be missing.
#[inline(always)]
fn floor(x: f64) -> f64 {
    let near = (x + ROUND) - ROUND;
    if near > x { near - 1.0 } else { near }
}
