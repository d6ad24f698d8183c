//! Covers: few small sets of positions of which every survivor matches at least one wholly.
//!
//! Of the `n` positions that match in their low bits a survivor matches at least `m`. A cover is a
//! family of `r`-subsets such that every `m`-subset contains one of them: a Turán system
//! (Sidorenko, "What we know and what we do not know about Turán numbers", Graphs and
//! Combinatorics 11, 1995). Two ways to build larger ones from smaller ones are tried throughout:
//!
//! * the positions are cut in two: `m1` matches on the left, or `m - m1 + 1` on the right;
//! * the last position is left out, or it is in the set and matched.

use std::{collections::HashMap, ops::Range};

/// Past this excess of positions over matches only sets of one are built; covers grow too large.
const MAX_EXCESS: usize = 24;

/// How the smallest cover that was found is made.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// No `m` among fewer positions: nothing to cover.
    Nothing,
    /// Any `r` of the positions: all of them match, or none is needed.
    Any,
    /// Without the last position, and with it.
    Last,
    /// `n1` positions of which `m1` match, or else the others.
    Cut { n1: usize, m1: usize },
}

/// A set of positions that is left some choice: some of a run, of which a survivor matches all,
/// and others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// Any of these will do, as many as the set's size leaves.
    pub(super) run: Range<usize>,
    /// These must be in it, ascending and behind the run.
    pub(super) fixed: Vec<usize>,
}

/// Covers by number of positions, matches and size of sets, each found once.
#[derive(Debug, Default)]
pub(super) struct Covers(HashMap<(usize, usize, usize), (f64, Step)>);

impl Covers {
    /// How many sets of `r` it takes to cover all `m`-subsets of `n` positions, `r <= m`;
    /// infinitely many where none is built.
    pub(super) fn count(&mut self, n: usize, m: usize, r: usize) -> f64 {
        if r > 1 && n > m + MAX_EXCESS { f64::INFINITY } else { self.best(n, m, r).0 }
    }

    /// The sets.
    pub(super) fn sets(&mut self, n: usize, m: usize, r: usize) -> Vec<Set> {
        let mut sets = Vec::new();
        self.collect(0, n, m, r, &[], &mut sets);
        sets
    }

    fn best(&mut self, n: usize, m: usize, r: usize) -> (f64, Step) {
        if n < m {
            return (0.0, Step::Nothing);
        }
        if r == 0 || n == m {
            return (1.0, Step::Any);
        }
        if let Some(&known) = self.0.get(&(n, m, r)) {
            return known;
        }
        let last = self.best(n - 1, m, r).0 + self.best(n - 1, m - 1, r - 1).0;
        let mut best = (last, Step::Last);
        for m1 in r..=m.div_ceil(2) {
            let m2 = m + 1 - m1;
            if m2 < r {
                continue;
            }
            // A part with one position too few needs no set.
            for n1 in (m1 - 1).max(1)..(n + 2 - m2).min(n) {
                let sum = self.best(n1, m1, r).0 + self.best(n - n1, m2, r).0;
                if sum < best.0 {
                    best = (sum, Step::Cut { n1, m1 });
                }
            }
        }
        self.0.insert((n, m, r), best);
        best
    }

    /// Appends the cover of the positions from `from` on, `fixed` in each set.
    fn collect(
        &mut self,
        from: usize,
        n: usize,
        m: usize,
        r: usize,
        fixed: &[usize],
        sets: &mut Vec<Set>,
    ) {
        match self.best(n, m, r).1 {
            Step::Nothing => {}
            Step::Any => sets.push(Set { run: from..from + n, fixed: fixed.to_vec() }),
            Step::Last => {
                self.collect(from, n - 1, m, r, fixed, sets);
                let last = std::iter::once(from + n - 1);
                let fixed: Vec<usize> = last.chain(fixed.iter().copied()).collect();
                self.collect(from, n - 1, m - 1, r - 1, &fixed, sets);
            }
            Step::Cut { n1, m1 } => {
                self.collect(from, n1, m1, r, fixed, sets);
                self.collect(from + n1, n - n1, m + 1 - m1, r, fixed, sets);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every subset of `m` of `n` positions, as bits.
    fn subsets(n: usize, m: usize) -> impl Iterator<Item = u32> {
        (0_u32..1 << n).filter(move |bits| bits.count_ones() as usize == m)
    }

    #[test]
    fn every_subset_contains_a_set() {
        let mut covers = Covers::default();
        for n in 1..=13 {
            for m in 1..=n {
                for r in 0..=m.min(4) {
                    let sets = covers.sets(n, m, r);
                    assert_eq!(sets.len() as f64, covers.count(n, m, r), "{n} {m} {r}");
                    // Whichever of a run are taken.
                    for choice in 0..3 {
                        let mask = |(at, set): (usize, &Set)| {
                            let size = r - set.fixed.len();
                            let spare = set.run.len() - size;
                            let from = set.run.start + [0, spare, at % (spare + 1)][choice];
                            let places: Vec<usize> =
                                (from..from + size).chain(set.fixed.iter().copied()).collect();
                            assert!(places.is_sorted() && places.iter().all(|&i| i < n));
                            places.iter().fold(0, |mask, i| mask | 1 << i)
                        };
                        let masks: Vec<u32> = sets.iter().enumerate().map(mask).collect();
                        for subset in subsets(n, m) {
                            assert!(masks.iter().any(|mask| mask & !subset == 0), "{n} {m} {r}");
                        }
                    }
                }
            }
        }
    }

    /// The sizes that the design's table has for eight matches.
    #[test]
    fn covers_are_as_small_as_in_the_table() {
        let mut covers = Covers::default();
        for (r, sizes) in [(3, [1.0, 2.0, 3.0, 5.0, 8.0]), (4, [1.0, 2.0, 5.0, 9.0, 16.0])] {
            for (n, size) in (8..).zip(sizes) {
                assert!(covers.count(n, 8, r) <= size, "{n} {r}");
            }
        }
    }
}
