//! The survivors that the fleet's existing sieve reports for variable skips, in the cases in which
//! it does what is defined here.

use std::{fs, path::Path};

use kernels::{engine::Prepared, sequence::Sequence, variable};
use serde::Deserialize;
use shared::{
    families::Family,
    job::Engine,
    sieve::{Direction, Mode, Sieve, Skips},
    spans::Span,
    witness::Witness,
};

/// The old kernels that have this policy, and the family whose outputs they compare; the others
/// differ among themselves. Their forward kernels pass over the offset.
const AGREEING: [(&str, Family); 7] = [
    ("xorshift32_hybrid", Family::Xorshift32),
    ("lcg32_hybrid", Family::AnsiC),
    ("java_lcg_hybrid", Family::JavaLcg),
    ("minstd_hybrid", Family::Minstd),
    ("xorshift64_hybrid", Family::Xorshift64),
    ("xorshift128_hybrid", Family::Xorshift128),
    // The one reverse kernel that is the forward one on the draws in reverse order.
    ("xorshift32_hybrid_reverse", Family::Xorshift32),
];

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
    offset: u32,
    threshold: f64,
    kernel_count: usize,
    survivors: Vec<Survivor>,
}

#[derive(Deserialize)]
struct Survivor {
    seed: u64,
    matches_true: u32,
    strategy_id: u32,
    skip_seq: Vec<u16>,
    skip_seq_defined_len: Option<usize>,
}

#[test]
fn the_cases_of_the_variable_sieve_that_agree() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/golden/sieve_hybrid.json");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let mut seen = 0;
    for case in &golden.cases {
        let reverse = case.family.ends_with("_reverse");
        let Some((_, family)) = AGREEING.iter().find(|(name, _)| *name == case.family) else {
            continue;
        };
        if case.offset > 0 && !reverse {
            continue;
        }
        let need = (case.threshold * case.draws.len() as f64 - 1e-9).ceil() as u32;
        let sieve = Sieve {
            family: *family,
            direction: if reverse { Direction::Reverse } else { Direction::Forward },
            mode: Mode::Variable,
            modulus: 1000,
            draws: case.draws.clone(),
            advance: case.offset,
            skips: Skips { lo: 0, hi: 0 },
            need,
            reverse_need: need,
        };
        let witness = Witness::new(sieve.window(), need, 1);
        let seeds = Sequence::Range(Span::half_open(case.seed_start, case.seed_end).unwrap());
        let reference = Prepared::new(Engine::Reference, &sieve, witness);
        let found = reference.test(&seeds, usize::MAX);
        let scan = Prepared::new(Engine::Scan, &sieve, witness);
        assert_eq!(scan.test(&seeds, usize::MAX), found, "{}", case.family);
        assert_eq!(found.found.len(), case.kernel_count, "{}: {found:?}", case.family);
        for old in &case.survivors {
            let is_it = |f: &&kernels::engine::Found| f.survivor.seed == old.seed;
            let new = found.found.iter().find(is_it).unwrap().survivor;
            let figures = (new.best.matches, new.best.skip);
            assert_eq!(
                figures,
                (old.matches_true, old.strategy_id),
                "{} {}",
                case.family,
                old.seed
            );
            let skips = variable::sequences(&sieve, new).leading;
            assert_eq!(Some(skips.len()), old.skip_seq_defined_len, "{} {}", case.family, old.seed);
            assert_eq!(skips, old.skip_seq[..skips.len()], "{} {}", case.family, old.seed);
        }
        seen += 1;
    }
    assert_eq!(seen, AGREEING.len());
}
