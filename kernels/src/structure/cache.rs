//! The lattices that were reduced, by their positions.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    lattice::{Boxes, Lattice, Vector},
    reduce::{MAX, Matrix, reduce},
};

/// Vectors of lists that are kept before all is forgotten, 64 bytes each.
const ROOM: usize = 1 << 17;

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
    lattices: Map<Option<Lattice>>,
    bases: Map<Matrix>,
    lists: Vec<Vector>,
}

impl Cache {
    /// A cache for numbers that are multiples of `2^granule`.
    pub(super) fn new(granule: u32) -> Self {
        Self { granule, lattices: Map::default(), bases: Map::default(), lists: Vec::new() }
    }

    /// Forgets everything once it has become much.
    pub(super) fn tidy(&mut self) {
        if self.lists.len() > ROOM {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.lattices.clear();
        self.bases.clear();
        self.lists.clear();
    }

    /// A lattice with its list; `None` where doubles can't be trusted with it.
    pub(super) fn get(&mut self, frame: &Frame) -> Option<(&Lattice, &[Vector])> {
        let key = numbered(&frame.key, frame.boxes.n);
        if !self.lattices.contains_key(&key) {
            let basis = self.basis(frame, frame.boxes.n).map(|row| {
                row.map(|x| x * f64::from(1_u32 << self.granule))
            });
            let lattice = Lattice::new(&basis, &frame.boxes, &mut self.lists);
            self.lattices.insert(key, lattice);
        }
        let lattice = self.lattices.get(&key)?.as_ref()?;
        Some((lattice, &self.lists[lattice.list.clone()]))
    }

    /// The reduced basis of the first `n` coordinates, in granules: that of one coordinate less,
    /// lifted by one and reduced again.
    fn basis(&mut self, frame: &Frame, n: usize) -> Matrix {
        let mut basis = [[0.0; MAX]; MAX];
        basis[0][0] = 1.0;
        let weights: [f64; MAX] = frame.boxes.widths.map(|w| (w + 1.0).recip());
        for n in 2..=n {
            let key = numbered(&frame.key, n);
            if let Some(known) = self.bases.get(&key) {
                basis = *known;
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
                self.bases.insert(key, basis);
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

type Map<V> = HashMap<Key, V, BuildHasherDefault<Mix>>;

/// A hash for keys that nobody chooses to collide: a multiplication for every eight bytes.
#[derive(Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let product = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            self.0 = product ^ product >> 32;
        }
    }

    fn write_usize(&mut self, _: usize) {}
}
