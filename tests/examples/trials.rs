//! What a trial costs beside its own work: the shipped `train_trial.py` through `producer run`, one
//! and two at a time, beside a plain loop of subprocesses.
//!
//! `make bench`; after it, `target/release/examples/trials [TRIALS]`. It needs `target/python`
//! (`make python`).

#![expect(clippy::unwrap_used, reason = "a measuring program has nobody to tell errors apart")]

use std::{
    env,
    io::{Write as _, stderr, stdout},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use serde_json::{Value, json};
use tests::{planted::Generator, python, rig::Rig};

/// Trials of each kind unless another number is given.
const TRIALS: usize = 16;
const MODEL: &str = "lightgbm";
/// Survivors that a trial trains on.
const SURVIVORS: usize = 2000;

struct Bench {
    python: PathBuf,
    scripts: PathBuf,
    survivors: String,
    draws: String,
    rig: Rig,
}

fn main() -> ExitCode {
    let Some(python) = python::interpreter() else { return ExitCode::SUCCESS };
    let trials = env::args().nth(1).map_or(TRIALS, |count| count.parse().unwrap());
    let bench = Bench::new(python);
    let alone = bench.alone(trials);
    say(&format!("{trials} trials of {MODEL} on {SURVIVORS} survivors"));
    let line = |what: &str, seconds: f64| {
        let each = seconds / trials as f64;
        let more = each - alone / trials as f64;
        say(&format!("{what:34} {each:8.3} s a trial {more:+8.3} s  {:5.2}x", alone / seconds));
    };
    line("a loop of subprocesses", alone);
    for slots in [1, 2] {
        line(&format!("producer run, {slots} at a time"), bench.through_a_worker(trials, slots));
    }
    line("the loop again", bench.alone(trials));
    ExitCode::SUCCESS
}

impl Bench {
    /// Survivors of a real search, as an export has them.
    fn new(python: PathBuf) -> Self {
        let rig = Rig::embedded();
        let draws = Generator::Xorshift32.draws(4242, 0, 2, 400);
        let draws: Vec<Value> = draws.into_iter().map(|draw| json!({ "draw": draw })).collect();
        let draws = rig.file("draws.json", &Value::from(draws).to_string());
        rig.producer(&[
            "run",
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
            "50000",
            "--run",
            "found",
        ])
        .ok();
        let found = rig.producer(&["export", "found", "--format", "json"]).ok().json();
        let few = found.as_array().unwrap().get(..SURVIVORS).unwrap().to_vec();
        let survivors = rig.file("survivors.json", &Value::from(few).to_string());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        Self { python, scripts: root.join("worker/scripts"), survivors, draws, rig }
    }

    fn args(&self, trial: usize) -> Vec<String> {
        let seed = trial.to_string();
        let params = r#"{"n_estimators": 20}"#;
        [
            ["--survivors", &self.survivors],
            ["--draws", &self.draws],
            ["--model", MODEL],
            ["--params", params],
            ["--seed", &seed],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
    }

    /// Seconds for all, one after the other, as a script of the user's would do it.
    fn alone(&self, trials: usize) -> f64 {
        let runner = tests::kept::executable("runner-cpu").unwrap();
        let began = Instant::now();
        for trial in 0..trials {
            let ended = Command::new(&self.python)
                .arg(self.scripts.join("train_trial.py"))
                .args(self.args(trial))
                .env("RIGQUEUE_RUNNER", &runner)
                .env("OMP_NUM_THREADS", "1")
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(ended.success(), "trial {trial} ended with {ended}");
        }
        began.elapsed().as_secs_f64()
    }

    /// Seconds from the run's opening to its last outcome.
    fn through_a_worker(&self, trials: usize, slots: u32) -> f64 {
        let settings = format!(
            "[worker]\nslots = {slots}\n[scripts]\nfolders = [{:?}]\npython = {:?}\n\
             [steps.\"5\"]\nscript = \"train_trial.py\"\n",
            self.scripts, self.python
        );
        let config = self.rig.file("trials.toml", &settings);
        let jobs: Vec<Value> = (0..trials)
            .map(|trial| json!({"job_id": trial.to_string(), "args": self.args(trial)}))
            .collect();
        let file = self.rig.file("jobs.json", &Value::from(jobs).to_string());
        let words = ["--config", &config, "run", "--step", "5", "--jobs-file", &file, "--json"];
        let status = self.rig.producer(&words).ok().json();
        assert_eq!(status["jobs"]["done"], trials, "{status}");
        status["seconds"].as_f64().unwrap()
    }
}

/// A closed pipe is nobody's loss.
fn say(line: &str) {
    writeln!(stdout(), "{line}").or_else(|error| writeln!(stderr(), "{error}")).ok();
}
