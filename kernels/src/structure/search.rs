//! The search of one skip: from the low sieve's classes to the seeds that survive.

use std::ops::Range;

use shared::spans::Span;

use super::{
    cache::Cache,
    class::Class,
    classes::Cycle,
    compare::Compare,
    forms::Forms,
    question::{Draws, Question, Skip},
    vector::Loops,
};

/// A first state that survives under one skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) state: u64,
    /// How many draws match.
    pub(super) matches: u32,
    pub(super) skip: u32,
}

/// A seed whose draws stand in for some of the question's, under one skip and for its class alone.
#[derive(Debug)]
pub(super) struct Plant {
    pub(super) seed: u64,
    pub(super) skip: Skip,
    pub(super) draws: Draws,
    /// Whether the search must find it. A stream that rejects is not the search's to find: those
    /// are listed and scanned.
    pub(super) is_for_the_search: bool,
}

/// The search of a range of first states, with its working memory; one a thread.
pub(super) struct Search<'a> {
    question: &'a Question,
    loops: Loops,
    cycle: &'a Cycle,
    states: Span,
    forms: Forms,
    /// The skip whose lattices the cache holds.
    skip: Option<u32>,
    cache: Cache,
    kept: Vec<u32>,
    class: Class,
    /// What was found.
    pub(super) hits: Vec<Hit>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        question: &'a Question,
        loops: Loops,
        cycle: &'a Cycle,
        states: Span,
    ) -> Self {
        let window = question.window();
        let all = f64::from(question.high_bits()).exp2();
        let rests = (states.last() >> question.class_bits())
            - (states.first() >> question.class_bits())
            + 1;
        Self {
            question,
            loops,
            cycle,
            states,
            forms: Forms::new(window, question.need, question.odd, all, rests as f64),
            skip: None,
            cache: Cache::new(question.granule(), question.trusted),
            kept: Vec::new(),
            class: Class::new(window, (rests - 1) as u32),
            hits: Vec::new(),
        }
    }

    /// Searches the classes at some places of the cycle under one skip.
    pub(super) fn run(&mut self, skip: &Skip, draws: &Draws, places: Range<usize>) {
        if self.skip != Some(skip.skip) {
            self.skip = Some(skip.skip);
            self.cache.forget();
        }
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        let need = self.question.need as u8;
        let loops = self.loops;
        loops.sieve(self.cycle, draws, skip, need, places, &mut kept);
        loops.classes(self, skip, draws, &kept);
        self.kept = kept;
    }

    /// Whether the search of one class finds a plant whose first state and place are these. What
    /// else it finds there is forgotten.
    pub(super) fn finds(&mut self, plant: &Plant, state: u64, place: usize) -> bool {
        let before = self.hits.len();
        self.run(&plant.skip, &plant.draws, place..place + 1);
        let found = self.hits[before..].iter().any(|hit| hit.state == state);
        self.hits.truncate(before);
        found
    }

    /// Searches classes.
    ///
    /// # Safety
    /// The processor must have the instructions of `C`.
    #[inline(always)]
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    pub(super) unsafe fn classes<C: Compare>(&mut self, skip: &Skip, draws: &Draws, kept: &[u32]) {
        let question = self.question;
        for &class in kept {
            self.cache.tidy();
            let Some(rests) = rests(self.states, class, question.class_bits()) else { continue };
            let at = &mut self.class;
            // SAFETY: the caller's.
            unsafe { at.load::<C>(question, skip, draws, (class, rests)) };
            let form = self.forms.get(at.n);
            if form.seeds {
                at.move_to_first(skip, question.granule());
            }
            for set in &form.sets {
                at.choose(set, form.size);
                at.search(&self.loops, &mut self.cache, question, skip, draws, form.seeds);
                if at.found_any() {
                    at.confirm(question, skip, draws, &mut self.hits);
                }
            }
        }
    }
}

/// The first and the last rest of the seeds of a class in a range; `None` when there is none.
#[inline(always)]
fn rests(states: Span, class: u32, class_bits: u32) -> Option<(u32, u32)> {
    let class = u64::from(class);
    let last = states.last().checked_sub(class)? >> class_bits;
    let first = states.first().saturating_sub(class).div_ceil(1 << class_bits);
    (first <= last).then_some((first as u32, last as u32))
}

#[cfg(test)]
mod tests {
    use shared::{
        families::Family,
        sieve::{Direction, Mode, Sieve, Skips},
        structure::PowerLcg,
        witness::splitmix64,
    };

    use super::*;
    use crate::{generators::stream, scan::Instructions, structure::lattice::TRUSTED};

    /// Sets whose lattice is not trusted are walked, and the same seeds are found.
    #[test]
    fn the_rounding_guard_changes_no_result() {
        for (family, bits) in [(Family::JavaLcg, 48), (Family::JavaLcg, 40), (Family::MsvcRand, 31)]
        {
            for turn in 0..3 {
                let random = splitmix64(bits + (turn << 8));
                let (seed, skip) = (random & ((1 << bits) - 1), (random >> 50) as u32 % 20);
                let outputs = stream(family, 1000, seed, 12 * (skip as usize + 1));
                let draw = |index: u32| {
                    let own = outputs[(index as usize + 1) * (skip as usize + 1) - 1] % 1000;
                    let other = splitmix64(random ^ u64::from(index)) % 1000;
                    (if index % 4 == 1 { other } else { own }) as u32
                };
                let sieve = Sieve {
                    family,
                    direction: Direction::Forward,
                    mode: Mode::Fixed,
                    modulus: 1000,
                    draws: (0..12).map(draw).collect(),
                    advance: 0,
                    skips: Skips { lo: skip, hi: skip },
                    need: 7,
                    reverse_need: 7,
                };
                let mut question = Question::new(&sieve, PowerLcg::of(family).unwrap());
                let cycle = Cycle::new(&question.lcg, question.twos);
                let states = Span::new(0, (1 << bits) - 1).unwrap();
                let mut search = |trusted: f64| {
                    question.trusted = trusted;
                    let loops = Loops::new(Instructions::widest());
                    let mut search = Search::new(&question, loops, &cycle, states);
                    search.run(&question.skip(skip), &question.draws, 0..cycle.len());
                    search.hits.sort_unstable();
                    search.hits.dedup();
                    (search.hits.clone(), search.cache.counts())
                };
                let (expected, (made, refused)) = search(TRUSTED);
                assert!(expected.iter().any(|hit| hit.state == seed));
                assert!(made > 0 && refused == 0, "{made} {refused}");
                // None is trusted, then those whose bases came out well.
                let (found, (made, refused)) = search(0.0);
                assert!(made == 0 && refused > 0, "{made} {refused}");
                assert_eq!(found, expected);
                for exponent in [-43, -42, -41] {
                    assert_eq!(search(2_f64.powi(exponent)).0, expected);
                }
            }
        }
    }
}
