//! Studies with real Optuna, over a trial script whose value is known.

#![expect(clippy::unwrap_used, reason = "these are tests")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{
    rabbitmq::{Options, RabbitNode, unless_absent},
    rig::{Answer, Part, Rig},
};

/// A trial whose value is a function of its model, parameters and seed. `MODEL` files in the rig
/// say how a model fails.
const TRIAL: &str = r#"
import argparse, json, os, signal, sys, time
here = os.path.dirname(os.path.abspath(__file__))
p = argparse.ArgumentParser()
for name in ("survivors", "draws", "model", "params", "seed", "save"):
    p.add_argument("--" + name)
a = p.parse_args()
with open(os.path.join(here, "begun"), "a") as begun:
    begun.write(a.seed + "\n")
params, seed = json.loads(a.params), int(a.seed)
survivors, draws = json.load(open(a.survivors)), json.load(open(a.draws))
pause = os.path.join(here, "pause")
time.sleep(float(open(pause).read()) if os.path.exists(pause) else 0)
mode = os.path.join(here, a.model)
mode = open(mode).read() if os.path.exists(mode) else ""
if mode == "report":
    print(json.dumps({"status": "error", "message": "no draws left"}))
elif mode == "exit":
    sys.exit("out of luck")
elif mode == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
elif mode == "hang":
    time.sleep(600)
elif mode == "none":
    print(json.dumps({"status": "ok", "value": None}))
else:
    value = 1 - (params["x"] - 0.3) ** 2 - 0.01 * params["n"] + (seed % 1000) * 1e-7
    value += 0.001 * (len(survivors) + len(draws)) + (0.5 if a.model == "good" else 0)
    if a.save:
        json.dump(params, open(a.save, "w"))
        json.dump({"seed": seed}, open(a.save + ".meta.json", "w"))
    print(json.dumps({"status": "ok", "value": value, "params": params, "seed": seed, "seconds": 0}))
"#;

/// The search space of every model of these tests.
fn space(models: &[&str]) -> Value {
    let one = json!({
        "x": {"float": [0.0, 1.0]},
        "n": {"int": [1, 9]},
        "how": {"choice": ["plain", "fine"]},
        "grain": {"float": [1e-3, 1.0], "log": true, "when": {"how": ["fine"]}},
    });
    models
        .iter()
        .map(|model| ((*model).to_owned(), one.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The interpreter that has Optuna; `None`, with a message, where it was not installed.
fn python() -> Option<PathBuf> {
    let python = workspace().join("target/python/bin/python");
    let there = Command::new(&python).args(["-c", "import optuna"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {} has no Optuna (.ci/install-python)", python.display());
    None
}

/// Makes a rig ready for studies.
fn prepare(rig: &Rig, python: &Path) {
    let folder = rig.path("scripts");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("train_trial.py"), TRIAL).unwrap();
    fs::write(folder.join("scorer_trial.py"), TRIAL).unwrap();
    rig.add_settings(&format!("[scripts]\nfolders = [{folder:?}]\npython = {python:?}\n[steps.\"5\"]\nscript = \"\"\ntimeout = \"60s\"\n"));
    let _survivors = rig.file("survivors.json", "[1, 2, 3]");
    let _draws = rig.file("draws.json", "[4, 5]");
}

/// A rig with the embedded broker, if there is Optuna.
fn rig() -> Option<Rig> {
    let python = python()?;
    let rig = Rig::embedded();
    prepare(&rig, &python);
    Some(rig)
}

/// The words of a study called `name` of these models.
fn words(rig: &Rig, name: &str, models: &[&str], more: &[&str]) -> Vec<String> {
    let space = rig.file("space.json", &space(models).to_string());
    let path = |name: &str| rig.path(name).display().to_string();
    let storage = format!("sqlite:///{}", path("studies.db"));
    let (survivors, draws, models) = (path("survivors.json"), path("draws.json"), models.join(","));
    let words = [
        "study",
        "compare",
        "--survivors",
        &survivors,
        "--draws",
        &draws,
        "--models",
        &models,
        "--storage",
        &storage,
        "--study-name",
        name,
        "--space",
        &space,
        "--json",
    ];
    words.into_iter().chain(more.iter().copied()).map(str::to_owned).collect()
}

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn compare(rig: &Rig, name: &str, models: &[&str], more: &[&str]) -> Answer {
    rig.producer(&refs(&words(rig, name, models, more)))
}

/// What every trial was and came to, without when and where.
fn results(report: &Value) -> Vec<Value> {
    let results = report["results"].as_array().unwrap().iter();
    let kept = ["number", "model", "state", "value", "params", "seed"];
    results
        .map(|r| {
            kept.iter()
                .map(|key| ((*key).to_owned(), r[*key].clone()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
        .collect()
}

/// The study as Optuna itself loads it: number, state and value of every trial.
fn loaded(rig: &Rig, name: &str) -> Vec<(u64, String, Option<f64>)> {
    let program = "import json, optuna, sys\n\
        study = optuna.load_study(study_name=sys.argv[2], storage=sys.argv[1])\n\
        print(json.dumps([[t.number, t.state.name, t.value] for t in study.trials]))";
    let storage = format!("sqlite:///{}", rig.path("studies.db").display());
    let output =
        Command::new(python().unwrap()).args(["-c", program, &storage, name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Optuna's storage, the ledger and the report tell the same of every trial.
#[track_caller]
fn check_agreement(rig: &Rig, name: &str, report: &Value, trials: usize) {
    let optuna = loaded(rig, name);
    let results = report["results"].as_array().unwrap();
    assert_eq!((optuna.len(), results.len()), (trials, trials), "{report}");
    let counts = &report["trials"];
    let sum: u64 =
        ["done", "failed", "running", "lost"].iter().map(|k| counts[*k].as_u64().unwrap()).sum();
    assert_eq!((sum, &counts["asked"]), (trials as u64, &json!(trials)), "{counts}");
    let mut jobs: BTreeMap<(String, String), Value> = BTreeMap::new();
    for run in report["runs"].as_array().unwrap() {
        let run = run.as_str().unwrap();
        for job in rig.status(run).unwrap()["results"].as_array().unwrap() {
            let id = (run.to_owned(), job["job"].as_str().unwrap().to_owned());
            assert!(jobs.insert(id, job.clone()).is_none());
        }
    }
    for (result, (number, state, value)) in results.iter().zip(optuna) {
        assert_eq!(result["number"], number);
        let done = result["state"] == "done";
        assert_eq!((state == "COMPLETE", state == "FAIL"), (done, !done), "{result}");
        assert_eq!(result["value"].as_f64(), value, "{result}");
        let text = |key: &str| result[key].as_str().unwrap().to_owned();
        let job = &jobs[&(text("run"), text("job"))];
        if result["state"] != "lost" {
            assert_eq!(job["state"], if done { "done" } else { "dead" }, "{result}: {job}");
            assert_eq!(job["result"]["value"].as_f64(), value);
        }
    }
}

/// How often each seed's script began.
fn begun(rig: &Rig) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    for line in fs::read_to_string(rig.path("scripts/begun")).unwrap_or_default().lines() {
        *times.entry(line.to_owned()).or_default() += 1;
    }
    times
}

fn until_begun(rig: &Rig, count: usize) {
    rig.until("some trials to have begun", || (begun(rig).len() >= count).then_some(()));
}

/// A child of a part whose command line holds a text.
fn child(rig: &Rig, part: Part, holds: &str) -> Pid {
    let parent = rig.pid(part).as_raw_nonzero().get().to_string();
    rig.until(&format!("a child with {holds}"), || {
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let of = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned();
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (of == parent && line.contains(holds)).then(|| Pid::from_raw(pid).unwrap())
        })
    })
}

#[test]
fn the_results_depend_on_no_parallelism() {
    let Some(rig) = rig() else { return };
    let mut first = None;
    for parallel in ["1", "2", "4"] {
        let name = format!("of{parallel}");
        let more = ["--trials", "16", "--parallel", parallel, "--seed", "7"];
        let report = compare(&rig, &name, &["good", "bad"], &more).ok().json();
        assert_eq!((&report["state"], &report["study"]), (&json!("complete"), &json!(name)));
        assert_eq!(report["trials"]["done"], 16, "{report}");
        check_agreement(&rig, &name, &report, 16);
        assert_eq!(report["best"]["model"], "good", "{report}");
        assert_eq!(report["models"]["bad"]["trials"], 8);
        let seeds: BTreeSet<u64> =
            results(&report).iter().map(|result| result["seed"].as_u64().unwrap()).collect();
        assert_eq!(seeds.len(), 16);
        assert_eq!(*first.get_or_insert_with(|| results(&report)), results(&report));
        let run = format!("study-{name}");
        let status = rig.status(&run).unwrap();
        assert_eq!((&status["state"], &status["kind"]), (&json!("complete"), &json!("study")));
    }
    let runs = rig.producer(&["runs", "--json"]).ok().json();
    assert_eq!(runs.as_array().unwrap().len(), 3, "{runs}");
    // Another seed: other trials.
    let more = ["--trials", "4", "--seed", "8"];
    let other = compare(&rig, "other", &["good", "bad"], &more).ok().json();
    assert_ne!(results(&other)[0], first.unwrap()[0]);
}

#[test]
fn a_study_goes_on_where_it_stopped_and_is_the_same_study() {
    let Some(rig) = rig() else { return };
    let models = ["good", "bad"];
    let whole = compare(&rig, "whole", &models, &["--trials", "14"]).ok().json();
    fs::remove_file(rig.path("scripts/begun")).unwrap();
    fs::write(rig.path("scripts/pause"), "0.4").unwrap();
    let words = words(&rig, "cut", &models, &["--trials", "14", "--parallel", "2"]);

    // The producer is killed: everything that it started goes with it.
    let part = rig.start_producer(&refs(&words));
    until_begun(&rig, 3);
    rig.kill9(part);
    // A signal is taken well.
    let part = rig.start_producer(&refs(&words));
    until_begun(&rig, 6);
    rig.signal(part, Signal::INT);
    let answer = rig.answer(part, &refs(&words));
    assert_eq!(answer.code, 130, "{answer}");
    assert_eq!(answer.json()["state"], "interrupted");
    // The driver is killed, and so is the worker.
    let part = rig.start_producer(&refs(&words));
    until_begun(&rig, 8);
    let second = rig.producer(&refs(&words));
    assert_eq!(second.code, 2, "{second}");
    let pid = rig.pid(part).as_raw_nonzero();
    assert!(second.stderr.contains(&format!("is driven by process {pid} already")), "{second}");
    kill_process(child(&rig, part, "The Optuna side"), Signal::KILL).unwrap();
    until_begun(&rig, 10);
    kill_process(child(&rig, part, "worker --eager"), Signal::KILL).unwrap();
    let report = rig.answer(part, &refs(&words)).ok().json();
    assert_eq!(results(&report), results(&whole));
    check_agreement(&rig, "cut", &report, 14);
    let begun = begun(&rig);
    assert!(begun.len() == 14 && begun.values().all(|&times| times <= 4), "{begun:?}");

    // Asked again, there is nothing to do; asked for more, it goes on.
    let again = rig.producer(&refs(&words)).ok().json();
    assert_eq!(results(&again), results(&report));
    let more = compare(&rig, "cut", &models, &["--trials", "18"]).ok().json();
    assert_eq!(results(&more)[..14], results(&report)[..]);
    check_agreement(&rig, "cut", &more, 18);
    assert_eq!(more["runs"], json!(["study-cut", "study-cut.2"]));
    // What is another study is refused.
    for (models, more, words) in [
        (&models[..1], &["--trials", "20"][..], "its choice of models"),
        (&models[..], &["--seed", "9"], "its seed is 42, not 9"),
    ] {
        let refused = compare(&rig, "cut", models, more);
        assert!(refused.code == 2 && refused.stderr.contains(words), "{refused}");
    }
}

#[test]
fn a_model_that_keeps_failing_is_set_aside_and_costs_the_others_nothing() {
    let Some(rig) = rig() else { return };
    for (mode, kind) in
        [("exit", "ExitCode(1)"), ("crash", "Crashed(11)"), ("none", "InvalidOutput")]
    {
        fs::write(rig.path("scripts/bad"), mode).unwrap();
        let more = ["--trials", "20", "--max-attempts", "1", "--window", "4"];
        let answer = compare(&rig, mode, &["good", "bad"], &more).ok();
        assert!(answer.stderr.contains("bad is set aside"), "{answer}");
        let report = answer.json();
        check_agreement(&rig, mode, &report, 20);
        let bad = &report["models"]["bad"];
        assert_eq!((&bad["set_aside"], &bad["best"]), (&json!(true), &Value::Null));
        let failed = bad["failed"].as_u64().unwrap();
        assert!((3..=5).contains(&failed), "{bad}");
        assert_eq!(report["models"]["good"]["trials"].as_u64().unwrap(), 20 - failed);
        let first =
            report["results"].as_array().unwrap().iter().find(|r| r["model"] == "bad").unwrap();
        assert!(first["failure"].as_str().unwrap().starts_with(kind), "{first}");
    }
    // When all are set aside, the study ends and says why.
    fs::write(rig.path("scripts/good"), "report").unwrap();
    let more = ["--trials", "40", "--max-attempts", "1", "--window", "4"];
    let answer = compare(&rig, "hopeless", &["good", "bad"], &more);
    assert_eq!(answer.code, 4, "{answer}");
    let error = answer.stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains("found nothing that works"), "{error}");
    assert!(answer.stderr.contains("trials failed in a row: 2 at a time"), "{answer}");
    let report = answer.json();
    assert!(report["trials"]["failed"].as_u64().unwrap() < 15, "{report}");
    assert_eq!(rig.status("study-hopeless").unwrap()["state"], "cancelled");
}

#[test]
fn trials_whose_run_is_cancelled_are_asked_for_again() {
    let Some(rig) = rig() else { return };
    fs::write(rig.path("scripts/pause"), "0.3").unwrap();
    let words = words(&rig, "s", &["good"], &["--trials", "8", "--parallel", "2"]);
    let part = rig.start_producer(&refs(&words));
    until_begun(&rig, 3);
    let _cancelled = rig.producer(&["cancel", "study-s"]).ok();
    let report = rig.answer(part, &refs(&words)).ok().json();
    let counts = &report["trials"];
    let lost = counts["lost"].as_u64().unwrap();
    assert!(lost > 0 && counts["done"] == 8, "{counts}");
    check_agreement(&rig, "s", &report, 8 + usize::try_from(lost).unwrap());
    assert_eq!(report["runs"], json!(["study-s", "study-s.2"]));
    // Each has the same parameters and seed as the one that it stands for.
    let all = results(&report);
    for result in all.iter().filter(|result| result["state"] == "lost") {
        let again = all.iter().filter(|r| r["seed"] == result["seed"] && r["state"] == "done");
        assert!(again.clone().count() == 1, "{report}");
        assert!(again.into_iter().all(|r| r["params"] == result["params"]));
    }
}

#[test]
fn models_are_kept_the_best_or_all() {
    let Some(rig) = rig() else { return };
    let out = rig.path("out");
    let folder = out.display().to_string();
    let more = ["--trials", "4", "--output-dir", &folder];
    let best = compare(&rig, "best", &["good", "bad"], &more).ok().json();
    let number = best["best"]["number"].as_u64().unwrap();
    let saved = format!("study-best.best-{number}/trial-{number}.model");
    assert_eq!(best["saved"], json!(saved));
    let model: Value = serde_json::from_slice(&fs::read(out.join(&saved)).unwrap()).unwrap();
    assert_eq!(model, best["best"]["params"]);
    assert_eq!(best["trials"]["done"], 4, "training it again is no trial");
    check_agreement(&rig, "best", &best, 4);
    // Once is enough.
    let begun_once = begun(&rig);
    let again = compare(&rig, "best", &["good", "bad"], &more).ok().json();
    assert_eq!((&again["saved"], begun(&rig)), (&best["saved"], begun_once));

    let more = [&more[..], &["--save-all-models"]].concat();
    let all = compare(&rig, "all", &["good", "bad"], &more).ok().json();
    assert_eq!(results(&all), results(&best));
    for result in all["results"].as_array().unwrap() {
        let path = out.join(format!("study-all/trial-{}.model", result["number"]));
        let model: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(model, result["params"]);
    }
    assert_eq!(all["saved"], json!(format!("study-all/trial-{number}.model")));
}

#[test]
fn a_study_on_the_fleet_outlives_workers_aggregators_and_the_broker() {
    let Some(python) = python() else { return };
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    let node: &'static RabbitNode = Box::leak(Box::new(node));
    let rig = Rig::on(node);
    prepare(&rig, &python);
    fs::write(rig.path("scripts/pause"), "0.3").unwrap();
    let aggregator = rig.spawn_aggregator();
    let worker = rig.spawn_worker(2);
    rig.spawn_worker_of("steady", 1);
    rig.until("the ledger", || rig.home().join("ledger.db").exists().then_some(()));
    let words = words(&rig, "s", &["good", "bad"], &["--trials", "24", "--parallel", "3"]);
    let part = rig.start_producer(&refs(&words));
    until_begun(&rig, 3);
    rig.kill9(worker);
    rig.spawn_worker(2);
    until_begun(&rig, 8);
    rig.kill9(aggregator);
    rig.spawn_aggregator();
    until_begun(&rig, 12);
    node.kill().unwrap();
    node.run().unwrap();
    until_begun(&rig, 16);
    rig.kill9(part);
    let report = rig.producer(&refs(&words)).ok().json();
    check_agreement(&rig, "s", &report, 24);
    assert_eq!(report["trials"]["done"], 24);
    assert_eq!(begun(&rig).len(), 24, "each began");
    assert_eq!(rig.status("study-s").unwrap()["state"], "complete");
    rig.end_services();
}

#[test]
fn a_study_that_can_not_work_says_why() {
    let Some(rig) = rig() else { return };
    let refused = |more: &[&str], words: &str| {
        let answer = compare(&rig, "s", &["good"], more);
        assert!(answer.code == 2 && answer.stderr.contains(words), "{words}: {answer}");
    };
    refused(&["--study-name=../s"], "can't be a run's name");
    refused(&["--trials", "0"], "--trials");
    refused(&["--storage", "mysql+none://x"], "storage");
    let bare = rig.path("bare-python");
    fs::write(&bare, "#!/bin/sh\nexec python3 -I -S \"$@\"\n").unwrap();
    fs::set_permissions(&bare, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = fs::read_to_string(rig.path("settings.toml")).unwrap();
    for (python, words) in [
        (bare, "pip install -r worker/scripts/requirements.txt"),
        (rig.path("none"), "can't be started"),
    ] {
        let line = |line: &str| match line.starts_with("python") {
            true => format!("python = {python:?}\n"),
            false => format!("{line}\n"),
        };
        let other: String = settings.lines().map(line).collect();
        fs::write(rig.path("settings.toml"), other).unwrap();
        refused(&[], words);
    }
}
