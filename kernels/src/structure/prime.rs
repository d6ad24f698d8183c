//! Generators modulo a prime: from the states that match one draw.
//!
//! Modulo a prime no bits of the state run by themselves. But a survivor matches one of the first
//! few draws, since it can't miss them all; and the states that match a draw are one in as many
//! as the modulus: `draw + modulus u`. From there every later state is affine in `u`, a progression
//! modulo the prime, so a further draw is an addition and a comparison. The draw to begin with,
//! the pivot, is the first that matches: so enough others must match behind it.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use shared::{
    outcome::Survivor,
    sieve::Sieve,
    spans::Span,
    structure::{PrimeLcg, followers},
};

use super::{
    gather::gather,
    judge::Judge,
    planting::{Random, planted},
    progressions::{ABREAST, Progression},
    question::leading,
    search::Hit,
    vector::Loops,
};
use crate::{
    affine::Affine, engine::Planted, generators::stream, residue::Modulus, scan::Instructions,
};

const PRIME: u64 = PrimeLcg::PRIME as u64;

/// A sieve of such a generator; threads share it.
#[derive(Debug)]
pub(super) struct Prime {
    lcg: PrimeLcg,
    modulus: Modulus,
    /// The draws in the order in which they are compared, and how many must match.
    draws: Vec<u32>,
    need: usize,
    advance: u64,
    loops: Loops,
}

/// One skip: from the first state to the one that each draw is compared with.
struct Maps {
    skip: u32,
    maps: Vec<Affine>,
    /// From each of those to the next.
    step: Affine,
}

impl Prime {
    /// Prepares a sieve that is suited.
    pub(super) fn new(sieve: &Sieve, lcg: PrimeLcg, instructions: Instructions) -> Self {
        let (draws, need) = leading(sieve);
        Self {
            lcg,
            modulus: Modulus::new(sieve.modulus),
            draws,
            need,
            advance: sieve.advance.into(),
            loops: Loops::new(instructions),
        }
    }

    /// The survivors of a range of seeds, and what became of the seed that was planted.
    pub(super) fn survivors(
        &self,
        sieve: &Sieve,
        judge: &Judge,
        (seeds, threads): (Span, usize),
        random: u64,
    ) -> (Vec<Survivor>, Planted) {
        let mut random = Random(random);
        let skip = sieve.skips.lo + random.below(sieve.skips.count().into()) as u32;
        let seed = seeds.first() + random.below(seeds.last() - seeds.first() + 1);
        let outputs = stream(sieve.family, sieve.modulus, seed, sieve.last_position() as usize + 1);
        let draws = planted(sieve, (&self.draws, self.need), (&outputs, skip), &mut random);
        // Where the search must come upon it, and from which state.
        let at = |index: usize| outputs[sieve.position(index as u32, skip) as usize];
        let matches =
            |&index: &usize| at(index) % u64::from(sieve.modulus) == u64::from(draws[index]);
        let pivot = (0..draws.len()).find(matches).unwrap_or_default();
        let block = at(pivot) as u32 / sieve.modulus / ABREAST * ABREAST;

        let missed = AtomicBool::new(true);
        let skips = sieve.skips.count() as usize;
        // Turns of the first pivots come first: they take longest.
        let turns = (self.draws.len() - self.need + 1) * skips;
        let hits = gather(threads, turns, |turns, gathered| {
            let mut found = Vec::new();
            for turn in turns {
                let maps = self.maps(sieve.skips.lo + (turn % skips) as u32);
                let all = 0..self.values(self.draws[turn / skips]);
                self.search(&maps, &self.draws, turn / skips, all, &mut found);
                gathered.extend(self.hits(&maps, &self.draws, &found, seeds));
                if (maps.skip, turn / skips) == (skip, pivot) {
                    let block = block..(block + ABREAST).min(self.values(draws[pivot]));
                    self.search(&maps, &draws, pivot, block, &mut found);
                    if self.hits(&maps, &draws, &found, seeds).any(|hit| hit.state == seed) {
                        missed.store(false, Ordering::Relaxed);
                    }
                }
            }
        });
        (judge.judged(hits), Planted { seed, skip, found: !missed.into_inner() })
    }

    fn maps(&self, skip: u32) -> Maps {
        let once = Affine { a: self.lcg.multiplier.into(), c: self.lcg.increment.into() };
        let step = times(once, u64::from(skip) + 1);
        let mut map = times(once, self.advance);
        let maps = self.draws.iter().map(|_| {
            map = then(map, step);
            map
        });
        Maps { skip, maps: maps.collect(), step }
    }

    /// How many states match a draw.
    fn values(&self, draw: u32) -> u32 {
        (PrimeLcg::PRIME - 1).checked_sub(draw).map_or(0, |last| last / self.modulus.value() + 1)
    }

    /// Finds the first states that may survive among those that match a draw, the pivot, with
    /// values of `u` in a range.
    fn search(
        &self,
        maps: &Maps,
        draws: &[u32],
        pivot: usize,
        values: Range<u32>,
        found: &mut Vec<u64>,
    ) {
        found.clear();
        let modulus = u64::from(self.modulus.value());
        let start = u64::from(draws[pivot]) + modulus * u64::from(values.start);
        let (least, among) = followers(draws.len() as u32, self.need as u32, pivot as u32);
        let mut on = Affine { a: 1, c: 0 };
        let mut progressions: Vec<Progression> = draws[pivot + 1..]
            .iter()
            .take(among as usize)
            .map(|&draw| {
                on = then(on, maps.step);
                let step = on.a * (modulus % PRIME) % PRIME;
                Progression::new(apply(on, start), step, self.modulus.target(draw))
            })
            .collect();
        let mut places = Vec::new();
        let count = values.end.saturating_sub(values.start);
        let blocks = count.div_ceil(ABREAST);
        self.loops.progress(&self.modulus, &mut progressions, blocks, least, &mut places);
        let back = inverse(maps.maps[pivot]);
        // The last block may reach past the end.
        let within = places.into_iter().filter(|&place| place < count);
        found.extend(within.map(|place| apply(back, start + modulus * u64::from(place))));
    }

    /// The seeds in a range of those first states that survive.
    fn hits(
        &self,
        maps: &Maps,
        draws: &[u32],
        states: &[u64],
        seeds: Span,
    ) -> impl Iterator<Item = Hit> {
        let matches = move |state: u64| {
            let drawn = |&(map, &draw): &(&Affine, &u32)| {
                apply(*map, state) % u64::from(self.modulus.value()) == u64::from(draw)
            };
            maps.maps.iter().zip(draws).filter(drawn).count()
        };
        states
            .iter()
            .map(move |&state| (state, matches(state)))
            .filter(|&(_, matches)| matches >= self.need)
            .flat_map(move |(state, matches)| {
                let (matches, skip) = (matches as u32, maps.skip);
                let hit = move |seed| Hit { state: seed, matches, skip };
                self.seeds(state, seeds).map(hit)
            })
    }

    /// The seeds of a first state in a range.
    fn seeds(&self, state: u64, seeds: Span) -> impl Iterator<Item = u64> + use<> {
        // Where nothing is added, 0 would stay 0 for ever, and 1 stands in for it.
        let residues = match (self.lcg.increment, state) {
            (0, 0) => [None, None],
            (0, 1) => [Some(0), Some(1)],
            _ => [Some(state), None],
        };
        residues
            .into_iter()
            .flatten()
            .flat_map(move |residue| (residue..=seeds.last()).step_by(PRIME as usize))
            .filter(move |&seed| seeds.contains(seed))
    }
}

fn then(map: Affine, next: Affine) -> Affine {
    map.then_modulo(next, PRIME.into())
}

fn times(map: Affine, count: u64) -> Affine {
    map.times(count, then)
}

/// Where a map leads from a state.
const fn apply(map: Affine, state: u64) -> u64 {
    (map.a * state + map.c) % PRIME
}

/// The map back.
fn inverse(map: Affine) -> Affine {
    // By Fermat's little theorem.
    let a = times(Affine { a: map.a, c: 0 }, PRIME - 2).a;
    Affine { a, c: (PRIME - map.c) * a % PRIME }
}
