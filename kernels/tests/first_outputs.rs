//! First outputs of every family against implementations that are not ours.

#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{collections::BTreeMap, fs, path::Path};

use kernels::generators::stream;
use shared::families::Family;

/// Outputs by seed.
type Rows = BTreeMap<String, Vec<u64>>;

fn compare(family: Family, modulus: u32, rows: &Rows) {
    assert!(!rows.is_empty());
    for (seed, expected) in rows {
        let outputs = stream(family, modulus, seed.parse().unwrap(), expected.len());
        assert_eq!(&outputs, expected, "{family}, seed {seed}");
    }
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
    let mut vectors: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    vectors.remove("notes");
    let mut seen = 0;
    for (name, rows) in vectors {
        let family = if name == "lcg32_pow2" { "ansi_c" } else { &name };
        let Ok(family) = family.parse::<Family>() else {
            println!("skipped: {name} is no family");
            continue;
        };
        let Ok(rows) = serde_json::from_value::<Rows>(rows) else {
            println!("skipped: {name} holds something else");
            continue;
        };
        println!("{name}");
        compare(family, 1000, &rows);
        seen += 1;
    }
    assert!(seen >= 11, "only {seen} families in {}", path.display());
}
