//! One class of seeds: its matching positions, and the search of a set of them.

use super::{
    cache::{Cache, Frame, Key},
    compare::Compare,
    cover::Set,
    lattice::{Boxes, LANES, Vector},
    question::{Draws, Question, Skip},
    reduce::MAX,
    search::Hit,
    sweep::{Further, Translate},
    vector::Loops,
};
use crate::residue::odd_inverse;

/// A class with the working memory of its search.
#[derive(Debug)]
pub(super) struct Class {
    /// The most that the rests of a class's seeds lie apart.
    width: u32,
    class: u32,
    /// The first and the last rest of a seed in the range.
    rests: (u32, u32),
    /// How many draws match in their low bits.
    pub(super) n: usize,
    /// Which they are, ascending, and their numbers.
    draws: Vec<u32>,
    offsets: Vec<u32>,
    /// By how much the first coordinate moves for the points that were found.
    found: Vec<u32>,
    /// The draw whose number is the first coordinate; `None` when the rest of the seed is.
    first: Option<usize>,
    /// The set: its places among the draws that match in their low bits, and how many they are;
    /// behind them `usize::MAX`.
    set: [usize; MAX],
    set_size: usize,
    /// The positions outside the set, as far as they were prepared, and the place to go on at.
    further: Vec<Further>,
    next: usize,
}

impl Class {
    /// For windows of so many draws and ranges in which the rests of a class's seeds lie at most
    /// `width` apart.
    pub(super) fn new(window: usize, width: u32) -> Self {
        Self {
            width,
            class: 0,
            rests: (0, 0),
            n: 0,
            draws: Vec::with_capacity(window + LANES),
            offsets: Vec::with_capacity(window + LANES),
            found: Vec::new(),
            first: None,
            set: [usize::MAX; MAX],
            set_size: 0,
            further: Vec::new(),
            next: 0,
        }
    }

    /// Takes up a class, with the rests of its seeds in the range.
    ///
    /// # Safety
    /// The processor must have the instructions of `C`.
    #[inline(always)]
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    pub(super) unsafe fn load<C: Compare>(
        &mut self,
        question: &Question,
        skip: &Skip,
        draws: &Draws,
        (class, rests): (u32, (u32, u32)),
    ) {
        (self.class, self.rests) = (class, rests);
        let broken = (1 << question.granule()) - 1;
        let window = question.window();
        self.draws.clear();
        self.offsets.clear();
        let mut places = Vector::splat(0);
        for lane in 0..LANES {
            places.0[lane] = lane as u32;
        }
        let mut from = 0;
        while from < window {
            let numbers = skip.numbers(class, draws, from / LANES);
            // SAFETY: the caller's.
            let mut whole = unsafe { C::at_most(numbers & broken, Vector::splat(0)) };
            if window - from < LANES {
                whole &= (1 << (window - from)) - 1;
            }
            // SAFETY: the caller's.
            unsafe {
                C::append(&places, whole, &mut self.draws);
                C::append(&numbers, whole, &mut self.offsets);
            }
            places = places + LANES as u32;
            from += LANES;
        }
        self.n = self.draws.len();
    }

    /// Moves the numbers from the rest 0 to the first rest in the range.
    pub(super) fn move_to_first(&mut self, skip: &Skip, granule: u32) {
        let moved = self.rests.0 << granule;
        for (offset, &draw) in self.offsets.iter_mut().zip(&self.draws) {
            *offset = offset.wrapping_add(skip.slopes[draw as usize].wrapping_mul(moved));
        }
    }

    /// Takes up a set of so many places: of its run those beside each other of the smallest span, or
    /// those nearest to the fixed ones, so that different classes share lattices.
    #[inline(always)]
    pub(super) fn choose(&mut self, set: &Set, set_size: usize) {
        let size = set_size - set.fixed.len();
        let mut from = set.run.end - size;
        if set.fixed.is_empty() && size > 1 {
            let mut nearest = u32::MAX;
            for start in set.run.start..=set.run.end - size {
                let span = self.draws[start + size - 1] - self.draws[start];
                if span < nearest {
                    (nearest, from) = (span, start);
                }
            }
        }
        // No copies of slices here: for so few places a call takes longer than the work.
        for at in 0..MAX {
            self.set[at] = if at < size {
                from + at
            } else {
                set.fixed.get(at - size).copied().unwrap_or(usize::MAX)
            };
        }
        self.set_size = set_size;
    }

    /// Finds the points at which all draws of the set that was taken up match and enough of the
    /// others may. `seeds`: whether the rest of the seed is the first coordinate.
    #[inline(always)]
    pub(super) fn search(
        &mut self,
        loops: &Loops,
        cache: &mut Cache,
        question: &Question,
        skip: &Skip,
        draws: &Draws,
        seeds: bool,
    ) {
        self.found.clear();
        let n = self.set_size + usize::from(seeds);
        if n > 1 {
            self.aim(seeds);
            let key = self.key(seeds);
            let at = match cache.find(key) {
                Some(at) => at,
                None => loops.add(cache, &self.frame(question, skip, seeds), key),
            };
            // What comes next takes about as long as a lattice does that left the nearer caches.
            cache.fetch(at);
            self.prepare_further(question, skip, draws);
            if let Some(lattice) = cache.get(at) {
                let translate = self.translate(question, draws, seeds);
                loops.search_box(n, lattice, &translate, &self.further, &mut self.found);
                return;
            }
        }
        // One coordinate is enough: the others only shorten the way.
        self.set_size = usize::from(!seeds);
        for at in self.set_size..MAX {
            self.set[at] = usize::MAX;
        }
        self.aim(seeds);
        self.prepare_further(question, skip, draws);
        let translate = self.translate(question, draws, seeds);
        loops.search_line(question.granule(), &translate, &self.further, &mut self.found);
    }

    /// Chooses the first coordinate.
    #[inline(always)]
    fn aim(&mut self, seeds: bool) {
        self.first = if seeds { None } else { Some(self.draws[self.set[0]] as usize) };
        self.further.clear();
        self.next = 0;
    }

    /// Prepares as many of the positions outside the set as a survivor can't all miss.
    #[inline(always)]
    fn prepare_further(&mut self, question: &Question, skip: &Skip, draws: &Draws) {
        if question.need > self.set_size {
            self.prepare(skip, draws, self.n - question.need + 1);
        }
    }

    /// Prepares the other positions until there are `count` of them, or no more.
    #[inline(always)]
    fn prepare(&mut self, skip: &Skip, draws: &Draws, count: usize) {
        while self.further.len() < count && self.next < self.n {
            let place = self.next;
            self.next += 1;
            if self.set.contains(&place) {
                continue;
            }
            let draw = self.draws[place] as usize;
            self.further.push(Further {
                offset: self.offsets[place],
                multiplier: self.multiplier(skip, draw),
                most: draws.most[draw],
            });
        }
    }

    /// By how much a draw's number grows for each 1 that the first coordinate grows by.
    #[inline(always)]
    fn multiplier(&self, skip: &Skip, draw: usize) -> u32 {
        self.first.map_or(skip.slopes[draw], |first| skip.multiplier(first, draw))
    }

    /// What tells the lattice of a set apart.
    #[inline(always)]
    fn key(&self, seeds: bool) -> Key {
        let mut key = Key::new(seeds);
        for &place in &self.set[usize::from(!seeds)..self.set_size] {
            key = key.with(self.draws[place] as usize - self.first.unwrap_or_default());
        }
        key
    }

    /// The coordinates of a set.
    fn frame(&self, question: &Question, skip: &Skip, seeds: bool) -> Frame {
        let mut frame = Frame {
            multipliers: [1; MAX],
            boxes: Boxes {
                n: self.set_size + usize::from(seeds),
                widths: [f64::from(question.widest()); MAX],
                from_zero: seeds,
            },
        };
        if seeds {
            frame.boxes.widths[0] = f64::from(self.width) * f64::from(1 << question.granule());
        }
        let from = usize::from(!seeds);
        for at in from..self.set_size {
            frame.multipliers[at + 1 - from] =
                self.multiplier(skip, self.draws[self.set[at]] as usize);
        }
        frame
    }

    /// Where the coordinates of a set stand.
    #[inline(always)]
    fn translate(&self, question: &Question, draws: &Draws, seeds: bool) -> Translate {
        let mut translate = Translate { offsets: [0; MAX], most: [0; MAX] };
        let from = usize::from(seeds);
        if seeds {
            translate.most[0] = (self.rests.1 - self.rests.0) << question.granule();
        }
        for at in 0..self.set_size {
            let place = self.set[at];
            translate.offsets[from + at] = self.offsets[place];
            translate.most[from + at] = draws.most[self.draws[place] as usize];
        }
        translate
    }

    /// Whether points were found.
    #[inline(always)]
    pub(super) const fn found_any(&self) -> bool {
        !self.found.is_empty()
    }

    /// Counts the matches at the points that were found and appends those that survive.
    pub(super) fn confirm(
        &mut self,
        question: &Question,
        skip: &Skip,
        draws: &Draws,
        hits: &mut Vec<Hit>,
    ) {
        self.prepare(skip, draws, usize::MAX);
        let back = self.first.map_or(1, |first| odd_inverse(skip.slopes[first]));
        let granule = question.granule();
        for &moved in &self.found {
            let others = self.further.iter().filter(|further| further.matches(moved)).count();
            let matches = self.set_size + others;
            let start = if self.first.is_some() { 0 } else { self.rests.0 };
            let rest = start + (moved.wrapping_mul(back) >> granule);
            if matches >= question.need && (self.rests.0..=self.rests.1).contains(&rest) {
                let state = u64::from(rest) << question.class_bits() | u64::from(self.class);
                hits.push(Hit { state, matches: matches as u32, skip: skip.skip });
            }
        }
    }
}
