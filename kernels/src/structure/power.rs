//! Generators modulo a power of two: by classes and lattices.

use std::sync::atomic::{AtomicBool, Ordering};

use shared::{
    outcome::Survivor,
    sieve::{Sieve, Skips},
    spans::Span,
    structure::PowerLcg,
};

use super::{
    classes::Cycle,
    gather::gather,
    judge::Judge,
    pieces::{Piece, pieces},
    planting::{Random, planted},
    question::Question,
    rejections::Rejections,
    search::{Hit, Plant, Search},
    vector::Loops,
};
use crate::{engine::Planted, generators::stream, scan::Instructions};

/// Seeds that wait until so many are judged at once.
const WAITING: usize = 1 << 14;
/// How often a seed to plant is drawn before one that rejects is taken: hardly ever twice, but in
/// a range of few seeds there may be no other.
const TRIES: u32 = 64;

/// A sieve of such a generator; threads share it.
#[derive(Debug)]
pub(super) struct Power {
    question: Question,
    cycle: Cycle,
    loops: Loops,
}

impl Power {
    /// Prepares a sieve that is suited.
    pub(super) fn new(sieve: &Sieve, lcg: PowerLcg, instructions: Instructions) -> Self {
        let question = Question::new(sieve, lcg);
        let cycle = Cycle::new(&lcg, question.twos);
        Self { question, cycle, loops: Loops::new(instructions) }
    }

    /// The survivors of a range of seeds, in no order, some twice, and what became of the seed
    /// that was planted.
    pub(super) fn survivors(
        &self,
        sieve: &Sieve,
        judge: &Judge,
        (seeds, threads): (Span, usize),
        random: u64,
    ) -> (Vec<Survivor>, Planted) {
        let mut survivors: Vec<Survivor> = Vec::new();
        let plant = self.plant(sieve, seeds, random);
        let missed = AtomicBool::new(true);
        for piece in pieces(&self.question.lcg, seeds) {
            let mut hits = self.hits(sieve.skips, piece, threads, &plant, &missed);
            for hit in &mut hits {
                hit.state ^= piece.flip;
            }
            hits.retain(|hit| seeds.contains(hit.state));
            survivors.extend(judge.judged(hits));
            if self.question.lcg.rejects {
                survivors.extend(self.rejecting(sieve, judge, piece, (seeds, threads)));
            }
        }
        let planted = Planted {
            seed: plant.seed,
            skip: plant.skip.skip,
            found: !plant.is_for_the_search || !missed.into_inner(),
        };
        (survivors, planted)
    }

    /// What survives of a range of first states, skip by skip. Lowers `missed` when it has found
    /// the plant.
    fn hits(
        &self,
        skips: Skips,
        piece: Piece,
        threads: usize,
        plant: &Plant,
        missed: &AtomicBool,
    ) -> Vec<Hit> {
        let all = self.cycle.len();
        // With few skips each one's classes are shared between the threads.
        let shares = (4 * threads).div_ceil(skips.count() as usize).min(all.div_ceil(4096));
        let shares = if threads == 1 { 1 } else { shares };
        gather(threads, skips.count() as usize * shares, |turns, gathered| {
            let mut search = Search::new(&self.question, self.loops, &self.cycle, piece.states);
            for turn in turns {
                let skip = self.question.skip(skips.lo + (turn / shares) as u32);
                let share = turn % shares;
                let places = all * share / shares..all * (share + 1) / shares;
                search.run(&skip, &self.question.draws, places.clone());
                let state = plant.seed ^ piece.flip;
                if skip.skip == plant.skip.skip && piece.states.contains(state) {
                    let place = self.cycle.place(self.question.class(state), skip.places().0);
                    if places.contains(&place) && search.finds(plant, state, place) {
                        missed.store(false, Ordering::Relaxed);
                    }
                }
            }
            gathered.append(&mut search.hits);
        })
    }

    /// The survivors among the seeds of a piece whose streams reject an output that would be
    /// looked at, or one before it.
    fn rejecting(
        &self,
        sieve: &Sieve,
        judge: &Judge,
        piece: Piece,
        (seeds, threads): (Span, usize),
    ) -> Vec<Survivor> {
        let last = sieve.last_position();
        let rejections = Rejections::new(&self.question.lcg, sieve.modulus, last);
        let steps = rejections.steps.end - rejections.steps.start;
        gather(threads, steps as usize, |turns, survivors| {
            let mut waiting = Vec::with_capacity(WAITING);
            for turn in turns {
                rejections.each(rejections.steps.start + turn as u64, piece.states, |state| {
                    let seed = state ^ piece.flip;
                    if seeds.contains(seed) {
                        waiting.push(seed);
                    }
                    if waiting.len() == WAITING {
                        survivors.append(&mut judge.judge(&waiting));
                        waiting.clear();
                    }
                });
            }
            survivors.append(&mut judge.judge(&waiting));
        })
    }

    /// A seed to plant: any of the range and any skip, with as many of its draws as are needed in
    /// random places among those of the question.
    fn plant(&self, sieve: &Sieve, seeds: Span, random: u64) -> Plant {
        let mut random = Random(random);
        let skip = sieve.skips.lo + random.below(sieve.skips.count().into()) as u32;
        let last = sieve.last_position() as usize;
        let width = seeds.last() - seeds.first();
        let mut seed = seeds.first();
        let mut outputs = Vec::new();
        let mut is_for_the_search = false;
        for _ in 0..TRIES {
            seed = seeds.first() + random.below(width + 1);
            outputs = stream(sieve.family, sieve.modulus, seed, last + 1);
            is_for_the_search = !self.question.lcg.rejects
                || self.question.steady(seed, sieve.modulus, last as u64);
            if is_for_the_search {
                break;
            }
        }
        let leading = (&self.question.leading[..], self.question.need);
        let draws = planted(sieve, leading, (&outputs, skip), &mut random);
        let (skip, draws) = (self.question.skip(skip), self.question.compared(&draws));
        Plant { seed, skip, draws, is_for_the_search }
    }
}
