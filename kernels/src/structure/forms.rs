//! How a class is searched: which sets of positions, in how many coordinates.
//!
//! A set of one coordinate is walked along; a larger one is a box in a lattice. In a range the
//! rest of the seed, which then has bounds of its own, can be a coordinate too; with the empty set
//! that walks along the seeds themselves. Every choice finds the same; the figures are
//! nanoseconds of one core with AVX-512, and decide nothing but the time.

use super::{
    cover::{Covers, Set},
    lattice::LANES,
    reduce::MAX,
};

/// The longest list that a lattice is worth, in points.
const MAX_POINTS: f64 = 65_536.0;

/// The way to search the classes with so many matching positions.
#[derive(Debug, Clone)]
pub(super) struct Form {
    /// Whether the rest of the seed is the first coordinate.
    pub(super) seeds: bool,
    /// The sets, of equal size, as places among the matching positions.
    pub(super) sets: Vec<Set>,
    /// How many positions each has.
    pub(super) size: usize,
}

/// Forms by number of matching positions, each chosen when it is first asked for.
#[derive(Debug)]
pub(super) struct Forms {
    covers: Covers,
    chosen: Vec<Option<Form>>,
    need: usize,
    /// How many values the rest of the seed has, and how many of them are in the range.
    all: f64,
    rests: f64,
    odd: f64,
}

impl Forms {
    /// Forms for `need` matches of at most `window` where the rest of a seed has `rests` values
    /// of `all`.
    pub(super) fn new(window: usize, need: usize, odd: u32, all: f64, rests: f64) -> Self {
        let chosen = vec![None; window + 1];
        Self { covers: Covers::default(), chosen, need, all, rests, odd: f64::from(odd) }
    }

    /// The form for `n` matching positions, at least `need`.
    #[inline(always)]
    pub(super) fn get(&mut self, n: usize) -> &Form {
        if self.chosen[n].is_none() {
            self.choose(n);
        }
        self.chosen[n]
            .as_ref()
            .unwrap_or(const { &Form { seeds: false, sets: Vec::new(), size: 0 } })
    }

    #[cold]
    fn choose(&mut self, n: usize) {
        let (seeds, size) = self.cheapest(n);
        let sets = self.covers.sets(n, self.need, size);
        self.chosen[n] = Some(Form { seeds, sets, size });
    }

    fn cheapest(&mut self, n: usize) -> (bool, usize) {
        let mut best = (f64::INFINITY, (false, 1));
        for seeds in [false, true] {
            let first = usize::from(!seeds);
            for size in first..=self.need.min(MAX - usize::from(seeds)) {
                if seeds && self.rests >= self.all {
                    continue;
                }
                let nanoseconds = self.nanoseconds(n, size, seeds);
                if nanoseconds < best.0 {
                    best = (nanoseconds, (seeds, size));
                }
            }
        }
        best.1
    }

    fn nanoseconds(&mut self, n: usize, size: usize, seeds: bool) -> f64 {
        let coordinates = size + usize::from(seeds);
        let values = if seeds { self.rests } else { self.all };
        let points = values / self.odd.powi(size as i32);
        let further = (n - self.need + 1) as f64;
        let (vectors, each) = if coordinates == 1 {
            (points / LANES as f64 + 1.0, 1.0)
        } else {
            // A list reaches past the box by about a basis vector on each side.
            let root = points.powf((coordinates as f64).recip()) + 1.7;
            let listed = root.powi(coordinates as i32);
            if listed > MAX_POINTS {
                return f64::INFINITY;
            }
            (listed / LANES as f64 + 1.0, coordinates as f64)
        };
        let sure = size == self.need;
        let few = coordinates == MAX;
        let tested = if sure || few { 0.0 } else { vectors * further };
        let after = if sure { points * 4.0 } else { points * further / self.odd * 5.0 };
        let lattice = if few { 30.0 } else { 0.0 };
        self.covers.count(n, self.need, size) * (20.0 + vectors * each + tested + lattice + after)
    }
}
