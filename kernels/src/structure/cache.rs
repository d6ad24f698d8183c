//! The lattices that were reduced, by their positions.

use super::{
    lattice::{Boxes, Lattice, Vector},
    reduce::{MAX, Matrix, reduce},
};

/// Vectors of lists, 64 bytes each, past which all is forgotten: between two skips, which have
/// little in common, so that the next one's stay in the processor's cache; and in any case.
pub(super) const BETWEEN_SKIPS: usize = 1 << 13;
pub(super) const EVER: usize = 1 << 19;

/// What tells lattices apart: a number for the kind of the first coordinate, then what the
/// multiplier of each further one depends on.
pub(super) type Key = [u32; MAX];

/// A set of coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// What tells it apart from others with as many coordinates.
    pub(super) key: Key,
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
    /// The places of what follows, by key.
    of_lattices: Table,
    of_bases: Table,
    /// Where doubles can't be trusted with one, it is `None`.
    lattices: Vec<Option<Lattice>>,
    bases: Vec<Matrix>,
    lists: Vec<Vector>,
}

impl Cache {
    /// A cache for numbers that are multiples of `2^granule`.
    pub(super) fn new(granule: u32) -> Self {
        Self {
            granule,
            of_lattices: Table::default(),
            of_bases: Table::default(),
            lattices: Vec::new(),
            bases: Vec::new(),
            lists: Vec::new(),
        }
    }

    /// Forgets everything if there are more vectors than that.
    pub(super) fn tidy(&mut self, most: usize) {
        if self.lists.len() > most {
            self.of_lattices.clear();
            self.of_bases.clear();
            self.lattices.clear();
            self.bases.clear();
            self.lists.clear();
        }
    }

    /// A lattice with its list; `None` where doubles can't be trusted with it.
    pub(super) fn get(&mut self, frame: &Frame) -> Option<(&Lattice, &[Vector])> {
        let key = numbered(&frame.key, frame.boxes.n);
        let at = match self.of_lattices.get(&key) {
            Some(at) => at as usize,
            None => self.add(frame, &key),
        };
        let lattice = self.lattices[at].as_ref()?;
        Some((lattice, &self.lists[lattice.list.clone()]))
    }

    #[cold]
    fn add(&mut self, frame: &Frame, key: &Key) -> usize {
        let mut basis = self.basis(frame, frame.boxes.n);
        let scale = f64::from(1_u32 << self.granule);
        for row in &mut basis {
            for x in row {
                *x *= scale;
            }
        }
        let lattice = Lattice::new(&basis, &frame.boxes, &mut self.lists);
        let at = self.lattices.len();
        self.lattices.push(lattice);
        self.of_lattices.insert(key, at as u32);
        at
    }

    /// The reduced basis of the first `n` coordinates, in granules: that of one coordinate less,
    /// lifted by one and reduced again.
    fn basis(&mut self, frame: &Frame, n: usize) -> Matrix {
        let mut basis = [[0.0; MAX]; MAX];
        basis[0][0] = 1.0;
        let mut weights = [0.0; MAX];
        for (weight, width) in weights.iter_mut().zip(frame.boxes.widths) {
            *weight = (width + 1.0).recip();
        }
        for n in 2..=n {
            let key = numbered(&frame.key, n);
            if let Some(at) = self.of_bases.get(&key) {
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
                self.of_bases.insert(&key, self.bases.len() as u32);
                self.bases.push(basis);
            }
        }
        basis
    }
}

/// The key of the first `n` coordinates.
#[inline(always)]
fn numbered(key: &Key, n: usize) -> Key {
    let mut first = [0; MAX];
    first[..n].copy_from_slice(&key[..n]);
    first[0] ^= (n as u32) << 8;
    first
}

/// Numbers by key: a table with open addressing, at most half full. Nobody chooses keys so that
/// they collide, and a lookup is on the way to every box.
#[derive(Debug, Default)]
struct Table {
    /// Keys with their number; a power of two of them, or none.
    slots: Vec<Option<(Key, u32)>>,
    used: usize,
}

impl Table {
    fn clear(&mut self) {
        self.slots.fill(None);
        self.used = 0;
    }

    fn get(&self, key: &Key) -> Option<u32> {
        let mut at = self.start(key)?;
        loop {
            let (known, number) = self.slots[at]?;
            if known == *key {
                return Some(number);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a key that is not there yet.
    fn insert(&mut self, key: &Key, number: u32) {
        if 2 * self.used >= self.slots.len() {
            let doubled = vec![None; (2 * self.slots.len()).max(1024)];
            let before = std::mem::replace(&mut self.slots, doubled);
            self.used = 0;
            for (key, number) in before.into_iter().flatten() {
                self.insert(&key, number);
            }
        }
        let Some(mut at) = self.start(key) else { return };
        while self.slots[at].is_some() {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Some((*key, number));
        self.used += 1;
    }

    /// Where a key's search begins; `None` in an empty table.
    fn start(&self, key: &Key) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        // Odd constants with bits in disorder: the golden ratio's and those of splitmix64.
        let low = u64::from(key[0]) << 32 | u64::from(key[1]);
        let high = u64::from(key[2]) << 32 | u64::from(key[3]);
        let mixed =
            (low.wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ high).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Some((mixed >> 40) as usize & mask)
    }
}
