//! Generators that are linear over GF(2), with each bit of the state as a sum of unknowns.
//!
//! A row is a set of unknowns as bits of words: the bits of the state that a bit of it now is the
//! sum (XOR) of. With rows of one word that hold a bit's value, the same steps run the generator.

use shared::families::Family;

/// The words of the twister's state.
const WORDS: usize = 624;
const MIDDLE: usize = 397;
const MATRIX: u32 = 0x9908_B0DF;

/// A linear generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Xorshift32,
    Xorshift64star,
    Xorshift128,
    /// The Mersenne twister, with so many of its output's lowest bits dropped.
    Twister(u32),
}

impl Kind {
    /// The generator of a family, if it is linear.
    pub(super) const fn of(family: Family) -> Option<Self> {
        Some(match family {
            Family::Xorshift32 => Self::Xorshift32,
            Family::Xorshift64star => Self::Xorshift64star,
            Family::Xorshift128 => Self::Xorshift128,
            Family::Mt19937 | Family::PythonRandom => Self::Twister(0),
            Family::PhpMtRand => Self::Twister(1),
            _ => return None,
        })
    }

    /// How many bits the state's words have.
    pub(super) const fn unknowns(self) -> usize {
        match self {
            Self::Xorshift32 => 32,
            Self::Xorshift64star => 64,
            Self::Xorshift128 => 128,
            Self::Twister(_) => 32 * WORDS,
        }
    }

    /// How many of them matter: of the twister's first word only the highest does.
    pub(super) const fn dimension(self) -> usize {
        match self {
            Self::Twister(_) => 19_937,
            other => other.unknowns(),
        }
    }

    /// How many of an output's lowest bits are linear in the state.
    pub(super) const fn linear_bits(self) -> u32 {
        match self {
            // The multiplier is 5 modulo 8, and 5 s = s + 4 s carries nothing below bit 3.
            Self::Xorshift64star => 3,
            Self::Twister(dropped) => 32 - dropped,
            _ => 32,
        }
    }
}

/// A word of the state: its bits' rows, the lowest first.
#[derive(Debug, Clone)]
struct Word {
    width: usize,
    rows: Vec<u64>,
}

impl Word {
    /// Bit `bit`'s row becomes the sum of itself and `from`'s row.
    fn add_own(&mut self, bit: usize, from: usize) {
        let width = self.width;
        let (low, high) = (bit.min(from), bit.max(from));
        let (below, above) = self.rows.split_at_mut(high * width);
        let (low, high) = (&mut below[low * width..][..width], &mut above[..width]);
        if bit < from { add(low, high) } else { add(high, low) }
    }

    fn row(&self, bit: usize) -> &[u64] {
        &self.rows[bit * self.width..][..self.width]
    }

    fn row_mut(&mut self, bit: usize) -> &mut [u64] {
        &mut self.rows[bit * self.width..][..self.width]
    }

    fn bits(&self) -> usize {
        self.rows.len() / self.width
    }

    /// `s ^= (s << by) & mask`
    fn left(&mut self, by: usize, mask: u64) {
        for bit in (by..self.bits()).rev().filter(|bit| mask >> bit & 1 == 1) {
            self.add_own(bit, bit - by);
        }
    }

    /// `s ^= s >> by`
    fn right(&mut self, by: usize) {
        for bit in 0..self.bits() - by {
            self.add_own(bit, bit + by);
        }
    }
}

/// Adds a row to another.
pub(super) fn add(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

/// A generator's state.
#[derive(Debug, Clone)]
pub(super) struct Symbols {
    kind: Kind,
    words: Vec<Word>,
    /// The twister's word that the last output came from.
    at: usize,
}

impl Symbols {
    /// The state whose bit `n` has the row that `fill` writes, of `width` words.
    pub(super) fn new(kind: Kind, width: usize, fill: impl Fn(usize, &mut [u64])) -> Self {
        let bits = if kind == Kind::Xorshift64star { 64 } else { 32 };
        let words = (0..kind.unknowns() / bits)
            .map(|word| {
                let mut rows = vec![0; bits * width];
                for (bit, row) in rows.chunks_exact_mut(width).enumerate() {
                    fill(word * bits + bit, row);
                }
                Word { width, rows }
            })
            .collect();
        Self { kind, words, at: WORDS - 1 }
    }

    /// The state itself as its unknowns.
    pub(super) fn unknown(kind: Kind) -> Self {
        let width = kind.unknowns().div_ceil(64);
        Self::new(kind, width, |bit, row| row[bit / 64] |= 1 << (bit % 64))
    }

    /// A state whose bits are known: rows are of one word, 0 or 1.
    pub(super) fn known(kind: Kind, state: &[u64]) -> Self {
        Self::new(kind, 1, |bit, row| row[0] = state[bit / 64] >> (bit % 64) & 1)
    }

    /// Steps to the next output.
    pub(super) fn step(&mut self) {
        let all = u64::MAX;
        match self.kind {
            Kind::Xorshift32 => {
                let s = &mut self.words[0];
                s.left(13, all);
                s.right(17);
                s.left(5, all);
            }
            Kind::Xorshift64star => {
                let s = &mut self.words[0];
                s.right(12);
                s.left(25, all);
                s.right(27);
            }
            Kind::Xorshift128 => {
                let mut t = self.words[0].clone();
                t.left(11, all);
                t.right(8);
                let mut w = self.words[3].clone();
                w.right(19);
                add(&mut w.rows, &t.rows);
                self.words.rotate_left(1);
                self.words[3] = w;
            }
            Kind::Twister(_) => self.twist(),
        }
    }

    fn twist(&mut self) {
        self.at = (self.at + 1) % WORDS;
        let (next, middle) = ((self.at + 1) % WORDS, (self.at + MIDDLE) % WORDS);
        let mut word = self.words[middle].clone();
        let lower = &self.words[next];
        // y is the highest bit of this word and the others of the next; it is shifted right …
        add(word.row_mut(30), self.words[self.at].row(31));
        for bit in 0..30 {
            add(word.row_mut(bit), lower.row(bit + 1));
        }
        // … and its lowest bit adds the matrix.
        for bit in (0..32).filter(|bit| MATRIX >> bit & 1 == 1) {
            add(word.row_mut(bit), lower.row(0));
        }
        self.words[self.at] = word;
    }

    /// Calls `each` with the rows of an output's lowest `bits` bits.
    pub(super) fn output(&self, bits: u32, mut each: impl FnMut(&[u64])) {
        match self.kind {
            Kind::Xorshift64star => {
                let s = &self.words[0];
                for bit in 0..bits as usize {
                    let mut row = s.row(bit).to_vec();
                    if bit == 2 {
                        add(&mut row, s.row(0));
                    }
                    each(&row);
                }
            }
            Kind::Twister(dropped) => {
                let mut y = self.words[self.at].clone();
                y.right(11);
                y.left(7, 0x9D2C_5680);
                y.left(15, 0xEFC6_0000);
                y.right(18);
                (0..bits).for_each(|bit| each(y.row((bit + dropped) as usize)));
            }
            _ => {
                let last = &self.words[self.words.len() - 1];
                (0..bits as usize).for_each(|bit| each(last.row(bit)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generators::stream;

    #[test]
    fn known_states_run_as_the_generators_do() {
        // xorshift128 has Marsaglia's constants behind the seed.
        let marsaglia = [99 | 362_436_069 << 32, 521_288_629 | 88_675_123 << 32];
        for (family, seed, state) in [
            (Family::Xorshift32, 77, &[77][..]),
            (Family::Xorshift64star, 0x0123_4567_89AB_CDEF, &[0x0123_4567_89AB_CDEF]),
            (Family::Xorshift128, 99, &marsaglia),
        ] {
            let mut symbols = Symbols::known(Kind::of(family).unwrap(), state);
            for output in stream(family, 1000, seed, 50) {
                symbols.step();
                let (mut low, mut bit) = (0, 0);
                symbols.output(3, |row| {
                    low |= row[0] << bit;
                    bit += 1;
                });
                assert_eq!(low, output & 7, "{family}");
            }
        }
    }
}
