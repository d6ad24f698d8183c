//! What a study says of itself: JSON that others rely on, and a few lines for people.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    board::Board,
    progress::figure,
    trial::{Outcome, Trial},
};
use crate::output;

/// A study.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its name.
    pub(crate) study: String,
    /// Optuna's URL of its storage.
    pub(crate) storage: String,
    /// `complete`, `failed` (no trial went well, or every model was set aside) or `interrupted`.
    pub(crate) state: String,
    /// Its runs.
    pub(crate) runs: Vec<String>,
    /// How its trials stand.
    pub(crate) trials: Counts,
    /// The best of all.
    pub(crate) best: Option<Best>,
    /// The best trial's model, by its path in the output folder.
    pub(crate) saved: Option<String>,
    /// How each model did.
    pub(crate) models: BTreeMap<String, ModelReport>,
    /// Every trial, by number.
    pub(crate) results: Vec<Record>,
}

/// How many trials are where. `asked` is the sum of the others.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Asked of Optuna.
    pub(crate) asked: u64,
    /// Done, with a value.
    pub(crate) done: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Running, or waiting to be.
    pub(crate) running: u64,
    /// Ended by the end of their run; others stand for them.
    pub(crate) lost: u64,
}

/// The best trial of a study or a model.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Best {
    number: u64,
    model: String,
    value: Option<f64>,
    params: Map<String, Value>,
    seed: u32,
}

/// How a model did.
#[derive(Debug, Serialize)]
pub(crate) struct ModelReport {
    trials: u64,
    failed: u64,
    best: Option<Best>,
    set_aside: bool,
}

/// One trial.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    number: u64,
    run: String,
    job: String,
    model: String,
    state: &'static str,
    value: Option<f64>,
    params: Map<String, Value>,
    seed: u32,
    seconds: Option<f64>,
    node: Option<String>,
    failure: Option<String>,
}

impl Report {
    /// The report of a board; its state and its runs are the caller's to say.
    pub(crate) fn of(
        (study, storage): (&str, &str),
        models: &[String],
        board: &Board,
        runs: Vec<String>,
        is_whole: bool,
    ) -> Self {
        let mut trials = Counts { asked: board.asked(), ..Counts::default() };
        for trial in board.trials() {
            *match trial.state() {
                "done" => &mut trials.done,
                "failed" => &mut trials.failed,
                "lost" => &mut trials.lost,
                _ => &mut trials.running,
            } += 1;
        }
        let aside = board.set_aside();
        let of_model = |model: &String| {
            let own = || board.trials().iter().filter(|trial| trial.about.model == *model);
            let report = ModelReport {
                trials: own().count() as u64,
                failed: own().filter(|trial| trial.state() == "failed").count() as u64,
                best: board.best(Some(model)).map(Best::of),
                set_aside: aside.contains(model.as_str()),
            };
            (model.clone(), report)
        };
        let state = match (is_whole, trials.done) {
            (false, _) => "interrupted",
            (true, 0) => "failed",
            (true, _) if aside.len() == models.len() => "failed",
            (true, _) => "complete",
        };
        Self {
            study: study.to_owned(),
            storage: storage.to_owned(),
            state: state.to_owned(),
            runs,
            trials,
            best: board.best(None).map(Best::of),
            saved: None,
            models: models.iter().map(of_model).collect(),
            results: board.trials().iter().map(Record::of).collect(),
        }
    }

    /// The failure that was heard of last.
    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.results.iter().rev().find_map(|record| record.failure.as_deref())
    }

    /// The same for people.
    pub(crate) fn describe(&self) -> String {
        let Counts { asked, done, failed, running, lost } = &self.trials;
        let mut text = format!(
            "study {}: {}\n{asked} trials: {done} done, {failed} failed",
            self.study, self.state
        );
        for (count, word) in [(running, "running"), (lost, "lost and asked again")] {
            if *count > 0 {
                text += &format!(", {count} {word}");
            }
        }
        text.push('\n');
        if let Some(best) = &self.best {
            let value = figure(best.value.unwrap_or_default());
            let params = Value::Object(best.params.clone());
            text += &format!(
                "best: {value} by {} (trial {}, seed {}) with {params}\n",
                best.model, best.number, best.seed
            );
        }
        let rows: Vec<[String; 5]> = self
            .models
            .iter()
            .map(|(model, report)| {
                let best = report.best.as_ref().and_then(|best| best.value);
                let aside = if report.set_aside { "set aside" } else { "" };
                [
                    model.clone(),
                    report.trials.to_string(),
                    report.failed.to_string(),
                    best.map_or_else(String::new, figure),
                    aside.to_owned(),
                ]
            })
            .collect();
        text += &output::table(["model", "trials", "failed", "best", ""], &rows);
        if let Some(saved) = &self.saved {
            text += &format!("its model, in the output folder: {saved}\n");
        }
        text += &format!("storage: {}\n", self.storage);
        text
    }
}

impl Best {
    fn of(trial: &Trial) -> Self {
        Self {
            number: trial.number,
            model: trial.about.model.clone(),
            value: trial.value(),
            params: trial.params.clone(),
            seed: trial.about.seed,
        }
    }
}

impl Record {
    fn of(trial: &Trial) -> Self {
        let nothing = Outcome::default();
        let outcome = trial.outcome().unwrap_or(&nothing);
        Self {
            number: trial.number,
            run: trial.about.run.clone(),
            job: trial.about.job.clone(),
            model: trial.about.model.clone(),
            state: trial.state(),
            value: outcome.value,
            params: trial.params.clone(),
            seed: trial.about.seed,
            seconds: outcome.seconds,
            node: outcome.node.clone(),
            failure: outcome.failure.clone(),
        }
    }
}
