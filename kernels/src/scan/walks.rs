//! The engine for variable skips: each seed's stream is laid out once for all strategies, as far
//! as they want it, and a strategy is given up when it can't do what is asked of it any more.
//!
//! A strategy that can't reach the need, or no more matches than the best one before it, changes
//! nothing. Strategies 0 and 2 look equally far, and so are one walk until the first gives up.

use shared::{
    outcome::{Best, Survivor},
    sieve::{Orders, Sieve},
    variable::{STRATEGIES, Strategy},
    witness::Witness,
};

use super::{
    streams::Streams,
    vector::{Instructions, Lanes, MAX_LANES},
    walk::{Step, Walk},
};
use crate::{
    engine::{Found, Tally},
    residue::{Modulus, Target},
    sequence::Sequence,
};

/// Of laying out an output, in comparisons of the scan.
const OUTPUT: f64 = 12.0;
/// A random seed's outputs that are wanted for a draw: strategy 4 steps over 55 with each miss.
const OUTPUTS: f64 = 57.0;

/// A sieve with variable skips, prepared; threads share it.
#[derive(Debug)]
pub(crate) struct Walks {
    sieve: Sieve,
    witness: Witness,
    modulus: Modulus,
    instructions: Instructions,
    /// The window in the leading order: the file's, except for `Reverse`.
    leading: Vec<Target>,
    /// For `Both`, the window in reverse order.
    reverse: Option<Vec<Target>>,
}

impl Walks {
    /// Prepares a validated sieve. Instructions that this processor lacks are replaced by the
    /// widest that it has.
    pub(crate) fn new(sieve: &Sieve, witness: Witness, instructions: Instructions) -> Self {
        let modulus = Modulus::new(sieve.modulus);
        let targets = |draws: &[u32]| draws.iter().map(|&draw| modulus.target(draw)).collect();
        let Orders { leading, reverse } = sieve.orders();
        Self {
            leading: targets(&leading),
            reverse: reverse.map(|draws| targets(&draws)),
            modulus,
            instructions: instructions.or_widest(),
            witness,
            sieve: sieve.clone(),
        }
    }

    /// The work of one random seed, in comparisons.
    pub(crate) fn work(&self) -> f64 {
        // It is hopeless after so many misses, or given up after so many in a row.
        let patience = 1.5 * f64::from(STRATEGIES[4].max_misses);
        let hopeless = f64::from(self.sieve.window() - self.sieve.need + 1);
        let draws = f64::min(hopeless, patience) * 1.1;
        (f64::from(self.sieve.advance) + draws * OUTPUTS) * OUTPUT
    }

    /// Tests seeds in order, and may stop once more than `room` survived.
    pub(crate) fn test(&self, seeds: &Sequence<'_>, room: usize) -> Tally {
        let mut group = self.instructions.group(self.sieve.family, self.modulus);
        let lanes = group.lanes();
        let mut streams = Streams::new(lanes);
        let mut tally = Tally::default();
        let mut buffer = [0; MAX_LANES];
        let mut index = 0;
        while u128::from(index) < seeds.len() && tally.found.len() <= room {
            let valid = seeds.fill(index, &mut buffer[..lanes]);
            streams.clear();
            group.start(self.sieve.advance, &buffer[..lanes]);
            for (lane, &seed) in buffer[..valid].iter().enumerate() {
                let mut seed_walk = OneSeed { walks: self, group: &mut *group, lane };
                let (near_miss, survivor) = seed_walk.test(&mut streams, seed);
                if near_miss {
                    tally.near_misses.add(seed);
                }
                let index = index + lane as u64;
                tally.found.extend(survivor.map(|survivor| Found { index, survivor }));
            }
            // At the very end of the number line there is nothing after the last group.
            let Some(next) = index.checked_add(valid as u64) else { break };
            index = next;
        }
        tally
    }
}

/// One seed of a group.
struct OneSeed<'a> {
    walks: &'a Walks,
    group: &'a mut dyn Lanes,
    lane: usize,
}

impl OneSeed<'_> {
    /// Whether it is a near miss, and its result if it survives.
    fn test(&mut self, streams: &mut Streams, seed: u64) -> (bool, Option<Survivor>) {
        let Walks { sieve, witness, leading, reverse, .. } = self.walks;
        let (strict, best) = self.best(streams, leading, sieve.need, witness.least);
        let near_miss = strict >= witness.least;
        let Some(best) = best else { return (near_miss, None) };
        let reverse = match reverse {
            None => None,
            Some(targets) => {
                let need = sieve.reverse_need;
                let (_, Some(best)) = self.best(streams, targets, need, need) else {
                    return (near_miss, None);
                };
                Some(best)
            }
        };
        (near_miss, Some(Survivor { seed, best, reverse }))
    }

    /// The matches of strategy 0, if there are `witness` at least, and the best strategy with at
    /// least `need`.
    fn best(
        &mut self,
        streams: &mut Streams,
        targets: &[Target],
        need: u32,
        witness: u32,
    ) -> (u32, Option<Best>) {
        let mut best: Option<Best> = None;
        let mut strict = Walk::new();
        let mut gave_up = false;
        for (id, strategy) in (0..).zip(STRATEGIES) {
            let least = best.map_or(need, |best| best.matches + 1);
            let mut walk = Walk::new();
            match id {
                0 => {
                    let least = least.min(witness);
                    let step = self.walk(&mut walk, strategy, targets, least, streams);
                    (strict, gave_up) = (walk, step == Step::GaveUp);
                }
                2 if gave_up => {
                    walk = strict;
                    self.walk(&mut walk, strategy, targets, least, streams);
                }
                // Strategy 0 did not give up: this one does the same.
                2 => {}
                _ => {
                    self.walk(&mut walk, strategy, targets, least, streams);
                }
            }
            if walk.matches >= least {
                best = Some(Best { matches: walk.matches, skip: id });
            }
        }
        (strict.matches, best)
    }

    fn walk(
        &mut self,
        walk: &mut Walk,
        strategy: Strategy,
        targets: &[Target],
        least: u32,
        streams: &mut Streams,
    ) -> Step {
        loop {
            let keys = streams.of(self.lane);
            let step = self.group.walk(walk, strategy, targets, least, keys);
            if step != Step::Wanting {
                return step;
            }
            self.group.more(streams);
        }
    }
}
