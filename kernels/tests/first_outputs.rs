//! First outputs of every family against implementations that are not ours.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use kernels::generators::stream;
use serde::Deserialize;
use shared::families::Family;

/// One row of `vectors.json`; see `oracle/generate.py`.
#[derive(Deserialize)]
struct Row {
    family: Family,
    modulus: u32,
    seed: String,
    outputs: Vec<u64>,
    source: String,
}

fn assert_starts(family: Family, modulus: u32, seed: &str, expected: &[u64], source: &str) {
    let mut outputs = stream(family, modulus, seed.parse().unwrap(), expected.len());
    if family == Family::JavaRandom {
        // What nextInt reduces comes out; see the generator.
        outputs.iter_mut().for_each(|output| *output %= u64::from(modulus));
    }
    assert_eq!(outputs, expected, "{family} modulo {modulus}, seed {seed}, {source}");
}

/// The fleet's eleven families, and `ansi_c`, as the fleet's own code has them.
#[test]
fn the_fleets_vectors() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/golden/first_outputs.json");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let vectors: BTreeMap<String, BTreeMap<String, Vec<u64>>> =
        serde_json::from_str(&text).unwrap();
    assert_eq!(vectors.len(), 12);
    for (name, rows) in vectors {
        let name = if name == "lcg32_pow2" { "ansi_c" } else { &name };
        for (seed, outputs) in rows {
            assert_starts(name.parse().unwrap(), 1000, &seed, &outputs, "the fleet");
        }
    }
}

/// The newcomers, and what of the eleven other implementations have too.
#[test]
fn other_implementations_vectors() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let mut families = BTreeSet::new();
    for row in rows {
        assert_starts(row.family, row.modulus, &row.seed, &row.outputs, &row.source);
        families.insert(row.family);
    }
    families.extend([Family::Xorshift64star]);
    let of_the_fleet = Family::ALL.iter().take_while(|&&family| family != Family::JavaRandom);
    families.extend(of_the_fleet);
    assert_eq!(families.len(), Family::ALL.len(), "a family has no vectors");
}

/// Rosetta Code, "Pseudo-random numbers/Xorshift star": the upper halves for the seed 1234567.
#[test]
fn xorshift64star_agrees_with_rosetta_code() {
    let upper: Vec<u64> = stream(Family::Xorshift64star, 1000, 1_234_567, 5)
        .into_iter()
        .map(|output| output >> 32)
        .collect();
    let published = [3_540_625_527, 2_750_739_987, 4_037_983_143, 1_993_361_440, 3_809_424_708];
    assert_eq!(upper, published);
}
