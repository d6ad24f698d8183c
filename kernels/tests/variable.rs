//! Variable skips: the engine for them equals the definition in everything that it reports, on
//! every instruction set of this machine.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "support/agreement.rs"]
mod support;

use kernels::{generators::stream, sequence::Sequence, variable};
use proptest::prelude::*;
use shared::{
    families::Family,
    outcome::{Best, Survivor},
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    spans::Span,
    witness::Witness,
};
use support::{Plan, seeds_of};

/// Replaces draws by what a seed gives with these gaps before them; `None` leaves a draw as it is
/// and passes over the gap that a walk expects.
fn plant(sieve: &mut Sieve, seed: u64, gaps: &[Option<u32>]) {
    let reach =
        sieve.advance as usize + gaps.iter().flatten().map(|g| *g as usize + 1).sum::<usize>();
    let outputs = stream(sieve.family, sieve.modulus, seed, reach + 64 * gaps.len());
    let k = sieve.draws.len();
    let mut cursor = sieve.advance as usize;
    for (index, gap) in gaps.iter().enumerate().take(k) {
        let Some(gap) = *gap else {
            cursor += 10;
            continue;
        };
        let output = outputs[cursor + gap as usize];
        let place = if sieve.direction == Direction::Reverse { k - 1 - index } else { index };
        sieve.draws[place] = (output % u64::from(sieve.modulus)) as u32;
        cursor += gap as usize + 1;
    }
}

/// Any family and modulus, short and long windows, ranges at both ends of the seed width, lists;
/// in most plans one of the seeds really made most of the draws.
fn plans() -> impl Strategy<Value = Plan> {
    let modulus = prop_oneof![
        4 => Just(1000_u32),
        2 => 2_u32..40,
        1 => prop::sample::select(vec![1 << 16, (1 << 16) + 1, (1 << 16) - 1, 1 << 20, (1 << 30) + 1]),
    ];
    let direction =
        prop_oneof![Just(Direction::Forward), Just(Direction::Reverse), Just(Direction::Both)];
    let family = prop::sample::select(Family::ALL);
    let gap = prop_oneof![
        6 => (0_u32..11).prop_map(Some),
        1 => (0_u32..56).prop_map(Some),
        1 => Just(None),
    ];
    (
        (family, modulus, direction, prop_oneof![Just(0_u32), 0_u32..700]),
        prop::collection::vec(any::<u32>(), 1..40),
        (0_u32..1000, 0_u32..1000, 0_u32..1000),
        (1_u64..100, any::<u64>(), 0_u8..3, any::<bool>()),
        (prop::collection::vec(gap, 40), any::<prop::sample::Index>(), any::<bool>()),
    )
        .prop_map(|(asked, draws, needs, seeds, (gaps, which, planted))| {
            let (family, modulus, direction, advance) = asked;
            let k = draws.len() as u32;
            let part = |share: u32, most: u32| 1 + share * share * (most - 1) / 1_000_000;
            let need = part(needs.0, k);
            let mut sieve = Sieve {
                family,
                direction,
                mode: Mode::Variable,
                modulus,
                draws: draws.iter().map(|draw| draw % modulus).collect(),
                advance,
                skips: Skips { lo: 0, hi: 0 },
                need,
                reverse_need: if direction == Direction::Both { part(needs.1, k) } else { need },
            };
            let witness = Witness::new(k, need, part(needs.2, need));
            let seeds = seeds_of(family, seeds);
            if planted {
                let listed = Sequence::new(&seeds);
                let seed = listed.get(which.index(listed.len() as usize) as u64);
                plant(&mut sieve, seed, &gaps);
            }
            sieve.validate().unwrap();
            sieve.validate_witness(witness).unwrap();
            Plan { sieve, witness, seeds }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_scan_equals_the_reference(plan in plans()) {
        plan.assert_agreement();
    }
}

/// Every family, direction and end of its seed range, with a survivor, its strategy and its skips
/// that are known: gaps around 5, never further from each other than the strictest strategy looks.
#[test]
fn every_family_finds_what_was_planted() {
    let gaps: Vec<u32> = (0..30).map(|i: u32| 3 + i * i * 7 % 5).collect();
    for &family in Family::ALL {
        for direction in [Direction::Forward, Direction::Reverse] {
            let last = u64::try_from(family.seed_end() - 1).unwrap();
            for first in [12_345, last - 76] {
                // Of these many no random seed matches 20 of 30.
                let mut sieve = Sieve {
                    family,
                    direction,
                    mode: Mode::Variable,
                    modulus: 100_003,
                    draws: vec![0; 30],
                    advance: 3,
                    skips: Skips { lo: 0, hi: 0 },
                    need: 20,
                    reverse_need: 20,
                };
                let seed = first + 70;
                let planted: Vec<Option<u32>> = gaps.iter().copied().map(Some).collect();
                plant(&mut sieve, seed, &planted);
                let seeds = Seeds::Range(Span::new(first, first + 76).unwrap());
                let plan = Plan { sieve, witness: Witness::new(30, 20, 2), seeds };
                // Seeds of msvc_rand and ansi_c 2^31 apart are one; none of them is so near.
                let found = plan.assert_agreement();
                let best = Best { matches: 30, skip: 0 };
                assert_eq!(found, [Survivor { seed, best, reverse: None }], "{family}");
                let skips = variable::sequences(&plan.sieve, found[0]).leading;
                assert!(skips.iter().map(|&skip| u32::from(skip)).eq(gaps.iter().copied()));
            }
        }
    }
}
