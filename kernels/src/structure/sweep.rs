//! The search of one box: which points of a translate lie in it.
#![expect(clippy::needless_range_loop, reason = "as in `reduce`: loops that are inlined")]

use super::{
    compare::Compare,
    lattice::{LANES, Lattice, Vector},
    reduce::{MAX, ROUND},
};
use crate::lanes::U32x;

/// A position outside the set: its number where the first coordinate stands at its offset, by how
/// much it grows with that coordinate, and up to where it matches.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Further {
    pub(super) offset: u32,
    pub(super) multiplier: u32,
    pub(super) most: u32,
}

impl Further {
    /// Whether it matches where the first coordinate has moved by `moved`.
    #[inline(always)]
    pub(super) const fn matches(&self, moved: u32) -> bool {
        self.offset.wrapping_add(self.multiplier.wrapping_mul(moved)) <= self.most
    }
}

/// A translate: where its coordinates stand, and up to where they are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Translate {
    pub(super) offsets: [u32; MAX],
    pub(super) most: [u32; MAX],
}

/// Appends by how much the first coordinate moves for each point inside the box at which at least
/// one of `further` matches, or for each point inside where there is no `further`.
///
/// # Safety
/// The processor must have the instructions of `C`.
#[inline(always)]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
pub(super) unsafe fn search_box<C: Compare, const D: usize>(
    (lattice, list): (&Lattice, &[Vector]),
    translate: &Translate,
    further: &[Further],
    found: &mut Vec<u32>,
) {
    let moved = toward_centre::<D>(lattice, &translate.offsets);
    // Loops throughout: calls of the standard library's closures are not always inlined into code
    // for other instructions.
    let mut start = [0; D];
    let mut most = [0; D];
    for j in 0..D {
        start[j] = translate.offsets[j].wrapping_add(moved[j]);
        most[j] = translate.most[j];
    }
    let (points, _) = list.as_chunks::<D>();
    for point in points {
        let mut inside = u32::MAX;
        for j in 0..D {
            // SAFETY: the caller's.
            inside &= unsafe { C::sum_at_most(&point[j], start[j], most[j]) };
        }
        if inside != 0 {
            // SAFETY: the caller's.
            unsafe { emit::<C>(inside, point[0] + moved[0], further, found) };
        }
    }
}

/// Babai's rounding: by how much each coordinate moves, modulo 2^32, from the offsets to within
/// half a basis vector in each direction of the box's centre.
#[inline(always)]
fn toward_centre<const D: usize>(lattice: &Lattice, offsets: &[u32; MAX]) -> [u32; MAX] {
    let mut coefficients = [0.0; MAX];
    for j in 0..D {
        let offset = f64::from(offsets[j].cast_signed());
        for i in 0..MAX {
            coefficients[i] += offset * lattice.inverse[j][i];
        }
    }
    // Rounded so, a whole number stands in the low bits of the double, modulo 2^32.
    let mut rounded = [0; MAX];
    for i in 0..MAX {
        rounded[i] = (coefficients[i] - lattice.centre[i] + ROUND).to_bits() as u32;
    }
    let mut moved = [0_u32; MAX];
    for i in 0..D {
        for j in 0..MAX {
            moved[j] = moved[j].wrapping_sub(rounded[i].wrapping_mul(lattice.basis[i][j]));
        }
    }
    moved
}

/// The same with one coordinate: it takes all multiples of `1 << granule`, of which no list is
/// needed.
///
/// # Safety
/// The processor must have the instructions of `C`.
#[inline(always)]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
pub(super) unsafe fn search_line<C: Compare>(
    granule: u32,
    translate: &Translate,
    further: &[Further],
    found: &mut Vec<u32>,
) {
    let last = translate.most[0] >> granule;
    let lanes: [u32; LANES] = std::array::from_fn(|lane| lane as u32);
    let mut from = 0;
    while from <= last {
        let steps = U32x(lanes) + from;
        let moved = (steps << granule) - translate.offsets[0];
        // SAFETY: the caller's.
        unsafe {
            let inside = C::at_most(steps, Vector::splat(last));
            emit::<C>(inside, moved, further, found);
        }
        let Some(next) = from.checked_add(LANES as u32) else { break };
        from = next;
    }
}

/// Appends the lanes that are inside and match further.
#[inline(always)]
#[expect(unsafe_code, reason = "code for an instruction set found at run time")]
unsafe fn emit<C: Compare>(inside: u32, moved: Vector, further: &[Further], found: &mut Vec<u32>) {
    let mut wanted = inside;
    if !further.is_empty() {
        let mut hit = 0;
        for further in further {
            let x = moved * further.multiplier + further.offset;
            // SAFETY: the caller's.
            hit |= unsafe { C::at_most(x, Vector::splat(further.most)) };
        }
        wanted &= hit;
    }
    if wanted != 0 {
        // SAFETY: the caller's.
        unsafe { C::append(&moved, wanted, found) };
    }
}
