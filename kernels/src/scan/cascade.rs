//! The scan engine: seeds fall through stages, each narrower and costlier than the one before.
//!
//! Stage one is a necessary condition on all seeds, stage two the exact test for near misses,
//! stage three the whole window. Those that pass a stage wait until a group of them is full.

use shared::{
    outcome::{Best, Survivor},
    sieve::{Orders, Sieve},
    witness::Witness,
};

use super::{
    stages::{first_stage, work},
    vector::{Instructions, Lanes, MAX_LANES},
    window::Window,
};
use crate::{
    engine::{Found, Tally},
    residue::Modulus,
    sequence::Sequence,
};

/// A sieve prepared for scanning; threads share it, each with a [`Cascade`] of its own.
#[derive(Debug)]
pub(crate) struct Scan {
    sieve: Sieve,
    modulus: Modulus,
    instructions: Instructions,
    /// Necessary for a near miss.
    first: Window,
    /// Exactly a near miss; `None` when the first stage already is.
    near: Option<Window>,
    /// The whole window in the leading order: the file's, except for `Reverse`.
    whole: Window,
    /// For `Both`, the whole window in reverse order.
    reverse: Option<Window>,
}

impl Scan {
    /// Prepares a validated sieve. Instructions that this processor lacks are replaced by the
    /// widest that it has.
    pub(crate) fn new(sieve: &Sieve, witness: Witness, instructions: Instructions) -> Self {
        let modulus = Modulus::new(sieve.modulus);
        let Orders { leading, reverse } = sieve.orders();
        let window = |draws: &[u32], least: u32| {
            Window::new(draws, &modulus, sieve.skips, sieve.advance, least)
        };
        let stage = first_stage(sieve, witness);
        let head = |stage: Witness| window(&leading[..stage.first as usize], stage.least);
        Self {
            first: head(stage),
            near: (stage != witness).then(|| head(witness)),
            whole: window(&leading, sieve.need),
            reverse: reverse.map(|draws| window(&draws, sieve.reverse_need)),
            modulus,
            instructions: instructions.or_widest(),
            sieve: sieve.clone(),
        }
    }

    /// The work of one seed in the first stage, in outputs and comparisons.
    pub(crate) fn work(&self) -> f64 {
        work(&self.sieve, self.first.targets.len() as u32)
    }

    /// Tests seeds in order, and may stop once more than `room` survived.
    pub(crate) fn test(&self, seeds: &Sequence<'_>, room: usize) -> Tally {
        let mut cascade = Cascade {
            scan: self,
            group: self.instructions.group(self.sieve.family, self.modulus),
            near: Vec::new(),
            whole: Vec::new(),
            tally: Tally::default(),
        };
        cascade.run(seeds, room);
        cascade.tally
    }
}

/// How many groups of consecutive seeds are worth getting ready for.
const RUN: u128 = 64;

/// A seed with its place in the sequence.
#[derive(Debug, Clone, Copy)]
struct Placed {
    index: u64,
    seed: u64,
}

struct Cascade<'a> {
    scan: &'a Scan,
    group: Box<dyn Lanes>,
    /// Seeds that passed the first stage.
    near: Vec<Placed>,
    /// Near misses.
    whole: Vec<Placed>,
    tally: Tally,
}

impl Cascade<'_> {
    fn run(&mut self, seeds: &Sequence<'_>, room: usize) {
        let lanes = self.group.lanes();
        let mut buffer = [0; MAX_LANES];
        let group = &mut buffer[..lanes];
        let in_runs = matches!(seeds, Sequence::Range(_)) && seeds.len() >= RUN * lanes as u128;
        if in_runs {
            self.group.expect_runs(self.scan.sieve.family, &self.scan.first);
        }
        let mut index = 0;
        while u128::from(index) < seeds.len() && self.tally.found.len() <= room {
            let first = seeds.get(index);
            let past = (first % lanes as u64) as usize;
            let whole = seeds.len() - u128::from(index) >= lanes as u128;
            let run = in_runs && past == 0 && whole;
            let run = run.then(|| self.group.count_run(&self.scan.first, first)).flatten();
            let (mask, valid) = run.map_or_else(
                || {
                    let valid = seeds.fill(index, group);
                    // Up to where the next run begins.
                    let valid = if in_runs { valid.min(lanes - past) } else { valid };
                    (self.group.count(&self.scan.first, group), valid)
                },
                |mask| (mask, lanes),
            );
            for lane in set_bits(mask).take_while(|&lane| lane < valid) {
                let index = index + lane as u64;
                self.near.push(Placed { index, seed: seeds.get(index) });
            }
            if self.near.len() >= lanes {
                self.drain_near(lanes);
            }
            // At the very end of the number line there is nothing after the last group.
            let Some(next) = index.checked_add(valid as u64) else { break };
            index = next;
        }
        self.drain_near(1);
        self.drain_whole(1);
    }

    /// Tests full groups for near misses while at least `least` seeds wait.
    fn drain_near(&mut self, least: usize) {
        let waiting = std::mem::take(&mut self.near);
        let mut rest = &waiting[..];
        while rest.len() >= least {
            let (group, after) = rest.split_at(rest.len().min(self.group.lanes()));
            let mask = match &self.scan.near {
                Some(near) => self.count(near, group),
                None => u64::MAX,
            };
            for lane in set_bits(mask).take_while(|&lane| lane < group.len()) {
                self.tally.near_misses.add(group[lane].seed);
                self.whole.push(group[lane]);
            }
            if self.whole.len() >= self.group.lanes() {
                self.drain_whole(self.group.lanes());
            }
            rest = after;
        }
        self.near.extend_from_slice(rest);
    }

    /// Looks at the whole window in full groups while at least `least` near misses wait.
    fn drain_whole(&mut self, least: usize) {
        let waiting = std::mem::take(&mut self.whole);
        let mut rest = &waiting[..];
        while rest.len() >= least {
            let (group, after) = rest.split_at(rest.len().min(self.group.lanes()));
            let leading = self.bests(&self.scan.whole, group);
            let both = self.scan.reverse.as_ref().map(|reverse| self.bests(reverse, group));
            for (lane, placed) in group.iter().enumerate() {
                let reverse = both.as_ref().map(|bests| bests[lane]);
                if let Some(best) = leading[lane]
                    && reverse.is_none_or(|reverse| reverse.is_some())
                {
                    let survivor = Survivor { seed: placed.seed, best, reverse: reverse.flatten() };
                    self.tally.found.push(Found { index: placed.index, survivor });
                }
            }
            rest = after;
        }
        self.whole.extend_from_slice(rest);
    }

    /// The results of up to a group of seeds that have what the window asks for.
    fn bests(&mut self, window: &Window, group: &[Placed]) -> [Option<Best>; MAX_LANES] {
        let mask = self.count(window, group);
        std::array::from_fn(|lane| (mask >> lane & 1 == 1).then(|| self.group.best(window, lane)))
    }

    fn count(&mut self, window: &Window, group: &[Placed]) -> u64 {
        let mut seeds = [group[group.len() - 1].seed; MAX_LANES];
        for (seed, placed) in seeds.iter_mut().zip(group) {
            *seed = placed.seed;
        }
        self.group.count(window, &seeds[..self.group.lanes()])
    }
}

/// The numbers of the bits that are set, ascending.
fn set_bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(bit)
    })
}
