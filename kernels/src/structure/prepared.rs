//! A sieve prepared for the structural search.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use shared::{
    outcome::{Best, Survivor},
    sieve::{Direction, Sieve},
    spans::Span,
    structure::{Unsuited, suits},
    witness::{Witness, splitmix64},
};

use super::{
    classes::Cycle,
    pieces::{Piece, pieces},
    question::Question,
    rejections::Rejections,
    search::{Hit, Plant, Search},
    vector::Loops,
};
use crate::{
    engine::{Found, Planted, Tally},
    generators::stream,
    scan::{Instructions, Scan},
    sequence::Sequence,
};

/// Seeds that wait until so many are judged at once.
const WAITING: usize = 1 << 14;
/// How often a seed to plant is drawn before one that rejects is taken: hardly ever twice, but in
/// a range of few seeds there may be no other.
const TRIES: u32 = 64;

/// A sieve that can be searched by its structure; threads share it.
#[derive(Debug)]
pub(crate) struct Structure {
    sieve: Sieve,
    question: Question,
    cycle: Cycle,
    loops: Loops,
    /// What tells whether a seed survives in all that the search leaves open: the other
    /// direction, and outputs that were rejected. `None` when it leaves nothing open.
    judge: Option<Scan>,
}

impl Structure {
    /// Prepares a validated sieve.
    ///
    /// # Errors
    /// [`Unsuited`] when it has no such structure.
    pub(crate) fn new(sieve: &Sieve, instructions: Instructions) -> Result<Self, Unsuited> {
        let lcg = suits(sieve)?;
        let question = Question::new(sieve, lcg);
        let open = lcg.rejects || sieve.direction == Direction::Both;
        let every = Witness::new(sieve.window(), sieve.need, 1);
        Ok(Self {
            cycle: Cycle::new(&lcg, question.twos),
            question,
            loops: Loops::new(instructions),
            judge: open.then(|| Scan::new(sieve, every, instructions)),
            sieve: sieve.clone(),
        })
    }

    /// Tests a range of seeds on so many threads. All of it is tested, however many survive. A
    /// seed drawn by `random` is planted and must be found on the way.
    pub(crate) fn test(&self, seeds: Span, threads: usize, random: u64) -> Tally {
        let mut survivors: Vec<Survivor> = Vec::new();
        let plant = self.plant(seeds, random);
        let missed = AtomicBool::new(true);
        for piece in pieces(&self.question.lcg, seeds) {
            let mut hits = self.hits(piece, threads, &plant, &missed);
            for hit in &mut hits {
                hit.state ^= piece.flip;
            }
            hits.retain(|hit| seeds.contains(hit.state));
            survivors.extend(self.judged(hits));
            if self.question.lcg.rejects {
                survivors.extend(self.rejecting(piece, seeds, threads));
            }
        }
        survivors.sort_unstable_by_key(|survivor| survivor.seed);
        survivors.dedup_by_key(|survivor| survivor.seed);
        let found = |survivor: Survivor| Found { index: survivor.seed - seeds.first(), survivor };
        Tally {
            found: survivors.into_iter().map(found).collect(),
            planted: Some(Planted {
                seed: plant.seed,
                skip: plant.skip.skip,
                found: !plant.is_for_the_search || !missed.into_inner(),
            }),
            ..Tally::default()
        }
    }

    /// The sieve.
    pub(crate) const fn sieve(&self) -> &Sieve {
        &self.sieve
    }

    /// Tests any seeds on one thread: of a list each by itself.
    pub(crate) fn test_any(&self, seeds: &Sequence<'_>, random: u64) -> Tally {
        let listed = match *seeds {
            Sequence::Range(span) => return self.test(span, 1, random),
            Sequence::List(seeds) => seeds,
        };
        let mut tally = Tally::default();
        for (index, &seed) in (0..).zip(listed) {
            let Ok(one) = Span::new(seed, seed) else { continue };
            let found = self.test(one, 1, splitmix64(random ^ seed)).found;
            tally.found.extend(found.iter().map(|found| Found { index, ..*found }));
        }
        tally
    }

    /// What survives of a range of first states, skip by skip. Lowers `missed` when it has found
    /// the plant.
    fn hits(&self, piece: Piece, threads: usize, plant: &Plant, missed: &AtomicBool) -> Vec<Hit> {
        let skips = self.sieve.skips;
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
    fn rejecting(&self, piece: Piece, seeds: Span, threads: usize) -> Vec<Survivor> {
        let last = self.sieve.last_position();
        let rejections = Rejections::new(&self.question.lcg, self.sieve.modulus, last);
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
                        survivors.append(&mut self.judge(&waiting));
                        waiting.clear();
                    }
                });
            }
            survivors.append(&mut self.judge(&waiting));
        })
    }

    /// The survivors among listed seeds, by the scan.
    fn judge(&self, seeds: &[u64]) -> Vec<Survivor> {
        match &self.judge {
            Some(judge) if !seeds.is_empty() => {
                let tally = judge.test(&Sequence::List(seeds), usize::MAX);
                tally.found.into_iter().map(|found| found.survivor).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A seed to plant: any of the range and any skip, with as many of its draws as are needed in
    /// random places among those of the question.
    fn plant(&self, seeds: Span, random: u64) -> Plant {
        let mut random = random;
        let mut next = || {
            random = splitmix64(random);
            random
        };
        let lo = self.sieve.skips.lo;
        let skip = lo + (next() % u64::from(self.sieve.skips.count())) as u32;
        let sieve = &self.sieve;
        let last = sieve.last_position() as usize;
        let width = seeds.last() - seeds.first();
        let mut seed = seeds.first();
        let mut outputs = Vec::new();
        let mut is_for_the_search = false;
        for _ in 0..TRIES {
            seed = seeds.first() + next() % (width + 1);
            outputs = stream(sieve.family, sieve.modulus, seed, last + 1);
            is_for_the_search = !self.question.lcg.rejects
                || self.question.steady(seed, sieve.modulus, last as u64);
            if is_for_the_search {
                break;
            }
        }
        let mut draws = self.question.leading.clone();
        let mut left: Vec<u32> = (0..sieve.window()).collect();
        for _ in 0..self.question.need {
            let index = left.swap_remove((next() % left.len() as u64) as usize);
            let output = outputs[sieve.position(index, skip) as usize];
            draws[index as usize] = (output % u64::from(sieve.modulus)) as u32;
        }
        let (skip, draws) = (self.question.skip(skip), self.question.compared(&draws));
        Plant { seed, skip, draws, is_for_the_search }
    }

    /// The results of the seeds behind hits. A seed's best skip is one under which it was found,
    /// since it survives under that skip alone.
    fn judged(&self, mut hits: Vec<Hit>) -> Vec<Survivor> {
        hits.sort_unstable();
        let bests = hits.chunk_by(|a, b| a.state == b.state).filter_map(|hits| {
            let most = hits.iter().map(|hit| hit.matches).max()?;
            let skip = hits.iter().find(|hit| hit.matches == most)?.skip;
            Some(Survivor {
                seed: hits[0].state,
                best: Best { matches: most, skip },
                reverse: None,
            })
        });
        if self.judge.is_none() {
            return bests.collect();
        }
        self.judge(&bests.map(|survivor| survivor.seed).collect::<Vec<_>>())
    }
}

/// Gathers what `work` yields for `turns` turns on so many threads; each call of it takes turns
/// until none is left.
fn gather<T: Send>(
    threads: usize,
    turns: usize,
    work: impl Fn(&mut dyn Iterator<Item = usize>, &mut Vec<T>) + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let one = || {
        let mut gathered = Vec::new();
        let mut own = std::iter::from_fn(|| {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            (turn < turns).then_some(turn)
        });
        work(&mut own, &mut gathered);
        all.lock().unwrap_or_else(PoisonError::into_inner).append(&mut gathered);
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(turns) {
            scope.spawn(one);
        }
        one();
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}
