//! Trials of four kinds of model, each with its own runtime, mixed in every order in one worker's
//! slots: none disturbs another, and nothing of theirs is in the processes above them.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    thread,
};

use serde_json::{Value, json};
use tests::{kept::executable, python, rig::Rig};

/// A superpermutation: every order of the four models follows somewhere one after the other.
const ORDERS: &str = "123412314231243121342132413214321";
const MODELS: [&str; 4] = ["neural_net", "lightgbm", "xgboost", "catboost"];
/// Parts of the names of what belongs into trials alone.
const RUNTIMES: [&str; 12] = [
    "lightgbm",
    "xgboost",
    "catboost",
    "sklearn",
    "torch",
    "libpython",
    "libgomp",
    "openblas",
    "libcuda",
    "libOpenCL",
    "libpocl",
    "amdhip",
];

/// Runs the trial and then notes what it and its parents have in their memory.
const WITNESS: &str = r#"
import json, os, runpy, sys

def libraries(pid):
    names = {line.split(None, 5)[5].strip() for line in open(f"/proc/{pid}/maps") if "/" in line}
    return sorted(names)

script = os.environ["TRIAL"]
sys.path[0] = os.path.dirname(script)
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
parents, pid = [], os.getpid()
while len(parents) < 2:
    # The fourth field, behind the name in brackets, which may hold anything.
    pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    program = os.readlink(f"/proc/{pid}/exe")
    parents.append({"program": os.path.basename(program), "libraries": libraries(pid)})
with open(os.environ["NOTES"], "a") as notes:
    own = {"job": os.environ["RIGQUEUE_JOB"], "pid": os.getpid(), "libraries": libraries(os.getpid())}
    notes.write(json.dumps({**own, "parents": parents}) + "\n")
"#;

fn params(model: &str) -> Value {
    match model {
        "neural_net" => json!({"layers": "8", "epochs": 5}),
        "lightgbm" => json!({"n_estimators": 10, "num_leaves": 5}),
        "xgboost" => json!({"n_estimators": 10, "max_depth": 2}),
        _ => json!({"iterations": 10, "depth": 2}),
    }
}

/// Whether LightGBM shall go through OpenCL: on PoCL it takes a minute to compile what it needs
/// (and less afterwards: PoCL keeps it), so that is done when it is asked for.
fn on_opencl() -> bool {
    std::env::var_os("RIGQUEUE_TEST_OPENCL_TRIALS").is_some()
}

/// Survivors and draws for the trials.
fn files(rig: &Rig) -> [String; 2] {
    let survivor = |n: u64| {
        json!({
            "seed": n * 2_654_435_761 % (1 << 32), "family": "minstd", "modulus": 1000, "offset": 0,
            "window": 20, "skip": n % 3, "matches": 2, "total": 20, "rate": 0.1,
        })
    };
    let survivors: Vec<Value> = (1..=150).map(survivor).collect();
    let draws: Vec<u64> = (0..300).map(|n| n * n * 7919 % 997).collect();
    [
        rig.file("survivors.json", &json!(survivors).to_string()),
        rig.file("draws.json", &json!(draws).to_string()),
    ]
}

/// The value of each trial, by its job, and the notes on all, in the order they ended.
type Trials = (Vec<(String, Value)>, Vec<Value>);

/// Runs these trials in so many slots.
fn run(slots: u32, models: &[&str]) -> Option<Trials> {
    let interpreter = python::interpreter()?;
    let rig = Rig::embedded();
    let folder = rig.path("scripts");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("witness.py"), WITNESS).unwrap();
    // The first lines belong to the rig's own [worker].
    rig.add_settings(&format!(
        "slots = {slots}\n[scripts]\nfolders = [{folder:?}]\npython = {interpreter:?}\n\
         [steps.\"5\"]\nscript = \"witness.py\"\ntimeout = \"120s\"\n"
    ));
    let [survivors, draws] = files(&rig);
    let job = |(number, model): (usize, &&str)| {
        let before = models[..number].iter().filter(|other| *other == model).count();
        let seed = 7 + before % 2;
        let device = if *model == "lightgbm" && on_opencl() { "gpu" } else { "auto" };
        json!({"job_id": format!("{number}-{model}-{seed}"), "args": [
            "--survivors", survivors, "--draws", draws, "--model", model, "--seed", seed,
            "--params", params(model).to_string(), "--folds", "2", "--device", device,
        ]})
    };
    let jobs: Vec<Value> = models.iter().enumerate().map(job).collect();
    let jobs = rig.file("jobs.json", &json!(jobs).to_string());
    let notes = rig.path("notes");
    let trial = python::shipped_scripts().join("train_trial.py").canonicalize().unwrap();
    let [trial, notes] = [trial, notes].map(|path| path.display().to_string());
    let answer = rig.with_env(&[("TRIAL", &trial), ("NOTES", &notes)], |rig| {
        rig.producer(&["run", "--step", "5", "--jobs-file", &jobs, "--json"])
    });
    let status = answer.ok().json();
    assert_eq!(
        (&status["jobs"]["done"], &status["jobs"]["failed"]),
        (&json!(models.len()), &json!(0))
    );
    let results = status["results"].as_array().unwrap().iter();
    let value = |result: &Value| {
        assert_eq!(result["result"]["status"], "ok", "{result}");
        (result["job"].as_str().unwrap().to_owned(), result["result"]["value"].clone())
    };
    let values = results.map(value).collect();
    let notes = fs::read_to_string(notes).unwrap();
    Some((values, notes.lines().map(|line| serde_json::from_str(line).unwrap()).collect()))
}

/// The runtimes among these libraries.
fn runtimes(libraries: &Value) -> Vec<&'static str> {
    let names: Vec<&str> =
        libraries.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    RUNTIMES.into_iter().filter(|part| names.iter().any(|name| name.contains(part))).collect()
}

#[test]
fn four_runtimes_mix_in_every_order() {
    let all: Vec<&str> = ORDERS.bytes().map(|digit| MODELS[usize::from(digit - b'1')]).collect();
    let orders: BTreeSet<&[&str]> =
        all.windows(4).filter(|four| MODELS.iter().all(|model| four.contains(model))).collect();
    assert_eq!(orders.len(), 24);
    let some = &all[..12];
    let (one, two) = thread::scope(|scope| {
        let two = scope.spawn(|| run(2, some));
        (run(1, &all), two.join().unwrap())
    });
    let (Some((one, one_notes)), Some((two, two_notes))) = (one, two) else { return };

    // One slot took them in their order, each as a process of its own.
    let began: Vec<&str> = one_notes.iter().map(|note| note["job"].as_str().unwrap()).collect();
    assert!(
        began.iter().enumerate().all(|(n, job)| job.starts_with(&format!("{n}-"))),
        "{began:?}"
    );
    let own: BTreeSet<u64> = one_notes.iter().map(|note| note["pid"].as_u64().unwrap()).collect();
    assert_eq!(own.len(), ORDERS.len());

    // A model and a seed have one value, wherever and beside whatever they ran.
    let mut values: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for (job, value) in one.into_iter().chain(two) {
        let (_, about) = job.split_once('-').unwrap();
        let (model, seed) = about.rsplit_once('-').unwrap();
        assert!(value.as_f64().unwrap().is_finite());
        values.entry((model.to_owned(), seed.to_owned())).or_default().push(value);
    }
    assert_eq!(values.len(), 8, "four models with two seeds");
    for (about, values) in values {
        assert!(
            values.len() > 3 && values.iter().all(|value| *value == values[0]),
            "{about:?}: {values:?}"
        );
    }

    for note in one_notes.iter().chain(&two_notes) {
        // Each has its own runtime and none of the others, and nothing above it has any.
        let job = note["job"].as_str().unwrap();
        let found = runtimes(&note["libraries"]);
        for (model, library) in
            MODELS.into_iter().zip(["sklearn", "lightgbm", "xgboost", "catboost"])
        {
            assert_eq!(found.contains(&library), job.contains(model), "{job} has {found:?}");
        }
        let opencl = on_opencl() && job.contains("lightgbm");
        assert_eq!(found.contains(&"libpocl"), opencl, "{job} has {found:?}");
        for (parent, program) in
            note["parents"].as_array().unwrap().iter().zip(["worker", "producer"])
        {
            assert_eq!(parent["program"], program, "{note}");
            assert!(parent["libraries"].as_array().unwrap().len() > 1, "{parent}");
            assert_eq!(runtimes(&parent["libraries"]), [""; 0], "{program}");
        }
    }
}

/// The shipped scripts' own tests, with the runner of this build.
#[test]
fn the_shipped_scripts_pass_their_own_tests() {
    let Some(interpreter) = python::interpreter() else { return };
    let runner = executable("runner-cpu").unwrap();
    let said = Command::new(interpreter)
        .args(["-m", "unittest", "discover", "-s"])
        .arg(python::shipped_scripts())
        .env("RIGQUEUE_RUNNER", runner)
        .env("OMP_NUM_THREADS", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && told.contains("\nOK"), "{told}");
}

/// The example settings are in order, and name scripts that are shipped.
#[test]
fn the_example_settings_name_what_is_shipped() {
    let rig = Rig::embedded();
    let example = python::shipped_scripts().join("../../deploy/rigqueue.toml");
    let example = example.canonicalize().unwrap().display().to_string();
    let shown = rig.producer(&["--config", &example, "config", "show", "--json"]).ok().json();
    let rows: Vec<&Value> = shown.as_array().unwrap().iter().collect();
    for step in ["2.5", "3", "4", "5"] {
        let key = format!("steps.{step}.script");
        let row = rows.iter().find(|row| row["key"] == key.as_str()).unwrap();
        let script = row["value"].as_str().unwrap();
        assert!(python::shipped_scripts().join(script).is_file(), "{row}");
    }
}
