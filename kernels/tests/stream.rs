//! `runner-cpu stream` against implementations that are not ours, and against the sieves.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use kernels::{generators, reference, variable};
use serde::Deserialize;
use shared::{
    families::Family,
    runner::EXIT_REJECTED,
    sieve::{Direction, Mode, Sieve, Skips},
    stream::{Question, Row},
    variable::STRATEGIES,
    witness::Witness,
};

/// The runner's answer, checked to be an array of the right kind and shape, or why it refuses.
fn ask(question: Question, rows: &[Row]) -> Result<Vec<Vec<u64>>, String> {
    let Question { family, modulus, count } = question;
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner-cpu"));
    command.args(["stream", "--family", family.name(), "--count", &count.to_string()]);
    if let Some(modulus) = modulus {
        command.args(["--modulus", &modulus.to_string()]);
    }
    let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_bytes()).collect();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    if !output.status.success() {
        assert_eq!((output.status.code(), output.stdout.len()), (Some(EXIT_REJECTED), 0), "{said}");
        return Err(said);
    }
    let (kind, width) = if modulus.is_some() { ("<u4", 4) } else { ("<u8", 8) };
    let header = output.stdout.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let (header, elements) = output.stdout.split_at(header);
    let shape =
        format!("'descr': '{kind}', 'fortran_order': False, 'shape': ({}, {count})", rows.len());
    assert!(String::from_utf8_lossy(header).contains(&shape), "{header:?}");
    let value = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |v, &b| (v << 8) | u64::from(b));
    let values: Vec<u64> = elements.chunks(width).map(value).collect();
    assert_eq!(values.len(), rows.len() * count as usize);
    Ok(values.chunks(count as usize).map(<[u64]>::to_vec).collect())
}

fn row(seed: u64, skip: u32, advance: u32) -> Row {
    Row { seed, skip, advance }
}

/// A row of `vectors.json`: what the JDK, NumPy, glibc and others put out.
#[derive(Deserialize)]
struct Vector {
    family: Family,
    modulus: u32,
    seed: String,
    outputs: Vec<u64>,
}

#[test]
fn streams_are_those_of_other_implementations() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let mut families = 0;
    let mut of: BTreeMap<(Family, u32, usize), Vec<Vector>> = BTreeMap::new();
    for vector in vectors {
        of.entry((vector.family, vector.modulus, vector.outputs.len())).or_default().push(vector);
    }
    for ((family, modulus, length), vectors) in of {
        families += 1;
        let count = length as u32;
        let java = family == Family::JavaRandom;
        let rows: Vec<Row> = vectors.iter().map(|v| row(v.seed.parse().unwrap(), 0, 0)).collect();
        let asked = Question { family, modulus: java.then_some(modulus), count };
        let all: Vec<Vec<u64>> = vectors.into_iter().map(|vector| vector.outputs).collect();
        assert_eq!(ask(asked, &rows).unwrap(), all, "{family}");

        // With a skip of 2 after an advance of 3, every third from number 5 on.
        if count < 6 {
            continue;
        }
        let thin: Vec<Row> = rows.iter().map(|r| Row { skip: 2, advance: 3, ..*r }).collect();
        let asked = Question { family, modulus: Some(modulus), count: (count - 3) / 3 };
        let expected: Vec<Vec<u64>> = all
            .iter()
            .map(|all| all[5..].iter().step_by(3).map(|v| v % u64::from(modulus)))
            .map(|thinned| thinned.take(asked.count as usize).collect())
            .collect();
        assert_eq!(ask(asked, &thin).unwrap(), expected, "{family}");
    }
    assert!(families > 10, "{families}");
}

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    family: String,
    draws: Vec<u64>,
    offset: u32,
    survivors: Vec<Survivor>,
}

#[derive(Deserialize)]
struct Survivor {
    seed: u64,
    matches_true: usize,
    best_skip: u32,
}

/// The fleet's own survivors: their streams match as many draws as the fleet's files say.
#[test]
fn the_fleets_survivors_match_as_they_say() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/golden/sieve_fixed.json");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for mut case in golden.cases {
        let reverse = case.family.strip_suffix("_reverse").map(str::to_owned);
        // The old tool's faults (see golden.rs).
        if ["xorshift64_reverse", "xoshiro256pp_reverse", "sfc64_reverse"].contains(&&*case.family)
        {
            continue;
        }
        if reverse.is_some() {
            case.draws.reverse();
        }
        let family: Family = reverse.as_deref().unwrap_or(&case.family).parse().unwrap();
        if case.survivors.is_empty() {
            continue;
        }
        let rows: Vec<Row> =
            case.survivors.iter().map(|s| row(s.seed, s.best_skip, case.offset)).collect();
        let asked = Question { family, modulus: Some(1000), count: case.draws.len() as u32 };
        for (values, survivor) in ask(asked, &rows).unwrap().iter().zip(&case.survivors) {
            let matches = values.iter().zip(&case.draws).filter(|(a, b)| a == b).count();
            assert_eq!(matches, survivor.matches_true, "{family} {}", survivor.seed);
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

/// A survivor of variable skips: its plain stream, walked by its skips as docs/steps.md says,
/// matches as often as the sieve counted.
#[test]
fn a_walk_by_its_skips_finds_the_matches_again() {
    let (family, modulus) = (Family::JavaRandom, 1000);
    let sieve = Sieve {
        family,
        direction: Direction::Forward,
        mode: Mode::Variable,
        modulus,
        draws: (0..12).map(|draw| (draw * 617 + 123) % 1000).collect(),
        advance: 4,
        skips: Skips { lo: 0, hi: 0 },
        need: 3,
        reverse_need: 3,
    };
    let witness = Witness::new(sieve.window(), sieve.need, 1);
    let mut walked = 0;
    for seed in 0..4000 {
        let Some(survivor) = reference::test(&sieve, witness, seed).survivor else { continue };
        let skips = variable::sequences(&sieve, survivor).leading;
        let tolerance = STRATEGIES[survivor.best.skip as usize].tolerance;
        let asked = Question { family, modulus: Some(modulus), count: 4096 };
        let plain = ask(asked, &[row(seed, 0, 4)]).unwrap().remove(0);
        let (mut cursor, mut expected, mut matches) = (0, 5, 0);
        for (&skip, &draw) in skips.iter().zip(&sieve.draws) {
            let skip = usize::from(skip);
            if plain[cursor + skip] == u64::from(draw) {
                (matches, expected, cursor) = (matches + 1, skip, cursor + skip + 1);
            } else {
                cursor += expected + tolerance as usize;
            }
        }
        assert_eq!(matches, survivor.best.matches, "seed {seed}");
        walked += 1;
    }
    assert!(walked > 5, "{walked}");
}

#[test]
fn nonsense_is_refused_in_one_line() {
    let question = Question { family: Family::Minstd, modulus: Some(1000), count: 4 };
    for (question, rows, words) in [
        (question, vec![row(1 << 32, 0, 0)], "32-bit seeds"),
        (question, vec![], "0 rows"),
        (Question { count: 0, ..question }, vec![row(1, 0, 0)], "0 outputs"),
        (question, vec![row(1, 0, 1 << 24)], "past the limit"),
        (
            Question { family: Family::JavaRandom, modulus: None, ..question },
            vec![row(1, 0, 0)],
            "modulus",
        ),
    ] {
        let said = ask(question, &rows).unwrap_err();
        assert!(said.contains(words) && said.trim_end().lines().count() == 1, "{said}");
    }
    assert_eq!(generators::stream(Family::Minstd, 1000, 1, 1), [48271]);
}
