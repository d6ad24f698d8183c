//! `correlation`, `analysis` and `screen`, from the command line to what it prints.

use serde_json::{Value, json};
use tests::{
    planted::{Generator, lines},
    rig::Rig,
};

#[test]
fn a_correlation_is_computed_here_seed_by_seed() {
    let rig = Rig::embedded();
    let answer = rig
        .producer(&[
            "run",
            "--kind",
            "correlation",
            "--prng",
            "mt",
            "--seed-start",
            "1",
            "--seed-end",
            "2001",
            "--lags",
            "20",
            "--run",
            "c",
            "--limit",
            "3",
            "--json",
        ])
        .ok()
        .json();
    assert_eq!((&answer["kind"], &answer["state"]), (&json!("correlation"), &json!("complete")));
    assert_eq!((&answer["family"], &answer["covered"]), (&json!("mt"), &json!(2000)));
    let statistics = &answer["statistics"];
    assert_eq!(statistics["report_count"], 2000);
    let reports = statistics["reports"].as_array().unwrap();
    assert_eq!(reports.len(), 3);
    // NumPy's MT19937(1).random_raw(1), and the existing tool's lag 1.
    assert_eq!(
        (&reports[0]["seed"], &reports[0]["initial_state"]),
        (&json!(1), &json!(1_033_693_557))
    );
    let lags = reports[0]["autocorrelations"].as_array().unwrap();
    assert_eq!(lags.len(), 20);
    assert!((lags[0].as_f64().unwrap() - 0.026_571_695_984_440_275).abs() < 1e-5);
    let exported = rig.producer(&["export", "c", "--format", "json"]).ok().json();
    assert_eq!(exported.as_array().unwrap().len(), 2000);
    for refused in [&["export", "c", "--format", "csv"][..], &["verify", "c"]] {
        let answer = rig.producer(refused);
        assert_eq!(answer.code, 2, "{answer}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer}");
    }
}

#[test]
fn an_analysis_goes_through_queues_and_workers() {
    let rig = Rig::embedded();
    rig.spawn_aggregator();
    rig.spawn_worker(2);
    let enqueued = rig.producer(&[
        "enqueue",
        "--step",
        "2",
        "--kind",
        "analysis",
        "--family",
        "pcg32",
        "--seeds",
        "9,18446744073709551615,4,9,5,6",
        "--samples",
        "2000",
        "--run",
        "a",
    ]);
    assert_eq!(enqueued.ok().stdout.trim(), "a");
    let status = rig.until_status("a", "complete", |status| status["state"] == "complete");
    let statistics = &status["statistics"];
    let reports = statistics["reports"].as_array().unwrap();
    let seeds: Vec<&Value> = reports.iter().map(|report| &report["seed"]).collect();
    assert_eq!(json!(seeds), json!([4, 5, 6, 9, u64::MAX]));
    let scores: Vec<f64> = reports.iter().map(|r| r["score"].as_f64().unwrap()).collect();
    let mean = scores.iter().sum::<f64>() / 5.0;
    assert!((statistics["composite_score"].as_f64().unwrap() - mean).abs() < 1e-12);
    for report in reports {
        assert!(report["lags"].as_array().unwrap().iter().any(|lag| lag["lag"] == 11));
    }
    rig.check();
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    let rig = Rig::embedded();
    drop(rig.file("draws.txt", "1\n2\n3\n"));
    for (line, part) in [
        ("run --kind correlation --arch cuda", "processors alone"),
        ("run --kind analysis --prng mt", "--family"),
        ("enqueue --step 2 --kind correlation --window-offset 3", "--window-offset"),
        ("enqueue --step 2 --kind analysis --family minstd --seeds 4294967296", "32-bit"),
        ("screen --draws nowhere.txt", "nowhere.txt"),
        ("screen --draws draws.txt --skip 3..=1", "smaller number first"),
        ("screen --draws draws.txt --modulus 1", "--modulus is 1"),
        ("screen --draws draws.txt --family enigma", "'enigma'"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = rig.producer(&words);
        assert_eq!(answer.code, 2, "{line}: {answer}");
        assert!(answer.stderr.contains(part), "{line}: {answer}");
        assert_eq!((answer.stderr.lines().count(), answer.stdout.as_str()), (1, ""), "{answer}");
    }
}

#[test]
fn a_planted_stream_is_consistent_with_its_family_alone() {
    let rig = Rig::embedded();
    let draws = rig.file("draws.txt", &lines(&Generator::Xorshift32.draws(1_234_567, 0, 2, 400)));
    let answer = rig.producer(&["screen", "--draws", &draws, "--skip", "0..=4", "--json"]);
    let answer = answer.ok().json();
    let verdict = |family: &str| {
        let families = answer["families"].as_array().unwrap();
        families.iter().find(|found| found["family"] == family).unwrap()["verdict"].clone()
    };
    assert_eq!(answer["draws"], 400);
    assert_eq!(verdict("xorshift32"), "consistent");
    for family in ["java_lcg", "java_random", "ansi_c", "msvc_rand", "xorshift64star"] {
        assert_eq!(verdict(family), "refuted", "{family}");
    }
    assert_eq!(verdict("mt19937"), "too_few_draws");
    assert_eq!(verdict("pcg32"), "untested");
}
