//! The structural search of generators modulo the prime 2^31 - 1 reports exactly what the other
//! engines report, over ranges and over all seeds, of which several lead to one state.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "support/structural.rs"]
mod support;

use kernels::engine::Instructions;
use proptest::prelude::*;
use shared::{
    families::Family,
    sieve::{Direction, Sieve},
    spans::Span,
    witness::{Witness, splitmix64},
};
use support::{assert_exact, plan, plant, random_draws, search_on};

const FAMILIES: [Family; 3] = [Family::Lcg32, Family::Minstd, Family::MinstdRand0];
const PRIME: u64 = (1 << 31) - 1;
const LAST: u64 = (1 << 32) - 1;

/// Where a range begins: also where the seeds begin, and where the states begin again.
fn begins() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0..=LAST,
        1 => Just(0_u64),
        1 => PRIME - 2000..PRIME + 2,
        1 => 2 * PRIME - 2000..=LAST,
    ]
}

/// Sieves of all directions and ranges; most have a survivor that was planted.
fn plans() -> impl Strategy<Value = (Sieve, Span)> {
    let modulus = prop_oneof![
        3 => Just(1000_u32),
        1 => Just(999),
        1 => Just(4096),
        1 => Just(1_000_003),
        1 => Just(3_000_000_019),
    ];
    let length = prop_oneof![1 => Just(1_u64), 2 => 2_u64..3000, 1 => 3000_u64..300_000];
    (
        (prop::sample::select(&FAMILIES[..]), modulus, 2_u32..12, 0_u32..30, 0_u32..2),
        (prop_oneof![Just(0_u32), 0_u32..700], 0_u8..3, any::<u64>()),
        (begins(), length, any::<u32>(), any::<u32>(), 0_u8..4),
    )
        .prop_map(|((family, modulus, k, lo, more), (advance, direction, random), range)| {
            let (first, length, need, reverse_need, planted) = range;
            // Asked for one match of many draws, all seeds survive and nothing is fast.
            let need = 2 + need % (k - 1);
            let mut sieve =
                plan(family, modulus, random_draws(k, modulus, random), need, (lo, lo + more));
            sieve.advance = advance;
            sieve.direction =
                [Direction::Forward, Direction::Reverse, Direction::Both][direction as usize];
            if sieve.direction == Direction::Both {
                sieve.reverse_need = 1 + reverse_need % k;
            }
            let seeds = Span::new(first, (first + length - 1).min(LAST)).unwrap();
            if planted > 0 {
                let seed = seeds.first() + random % seeds.len() as u64;
                let skip = lo + (random >> 32) as u32 % (more + 1);
                plant(&mut sieve, seed, skip, need, random);
            }
            sieve.validate().unwrap();
            (sieve, seeds)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn ranges_are_searched_exactly((sieve, seeds) in plans()) {
        assert_exact(&sieve, seeds, &Instructions::supported());
    }
}

/// One match is enough, so that seeds survive by the thousand, at all the awkward places.
#[test]
fn loose_thresholds_are_exact() {
    let mut survivors = 0;
    for family in FAMILIES {
        for (k, need, modulus) in [(1, 1, 1000), (3, 1, 100_003), (4, 2, 1000)] {
            for first in [0, PRIME - 40_000, 2 * PRIME - 80_000] {
                let seeds = Span::new(first, (first + 99_999).min(LAST)).unwrap();
                let sieve = plan(family, modulus, random_draws(k, modulus, first), need, (0, 1));
                survivors += assert_exact(&sieve, seeds, &[Instructions::widest()]);
            }
        }
    }
    assert!(survivors > 1_000, "{survivors}");
}

/// Seeds anywhere among all, each with just as many matches as are asked for; and with each all
/// others that lead to the same state.
#[test]
fn what_is_planted_among_all_seeds_is_found() {
    let whole = Span::new(0, LAST).unwrap();
    let mut random = 20_260_102;
    let mut edges = vec![0, 1, 2, PRIME - 1, PRIME, PRIME + 1, 2 * PRIME, 2 * PRIME + 1];
    edges.resize_with(24, || {
        random = splitmix64(random);
        random & LAST
    });
    for (turn, seed) in edges.into_iter().enumerate() {
        for family in FAMILIES {
            random = splitmix64(random);
            let (k, need, lo) = (12 + (random % 8) as u32, 8, (random >> 16) as u32 % 20);
            let mut sieve = plan(family, 1000, random_draws(k, 1000, random), need, (lo, lo));
            sieve.advance = (random >> 24) as u32 % 100;
            if turn % 3 == 1 {
                sieve.direction = Direction::Reverse;
            }
            plant(&mut sieve, seed, lo, need, random);
            let found = search_on(&sieve, whole, Instructions::widest());
            let found: Vec<u64> = found.iter().map(|found| found.survivor.seed).collect();
            let state = |seed: u64| match (family, seed % PRIME) {
                (Family::Minstd | Family::MinstdRand0, 0) => 1,
                (_, state) => state,
            };
            let residues = [0, 1, seed % PRIME];
            let mut same: Vec<u64> = residues
                .iter()
                .flat_map(|residue| (0..3).map(move |turn| residue + turn * PRIME))
                .filter(|&other| other <= LAST && state(other) == state(seed))
                .collect();
            same.sort_unstable();
            same.dedup();
            assert!(same.iter().all(|seed| found.contains(seed)), "{seed}: {sieve:?} {found:?}");
            let witness = Witness::new(k, need, 1);
            for seed in found {
                assert!(kernels::reference::test(&sieve, witness, seed).survivor.is_some());
            }
        }
    }
}
