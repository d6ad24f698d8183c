//! The survivors that the fleet's existing sieve reports.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{fs, path::Path};

use kernels::{
    engine::{Prepared, Tally},
    sequence::Sequence,
};
use serde::Deserialize;
use shared::{
    families::Family,
    job::Engine,
    sieve::{Direction, Mode, Sieve, Skips},
    spans::Span,
    witness::Witness,
};

/// The old tool's faults: it seeds the first with 32 bits, and leaves out the skip between draws
/// in the two others.
const FAULTY: [&str; 3] = ["xorshift64_reverse", "xoshiro256pp_reverse", "sfc64_reverse"];

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    family: String,
    seed_start: u64,
    seed_end: u128,
    draws: Vec<u32>,
    skip_range: [u32; 2],
    offset: u32,
    threshold: f64,
    kernel_count: usize,
    planted: (u64, u32),
    survivors: Vec<Survivor>,
}

#[derive(Deserialize)]
struct Survivor {
    seed: u64,
    matches_true: u32,
    best_skip: u32,
}

impl Case {
    fn sieve(&self) -> Sieve {
        let reverse = self.family.strip_suffix("_reverse");
        let family: Family = reverse.unwrap_or(&self.family).parse().unwrap();
        let need = (self.threshold * self.draws.len() as f64 - 1e-9).ceil() as u32;
        Sieve {
            family,
            direction: if reverse.is_some() { Direction::Reverse } else { Direction::Forward },
            mode: Mode::Fixed,
            modulus: 1000,
            draws: self.draws.clone(),
            advance: self.offset,
            skips: Skips { lo: self.skip_range[0], hi: self.skip_range[1] },
            need: need.max(1),
            reverse_need: need.max(1),
        }
    }

    fn tally(&self, engine: Engine) -> Tally {
        let sieve = self.sieve();
        let witness = Witness::new(sieve.window(), sieve.need, 1);
        let span = Span::half_open(self.seed_start, self.seed_end).unwrap();
        Prepared::new(engine, &sieve, witness).test(&Sequence::Range(span), usize::MAX)
    }
}

#[test]
fn every_case_of_the_fixed_sieve() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/golden/sieve_fixed.json");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let golden: Golden = serde_json::from_str(&text).unwrap();
    assert_eq!(golden.cases.len(), 44);
    for case in &golden.cases {
        let scan = case.tally(Engine::Scan);
        assert_eq!(scan, case.tally(Engine::Reference), "{}", case.family);
        if FAULTY.contains(&case.family.as_str()) {
            continue;
        }
        let found: Vec<(u64, u32, u32)> = scan
            .found
            .iter()
            .map(|found| {
                (found.survivor.seed, found.survivor.best.matches, found.survivor.best.skip)
            })
            .collect();
        // What the old tool's second filter wrongly dropped is in the kernel's count only.
        assert_eq!(found.len(), case.kernel_count, "{}: {found:?}", case.family);
        for old in &case.survivors {
            let expected = (old.seed, old.matches_true, old.best_skip);
            assert!(found.contains(&expected), "{}: {expected:?} in {found:?}", case.family);
        }
        let planted = found.iter().any(|found| found.0 == case.planted.0);
        assert!(planted, "{}: {:?} in {found:?}", case.family, case.planted);
    }
}
