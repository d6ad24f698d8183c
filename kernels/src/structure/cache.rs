//! The lattices that were reduced, by their positions.

use super::{
    lattice::{Boxes, Lattice, Vector},
    reduce::{MAX, Matrix, reduce},
};

/// Vectors of lists, 64 bytes each, past which all is forgotten.
const MOST_VECTORS: usize = 1 << 19;
/// So many vectors of a list are asked for early; the processor sees itself what follows.
const FETCHED: usize = 8;

/// What tells the lattices of one skip apart: how many coordinates, what kind the first is, and a
/// byte for each further one. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u32);

impl Key {
    /// The key of a first coordinate: the rest of the seed, or a draw.
    #[inline(always)]
    pub(super) const fn new(seeds: bool) -> Self {
        Self(1 + ((seeds as u32) << 3))
    }

    /// The key with a coordinate more: its draw, counted from the first coordinate's where that
    /// is a draw.
    #[inline(always)]
    pub(super) const fn with(self, draw: usize) -> Self {
        let n = self.0 & 7;
        Self((self.0 | (draw as u32) << (8 * n)) + 1)
    }

    /// The key of the first `n` coordinates.
    const fn first(self, n: usize) -> Self {
        Self((self.0 & (u32::MAX >> (32 - 8 * n)) & !7) | n as u32)
    }
}

/// A set of coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// By how much each coordinate grows when the first, whose multiplier is 1, grows by 1.
    pub(super) multipliers: [u32; MAX],
    /// The boxes.
    pub(super) boxes: Boxes,
}

/// Reduced lattices with their lists.
#[derive(Debug)]
pub(super) struct Cache {
    /// All numbers are multiples of two to this, and modulo 2^32.
    granule: u32,
    /// See [`Lattice::new`].
    trusted: f64,
    /// The places of what follows, by key.
    of_lattices: Table,
    of_bases: Table,
    /// Where doubles can't be trusted with one, it is `None`.
    lattices: Vec<Option<Lattice>>,
    bases: Vec<Matrix>,
    lists: Vec<Vector>,
    /// Where each lattice's list begins: known before the lattice itself is at hand.
    starts: Vec<u32>,
}

impl Cache {
    /// A cache for numbers that are multiples of `2^granule`, and for lattices whose coefficients
    /// are off by at most `trusted`.
    pub(super) fn new(granule: u32, trusted: f64) -> Self {
        Self {
            granule,
            trusted,
            of_lattices: Table::default(),
            of_bases: Table::default(),
            lattices: Vec::new(),
            bases: Vec::new(),
            lists: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.of_lattices.clear();
        self.of_bases.clear();
        self.lattices.clear();
        self.bases.clear();
        self.lists.clear();
        self.starts.clear();
    }

    /// Forgets everything if it has become much.
    #[inline(always)]
    pub(super) fn tidy(&mut self) {
        if self.lists.len() > MOST_VECTORS {
            self.forget();
        }
    }

    /// The place of a lattice that was added.
    #[inline(always)]
    pub(super) fn find(&self, key: Key) -> Option<usize> {
        self.of_lattices.get(key).map(|at| at as usize)
    }

    /// How many lattices were made, and how many refused.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let refused = self.lattices.iter().filter(|lattice| lattice.is_none()).count();
        (self.lattices.len() - refused, refused)
    }

    /// Asks for a lattice and its list from afar: of many, most have left the nearer caches.
    #[inline(always)]
    pub(super) fn fetch(&self, at: usize) {
        let start = self.starts[at] as usize;
        fetch(&self.lattices[at..=at]);
        fetch(&self.lists[start..self.lists.len().min(start + FETCHED)]);
    }

    /// A lattice with its list; `None` where doubles can't be trusted with it.
    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Option<(&Lattice, &[Vector])> {
        let lattice = self.lattices[at].as_ref()?;
        Some((lattice, &self.lists[lattice.list.clone()]))
    }

    /// Adds a lattice and returns its place.
    #[inline(always)]
    pub(super) fn add(&mut self, frame: &Frame, key: Key) -> usize {
        let mut basis = self.basis(frame, key);
        let scale = f64::from(1_u32 << self.granule);
        for row in &mut basis {
            for x in row {
                *x *= scale;
            }
        }
        self.starts.push(self.lists.len() as u32);
        let lattice = Lattice::new(&basis, &frame.boxes, self.trusted, &mut self.lists);
        let at = self.lattices.len();
        self.lattices.push(lattice);
        self.of_lattices.insert(key, at as u32);
        at
    }

    /// The reduced basis, in granules: that of one coordinate less, lifted by one and reduced
    /// again.
    #[inline(always)]
    fn basis(&mut self, frame: &Frame, key: Key) -> Matrix {
        let mut basis = [[0.0; MAX]; MAX];
        basis[0][0] = 1.0;
        let mut weights = [0.0; MAX];
        for (weight, width) in weights.iter_mut().zip(frame.boxes.widths) {
            *weight = (width + 1.0).recip();
        }
        for n in 2..=frame.boxes.n {
            let key = key.first(n);
            if let Some(at) = self.of_bases.get(key) {
                basis = self.bases[at as usize];
                continue;
            }
            let last = n - 1;
            for row in &mut basis[..last] {
                // The sign bit comes to stand where it belongs.
                let x = (row[0] as i64 as u32).wrapping_mul(frame.multipliers[last]);
                let x = (x << self.granule).cast_signed() >> self.granule;
                row[last] = f64::from(x);
            }
            basis[last][last] = 2_f64.powi(32 - self.granule.cast_signed());
            reduce(&mut basis, n, &weights);
            if n < MAX {
                self.of_bases.insert(key, self.bases.len() as u32);
                self.bases.push(basis);
            }
        }
        basis
    }
}

/// Asks for all lines of memory that something takes.
#[inline(always)]
#[expect(unsafe_code, reason = "an instruction that changes nothing")]
fn fetch<T>(of: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of_val(of)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has it, and the address lies within.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(of.as_ptr().cast::<i8>().add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: &[T] = of;
}

/// Numbers by key: a table with open addressing, at most half full. Nobody chooses keys so that
/// they collide, and a lookup is on the way to every box.
#[derive(Debug, Default)]
struct Table {
    /// Keys, or 0, with their number; a power of two of them, or none.
    slots: Vec<(u32, u32)>,
    used: usize,
}

impl Table {
    fn clear(&mut self) {
        self.slots.fill((0, 0));
        self.used = 0;
    }

    #[inline(always)]
    fn get(&self, key: Key) -> Option<u32> {
        let mut at = self.start(key)?;
        loop {
            let (known, number) = self.slots[at];
            if known == key.0 {
                return Some(number);
            }
            if known == 0 {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a key that is not there yet.
    fn insert(&mut self, key: Key, number: u32) {
        if 2 * self.used >= self.slots.len() {
            let doubled = vec![(0, 0); (2 * self.slots.len()).max(1024)];
            let before = std::mem::replace(&mut self.slots, doubled);
            self.used = 0;
            for (key, number) in before.into_iter().filter(|slot| slot.0 != 0) {
                self.insert(Key(key), number);
            }
        }
        let Some(mut at) = self.start(key) else { return };
        while self.slots[at].0 != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = (key.0, number);
        self.used += 1;
    }

    /// Where a key's search begins; `None` in an empty table.
    #[inline(always)]
    fn start(&self, key: Key) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        // The golden ratio's odd constant: every bit of the key reaches the upper ones.
        Some((key.0.wrapping_mul(0x9E37_79B9) >> 12) as usize & mask)
    }
}
