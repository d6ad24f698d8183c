//! What the tests of the structural searches share: sieves, plants, and the comparison with the
//! other engines.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use kernels::{
    engine::{Found, Instructions, Prepared},
    generators::stream,
    sequence::Sequence,
};
use shared::{
    families::Family,
    job::Engine,
    sieve::{Direction, Mode, Sieve, Skips},
    spans::Span,
    witness::{Witness, splitmix64},
};

/// A sieve of these draws, forward, from the first output on.
pub(crate) fn plan(
    family: Family,
    modulus: u32,
    draws: Vec<u32>,
    need: u32,
    skips: (u32, u32),
) -> Sieve {
    Sieve {
        family,
        direction: Direction::Forward,
        mode: Mode::Fixed,
        modulus,
        draws,
        advance: 0,
        skips: Skips { lo: skips.0, hi: skips.1 },
        need,
        reverse_need: need,
    }
}

/// Draws from nowhere.
pub(crate) fn random_draws(count: u32, modulus: u32, random: u64) -> Vec<u32> {
    (0..count).map(|n| (splitmix64(random ^ u64::from(n)) % u64::from(modulus)) as u32).collect()
}

/// Replaces `count` of the draws, which ones by chance, by those of a seed under a skip, in the
/// order in which the sieve compares them.
pub(crate) fn plant(sieve: &mut Sieve, seed: u64, skip: u32, count: u32, random: u64) {
    let outputs = stream(sieve.family, sieve.modulus, seed, sieve.last_position() as usize + 1);
    let window = sieve.window();
    let mut places: Vec<u32> = (0..window).collect();
    places.sort_by_key(|&place| splitmix64(random ^ u64::from(place) << 32));
    for index in places.into_iter().take(count as usize) {
        let output = outputs[sieve.position(index, skip) as usize];
        let place = if sieve.direction == Direction::Reverse { window - 1 - index } else { index };
        sieve.draws[place as usize] = (output % u64::from(sieve.modulus)) as u32;
    }
}

/// What the search of a range finds; it must find its own plant as well.
pub(crate) fn search_on(sieve: &Sieve, seeds: Span, instructions: Instructions) -> Vec<Found> {
    let engine = Prepared::structural(sieve, instructions).unwrap();
    let tally = engine.test(&Sequence::Range(seeds), usize::MAX);
    assert!(tally.planted.unwrap().found, "{sieve:?}");
    tally.found
}

/// What the engine reports is what the reference engine (for few seeds) or the scan reports; how
/// many that are.
pub(crate) fn assert_exact(sieve: &Sieve, seeds: Span, on: &[Instructions]) -> usize {
    let witness = Witness::new(sieve.window(), sieve.need, 1);
    let other = if seeds.len() < 3000 { Engine::Reference } else { Engine::Scan };
    let sequence = Sequence::Range(seeds);
    let expected = Prepared::new(other, sieve, witness).test(&sequence, usize::MAX).found;
    for &instructions in on {
        let found = search_on(sieve, seeds, instructions);
        assert_eq!(found, expected, "{instructions:?}: {sieve:?} on {seeds}");
    }
    expected.len()
}
