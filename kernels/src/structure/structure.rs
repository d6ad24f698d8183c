//! A sieve prepared for the structural search.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use shared::{
    outcome::{Best, Survivor},
    sieve::{Direction, Sieve},
    spans::Span,
    structure::{PowerLcg, Unsuited, suits},
    witness::Witness,
};

use super::{
    classes::Cycle,
    question::Question,
    search::{Hit, Search},
    vector::Loops,
};
use crate::{
    engine::{Found, Tally},
    scan::{Instructions, Scan},
    sequence::Sequence,
};

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

/// Part of a request in terms of first states, and what turns them into seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    states: Span,
    flip: u64,
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

    /// Tests a range of seeds on so many threads. All of it is tested, however many survive.
    pub(crate) fn test(&self, seeds: Span, threads: usize) -> Tally {
        let mut survivors: Vec<Survivor> = Vec::new();
        for piece in pieces(&self.question.lcg, seeds) {
            let mut hits = self.hits(piece.states, threads);
            for hit in &mut hits {
                hit.state ^= piece.flip;
            }
            hits.retain(|hit| seeds.contains(hit.state));
            survivors.extend(self.judged(hits));
        }
        survivors.sort_unstable_by_key(|survivor| survivor.seed);
        survivors.dedup_by_key(|survivor| survivor.seed);
        let found = |survivor: Survivor| Found { index: survivor.seed - seeds.first(), survivor };
        Tally { found: survivors.into_iter().map(found).collect(), ..Tally::default() }
    }

    /// What survives of a range of first states, skip by skip.
    fn hits(&self, states: Span, threads: usize) -> Vec<Hit> {
        let skips = self.sieve.skips;
        let all = self.cycle.len();
        // With few skips each one's classes are shared between the threads.
        let shares = (4 * threads).div_ceil(skips.count() as usize).min(all.div_ceil(4096));
        let shares = if threads == 1 { 1 } else { shares };
        let turns = skips.count() as usize * shares;
        let next = AtomicUsize::new(0);
        let gathered = Mutex::new(Vec::new());
        let work = || {
            let mut search = Search::new(&self.question, self.loops, &self.cycle, states);
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                if turn >= turns {
                    break;
                }
                let skip = self.question.skip(skips.lo + (turn / shares) as u32);
                let share = turn % shares;
                let places = all * share / shares..all * (share + 1) / shares;
                search.run(&skip, &self.question.draws, places);
            }
            gathered.lock().unwrap_or_else(PoisonError::into_inner).append(&mut search.hits);
        };
        thread::scope(|scope| {
            for _ in 1..threads.min(turns) {
                scope.spawn(work);
            }
            work();
        });
        gathered.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The results of the seeds behind hits. A seed's best skip is one under which it was found,
    /// since it survives under that skip alone.
    fn judged(&self, mut hits: Vec<Hit>) -> Vec<Survivor> {
        hits.sort_unstable();
        let bests = hits.chunk_by(|a, b| a.state == b.state).filter_map(|hits| {
            let most = hits.iter().map(|hit| hit.matches).max()?;
            let skip = hits.iter().find(|hit| hit.matches == most)?.skip;
            Some(Survivor { seed: hits[0].state, best: Best { matches: most, skip }, reverse: None })
        });
        let Some(judge) = &self.judge else { return bests.collect() };
        let seeds: Vec<u64> = bests.map(|survivor| survivor.seed).collect();
        if seeds.is_empty() {
            return Vec::new();
        }
        let tally = judge.test(&Sequence::List(&seeds), usize::MAX);
        tally.found.into_iter().map(|found| found.survivor).collect()
    }
}

/// A range of seeds as ranges of first states.
///
/// Seeds past the state's width begin the states again. Xoring with the scramble turns the
/// aligned block of `2^n` seeds around a seed into another such block, and changes nothing at all
/// above its own highest bit; so each end of a range is widened to a block of at most twice its
/// length, and whoever looks for seeds drops what was not asked for.
fn pieces(lcg: &PowerLcg, seeds: Span) -> Vec<Piece> {
    let mask = (1 << lcg.state_bits) - 1;
    let mut pieces = Vec::new();
    for above in seeds.first() >> lcg.state_bits..=seeds.last() >> lcg.state_bits {
        let base = above << lcg.state_bits;
        let whole = Span::new(base, base | mask).ok().and_then(|whole| whole.intersection(seeds));
        let Some(part) = whole else { continue };
        for block in blocks(part.first() & mask, part.last() & mask, lcg.scramble) {
            pieces.push(Piece { states: block, flip: lcg.scramble ^ base });
        }
    }
    pieces
}

/// Ranges of first states that hold those of the seeds from `first` to `last`, and little else.
fn blocks(first: u64, last: u64, scramble: u64) -> Vec<Span> {
    let span = |first: u64, last: u64| Span::new(first, last).into_iter();
    let width = 64 - scramble.leading_zeros();
    if scramble == 0 {
        return span(first, last).collect();
    }
    // Where the first and the last seed begin to differ.
    let split = 63 - ((first ^ last) | 1).leading_zeros();
    let block = |low: u64, high: u64, bits: u32| {
        let mask = (1 << bits) - 1;
        let (low, high) = (low & !mask, high | mask);
        // A block of one width is flipped as one; a run of blocks above the scramble stays.
        if low ^ high == mask { span((low ^ scramble) & !mask, (low ^ scramble) | mask) } else { span(low, high) }
    };
    if split < width {
        let middle = last >> split << split;
        if first == middle || first == last {
            return block(first, last, if first == last { 0 } else { split }).collect();
        }
        let around = |a: u64, b: u64| 64 - (a ^ b).leading_zeros();
        let head = block(first, middle - 1, around(first, middle - 1));
        return head.chain(block(middle, last, around(middle, last))).collect();
    }
    block(first, last, width).collect()
}
