//! Seedless tests: planted streams are consistent, real draws and one changed draw refute.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{convert::Infallible, fs, io::Write as _, path::Path, process::Command};

use kernels::{
    generators::stream,
    screen::{check, screen},
};
use serde::Deserialize;
use shared::{
    families::Family,
    runner::{EXIT_REJECTED, read_frame},
    screen::{Finding, Screen, ScreenFrame, Verdict},
    sieve::Skips,
};

/// The families that have a test but for the twisters, whose elimination is large.
const SMALL: [Family; 7] = [
    Family::JavaLcg,
    Family::JavaRandom,
    Family::AnsiC,
    Family::MsvcRand,
    Family::Xorshift32,
    Family::Xorshift128,
    Family::Xorshift64star,
];

fn question(families: &[Family], draws: Vec<u32>, skips: Skips) -> Screen {
    Screen { modulus: 1000, draws, skips, families: families.to_vec() }
}

fn answers(question: &Screen) -> Vec<Finding> {
    check(question).unwrap();
    let mut found = Vec::new();
    let mut last = 0.0;
    let done: Result<(), Infallible> = screen(
        question,
        2,
        |share| {
            assert!((last..=1.0).contains(&share), "{share} after {last}");
            last = share;
            Ok(())
        },
        |finding| {
            found.push(finding);
            Ok(())
        },
    );
    done.unwrap();
    assert_eq!(last, 1.0);
    found
}

fn answer(family: Family, draws: Vec<u32>, skips: Skips) -> Finding {
    answers(&question(&[family], draws, skips)).remove(0)
}

/// Draws of a seed after an offset, with a constant skip.
fn planted(family: Family, seed: u64, offset: usize, skip: usize, count: usize) -> Vec<u32> {
    let outputs = stream(family, 1000, seed, offset + count * (skip + 1));
    let draws = outputs.into_iter().skip(offset + skip).step_by(skip + 1);
    draws.map(|output| (output % 1000) as u32).collect()
}

const UP_TO_6: Skips = Skips { lo: 0, hi: 6 };

#[test]
fn planted_streams_are_consistent_and_one_changed_draw_refutes() {
    for (family, skip) in SMALL.into_iter().zip([3, 0, 5, 1, 4, 2, 6]) {
        let draws = planted(family, 987_654_321, 77, skip, 400);
        let found = answer(family, draws.clone(), UP_TO_6);
        assert_eq!(found.verdict, Verdict::Consistent, "{found:?}");
        let modulus = found.skip_modulus.unwrap_or(u64::MAX);
        assert_eq!(found.skip, Some(skip as u64 % modulus), "{found:?}");
        let mut changed = draws;
        changed[[0, 200, 399][skip % 3]] ^= 1;
        let found = answer(family, changed, UP_TO_6);
        assert_eq!(found.verdict, Verdict::Refuted, "{found:?}");
    }
}

#[test]
fn skips_of_any_size_are_covered_by_the_low_bits_and_named_ones_by_the_elimination() {
    let draws = planted(Family::JavaLcg, 5, 0, 70_000, 80);
    let found = answer(Family::JavaLcg, draws, UP_TO_6);
    assert_eq!((found.verdict, found.skip), (Verdict::Consistent, Some(70_000)));
    let draws = planted(Family::Xorshift32, 5, 0, 9, 80);
    assert_eq!(answer(Family::Xorshift32, draws.clone(), UP_TO_6).verdict, Verdict::Refuted);
    let found = answer(Family::Xorshift32, draws, Skips { lo: 8, hi: 10 });
    assert_eq!((found.verdict, found.skip), (Verdict::Consistent, Some(9)));
}

#[test]
fn too_few_draws_are_told_how_many_are_needed() {
    for family in SMALL {
        let draws = planted(family, 99, 0, 0, 400);
        let needed = answer(family, draws[..5].to_vec(), UP_TO_6);
        assert_eq!(needed.verdict, Verdict::TooFewDraws, "{needed:?}");
        assert!(needed.detail.contains(&needed.draws_needed.to_string()), "{needed:?}");
        let enough = draws[..needed.draws_needed as usize].to_vec();
        assert_eq!(answer(family, enough.clone(), UP_TO_6).verdict, Verdict::Consistent);
        let short = enough[1..].to_vec();
        assert_eq!(answer(family, short, UP_TO_6).verdict, Verdict::TooFewDraws);
    }
}

#[test]
fn families_and_moduli_without_a_test_say_so() {
    let draws = planted(Family::Pcg32, 1, 0, 0, 400);
    assert_eq!(answer(Family::Pcg32, draws, UP_TO_6).verdict, Verdict::Untested);
    let mut odd = question(&SMALL, vec![1; 400], UP_TO_6);
    odd.modulus = 999;
    assert!(answers(&odd).iter().all(|found| found.verdict == Verdict::Untested));
    let mut power = question(&[Family::JavaRandom], vec![1; 400], UP_TO_6);
    power.modulus = 1 << 10;
    assert_eq!(answers(&power)[0].verdict, Verdict::Untested);
}

#[derive(Deserialize)]
struct Drawn {
    draw: u32,
}

#[test]
fn real_draws_are_refuted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("../shared/data/nj_pick3.json");
    let Ok(text) = fs::read(&path) else {
        eprintln!("skipped: {} is not here", path.display());
        return;
    };
    let drawn: Vec<Drawn> = serde_json::from_slice(&text).unwrap();
    let draws: Vec<u32> = drawn.iter().map(|drawn| drawn.draw).collect();
    for found in answers(&question(&SMALL, draws, UP_TO_6)) {
        assert_eq!(found.verdict, Verdict::Refuted, "{found:?}");
    }
}

/// The whole elimination: 19,937 bits of state, however they were seeded.
#[test]
fn the_twisters_state_is_found_and_one_changed_draw_refutes() {
    let only_one = Skips { lo: 1, hi: 1 };
    let draws = planted(Family::PythonRandom, 42, 1000, 1, 6800);
    let few = answer(Family::Mt19937, draws[..6600].to_vec(), only_one);
    assert_eq!((few.verdict, few.draws_needed), (Verdict::TooFewDraws, 6653));
    let both = [Family::Mt19937, Family::PythonRandom];
    for found in answers(&question(&both, draws.clone(), only_one)) {
        assert_eq!((found.verdict, found.skip), (Verdict::Consistent, Some(1)), "{found:?}");
    }
    let mut changed = draws;
    changed[6750] ^= 1;
    let found = answer(Family::Mt19937, changed, only_one);
    assert_eq!(found.verdict, Verdict::Refuted, "{found:?}");
}

/// The runner's answer to a question's bytes.
fn ask(bytes: &[u8]) -> (Option<i32>, Vec<ScreenFrame>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner-cpu"));
    let mut child = command
        .args(["screen", "--threads", "2"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let mut bytes = &output.stdout[..];
    (output.status.code(), std::iter::from_fn(|| read_frame(&mut bytes).unwrap()).collect())
}

#[test]
fn the_runner_answers_family_by_family_and_rejects_nonsense() {
    let draws = planted(Family::Xorshift32, 8, 0, 0, 100);
    let asked = question(&[Family::Xorshift32, Family::Sfc64], draws, UP_TO_6);
    let (code, frames) = ask(&rmp_serde::to_vec_named(&asked).unwrap());
    assert_eq!(code, Some(0));
    let found: Vec<Verdict> = frames
        .iter()
        .filter_map(|frame| match frame {
            ScreenFrame::Found(found) => Some(found.verdict),
            _ => None,
        })
        .collect();
    assert_eq!(found, [Verdict::Consistent, Verdict::Untested]);
    assert_eq!(frames.last(), Some(&ScreenFrame::Done));
    let wrong = Screen { draws: vec![1000], ..asked };
    for bytes in [rmp_serde::to_vec_named(&wrong).unwrap(), b"\xc1".to_vec(), Vec::new()] {
        let (code, frames) = ask(&bytes);
        assert_eq!(code, Some(EXIT_REJECTED));
        assert!(matches!(&frames[..], [ScreenFrame::Rejected(_)]), "{frames:?}");
    }
}
