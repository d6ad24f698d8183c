//! The scan equals the reference engine in everything that it reports, on every instruction set
//! of this machine.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "support/agreement.rs"]
mod support;

use kernels::{generators::stream, sequence::Sequence};
use proptest::prelude::*;
use shared::{
    families::Family,
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    spans::Span,
    witness::Witness,
};
use support::{Plan, seeds_of};

/// Any family and modulus, windows and skips that cross tiles, ranges at both ends of the seed
/// width, lists; and in most plans one of the seeds really made the draws.
fn plans() -> impl Strategy<Value = Plan> {
    let modulus = prop_oneof![
        4 => Just(1000_u32),
        2 => 2_u32..40,
        2 => (1_u32..31).prop_map(|exponent| 1 << exponent),
        1 => 1_000_000_u32..i32::MAX as u32,
        1 => Just((1 << 30) + 1),
    ];
    let skips = prop_oneof![
        4 => (0_u32..25, 0_u32..12),
        1 => (250_u32..300, 0_u32..3),
        1 => (0_u32..2, 60_u32..70),
    ];
    let direction =
        prop_oneof![Just(Direction::Forward), Just(Direction::Reverse), Just(Direction::Both)];
    let family = prop::sample::select(Family::ALL);
    (
        (family, modulus, skips, direction, prop_oneof![Just(0_u32), 0_u32..700]),
        prop::collection::vec(any::<u32>(), 1..24),
        (any::<f64>(), any::<f64>(), any::<f64>()).prop_map(|(a, b, c)| [a, b, c].map(fraction)),
        (1_u64..100, any::<u64>(), 0_u8..3, any::<bool>()),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..4),
    )
        .prop_map(|(asked, draws, needs, seeds, plant)| {
            let (family, modulus, (lo, more), direction, advance) = asked;
            let k = draws.len() as u32;
            let part = |fraction: f64, most: u32| 1 + (fraction * f64::from(most - 1)) as u32;
            let need = part(needs[0] * needs[0], k);
            let mut sieve = Sieve {
                family,
                direction,
                mode: Mode::Fixed,
                modulus,
                draws: draws.iter().map(|draw| draw % modulus).collect(),
                advance,
                skips: Skips { lo, hi: lo + more },
                need,
                reverse_need: if direction == Direction::Both { part(needs[1], k) } else { need },
            };
            let witness = Witness::new(k, need, part(needs[2], need));
            let seeds = seeds_of(family, seeds);
            if plant.2 > 0 {
                plant_seed(&mut sieve, &seeds, plant.0, plant.1, plant.2);
            }
            sieve.validate().unwrap();
            sieve.validate_witness(witness).unwrap();
            Plan { sieve, witness, seeds }
        })
}

/// Any number as one from 0 to 1.
fn fraction(x: f64) -> f64 {
    if x.is_finite() { x.abs().fract() } else { 0.5 }
}

/// Replaces draws by what one of the seeds gives under one of the skips: all, or every other.
fn plant_seed(
    sieve: &mut Sieve,
    seeds: &Seeds,
    which: prop::sample::Index,
    skip: prop::sample::Index,
    every: u8,
) {
    let seeds = Sequence::new(seeds);
    let seed = seeds.get(which.index(seeds.len() as usize) as u64);
    let skip = sieve.skips.lo + skip.index(sieve.skips.count() as usize) as u32;
    let outputs = stream(sieve.family, sieve.modulus, seed, sieve.last_position() as usize + 1);
    let k = sieve.window();
    for index in (0..k).filter(|index| index % u32::from(every) == 0) {
        let output = outputs[sieve.position(index, skip) as usize];
        let place = if sieve.direction == Direction::Reverse { k - 1 - index } else { index };
        sieve.draws[place as usize] = (output % u64::from(sieve.modulus)) as u32;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_scan_equals_the_reference(plan in plans()) {
        plan.assert_agreement();
    }
}

/// Every family, direction and end of its seed range, with a survivor that is known.
#[test]
fn every_family_finds_what_was_planted() {
    for &family in Family::ALL {
        for direction in [Direction::Forward, Direction::Reverse, Direction::Both] {
            let last = u64::try_from(family.seed_end() - 1).unwrap();
            for first in [12_345, last - 76] {
                let mut sieve = Sieve {
                    family,
                    direction,
                    mode: Mode::Fixed,
                    modulus: 1000,
                    draws: vec![0; 30],
                    advance: 3,
                    skips: Skips { lo: 0, hi: 20 },
                    need: 15,
                    reverse_need: if direction == Direction::Both { 1 } else { 15 },
                };
                let seed = first + 70;
                let outputs = stream(family, 1000, seed, sieve.last_position() as usize + 1);
                for index in (0..30).step_by(2) {
                    let output = outputs[sieve.position(index, 17) as usize];
                    let place = if direction == Direction::Reverse { 29 - index } else { index };
                    sieve.draws[place as usize] = (output % 1000) as u32;
                }
                let seeds = Seeds::Range(Span::new(first, first + 76).unwrap());
                let plan = Plan { sieve, witness: Witness::new(30, 15, 2), seeds };
                let found = plan.assert_agreement().len();
                assert!(found > 0 || direction == Direction::Both, "{family} {direction:?}");
            }
        }
    }
}

/// The seeds that `java.util.Random` itself was seen to reject an output for.
#[test]
fn seeds_with_a_rejection_in_their_window_are_found() {
    let rows: Vec<serde_json::Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let mut seen = 0;
    for row in rows {
        let seed: u64 = row["seed"].as_str().unwrap().parse().unwrap();
        if row["family"] != "java_random" || row["modulus"] != 1000 || seed < 1000 {
            continue;
        }
        let draws: Vec<u32> = serde_json::from_value(row["outputs"].clone()).unwrap();
        let k = draws.len() as u32;
        let sieve = Sieve {
            family: Family::JavaRandom,
            direction: Direction::Forward,
            mode: Mode::Fixed,
            modulus: 1000,
            draws,
            advance: 0,
            skips: Skips { lo: 0, hi: 2 },
            need: k,
            reverse_need: k,
        };
        let seeds = Seeds::Range(Span::new(seed - 5, seed + 5).unwrap());
        let plan = Plan { sieve, witness: Witness::new(k, k, 1), seeds };
        assert_eq!(plan.assert_agreement().len(), 1, "seed {seed}");
        seen += 1;
    }
    assert!(seen >= 5);
}

/// Ranges long enough to be carried from seed to seed: across the prime's multiples that `minstd`
/// replaces, carries of the seed, and both ends of the seed width. Every family has some.
#[test]
fn long_ranges_agree_where_seeds_are_awkward() {
    const LENGTH: u64 = 2500;
    let mut found = 0;
    for &family in Family::ALL {
        let last = u64::try_from(family.seed_end() - 1).unwrap();
        for first in [0, 65_536 - 1237, (1 << 31) - 1300, last - (LENGTH - 1)] {
            let sieve = Sieve {
                family,
                direction: Direction::Forward,
                mode: Mode::Fixed,
                modulus: 10,
                draws: vec![3, 1, 4, 1, 5, 9, 2, 6, 5, 3],
                advance: 2,
                skips: Skips { lo: 1, hi: 30 },
                need: 6,
                reverse_need: 6,
            };
            let seeds = Seeds::Range(Span::new(first, first + LENGTH - 1).unwrap());
            let plan = Plan { sieve, witness: Witness::new(10, 6, 4), seeds };
            found += plan.assert_agreement().len();
        }
    }
    assert!(found > Family::ALL.len(), "only {found} survivors were compared");
}
