//! `producer verify`: honest runs agree, and whatever is wrong in a ledger, a certificate or a
//! list of survivors is found and pinned on who reported it.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

use rusqlite::{Connection, params};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{
    planted::{Generator, lines},
    rig::{Answer, Rig},
};

/// A loose search whose many survivors come from six outcomes of at most 50,000 seeds.
const LOOSE: &str = "--family xorshift32 --window 8 --min-matches 2 --skip 0..=6 --seed-start \
                     1000 --seed-end 251000 --chunk 50000";
const SEEDS: u64 = 250_000;

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn draws(rig: &Rig) -> String {
    rig.file("draws.txt", &lines(&Generator::Xorshift32.draws(77_777, 0, 3, 8)))
}

/// Does a search on this machine; its survivors as the status lists them.
fn search(rig: &Rig, run: &str, options: &str) -> Vec<Value> {
    let draws = draws(rig);
    let line = format!("run --run {run} --json --limit 1000000 {options} --draws {draws}");
    let status = rig.producer(&words(&line)).ok().json();
    assert_eq!(status["state"], "complete", "{status}");
    status["survivors"].as_array().unwrap().clone()
}

fn verify(rig: &Rig, line: &str) -> Answer {
    rig.producer(&words(&format!("verify {line} --json")))
}

/// A verification without disagreements.
#[track_caller]
fn agrees(answer: Answer) -> Value {
    let verified = answer.ok().json();
    assert_eq!(verified["agrees"], true, "{verified}");
    assert_eq!(verified["disagreements"], json!([]), "{verified}");
    verified
}

/// The disagreements of a verification that must have some.
#[track_caller]
fn disagrees(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.code, 4, "{answer}");
    let errors = answer.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{answer}");
    let verified = answer.json();
    assert_eq!(verified["agrees"], false);
    let found = verified["disagreements"].as_array().unwrap().clone();
    assert_eq!(verified["disagreement_count"].as_u64(), Some(found.len() as u64));
    assert!(!found.is_empty());
    found
}

#[test]
fn honest_runs_agree() {
    let rig = Rig::embedded();
    for (run, options) in [
        ("forward", LOOSE.to_owned()),
        ("reverse", format!("{LOOSE} --direction reverse")),
        ("both", format!("{LOOSE} --direction both --reverse-min-matches 1")),
        ("engine", format!("{LOOSE} --engine reference")),
        ("tight", "--family mt19937 --window 8 --threshold 1 --seed-end 2^18".to_owned()),
    ] {
        let survivors = search(&rig, run, &options).len() as u64;
        let verified = agrees(verify(&rig, &format!("{run} --sample 100%")));
        assert_eq!(verified["run"], run);
        assert_eq!(verified["survivors_tested"], survivors, "{run}");
        assert_eq!(verified["seeds_tested"], verified["requested"], "{run}");
        assert_eq!(verified["covered"], verified["requested"], "{run}");
        assert_eq!(verified["near_misses_compared"], verified["samples"], "{run}");
        // It was this machine's own run.
        assert_eq!(verified["elsewhere"], 0);
        if run == "forward" {
            assert!(survivors > 30, "{survivors}");
            assert_eq!(verified["samples"], SEEDS / 50_000);
            let few = agrees(verify(&rig, "forward --seed 7"));
            assert_eq!([&few["samples"], &few["seeds_tested"]], [1, 50_000]);
            assert_eq!(few["random_seed"], 7);
            let text = rig.producer(&["verify", "forward"]).ok();
            assert!(text.stdout.contains("everything agrees"), "{text}");
            assert!(text.stderr.contains("random seed"), "{text}");
        }
    }
}

#[test]
fn honest_runs_over_candidates_agree() {
    let rig = Rig::embedded();
    let candidates: Vec<u64> = (0..60_000).map(|i| (i * 2_654_435_761) % (1 << 32)).collect();
    let file = rig.file("candidates.txt", &lines(&candidates));
    let options = format!(
        "--kind reverse_sieve --candidates {file} --family xorshift32 --window 8 --min-matches 2 \
         --skip 0..=6 --chunk 7000"
    );
    let survivors = search(&rig, "r", &options).len() as u64;
    assert!(survivors > 10, "{survivors}");
    let verified = agrees(verify(&rig, "r --sample 100%"));
    assert_eq!([&verified["survivors_tested"], &verified["samples"]], [survivors, 9]);
    assert_eq!([&verified["seeds_tested"], &verified["near_misses_compared"]], [60_000, 9]);

    // The same by its certificate; without the candidates, or with others, it can't be checked.
    let certificate = rig.home().join("local/r/certificate.json").display().to_string();
    let listed = rig.path("r.csv").display().to_string();
    let exported = rig.producer(&["export", "r", "--format", "csv", "--output", &listed]);
    assert_eq!(exported.code, 0, "{exported}");
    let line = format!("--certificate {certificate} --survivors {listed}");
    let verified = agrees(verify(&rig, &format!("{line} --sample 100% --candidates {file}")));
    assert_eq!([&verified["survivors_tested"], &verified["seeds_tested"]], [survivors, 60_000]);
    let without = verify(&rig, &line);
    assert!(without.code == 2 && without.stderr.contains("--candidates"), "{without}");
    let others = rig.file("others.txt", &lines(&candidates[1..]));
    let others = verify(&rig, &format!("{line} --candidates {others}"));
    assert!(others.code == 2 && others.stderr.contains("hash differs"), "{others}");
}

#[test]
fn verify_says_no_in_one_line() {
    let rig = Rig::embedded();
    search(&rig, "r", LOOSE);
    let certificate = rig.home().join("local/r/certificate.json").display().to_string();
    let nonsense = rig.file("nonsense.json", "{\"version\": 1, \"run\": \"a\\nb\"}");
    let newer = rig.file("newer.json", "{\"version\": 9}");
    let good = rig.file("good.csv", "seed,matches,skip\n");
    let five = rig.file("five.txt", "5\n");
    let bad = rig.file("bad.csv", "seed,matches,skip\n5,x,1\n");
    for (line, code, part) in [
        ("nobody".to_owned(), 5, "no run is called 'nobody'"),
        ("r --sample 0%".to_owned(), 2, "over 0 %"),
        ("r --sample 100.5%".to_owned(), 2, "at most 100 %"),
        ("r --sample 1".to_owned(), 2, "percentage"),
        ("r --sample -1%".to_owned(), 2, "-1"),
        ("r --sample NaN%".to_owned(), 2, "NaN"),
        ("r --arch steam".to_owned(), 2, "steam"),
        (String::new(), 2, "RUN"),
        (format!("r --certificate {certificate} --survivors {good}"), 2, "--certificate"),
        (format!("--certificate {certificate}"), 2, "--survivors"),
        (format!("--certificate nowhere --survivors {good}"), 2, "nowhere"),
        (format!("--certificate {nonsense} --survivors {good}"), 2, "no certificate"),
        (format!("--certificate {newer} --survivors {good}"), 2, "upgrade"),
        (format!("--certificate {certificate} --survivors nowhere"), 2, "nowhere"),
        (format!("--certificate {certificate} --survivors {bad}"), 2, "line 2: 'x'"),
        (format!("--certificate {certificate} --survivors {certificate}"), 2, "seed"),
        (
            format!("--certificate {certificate} --survivors {good} --candidates {five}"),
            2,
            "leave --candidates out",
        ),
    ] {
        let answer = verify(&rig, &line);
        assert_eq!(answer.code, code, "{answer}");
        assert_eq!(answer.stdout, "", "{answer}");
        assert_eq!(answer.stderr.lines().count(), 1, "{answer}");
        assert!(answer.stderr.contains(part), "'{part}' is not in: {answer}");
    }
    let export = rig.producer(&["export", "nobody", "--format", "certificate"]);
    assert_eq!(export.code, 5, "{export}");
}

/// A `u64` as the ledger stores it.
fn stored(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

/// A seed as a survivor's JSON has it.
fn seed(survivor: &Value) -> u64 {
    survivor["seed"].as_u64().unwrap()
}

/// A complete search in a fresh rig whose third outcome came from another device, and its ledger.
fn corruptible() -> (Rig, Vec<Value>, Connection) {
    let rig = Rig::embedded();
    let survivors = search(&rig, "r", LOOSE);
    let ledger = Connection::open(rig.home().join("local/r/ledger.db")).unwrap();
    let changed = ledger
        .execute(
            "UPDATE outcomes SET node = 'rig7', device = 'gpu3', model = 'A card', at = 1234.5
             WHERE job = 'r.00002'",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    (rig, survivors, ledger)
}

/// Survivors of that outcome.
fn of_rig7(survivors: &[Value]) -> Vec<&Value> {
    let inside = |survivor: &&Value| (101_000..151_000).contains(&seed(survivor));
    survivors.iter().filter(inside).collect()
}

#[track_caller]
fn is_rig7(found: &Value) {
    assert_eq!(
        [&found["node"], &found["device"], &found["model"], &found["at"]],
        [&json!("rig7"), &json!("gpu3"), &json!("A card"), &json!(1234.5)],
        "{found}"
    );
}

#[test]
fn another_node_is_asked_first() {
    let (rig, _, _) = corruptible();
    for seed in 0..3 {
        let verified = agrees(verify(&rig, &format!("r --seed {seed}")));
        assert_eq!([&verified["samples"], &verified["elsewhere"]], [1, 1]);
    }
    let verified = agrees(verify(&rig, "r --sample 100%"));
    assert_eq!([&verified["samples"], &verified["elsewhere"]], [5, 1]);
}

#[test]
fn a_survivor_that_was_dropped_is_found() {
    let (rig, survivors, ledger) = corruptible();
    let victim = of_rig7(&survivors)[0];
    ledger.execute("DELETE FROM survivors WHERE seed = ?1", [stored(seed(victim))]).unwrap();
    let found = disagrees(&verify(&rig, "r"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0]["kind"].as_str(), &found[0]["seed"]),
        (Some("missing_survivor"), &victim["seed"])
    );
    assert_eq!(found[0]["reported"], Value::Null);
    let figures = json!({ "matches": victim["matches"], "skip": victim["skip"] });
    assert_eq!(found[0]["found"], figures);
    is_rig7(&found[0]);
    // All of them, as a card would that tested nothing.
    ledger
        .execute(
            "DELETE FROM survivors WHERE outcome IN (SELECT id FROM outcomes WHERE node = 'rig7')",
            [],
        )
        .unwrap();
    let found = disagrees(&verify(&rig, "r"));
    assert_eq!(found.len(), of_rig7(&survivors).len());
    found.iter().for_each(is_rig7);
    let text = rig.producer(&["verify", "r"]);
    let line = format!("seed {}", seed(victim));
    for part in [line.as_str(), "rig7/gpu3", "A card", "not reported", " ago"] {
        assert!(text.stdout.contains(part), "'{part}': {text}");
    }
}

#[test]
fn a_survivor_that_was_changed_is_found_without_a_sample_of_it() {
    let (rig, survivors, ledger) = corruptible();
    let victim = of_rig7(&survivors)[1];
    ledger
        .execute("UPDATE survivors SET skip = skip + 1 WHERE seed = ?1", [stored(seed(victim))])
        .unwrap();
    ledger.execute("UPDATE outcomes SET node = 'rig8' WHERE job = 'r.00000'", []).unwrap();
    // Whichever is sampled, every survivor is tested again.
    for choice in 0..4 {
        let found = disagrees(&verify(&rig, &format!("r --seed {choice}")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0]["kind"].as_str(), &found[0]["seed"]),
            (Some("differs"), &victim["seed"])
        );
        let skip = victim["skip"].as_u64().unwrap();
        assert_eq!([&found[0]["reported"]["skip"], &found[0]["found"]["skip"]], [skip + 1, skip]);
        is_rig7(&found[0]);
    }
}

#[test]
fn invented_survivors_are_found() {
    let (rig, survivors, ledger) = corruptible();
    let outcome: i64 = ledger
        .query_row("SELECT id FROM outcomes WHERE node = 'rig7'", [], |row| row.get(0))
        .unwrap();
    let invent = |seed: u64| {
        ledger
            .execute(
                "INSERT INTO survivors (run, seed, matches, skip, outcome)
                 VALUES ((SELECT id FROM runs), ?1, 5, 2, ?2)",
                params![stored(seed), outcome],
            )
            .unwrap();
    };
    let inside = (120_000..).find(|s| survivors.iter().all(|have| seed(have) != *s)).unwrap();
    // Within the request, past its end, and past what the family takes.
    for seed in [inside, 300_000, 1 << 40] {
        invent(seed);
    }
    let found = disagrees(&verify(&rig, "r"));
    let kinds: Vec<(&str, u64)> =
        found.iter().map(|f| (f["kind"].as_str().unwrap(), f["seed"].as_u64().unwrap())).collect();
    let expected = [
        ("not_a_survivor", inside),
        ("not_a_survivor", 300_000),
        ("not_a_survivor", 1 << 40),
        ("outside", 300_000),
        ("outside", 1 << 40),
    ];
    assert_eq!(kinds, expected);
    for found in &found {
        assert_eq!(found["reported"], json!({ "matches": 5, "skip": 2 }));
        assert_eq!(found["found"], Value::Null);
        is_rig7(found);
    }
}

#[test]
fn other_near_misses_are_found() {
    for (column, by) in [("near_misses", 1), ("near_miss_sum", 12_345)] {
        let (rig, _, ledger) = corruptible();
        let change = format!("UPDATE outcomes SET {column} = {column} + {by} WHERE node = 'rig7'");
        ledger.execute(&change, []).unwrap();
        let found = disagrees(&verify(&rig, "r"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["kind"], "near_misses");
        assert_eq!(found[0]["interval"], json!({ "start": 101_000, "end": 151_000 }));
        let count = |side: &str| found[0][side]["count"].as_u64().unwrap();
        assert_eq!(count("reported") - count("found"), u64::from(column == "near_misses"));
        assert_ne!(found[0]["reported"], found[0]["found"]);
        is_rig7(&found[0]);
    }
}

#[test]
fn coverage_that_no_outcome_backs_is_found() {
    let (rig, _, ledger) = corruptible();
    ledger.execute("DELETE FROM outcomes WHERE node = 'rig7'", []).unwrap();
    let found = disagrees(&verify(&rig, "r"));
    let hole = found.iter().find(|found| found["kind"] == "coverage").unwrap();
    assert_eq!(hole["interval"], json!({ "start": 101_000, "end": 151_000 }));
}

#[test]
fn what_an_unfinished_run_has_covered_is_verified() {
    let (rig, _, ledger) = corruptible();
    ledger.execute("DELETE FROM outcomes WHERE node = 'rig7'", []).unwrap();
    ledger
        .execute_batch(&format!(
            "DELETE FROM survivors WHERE seed BETWEEN {first} AND {last};
             DELETE FROM coverage;
             INSERT INTO coverage SELECT id, {start}, {before} FROM runs;
             INSERT INTO coverage SELECT id, {after}, {end} FROM runs;
             UPDATE runs SET state = 'open', ended_at = NULL;",
            first = stored(101_000),
            last = stored(150_999),
            start = stored(1000),
            before = stored(100_999),
            after = stored(151_000),
            end = stored(250_999),
        ))
        .unwrap();
    let verified = agrees(verify(&rig, "r --sample 100%"));
    assert_eq!([&verified["covered"], &verified["requested"]], [200_000, SEEDS]);
    assert_eq!(verified["samples"], 4);
    let certificate = rig.producer(&["export", "r", "--format", "certificate"]);
    assert!(certificate.code == 2 && certificate.stderr.contains("not all"), "{certificate}");
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_certificate_is_checked_without_the_ledger() {
    let rig = Rig::embedded();
    let survivors = search(
        &rig,
        "r",
        &format!("{LOOSE} --direction both --reverse-min-matches 1 --output-dir out"),
    );
    let written = rig.path("out/r/certificate.json");
    let certificate = read(&written);
    // The run's own folder, its outputs and the export have the same.
    assert_eq!(read(&rig.home().join("local/r/certificate.json")), certificate);
    assert_eq!(rig.producer(&["export", "r", "--format", "certificate"]).ok().json(), certificate);
    assert_eq!(certificate["version"], 1);
    assert_eq!(certificate["coverage"], json!([{ "start": 1000, "end": 251_000 }]));
    assert_eq!(certificate["request"]["sieve"]["draws"].as_array().unwrap().len(), 8);
    let devices = certificate["devices"].as_array().unwrap();
    let seeds: u64 = devices.iter().map(|device| device["seeds"].as_u64().unwrap()).sum();
    let outcomes: u64 = devices.iter().map(|device| device["outcomes"].as_u64().unwrap()).sum();
    assert_eq!((seeds, outcomes), (SEEDS, 5));
    assert_eq!(certificate["survivors"]["count"], survivors.len());

    let csv = rig.path("r.csv");
    let exported =
        rig.producer(&["export", "r", "--format", "csv", "--output", &csv.display().to_string()]);
    assert_eq!(exported.code, 0, "{exported}");
    let json = rig.path("out/r/survivors.json");
    // Nothing of the run is left but the files.
    fs::rename(rig.home(), rig.path("gone")).unwrap();
    let check = |certificate: &Path, survivors: &Path, more: &str| {
        let (certificate, survivors) = (certificate.display(), survivors.display());
        verify(&rig, &format!("--certificate {certificate} --survivors {survivors} {more}"))
    };
    for file in [&csv, &json] {
        let verified = agrees(check(&written, file, "--sample 100%"));
        assert_eq!(verified["survivors_tested"], survivors.len());
        assert_eq!(verified["seeds_tested"], SEEDS);
        let few = agrees(check(&written, file, "--sample 10%"));
        assert!(few["seeds_tested"].as_u64().unwrap() >= SEEDS / 10);
    }

    let kinds = |answer: &Answer| -> Vec<String> {
        let kinds = disagrees(answer).into_iter().map(|f| f["kind"].as_str().unwrap().to_owned());
        kinds.collect()
    };
    let tampered = rig.path("tampered.json");
    // A survivor is dropped: the hash tells, and so does the block that holds it.
    let victim = &survivors[survivors.len() / 2];
    let rest: Vec<&Value> = survivors.iter().filter(|s| *s != victim).collect();
    fs::write(&tampered, serde_json::to_vec(&rest).unwrap()).unwrap();
    let found = check(&written, &tampered, "--sample 100%");
    assert_eq!(kinds(&found), ["survivors_hash", "missing_survivor"]);
    assert_eq!(disagrees(&found)[1]["seed"], victim["seed"]);
    // One device did it all, so it is clear whose they are.
    assert_eq!(disagrees(&found)[1]["device"].is_string(), devices.len() == 1);
    // A survivor is changed, only in reverse.
    let mut changed = survivors.clone();
    changed[3]["reverse"]["skip"] = json!(changed[3]["reverse"]["skip"].as_u64().unwrap() + 1);
    fs::write(&tampered, serde_json::to_vec(&changed).unwrap()).unwrap();
    assert_eq!(kinds(&check(&written, &tampered, "")), ["survivors_hash", "differs"]);

    // The certificate itself.
    let forge = |change: &dyn Fn(&mut Value)| {
        let mut forged = certificate.clone();
        change(&mut forged);
        fs::write(&tampered, serde_json::to_vec(&forged).unwrap()).unwrap();
        check(&tampered, &json, "--sample 100%")
    };
    let hash = forge(&|c| {
        let hash = c["survivors"]["blake3"].as_str().unwrap();
        let first = if hash.starts_with('0') { "1" } else { "0" };
        c["survivors"]["blake3"] = json!(format!("{first}{}", &hash[1..]));
    });
    assert_eq!(kinds(&hash), ["survivors_hash"]);
    let count = forge(&|c| c["survivors"]["count"] = json!(1));
    assert_eq!(kinds(&count), ["survivors_hash"]);
    let hole = forge(&|c| c["coverage"][0]["end"] = json!(250_000));
    let found = disagrees(&hole);
    assert_eq!(found[0]["interval"], json!({ "start": 250_000, "end": 251_000 }));
    // Other draws: the survivors are others too.
    let draws = forge(&|c| c["request"]["sieve"]["draws"][2] = json!(1));
    assert!(kinds(&draws).iter().any(|kind| kind == "differs" || kind == "not_a_survivor"));
    let more = forge(&|c| {
        c["request"]["requested"]["end"] = json!(400_000);
        c["coverage"][0]["end"] = json!(400_000);
    });
    assert!(kinds(&more).iter().all(|kind| kind == "missing_survivor"));
}

/// The processes that have this parent, by `/proc/PID/stat`.
fn children(parent: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let pairs = stats.filter_map(|stat| {
        let id = stat.split(' ').next()?.parse().ok()?;
        let mut after_name = stat.rsplit(") ").next()?.split(' ');
        let ppid: i32 = after_name.nth(1)?.parse().ok()?;
        Some((id, ppid))
    });
    pairs.filter(|(_, ppid)| *ppid == parent).map(|(id, _)| id).collect()
}

#[test]
fn an_interrupted_verification_leaves_no_process_behind() {
    let rig = Rig::embedded();
    search(&rig, "r", LOOSE);
    // A request that would take minutes.
    let mut certificate = read(&rig.home().join("local/r/certificate.json"));
    certificate["request"]["requested"]["end"] = json!(1u64 << 32);
    certificate["coverage"][0]["end"] = json!(1u64 << 32);
    let certificate = rig.file("large.json", &certificate.to_string());
    let survivors = rig.file("survivors.csv", "seed,matches,skip\n");
    let line =
        format!("verify --certificate {certificate} --survivors {survivors} --sample 100% --json");
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let part = rig.start_producer(&words(&line));
        let pid = rig.pid(part).as_raw_nonzero().get();
        let runners = rig.until("runners", || Some(children(pid)).filter(|ids| !ids.is_empty()));
        rig.signal(part, signal);
        let answer = rig.answer(part, &words(&line));
        assert_eq!(answer.code, if signal == Signal::INT { 130 } else { -1 }, "{answer}");
        // A zombie is still listed; whoever inherits it reaps it.
        let alive = |id: &i32| Path::new(&format!("/proc/{id}/exe")).canonicalize().is_ok();
        rig.until("the runners' end", || (!runners.iter().any(alive)).then_some(()));
    }
}

/// A run on separate processes, verified by the fleet's own processors.
#[test]
fn the_fleet_tests_samples_again() {
    let rigs = [Some(Rig::embedded()), Rig::rabbit()];
    for rig in rigs.into_iter().flatten() {
        rig.spawn_aggregator();
        rig.spawn_worker(2);
        let draws = draws(&rig);
        let line = format!(
            "enqueue --step 2 --wait --run r --json --limit 1000000 {LOOSE} --draws {draws}"
        );
        let status = rig.producer(&words(&line)).ok().json();
        let survivors = status["status"]["survivors"].as_array().unwrap().clone();
        let verified = agrees(verify(&rig, "r --arch cpu --sample 100%"));
        assert_eq!(verified["verify_run"], "r.verify-1");
        assert_eq!([&verified["samples"], &verified["near_misses_compared"]], [5, 5]);
        assert_eq!(verified["survivors_tested"], survivors.len());
        assert_eq!(verified["seeds_tested"], SEEDS);
        assert_eq!(verified["elsewhere"], 0);
        assert_eq!(rig.status("r.verify-1").unwrap()["kind"], "verify");

        let ledger = Connection::open(rig.home().join("ledger.db")).unwrap();
        ledger.busy_timeout(tests::rig::PATIENCE).unwrap();
        let victim = of_rig7(&survivors)[0];
        ledger
            .execute(
                "DELETE FROM survivors WHERE seed = ?1 AND run = (SELECT id FROM runs WHERE name = 'r')",
                [stored(seed(victim))],
            )
            .unwrap();
        ledger
            .execute(
                "UPDATE outcomes SET node = 'rig7', device = 'gpu3', model = 'A card', at = 1234.5,
                 near_misses = near_misses + 1 WHERE job = 'r.00002'",
                [],
            )
            .unwrap();
        let answer = verify(&rig, "r --arch cpu --sample 100%");
        let found = disagrees(&answer);
        assert_eq!(answer.json()["verify_run"], "r.verify-2");
        assert_eq!(answer.json()["elsewhere"], 1);
        let kinds: Vec<&Value> = found.iter().map(|found| &found["kind"]).collect();
        assert_eq!(kinds, ["missing_survivor", "near_misses"]);
        for found in &found {
            is_rig7(found);
            assert!(found["found_by"].as_str().unwrap().contains("/cpu"), "{found}");
        }
    }
}

/// A small share: such a run is complete when its samples are covered.
#[test]
fn the_fleet_tests_only_the_samples_again() {
    let rig = Rig::embedded();
    rig.spawn_aggregator();
    rig.spawn_worker(2);
    let draws = draws(&rig);
    let line = format!("enqueue --step 2 --wait --run r --json {LOOSE} --draws {draws}");
    assert_eq!(rig.producer(&words(&line)).ok().json()["status"]["state"], "complete");
    let verified = agrees(verify(&rig, "r --arch cpu --sample 30%"));
    assert_eq!([&verified["samples"], &verified["seeds_tested"]], [2, 100_000]);
    assert_eq!(verified["near_misses_compared"], 2);
    let status = rig.status("r.verify-1").unwrap();
    assert_eq!([&status["state"], &status["covered"]], [&json!("complete"), &json!(100_000)]);
}
