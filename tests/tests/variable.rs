//! Variable skips through `producer run`: what it reports is what a literal walk of this file
//! finds, and it can be exported and verified.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeMap, fs};

use serde_json::Value;
use tests::{
    planted::{Generator, assert_whole, lines},
    rig::Rig,
};

/// Most misses in a row, tolerance: by id.
const STRATEGIES: [(u64, u64); 5] = [(3, 5), (10, 20), (5, 5), (7, 10), (20, 50)];

/// Matches, strategy, skips.
type Found = (u64, u64, Vec<u64>);

fn walk((max_misses, tolerance): (u64, u64), outputs: &[u32], draws: &[u64]) -> (u64, Vec<u64>) {
    let (mut cursor, mut expected, mut misses, mut matches) = (0, 5, 0, 0);
    let mut skips = Vec::new();
    for &draw in draws {
        let (lo, hi) = (u64::saturating_sub(expected, tolerance), expected + tolerance);
        let at = |t: u64| u64::from(outputs[usize::try_from(cursor + t).unwrap()] % 1000);
        match (lo..=hi).find(|&t| at(t) == draw) {
            Some(t) => {
                (matches, misses, expected) = (matches + 1, 0, t);
                cursor += t + 1;
                skips.push(t);
            }
            None => {
                skips.push(expected);
                cursor += hi;
                misses += 1;
                if misses >= max_misses {
                    break;
                }
            }
        }
    }
    (matches, skips)
}

fn survivors(draws: &[u64], need: u64, end: u32) -> BTreeMap<u64, Found> {
    let best = |seed: u32| {
        let outputs: Vec<u32> = Generator::Xorshift32.outputs(seed).take(8000).collect();
        let mut best = (0, 0, Vec::new());
        for (id, strategy) in (0..).zip(STRATEGIES) {
            let (matches, skips) = walk(strategy, &outputs, draws);
            if matches > best.0 {
                best = (matches, id, skips);
            }
        }
        best
    };
    (0..end).map(|seed| (u64::from(seed), best(seed))).filter(|(_, best)| best.0 >= need).collect()
}

/// A seed's draws with gaps that wander from 5; the last one is wrong.
fn draws(seed: u32) -> Vec<u64> {
    let mut outputs = Generator::Xorshift32.outputs(seed);
    let gaps = [5, 7, 4, 9, 12, 8, 3, 0, 2, 6, 9, 5];
    let draw = |(index, gap): (usize, usize)| {
        let output = u64::from(outputs.nth(gap).unwrap() % 1000);
        if index == 11 { (output + 1) % 1000 } else { output }
    };
    gaps.into_iter().enumerate().map(draw).collect()
}

fn listed(survivors: &Value) -> BTreeMap<u64, Found> {
    let number = |value: &Value| value.as_u64().unwrap();
    let one = |s: &Value| {
        let skips: Vec<u64> = s["skips"].as_array().unwrap().iter().map(number).collect();
        assert_eq!(s["skip"], skips[0]);
        (number(&s["seed"]), (number(&s["matches"]), number(&s["strategy"]), skips))
    };
    survivors.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn every_survivor_of_variable_skips_is_the_one_that_walking_finds() {
    let rig = Rig::embedded();
    let draws = draws(12_345);
    let expected = survivors(&draws, 3, 1 << 14);
    assert!(expected.len() > 50 && expected[&12_345].0 >= 9, "{:?}", expected.get(&12_345));
    let file = rig.file("draws.txt", &lines(&draws));
    for engine in ["auto", "reference"] {
        let options = format!(
            "run --json --run {engine} --family xorshift32 --mode variable --window 12 \
             --min-matches 3 --seed-end 2^14 --chunk 5000 --limit 100000 --engine {engine} --draws \
             {file}"
        );
        let options: Vec<&str> = options.split_whitespace().collect();
        let status = rig.producer(&options).ok().json();
        assert_whole(&status, 0, 1 << 14);
        assert_eq!(
            (&status["mode"], &status["expected_method"]),
            (&"variable".into(), &"sampled".into())
        );
        let (by_chance, error) = (
            status["expected_by_chance"].as_f64().unwrap(),
            status["expected_error"].as_f64().unwrap(),
        );
        let off = (expected.len() as f64 - by_chance).abs();
        assert!(off < 5.0 * (by_chance + error * error).sqrt(), "{by_chance} ± {error}");
        assert_eq!(listed(&status["survivors"]), expected, "{engine}");
    }
    // The exports say the same, and a certificate stands up with either.
    let folder = rig.home().join("local/auto");
    let certificate = folder.join("certificate.json").display().to_string();
    let json = rig.producer(&["export", "auto", "--format", "json"]).ok();
    assert_eq!(listed(&json.json()), expected);
    let csv = rig.producer(&["export", "auto", "--format", "csv"]).ok();
    for (name, text) in [("s.json", &json.stdout), ("s.csv", &csv.stdout)] {
        let survivors = rig.file(name, text);
        let verify = ["verify", "--json", "--certificate", &certificate, "--survivors", &survivors];
        let verified = rig.producer(&verify).ok().json();
        assert_eq!(verified["agrees"], true, "{verified}");
        // Another strategy is found out.
        let wrong = text.replacen("\"strategy\":4", "\"strategy\":3", 1).replacen(",4,", ",3,", 1);
        fs::write(&survivors, wrong).unwrap();
        assert_eq!(rig.producer(&verify).code, 4);
    }
    let verified = rig.producer(&["verify", "auto", "--json", "--sample", "100%"]).ok().json();
    assert_eq!(verified["agrees"], true, "{verified}");
    assert_eq!(verified["near_misses_compared"], verified["samples"]);
}
