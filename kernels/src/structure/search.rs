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
    reduce::MAX,
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
            cache: Cache::new(question.granule()),
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
                let mut places = [0; MAX];
                let places = &mut places[..form.size];
                at.choose(set, places);
                at.search(
                    &self.loops,
                    &mut self.cache,
                    question,
                    skip,
                    draws,
                    (form.seeds, places),
                );
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
