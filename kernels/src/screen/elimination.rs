//! Linear equations over GF(2): Gaussian elimination by the method of the four Russians (as M4RI
//! does it: Albrecht, Bard and Hart, ACM TOMS 37(1), 2010), a strip of eight columns at a time.

use std::thread;

use super::symbols::add;

/// Columns of a strip; all sums of its pivots are made once.
const STRIP: usize = 8;

/// Equations: a row holds the unknowns' coefficients as bits, and behind them the right side.
#[derive(Debug, Clone)]
pub(super) struct Equations {
    unknowns: usize,
    /// Words in a row.
    width: usize,
    rows: Vec<u64>,
}

/// What equations come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Solved {
    /// They contradict each other.
    Contradiction,
    /// One of their solutions, as bits.
    Solution(Vec<u64>),
}

impl Equations {
    /// No equations for so many unknowns yet.
    pub(super) const fn new(unknowns: usize) -> Self {
        Self { unknowns, width: unknowns / 64 + 1, rows: Vec::new() }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.rows.len() / self.width
    }

    /// Adds one: the sum of the unknowns in `coefficients` is `right`.
    pub(super) fn push(&mut self, coefficients: &[u64], right: bool) {
        let start = self.rows.len();
        self.rows.extend(coefficients);
        self.rows.resize(start + self.width, 0);
        self.rows[start + self.unknowns / 64] |= u64::from(right) << (self.unknowns % 64);
    }

    fn bit(&self, row: usize, column: usize) -> bool {
        self.rows[row * self.width + column / 64] >> (column % 64) & 1 == 1
    }

    fn row(&self, row: usize) -> &[u64] {
        &self.rows[row * self.width..][..self.width]
    }

    /// Adds row `from` to row `to`.
    fn add(&mut self, to: usize, from: usize) {
        let (low, high) = (to.min(from), to.max(from));
        let (below, above) = self.rows.split_at_mut(high * self.width);
        let (low, high) = (&mut below[low * self.width..][..self.width], &mut above[..self.width]);
        if to < from { add(low, high) } else { add(high, low) }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a != b {
            let (low, high) = (a.min(b), a.max(b));
            let (below, above) = self.rows.split_at_mut(high * self.width);
            below[low * self.width..][..self.width].swap_with_slice(&mut above[..self.width]);
        }
    }

    /// Solves them. `progress` hears how far that is, from 0 to 1.
    ///
    /// # Errors
    /// What `progress` says.
    pub(super) fn solve<E>(
        mut self,
        threads: usize,
        mut progress: impl FnMut(f64) -> Result<(), E>,
    ) -> Result<Solved, E> {
        let mut pivots: Vec<usize> = Vec::new();
        for start in (0..self.unknowns).step_by(STRIP) {
            // What is left to do shrinks with both the rows and the columns.
            let left = 1.0 - start as f64 / self.unknowns as f64;
            progress(1.0 - left * left)?;
            let columns = start..self.unknowns.min(start + STRIP);
            let found = self.pivots(pivots.len(), columns);
            if !found.is_empty() {
                self.clear(pivots.len(), &found, start / 64, threads);
            }
            pivots.extend(found);
        }
        // What is left of the other rows is a right side alone.
        if (pivots.len()..self.len()).any(|row| self.bit(row, self.unknowns)) {
            return Ok(Solved::Contradiction);
        }
        let mut solution = vec![0_u64; self.width];
        for (row, column) in pivots.into_iter().enumerate().rev() {
            let both = self.row(row).iter().zip(&solution).map(|(a, b)| (a & b).count_ones());
            let sum = both.sum::<u32>() % 2 == 1;
            if sum != self.bit(row, self.unknowns) {
                solution[column / 64] |= 1 << (column % 64);
            }
        }
        Ok(Solved::Solution(solution))
    }

    /// Brings a row with a pivot for each of these columns, where there is one, to row `first`
    /// and behind it, each with a 1 in its own pivot's column and 0 in the others'.
    fn pivots(&mut self, first: usize, columns: std::ops::Range<usize>) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        for column in columns {
            let place = first + found.len();
            let candidate = (place..self.len()).find(|&row| {
                // The row's bit here once the pivots so far were added where they must be.
                let added = found.iter().enumerate().filter(|(_, pivot)| self.bit(row, **pivot));
                added.fold(self.bit(row, column), |bit, (number, _)| {
                    bit ^ self.bit(first + number, column)
                })
            });
            let Some(row) = candidate else { continue };
            for (number, &pivot) in found.iter().enumerate() {
                if self.bit(row, pivot) {
                    self.add(row, first + number);
                }
            }
            self.swap(place, row);
            for above in first..place {
                if self.bit(above, column) {
                    self.add(above, place);
                }
            }
            found.push(column);
        }
        found
    }

    /// Clears these pivots' columns in all rows behind the pivots', from word `word` on.
    fn clear(&mut self, first: usize, pivots: &[usize], word: usize, threads: usize) {
        let (width, tail) = (self.width, self.width - word);
        let mut sums = vec![0_u64; tail << pivots.len()];
        for index in 1..1_usize << pivots.len() {
            let pivot = index.trailing_zeros() as usize;
            let (before, sum) = sums.split_at_mut(index * tail);
            sum[..tail].copy_from_slice(&before[(index & (index - 1)) * tail..][..tail]);
            add(&mut sum[..tail], &self.row(first + pivot)[word..]);
        }
        let rest = &mut self.rows[(first + pivots.len()) * width..];
        let share = (rest.len() / width).div_ceil(threads).max(1) * width;
        let clear = |rows: &mut [u64]| {
            for row in rows.chunks_exact_mut(width) {
                let bit = |column: usize| (row[column / 64] >> (column % 64)) as usize & 1;
                let index = pivots.iter().rev().fold(0, |index, &column| index << 1 | bit(column));
                if index != 0 {
                    add(&mut row[word..], &sums[index * tail..][..tail]);
                }
            }
        };
        if threads == 1 || rest.len() < 1 << 16 {
            return clear(rest);
        }
        thread::scope(|scope| {
            for rows in rest.chunks_mut(share) {
                scope.spawn(move || clear(rows));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn solve(equations: Equations) -> Solved {
        equations.solve(2, |_| Ok::<(), std::convert::Infallible>(())).unwrap()
    }

    proptest! {
        #[test]
        fn a_solution_solves_and_a_contradiction_is_one(
            unknowns in 1_usize..140,
            rows in prop::collection::vec(prop::array::uniform3(any::<u64>()), 0..200),
            secret in prop::array::uniform3(any::<u64>()),
            sparse in any::<bool>(),
            wrong in any::<prop::sample::Index>(),
        ) {
            let width = unknowns.div_ceil(64);
            let keep = |word: usize| match unknowns - 64 * word {
                bits @ 0..64 => (1 << bits) - 1,
                _ => u64::MAX,
            };
            let rows: Vec<Vec<u64>> = rows
                .iter()
                .map(|row| {
                    let thin = |w: u64| if sparse { w & (w >> 9) & (w << 13) & (w >> 27) } else { w };
                    (0..width).map(|word| thin(row[word]) & keep(word)).collect()
                })
                .collect();
            let right = |row: &[u64]| {
                row.iter().zip(&secret).map(|(a, b)| (a & b).count_ones()).sum::<u32>() % 2 == 1
            };
            let mut equations = Equations::new(unknowns);
            rows.iter().for_each(|row| equations.push(row, right(row)));
            let Solved::Solution(found) = solve(equations.clone()) else {
                return Err(TestCaseError::fail("a contradiction where there is none"));
            };
            for row in &rows {
                let sum = row.iter().zip(&found).map(|(a, b)| (a & b).count_ones()).sum::<u32>();
                prop_assert_eq!(sum % 2 == 1, right(row));
            }
            if !rows.is_empty() {
                // The same left side with the other right side.
                let row = wrong.get(&rows);
                equations.push(row, !right(row));
                prop_assert_eq!(solve(equations), Solved::Contradiction);
            }
        }
    }
}
