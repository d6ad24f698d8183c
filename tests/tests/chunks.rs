//! From the survivors of a search, by chunks, to scripts over all of them and on to the next step.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};
use tests::{planted::Generator, rig::Rig};

/// Extends the records of its chunk, as step 3 does, or counts them, as a later step might.
const SCRIPT: &str = r#"
import json, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
records = json.load(open(words["--survivors"]))
if "--output" in words:
    scored = [dict(record, score=record["rate"] * 2) for record in records]
    json.dump(scored, open(words["--output"], "w"))
else:
    print(json.dumps({"seeds": [record["seed"] for record in records],
                      "scores": sum(record["score"] for record in records),
                      "sample": words["--sample"]}))
"#;
const STEPS: &str = r#"
[steps."3"]
script = "step.py"
args = ["--survivors", "{chunk}", "--output", "{output}"]
chunk_size = 40
[steps."5"]
script = "step.py"
args = ["--survivors", "{chunk}", "--sample", "{sample_size}"]
chunk_size = 100
sample_size = 7
"#;

fn add_steps(rig: &Rig) {
    let folder = rig.path("scripts");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("step.py"), SCRIPT).unwrap();
    rig.add_settings(&format!("[scripts]\nfolders = [{folder:?}]\n{STEPS}"));
}

/// The options of a search that leaves some hundred survivors.
fn search(rig: &Rig) -> String {
    let draws = Generator::Xorshift32.draws(4242, 0, 2, 30);
    let lines: Vec<String> = draws.iter().map(u64::to_string).collect();
    rig.file("draws.txt", &lines.join("\n"))
}

fn seeds(records: &Value) -> BTreeSet<u64> {
    records.as_array().unwrap().iter().map(|record| record["seed"].as_u64().unwrap()).collect()
}

fn steps(rig: &Rig, verb: &[&str]) {
    let ask = |words: &[&str]| rig.producer(&[verb, words, &["--json"]].concat()).ok().json();
    let draws = search(rig);
    ask(&[
        "--step",
        "2",
        "--draws",
        &draws,
        "--family",
        "xorshift32",
        "--window",
        "12",
        "--min-matches",
        "1",
        "--skip",
        "0..=4",
        "--seed-end",
        "10000",
        "--run",
        "found",
    ]);
    let exported = rig.producer(&["export", "found", "--format", "json"]).ok().json();
    let found = seeds(&exported);
    assert!(found.contains(&4242) && found.len() > 200, "{} survivors", found.len());
    let first = &exported[0];
    assert_eq!(
        [&first["family"], &first["modulus"], &first["offset"], &first["direction"]],
        [&json!("xorshift32"), &json!(1000), &json!(0), &json!("forward")]
    );

    let out = rig.path("out").display().to_string();
    let scored =
        ask(&["--step", "3", "--from-run", "found", "--run", "scored", "--output-dir", &out]);
    let chunks = found.len().div_ceil(40);
    let jobs = scored.get("status").unwrap_or(&scored)["jobs"].clone();
    assert_eq!((&jobs["published"], &jobs["done"]), (&json!(chunks), &json!(chunks)));
    let mut back = Vec::new();
    for number in 1..=chunks {
        let file = format!("{out}/scored/chunk-{number:05}.json");
        let records: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        back.extend(records.as_array().unwrap().clone());
    }
    assert_eq!(back.len(), found.len());
    assert_eq!(seeds(&Value::from(back.clone())), found);

    // The next step takes what this one wrote; a file that holds the same makes the same chunks.
    let merged = rig.file("scored.json", &Value::from(back).to_string());
    for (run, source) in
        [("counted", ["--from-run", "scored"]), ("again", ["--survivors", &merged])]
    {
        let answer = ask(&[&["--step", "5"], &source[..], &["--run", run]].concat());
        let results = answer.get("status").unwrap_or(&answer)["results"].clone();
        let results = results.as_array().unwrap();
        assert_eq!(results.len(), found.len().div_ceil(100), "{answer}");
        let counted: Vec<u64> = results
            .iter()
            .flat_map(|job| job["result"]["seeds"].as_array().unwrap())
            .map(|seed| seed.as_u64().unwrap())
            .collect();
        assert_eq!(counted.len(), found.len());
        assert_eq!(counted.into_iter().collect::<BTreeSet<_>>(), found);
        assert!(results.iter().all(|job| job["result"]["sample"] == "7"));
    }
}

#[test]
fn every_survivor_goes_from_step_to_step_on_one_machine() {
    let rig = Rig::embedded();
    add_steps(&rig);
    steps(&rig, &["run"]);
}

#[test]
fn every_survivor_goes_from_step_to_step_through_rabbitmq() {
    let Some(rig) = Rig::rabbit() else { return };
    add_steps(&rig);
    rig.spawn_aggregator();
    rig.spawn_worker(2);
    steps(&rig, &["enqueue", "--wait"]);
    rig.end_services();
}

#[test]
fn what_can_not_be_cut_is_refused_before_anything_is_published() {
    let rig = Rig::embedded();
    add_steps(&rig);
    let list = rig.file("list.json", r#"[{"seed": 1}, {"sed": 2}]"#);
    let none = rig.file("none.json", "[]");
    let jobs = rig.file("jobs.json", r#"[{"job_id": "a"}]"#);
    for (words, code, expected) in [
        (&["--step", "3"][..], 2, "--from-run RUN or --survivors FILE"),
        (&["--step", "3", "--survivors", "gone.json"], 2, "'gone.json' can't be read"),
        (&["--step", "3", "--survivors", &list], 2, "record 2 has no seed"),
        (&["--step", "3", "--survivors", &none], 2, "no survivors"),
        (&["--step", "3", "--from-run", "nowhere"], 5, "nowhere"),
        (&["--step", "3", "--from-run", "x", "--jobs-file", &jobs], 2, "cannot be used with"),
        (&["--step", "3", "--jobs-file", &jobs], 2, "--survivors or --from-run"),
        (&["--step", "4", "--survivors", &list], 2, "[steps.\"4\"] in the settings is not there"),
        (&["--step", "2", "--survivors", &list], 2, "it must be one of 2.5, 3, 4, 5"),
    ] {
        let answer = rig.producer(&[&["enqueue"], words].concat());
        assert_eq!(answer.code, code, "{answer}");
        assert!(answer.stderr.contains(expected), "{answer}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer}");
    }
}
