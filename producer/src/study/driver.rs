//! Optuna in a process of its own, asked and told in lines of JSON.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use shared::{messages::RunOpened, settings::ENV_BROKER};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{
    request::Settings,
    trial::{About, Outcome, Stage, Trial},
};
use crate::{failure::Failure, output};

/// What runs there.
const SOURCE: &str = include_str!("driver.py");
/// A driver that dies so often over one request is not started again.
const MOST_STARTS: u32 = 3;

/// Optuna, with one study open.
#[derive(Debug)]
pub(crate) struct Driver {
    python: String,
    log: PathBuf,
    open: Value,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    // Ends when it is dropped.
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What is known of a study that was opened.
#[derive(Debug, Deserialize)]
pub(crate) struct Opened {
    /// What it was made with.
    pub(crate) settings: Settings,
    /// The manifests of its runs.
    pub(crate) runs: Vec<RunOpened>,
    trials: Vec<Stored>,
}

/// A trial as the storage has it.
#[derive(Debug, Deserialize)]
struct Stored {
    number: u64,
    state: String,
    value: Option<f64>,
    params: Map<String, Value>,
    about: Option<About>,
    failure: Option<String>,
    seconds: Option<f64>,
    node: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Suggested {
    params: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Done {}

/// One line of the driver's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Refused(String),
    Fault(String),
    Missing(String),
    Optuna(String),
}

/// Why a line brought no answer.
enum Trouble {
    /// The process is gone: another may do better.
    Gone,
    /// Another would say the same.
    Said(Failure),
}

impl Driver {
    /// Starts Optuna with `python` and opens the study called `name`, which is made with
    /// `settings` if it is new. `folder` gets its log.
    ///
    /// # Errors
    /// [`Failure`] when Optuna is not there, or refuses the storage or the study.
    pub(crate) async fn open(
        python: &str,
        folder: &Path,
        (storage, name): (&str, &str),
        settings: &Settings,
    ) -> Result<(Self, Opened), Failure> {
        fs::create_dir_all(folder).map_err(|error| {
            Failure::unreachable(format!("the folder {} can't be made: {error}", folder.display()))
        })?;
        let open = json!({
            "do": "open",
            "storage": storage,
            "study": name,
            "settings": settings,
            "lock": folder.join(format!("{name}.driver.lock")),
        });
        let (python, log) = (python.to_owned(), folder.join(format!("{name}.log")));
        let mut driver = Self { python, log, open, process: None };
        let open = driver.open.clone();
        let opened = driver.call(&open).await?;
        Ok((driver, opened))
    }

    /// Keeps the manifests of the study's runs, before the last of them is published.
    pub(crate) async fn note_runs(&mut self, runs: &[RunOpened]) -> Result<(), Failure> {
        let Done {} = self.call(&json!({"do": "note_runs", "runs": runs})).await?;
        Ok(())
    }

    /// Trial `number`: with these parameters, else with those that Optuna proposes.
    pub(crate) async fn ask(
        &mut self,
        number: u64,
        about: &About,
        sampler_seed: u32,
        params: Option<&Map<String, Value>>,
    ) -> Result<Map<String, Value>, Failure> {
        let ask = json!({
            "do": "ask", "number": number, "about": about, "sampler_seed": sampler_seed,
            "params": params,
        });
        let Suggested { params } = self.call(&ask).await?;
        Ok(params)
    }

    /// Tells what came of trial `number`.
    pub(crate) async fn tell(&mut self, number: u64, outcome: &Outcome) -> Result<(), Failure> {
        let Outcome { value, failure, seconds, node } = outcome;
        let tell = json!({
            "do": "tell", "number": number, "value": value, "failure": failure,
            "seconds": seconds, "node": node,
        });
        let Done {} = self.call(&tell).await?;
        Ok(())
    }

    /// Asks until there is an answer: a driver that is killed is started again, and asked again.
    async fn call<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T, Failure> {
        let open = self.open.clone();
        for start in 0..MOST_STARTS {
            if start > 0 {
                output::say("the driver of the study ended; starting another");
            }
            if self.process.is_none() {
                self.process = match self.start().await {
                    Ok(process) => Some(process),
                    Err(Trouble::Said(failure)) => return Err(failure),
                    Err(Trouble::Gone) => continue,
                };
                if *request != open {
                    match self.once(&open).await {
                        Ok(_) => {}
                        Err(Trouble::Said(failure)) => return Err(failure),
                        Err(Trouble::Gone) => continue,
                    }
                }
            }
            match self.once(request).await {
                Ok(answer) => {
                    return serde_json::from_value(answer).map_err(|error| {
                        Failure::internal(format!("the study's driver answered nonsense: {error}"))
                    });
                }
                Err(Trouble::Said(failure)) => return Err(failure),
                Err(Trouble::Gone) => {}
            }
        }
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("nothing").trim().to_owned();
        Err(Failure::internal(format!(
            "the driver of the study ended {MOST_STARTS} times; the last line of {} is: {last}",
            self.log.display()
        )))
    }

    async fn once(&mut self, request: &Value) -> Result<Value, Trouble> {
        let Some(process) = &mut self.process else { return Err(Trouble::Gone) };
        let answer = process.answer(request).await;
        if answer.is_none() {
            self.process = None;
        }
        match answer.ok_or(Trouble::Gone)? {
            Answer::Ok(value) => Ok(value),
            Answer::Refused(why) => Err(Trouble::Said(Failure::usage(why))),
            Answer::Fault(why) => {
                let why = format!("the storage of the study failed: {why}");
                Err(Trouble::Said(Failure::unreachable(why)))
            }
            other => {
                let why = format!("the study's driver answered nonsense: {other:?}");
                Err(Trouble::Said(Failure::internal(why)))
            }
        }
    }

    async fn start(&self) -> Result<Process, Trouble> {
        let said = |why: String| Trouble::Said(Failure::usage(why));
        let log = File::options().create(true).append(true).open(&self.log);
        let log =
            log.map_err(|error| said(format!("{} can't be written: {error}", self.log.display())))?;
        let mut child = Command::new(&self.python)
            .args(["-u", "-c", SOURCE])
            // It has no business with the broker, nor with its password.
            .env_remove(ENV_BROKER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for us, who end it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                said(format!("[scripts] python = '{}' can't be started: {error}", self.python))
            })?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Trouble::Gone);
        };
        let mut process = Process { _child: child, stdin, lines: BufReader::new(stdout).lines() };
        match process.line().await {
            Some(Answer::Optuna(version)) => {
                tracing::debug!(version, "Optuna runs");
                Ok(process)
            }
            Some(Answer::Missing(what)) => Err(said(format!(
                "studies need Optuna, and [scripts] python = '{}' has none ({what}): pip install -r \
                 worker/scripts/requirements.txt",
                self.python
            ))),
            _ => Err(Trouble::Gone),
        }
    }
}

impl Process {
    async fn answer(&mut self, request: &Value) -> Option<Answer> {
        let line = format!("{request}\n");
        self.stdin.write_all(line.as_bytes()).await.ok()?;
        self.line().await
    }

    async fn line(&mut self) -> Option<Answer> {
        let line = self.lines.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }
}

impl Opened {
    /// The trials that were asked for whole. One whose asking was cut short is asked for again.
    pub(crate) fn trials(&self) -> Result<Vec<Trial>, Failure> {
        let mut trials = Vec::with_capacity(self.trials.len());
        for (stored, number) in self.trials.iter().zip(0u64..) {
            let Some(about) = stored.about.clone().filter(|_| stored.number == number) else {
                if number + 1 == self.trials.len() as u64 && stored.state == "running" {
                    break;
                }
                return Err(Failure::usage(format!(
                    "trial {number} of the study was not asked for by RigQueue: choose another name"
                )));
            };
            let outcome = Outcome {
                value: stored.value,
                failure: stored.failure.clone(),
                seconds: stored.seconds,
                node: stored.node.clone(),
            };
            let stage = match stored.state.as_str() {
                "running" => Stage::Asked,
                "complete" => Stage::Told(outcome),
                _ => {
                    let failure =
                        outcome.failure.or_else(|| Some("told by somebody else".to_owned()));
                    Stage::Told(Outcome { value: None, failure, ..outcome })
                }
            };
            trials.push(Trial { number, about, params: stored.params.clone(), stage });
        }
        Ok(trials)
    }
}
