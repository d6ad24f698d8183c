//! The structural engine reports exactly what the other engines report: on ranges that those can
//! test whole, and over whole spaces by what was planted there, by what chance leaves, and by its
//! own answers for parts.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "support/structural.rs"]
mod support;

use kernels::{
    engine::{Found, Instructions, Prepared},
    sequence::Sequence,
};
use proptest::prelude::*;
use shared::{
    families::Family,
    sieve::{Direction, Sieve},
    spans::Span,
    structure::suits,
    witness::{Witness, splitmix64},
};
use support::{assert_exact, plan, plant, random_draws, search_on};

const FAMILIES: [Family; 4] =
    [Family::JavaLcg, Family::JavaRandom, Family::AnsiC, Family::MsvcRand];

fn whole(family: Family) -> Span {
    Span::half_open(0, family.seed_end()).unwrap()
}

fn search(sieve: &Sieve, seeds: Span) -> Vec<Found> {
    search_on(sieve, seeds, Instructions::widest())
}

/// Sieves of all directions, with moduli of several powers of two, and ranges at awkward places;
/// most have a survivor that was planted.
fn plans() -> impl Strategy<Value = (Sieve, Span)> {
    let modulus = prop_oneof![
        4 => Just(1000_u32),
        1 => Just(999),
        1 => Just(360),
        1 => Just(200),
        1 => Just(24),
        1 => Just(14),
        1 => Just(960),
        1 => Just(1_000_003),
    ];
    let length = prop_oneof![
        1 => Just(1_u64),
        2 => 2_u64..3000,
        2 => 3000_u64..60_000,
        1 => 500_000_u64..1_200_000,
    ];
    (
        (prop::sample::select(&FAMILIES[..]), modulus, 1_u32..24, 0_u32..6, 0_u32..3),
        (prop_oneof![Just(0_u32), 0_u32..700], 0_u8..3, any::<u64>()),
        (length, any::<u64>(), 0_u8..4),
        (any::<u32>(), any::<u32>(), 0_u8..4),
    )
        .prop_map(|(asked, (advance, direction, random), (length, start, end), needs)| {
            let (family, mut modulus, k, lo, more) = asked;
            if family == Family::MsvcRand && modulus > 1 << 10 {
                modulus = 1000;
            }
            let draws = random_draws(k, modulus, random);
            let need = 1 + needs.0 % k;
            let mut sieve = plan(family, modulus, draws, need, (lo, lo + more));
            sieve.advance = advance;
            sieve.direction =
                [Direction::Forward, Direction::Reverse, Direction::Both][direction as usize];
            if sieve.direction == Direction::Both {
                sieve.reverse_need = 1 + needs.1 % k;
            }
            let last = whole(family).last();
            let first = match end {
                0 => last,
                1 => start & last & !0xF_FFFF,
                _ => start & last,
            }
            .min(last - (length - 1));
            let seeds = Span::new(first, first + length - 1).unwrap();
            if needs.2 > 0 {
                let seed = first + random % length;
                let skip = lo + (random >> 32) as u32 % (more + 1);
                plant(&mut sieve, seed, skip, need, random);
            }
            sieve.validate().unwrap();
            (sieve, seeds)
        })
        .prop_filter("the search is bound by what it finds", |(sieve, seeds)| {
            let matches = f64::from(sieve.window()) / f64::from(sieve.modulus);
            suits(sieve).is_ok() && matches.powi(sieve.need as i32) * seeds.len() as f64 <= 1e5
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn ranges_are_searched_exactly((sieve, seeds) in plans()) {
        assert_exact(&sieve, seeds, &Instructions::supported());
    }
}

/// Few matches are asked for, so that chance leaves many survivors, in ranges around the sizes at
/// which another form of the search takes over.
#[test]
fn loose_thresholds_are_exact() {
    let mut survivors = 0;
    for family in FAMILIES {
        for (k, need) in [(8, 1), (8, 2), (12, 3), (30, 4)] {
            for (turn, length) in
                [1, 2, 77, 4096, 524_287, 524_289, 1_500_000].into_iter().enumerate()
            {
                let random = u64::from(k * 1000 + need) + ((turn as u64) << 40);
                let sieve = plan(family, 1000, random_draws(k, 1000, random), need, (0, 1));
                let first = splitmix64(random) & (whole(family).last() >> 1);
                let seeds = Span::new(first, first + length - 1).unwrap();
                survivors += assert_exact(&sieve, seeds, &[Instructions::widest()]);
            }
        }
    }
    assert!(survivors > 5_000, "{survivors}");
}

/// Hundreds of seeds anywhere among all, each with just as many matches as are asked for.
#[test]
fn what_is_planted_in_the_whole_space_is_found() {
    let mut random = 20_260_101;
    for family in FAMILIES {
        for turn in 0..100 {
            random = splitmix64(random);
            let k = 12 + (random % 29) as u32;
            let need = (k / 3).max(6) + (random >> 8) as u32 % 6;
            let lo = (random >> 16) as u32 % 20;
            let mut sieve = plan(family, 1000, random_draws(k, 1000, random), need, (lo, lo + 1));
            sieve.advance = (random >> 24) as u32 % 100;
            if turn % 3 == 1 {
                sieve.direction = Direction::Reverse;
            }
            let seed = splitmix64(random ^ 1) & whole(family).last();
            plant(&mut sieve, seed, lo + turn % 2, need, random);
            // Seeds that reject an output are listed: those of the whole space take an hour.
            let seeds = if family == Family::JavaRandom {
                Span::new(seed & !0xFFF_FFFF, seed | 0xFFF_FFFF).unwrap()
            } else {
                whole(family)
            };
            let found = search(&sieve, seeds);
            let planted = found.iter().find(|found| found.survivor.seed == seed);
            let planted = planted.unwrap_or_else(|| panic!("{seed} is not found by {sieve:?}"));
            assert!(planted.survivor.best.matches >= need);
            let witness = Witness::new(k, need, 1);
            for found in found {
                let seed = found.survivor.seed;
                let expected = kernels::reference::test(&sieve, witness, seed).survivor;
                assert_eq!(Some(found.survivor), expected);
            }
        }
    }
}

/// Chance leaves about 333,900 seeds of 2^48 (the mean of a binomial), and parts add up.
#[test]
fn chance_leaves_as_many_as_it_should_and_parts_are_parts() {
    let mut sieve =
        plan(Family::JavaLcg, 1000, vec![238, 90, 538, 352, 325, 443, 586, 97], 4, (0, 16));
    sieve.advance = 43;
    let found = search(&sieve, whole(Family::JavaLcg));
    let expected = 333_900.0_f64;
    let off = found.len() as f64 - expected;
    assert!(off.abs() < 5.0 * expected.sqrt(), "{}", found.len());

    let mut random = 7;
    for bits in [47, 46, 45, 44, 43, 42, 41, 40, 39, 38] {
        random = splitmix64(random);
        let first = random & whole(Family::JavaLcg).last() >> 1;
        let seeds = Span::new(first, first + (1 << bits) - 1 + (random >> 50)).unwrap();
        let part: Vec<_> = found
            .iter()
            .map(|found| found.survivor)
            .filter(|survivor| seeds.contains(survivor.seed))
            .collect();
        assert!(part.len() > 100);
        let searched: Vec<_> = search(&sieve, seeds).iter().map(|found| found.survivor).collect();
        assert_eq!(searched, part, "{seeds}");
    }
}

/// A stream that rejects shifts all later draws; it is found wherever that happens.
#[test]
fn seeds_that_reject_are_found_whatever_the_position() {
    const MASK: u64 = (1 << 48) - 1;
    // Newton's iteration for the inverse modulo 2^64.
    let back = (0..6).fold(0x5_DEEC_E66D_u64, |inverse, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(inverse.wrapping_mul(0x5_DEEC_E66D)))
    });
    let mut shifted = 0;
    for direction in [Direction::Forward, Direction::Reverse, Direction::Both] {
        for skip in 0..2 {
            let mut sieve = plan(Family::JavaRandom, 1000, vec![0; 10], 10, (0, 1));
            sieve.advance = 2;
            sieve.direction = direction;
            if direction == Direction::Both {
                sieve.reverse_need = 1;
                sieve.draws = vec![0; 11];
            }
            for step in 1..=sieve.last_position() + 2 {
                let random = splitmix64(step << 8 | u64::from(skip));
                // One of the 648 values of 31 bits that nextInt(1000) rejects.
                let mut state = (0x8000_0000 - 1 - random % 648) << 17 | (random >> 47);
                for _ in 0..step {
                    state = state.wrapping_sub(11).wrapping_mul(back) & MASK;
                }
                let seed = state ^ 0x5_DEEC_E66D;
                let plain = random_draws(sieve.window(), 1000, random);
                sieve.draws = plain;
                let all = sieve.window();
                plant(&mut sieve, seed, skip, all, random);
                let first = seed.saturating_sub(30_000);
                let found = search(&sieve, Span::new(first, (seed + 5).min(MASK)).unwrap());
                let witness = Witness::new(sieve.window(), sieve.need, 1);
                let expected = kernels::reference::test(&sieve, witness, seed).survivor;
                assert_eq!(found.last().map(|found| found.survivor), expected, "step {step}");
                // With no other seed to plant than one that rejects, nothing is amiss.
                let alone = Sequence::Range(Span::new(seed, seed).unwrap());
                let engine = Prepared::structural(&sieve, Instructions::widest()).unwrap();
                assert!(engine.test(&alone, 1).planted.unwrap().found, "step {step}");
                shifted += u32::from(expected.is_some_and(|one| one.best.matches >= 10));
            }
        }
    }
    assert!(shifted > 40, "{shifted}");
}

/// Every search plants a seed of its own and finds it, whatever the range.
#[test]
fn every_search_finds_its_own_plant() {
    for family in FAMILIES {
        for (k, need, bits) in [(30, 8, 0), (30, 15, 10), (12, 12, 22), (8, 5, 24)] {
            for turn in 0..4 {
                let random = splitmix64(k.into()) ^ splitmix64(turn);
                let sieve = plan(family, 1000, random_draws(k, 1000, random), need, (0, 20));
                let first = random & (whole(family).last() >> 1);
                let seeds = Sequence::Range(Span::new(first, first + (1 << bits) - 1).unwrap());
                let engine = Prepared::structural(&sieve, Instructions::widest()).unwrap();
                let planted = engine.test(&seeds, usize::MAX).planted.unwrap();
                assert!(planted.found, "{family} {k} {need} {bits} {planted:?}");
            }
        }
    }
}
