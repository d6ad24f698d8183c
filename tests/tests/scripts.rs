//! Script jobs, from a jobs file to the report, on real processes and the system's Python.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};
use tests::rig::{Answer, Part, Rig};

/// Does its number's worth, in every way of success and failure there is.
const SCRIPT: &str = r#"
import json, os, signal, sys, time
mode, number = sys.argv[1], int(sys.argv[2])
out = sys.argv[3] if len(sys.argv) > 3 else None
# Who began, and how often: one line each.
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "begun"), "a") as begun:
    begun.write(f"{number}\n")
if mode == "print":
    print("working")
    print(json.dumps({"number": number}))
elif mode == "write":
    with open(out, "w") as file:
        json.dump({"number": number}, file)
elif mode == "slow":
    time.sleep(0.3)
    print(json.dumps({"number": number}))
elif mode == "report":
    print(json.dumps({"status": "error", "message": "no draws left"}))
elif mode == "empty":
    open(out, "w").close()
elif mode == "half":
    open(out, "w").write('{"number": ')
elif mode == "exit":
    sys.stderr.write("out of luck\n")
    sys.exit(7)
elif mode == "memory":
    raise MemoryError
elif mode == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
elif mode == "sleep":
    time.sleep(600)
elif mode == "hog":
    held = bytearray(400 << 20)
    time.sleep(600)
# "nothing" does nothing.
"#;

/// Does what [`SCRIPT`] does when all is well, and leaves the rest to it: Python's start is what a
/// thousand short scripts take the time of.
const QUICK: &str = r#"#!/bin/sh
begun="${1%/*}/begun"
case $2 in
    print) echo "$3" >>"$begun"; echo "{\"number\": $3}" ;;
    write) echo "$3" >>"$begun"; echo "{\"number\": $3}" >"$4" ;;
    *) exec python3 "$@" ;;
esac
"#;

/// A rig whose workers run [`SCRIPT`] as `do.py`.
fn rig() -> Rig {
    let rig = Rig::embedded();
    add_scripts(&rig, "python3");
    rig
}

fn add_scripts(rig: &Rig, python: &str) {
    let folder = rig.path("scripts");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("do.py"), SCRIPT).unwrap();
    rig.add_settings(&format!(
        "[scripts]\nfolders = [{folder:?}]\npython = {python:?}\n[steps.\"3\"]\nscript = \"do.py\"\ntimeout = \"60s\"\n"
    ));
}

fn begun(rig: &Rig) -> Vec<u64> {
    let text = fs::read_to_string(rig.path("scripts/begun")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// A jobs file's path, for the rig.
fn jobs_file(rig: &Rig, jobs: &[Value]) -> String {
    rig.file("jobs.json", &json!({ "jobs": jobs }).to_string())
}

/// What asks for step 3 of a jobs file as run `r`, to be answered in JSON.
const fn step3_words(file: &str) -> [&str; 7] {
    ["--step", "3", "--jobs-file", file, "--run", "r", "--json"]
}

/// Runs step 3 of a jobs file as run `r`, with more words; the answer is JSON.
fn step3(rig: &Rig, command: &str, file: &str, more: &[&str]) -> Answer {
    rig.producer(&[&[command], &step3_words(file)[..], more].concat())
}

fn result_of<'a>(status: &'a Value, job: &str) -> &'a Value {
    let results = status["results"].as_array().unwrap();
    results.iter().find(|result| result["job"] == job).unwrap()
}

/// Every way to fail: what a job does, whether it declares an output, and what must come of it.
const FAILING: [(&str, bool, &str, &str); 10] = [
    ("report", false, "Reported", "no draws left"),
    ("nothing", true, "MissingOutput", "wrote no"),
    ("nothing", false, "MissingOutput", "printed no result"),
    ("empty", true, "EmptyOutput", "is empty"),
    ("half", true, "InvalidOutput", "no JSON"),
    ("exit", false, "ExitCode(7)", "out of luck"),
    ("memory", false, "ExitCode(1)", "MemoryError"),
    ("crash", false, "Crashed(11)", "SIGSEGV"),
    ("sleep", false, "Timeout", "time limit"),
    ("hog", false, "OutOfMemory", "its limit is 128 MiB"),
];

/// `count` jobs of which the first `failing` fail, in all ways by turns; the others write or print.
fn jobs_of(count: usize, failing: usize) -> Vec<Value> {
    let mut jobs = Vec::with_capacity(count);
    for number in 0..count {
        let (mode, writes) = match FAILING[number % FAILING.len()] {
            (mode, writes, ..) if number < failing => (mode, writes),
            _ if number % 2 == 0 => ("write", true),
            _ => ("print", false),
        };
        let mut job = json!({"job_id": format!("t{number}"), "args": [mode, number]});
        if writes {
            let output = format!("trials/{number}.json");
            job["args"].as_array_mut().unwrap().push(json!(output));
            job["expected_output"] = json!(output);
        }
        match mode {
            "sleep" => job["timeout"] = json!(1.0),
            "hog" => job["memory_mb"] = json!(128),
            _ => {}
        }
        jobs.push(job);
    }
    jobs
}

/// Checks that job `number` failed as it had to, after so many attempts.
fn assert_failed(status: &Value, number: usize, attempts: u64) {
    let (mode, _, kind, words) = FAILING[number % FAILING.len()];
    let result = result_of(status, &format!("t{number}"));
    assert_eq!(
        (&result["state"], &result["attempts"]),
        (&json!("dead"), &json!(attempts)),
        "{result}"
    );
    assert_eq!(result["failure"]["kind"], kind, "{mode}: {result}");
    assert!(result["failure"]["detail"].as_str().unwrap().contains(words), "{mode}: {result}");
    assert_eq!(result["result"], Value::Null);
}

/// Checks that job `number` succeeded, and that what it wrote lies in its place.
fn assert_done(status: &Value, number: usize, out: &str) {
    let result = result_of(status, &format!("t{number}"));
    assert_eq!((&result["state"], &result["failure"]), (&json!("done"), &Value::Null));
    assert_eq!(result["result"], json!({"number": number}));
    let path = Path::new(out).join(format!("r/trials/{number}.json"));
    assert_eq!(path.exists(), number.is_multiple_of(2), "{}", path.display());
}

#[test]
fn a_thousand_scripts_of_which_a_tenth_fails_in_every_way_are_each_reported() {
    let rig = Rig::embedded();
    let quick = rig.path("quick");
    fs::write(&quick, QUICK).unwrap();
    fs::set_permissions(&quick, fs::Permissions::from_mode(0o755)).unwrap();
    add_scripts(&rig, quick.to_str().unwrap());
    let file = jobs_file(&rig, &jobs_of(1000, 100));
    let out = rig.path("out").display().to_string();
    let more = ["--max-dead", "100%", "--max-attempts", "1", "--output-dir", &out];
    let words = [&["run"], &step3_words(&file)[..], &more].concat();
    let running = rig.start_producer(&words);
    // Each hundred has the patience of a whole test: it is the machine that is slow.
    for hundreds in 1..=10 {
        rig.until_status("r", "a hundred more to end", |status| {
            let ended = |name: &str| status["jobs"][name].as_u64().unwrap_or_default();
            ended("done") + ended("dead") >= hundreds * 100
        });
    }
    let answer = rig.answer(running, &words);
    assert_eq!(answer.code, 4, "{answer}");
    let status = answer.json();
    let jobs = &status["jobs"];
    let counts = ["published", "done", "failed", "retried", "dead"].map(|name| &jobs[name]);
    assert_eq!(counts, [&json!(1000), &json!(900), &json!(100), &json!(0), &json!(100)]);
    assert_eq!(begun(&rig).len(), 1000, "each was run once");
    (0..100).for_each(|number| assert_failed(&status, number, 1));
    (100..1000).for_each(|number| assert_done(&status, number, &out));
}

#[test]
fn forty_scripts_are_each_reported_as_they_ended() {
    let rig = rig();
    let failing = FAILING.len();
    let file = jobs_file(&rig, &jobs_of(40, failing));
    let out = rig.path("out").display().to_string();
    let answer = step3(
        &rig,
        "run",
        &file,
        &["--max-dead", "100%", "--max-attempts", "2", "--output-dir", &out],
    );
    assert_eq!(answer.code, 4, "{answer}");
    let status = answer.json();
    assert_eq!((&status["state"], &status["step"]), (&json!("failed"), &json!("3")), "{answer}");
    let jobs = &status["jobs"];
    let counts =
        ["published", "done", "failed", "retried", "requeued", "dead"].map(|name| &jobs[name]);
    assert_eq!(counts, [&json!(40), &json!(30), &json!(20), &json!(10), &json!(0), &json!(10)]);
    assert_eq!(status["results"].as_array().unwrap().len(), 40);
    (0..failing).for_each(|number| assert_failed(&status, number, 2));
    (failing..40).for_each(|number| assert_done(&status, number, &out));
    let manifest = fs::read_to_string(Path::new(&out).join("r/run.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!((&manifest["state"], &manifest["step"]), (&json!("failed"), &json!("3")));
    let first = &manifest["jobs"][0];
    assert_eq!((&first["script"], &first["args"]), (&json!("do.py"), &json!(["report", "0"])));
    assert_eq!(first["tries"].as_array().unwrap().len(), 2);
    assert_eq!(manifest["jobs"][10]["files"][0]["name"], "trials/10.json");

    // Nothing else is left of the attempts, and the local run answers for itself.
    let attempts = rig.home().join("local/r/attempts");
    let left: Vec<_> = fs::read_dir(attempts)
        .unwrap()
        .flat_map(|worker| fs::read_dir(worker.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "lock")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let dead = rig.producer(&["dead", "list", "--run", "r", "--json"]).ok().json();
    assert_eq!(dead.as_array().unwrap().len(), failing);
    assert_eq!(dead[0]["kind"], "script do.py");
    let exported = rig.producer(&["export", "r", "--format", "json"]).ok().json();
    assert_eq!(exported, status["results"]);
    let refused = rig.producer(&["export", "r", "--format", "csv"]);
    assert!(refused.code != 0 && refused.stderr.contains("--format json"), "{refused}");
    let table = rig.producer(&["status", "r"]).ok().stdout;
    assert!(table.contains("30 of 40 scripts done") && table.contains("Timeout: "), "{table}");
}

#[test]
fn a_killed_worker_costs_scripts_nothing() {
    let rig = rig();
    rig.spawn_aggregator();
    let worker: Part = rig.spawn_worker(2);
    let jobs: Vec<Value> =
        (0..20).map(|n| json!({"job_id": format!("t{n}"), "args": ["slow", n]})).collect();
    let file = jobs_file(&rig, &jobs);
    let words = ["enqueue", "--step", "3", "--jobs-file", &file, "--run", "r", "--wait", "--json"];
    rig.until("the ledger", || rig.home().join("ledger.db").exists().then_some(()));
    let waiting = rig.start_producer(&words);
    rig.until("some scripts to have begun", || (begun(&rig).len() >= 4).then_some(()));
    rig.kill9(worker);
    rig.spawn_worker(2);
    let answer = rig.answer(waiting, &words).ok();
    let status = &answer.json()["status"];
    assert_eq!(status["state"], "complete", "{answer}");
    assert_eq!((&status["jobs"]["done"], &status["jobs"]["dead"]), (&json!(20), &json!(0)));
    for number in 0..20 {
        let result = result_of(status, &format!("t{number}"));
        assert_eq!(result["result"], json!({"number": number}), "{result}");
    }
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for number in begun(&rig) {
        *times.entry(number).or_default() += 1;
    }
    assert_eq!(times.len(), 20, "each was run");
    assert!(times.values().all(|&times| times <= 2) && begun(&rig).len() <= 22, "{times:?}");
    let manifest = rig.home().join("outputs/r/run.json");
    rig.until("the run's manifest", || manifest.exists().then_some(()));
    rig.end_services();
}

#[test]
fn a_bad_jobs_file_is_refused_before_anything_is_published() {
    let rig = rig();
    let job = |field: &str, value: Value| {
        let mut job = json!({"job_id": "t1", "args": ["print", 1]});
        job[field] = value;
        job
    };
    let good = json!({"job_id": "t0", "args": ["print", 0]});
    for (bad, words) in [
        (job("job_id", json!("t0")), "job 't0': this job_id is there twice"),
        (job("script", json!("none.py")), "has 'none.py'"),
        (job("script", json!("../do.py")), "job 't1': its script is '../do.py'"),
        (job("expected_output", json!("/etc/passwd")), "--output-dir"),
        (job("expected_output", json!("../x.json")), "its expected_output is '../x.json'"),
        (job("timeuot", json!(3)), "did you mean 'timeout'?"),
        (job("args", json!("print 1")), "job 't1': its args are"),
        (job("args", json!(["{output}"])), "declares no output"),
        (job("timeout", json!(7 * 24 * 3600)), "broker.consumer_timeout"),
        (job("arch", json!("gpu")), "no architecture"),
    ] {
        let file = jobs_file(&rig, &[good.clone(), bad]);
        for command in ["enqueue", "run"] {
            let answer = rig.producer(&[command, "--step", "3", "--jobs-file", &file]);
            assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{answer}");
            let errors: Vec<_> =
                answer.stderr.lines().filter(|l| l.starts_with("error: ")).collect();
            assert!(errors.len() == 1 && errors[0].contains(words), "{words}: {answer}");
        }
    }
    let file = jobs_file(&rig, &[good]);
    for (args, words) in [
        (vec!["--step", "2", "--jobs-file", file.as_str()], "script steps"),
        (vec!["--step", "4", "--jobs-file", file.as_str()], "names no script"),
        (vec!["--step", "3"], "--jobs-file"),
        (vec!["--step", "3", "--jobs-file", "none.json"], "none.json can't be read"),
        (vec!["--step", "3", "--jobs-file", file.as_str(), "--family", "mt19937"], "--family"),
    ] {
        let args: Vec<&str> = ["enqueue"].into_iter().chain(args).collect();
        let answer = rig.producer(&args);
        assert!(answer.code == 2 && answer.stderr.contains(words), "{words}: {answer}");
    }
    assert!(!rig.home().join("local").exists(), "a local run's folder is left");
    let plan = ["enqueue", "--step", "3", "--jobs-file", &file, "--dry-run", "--json"];
    let plan = rig.producer(&plan).ok().json();
    let queue = json!({"queue": "jobs.script.any", "script": "do.py", "jobs": 1});
    assert_eq!(plan, json!({"step": "3", "jobs": 1, "queues": [queue]}));
    assert_eq!(rig.producer(&["runs", "--json"]).ok().json(), json!([]));
    let shown = rig.producer(&["config", "show"]).ok().stdout;
    let preset = shown.lines().find(|line| line.contains("steps.3.timeout")).unwrap();
    assert!(preset.contains("60s") && preset.contains("settings.toml"), "{preset}");
}

#[test]
fn outputs_keep_their_absolute_paths_when_asked_to() {
    let rig = rig();
    let out = rig.path("results").display().to_string();
    let declared = format!("{out}/deep/1.json");
    let job = json!({"job_id": "t1", "args": ["write", 1, declared], "expected_output": declared});
    let file = jobs_file(&rig, &[job]);
    let more = ["--output-dir", &out, "--preserve-paths"];
    let status = step3(&rig, "run", &file, &more).ok().json();
    assert_eq!(status["results"][0]["outputs"], json!(["deep/1.json"]));
    let wrote: Value = serde_json::from_str(&fs::read_to_string(&declared).unwrap()).unwrap();
    assert_eq!(wrote, json!({"number": 1}));
    assert!(Path::new(&out).join("r.run.json").exists());
    assert!(!Path::new(&out).join("r").exists());
}

#[test]
fn a_job_that_fits_no_node_is_rejected_with_the_figures() {
    let rig = rig();
    // A pebibyte, and one that fits beside it.
    let jobs = [
        json!({"job_id": "huge", "args": ["print", 1], "memory_mb": 1u64 << 30}),
        json!({"job_id": "small", "args": ["print", 2], "memory_mb": 64}),
    ];
    let file = jobs_file(&rig, &jobs);
    let answer = step3(&rig, "run", &file, &["--max-dead", "100%"]);
    assert_eq!(answer.code, 4, "{answer}");
    let status = answer.json();
    let huge = result_of(&status, "huge");
    assert_eq!((&huge["state"], &huge["failure"]["kind"]), (&json!("dead"), &json!("Rejected")));
    let detail = huge["failure"]["detail"].as_str().unwrap();
    assert!(detail.contains("job wants 1048576.0"), "{detail}");
    assert!(detail.contains("lower sample_size rather than GPU count"), "{detail}");
    assert_eq!(result_of(&status, "small")["state"], "done");
    assert_eq!(begun(&rig), [2], "it was never started");
}

#[test]
fn scripts_go_through_rabbitmq() {
    let Some(rig) = Rig::rabbit() else { return };
    add_scripts(&rig, "python3");
    let _services = [rig.spawn_aggregator(), rig.spawn_worker(2), rig.spawn_worker(1)];
    let job = |number: usize| {
        let mode = if number == 7 { "exit" } else { "print" };
        json!({"job_id": format!("t{number}"), "args": [mode, number]})
    };
    let file = jobs_file(&rig, &(0..20).map(job).collect::<Vec<_>>());
    let answer =
        step3(&rig, "enqueue", &file, &["--max-dead", "100%", "--max-attempts", "1", "--wait"]);
    assert_eq!(answer.code, 4, "{answer}");
    let status = &answer.json()["status"];
    let counts = ["published", "done", "dead"].map(|name| &status["jobs"][name]);
    assert_eq!(counts, [&json!(20), &json!(19), &json!(1)], "{answer}");
    assert_eq!(result_of(status, "t7")["failure"]["kind"], "ExitCode(7)");
    let mut all = begun(&rig);
    all.sort_unstable();
    assert!(all.into_iter().eq(0..20), "each began once");
    let (node, vhost) = rig.node().unwrap();
    let queue = node.get(&format!("queues/{vhost}/jobs.script.any")).unwrap();
    assert_eq!(queue["messages"].as_u64().unwrap_or_default(), 0, "{queue}");
}
