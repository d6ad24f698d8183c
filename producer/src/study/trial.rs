//! One trial: what it is, and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::script_summary::ScriptRecord;

/// What the kind of a failure begins with whose job nobody works on any more.
const LOST: &str = "Lost";

/// What a trial's attributes in the storage say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The model that it trains.
    pub(crate) model: String,
    /// What its script gets as `--seed`.
    pub(crate) seed: u32,
    /// The run that its job belongs to.
    pub(crate) run: String,
    /// Its place in that run's list.
    pub(crate) place: u64,
    /// The job.
    pub(crate) job: String,
    /// The lost trial whose parameters and seed it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<u64>,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The objective; `None` when it failed.
    pub(crate) value: Option<f64>,
    /// What it failed of, the kind first.
    pub(crate) failure: Option<String>,
    /// Seconds that its script ran.
    pub(crate) seconds: Option<f64>,
    /// The node that it ran on.
    pub(crate) node: Option<String>,
}

impl Outcome {
    /// That of a job whose run has ended without it.
    pub(crate) fn lost(why: &str) -> Self {
        Self { failure: Some(format!("{LOST}: {why}")), ..Self::default() }
    }

    /// Whether it says nothing of the trial itself.
    pub(crate) fn is_lost(&self) -> bool {
        self.failure.as_deref().is_some_and(|failure| failure.starts_with(LOST))
    }

    /// What the ledger says of a trial's job, once it says anything final.
    pub(crate) fn of(record: &ScriptRecord) -> Option<Self> {
        let (seconds, node) = (record.seconds, record.node.clone());
        let failed = |failure: String| Self {
            failure: Some(failure),
            seconds,
            value: None,
            node: node.clone(),
        };
        match record.state.as_str() {
            "done" => {
                let value = record.result.as_ref().and_then(|result| result.get("value"));
                Some(match value.and_then(Value::as_f64) {
                    Some(value) => Self { value: Some(value), failure: None, seconds, node },
                    None => failed("InvalidOutput: its result has no number 'value'".to_owned()),
                })
            }
            "dead" => Some(failed(match &record.failure {
                Some(failure) => format!("{}: {}", failure.kind, failure.detail),
                None => "its job is dead".to_owned(),
            })),
            _ => None,
        }
    }
}

/// How far a trial is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    /// Its parameters are chosen.
    Asked,
    /// Its job is published.
    Published,
    /// The ledger has its outcome.
    Known(Outcome),
    /// Optuna has it too.
    Told(Outcome),
}

/// One trial.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trial {
    /// Optuna's number of it.
    pub(crate) number: u64,
    /// What it is.
    pub(crate) about: About,
    /// Its parameters.
    pub(crate) params: Map<String, Value>,
    /// How far it is.
    pub(crate) stage: Stage,
}

impl Trial {
    /// What came of it, as far as the ledger knows.
    pub(crate) const fn outcome(&self) -> Option<&Outcome> {
        match &self.stage {
            Stage::Known(outcome) | Stage::Told(outcome) => Some(outcome),
            Stage::Asked | Stage::Published => None,
        }
    }

    /// Its value, if it went well.
    pub(crate) fn value(&self) -> Option<f64> {
        self.outcome().and_then(|outcome| outcome.value)
    }

    /// Its state in reports.
    pub(crate) fn state(&self) -> &'static str {
        match &self.stage {
            Stage::Asked => "waiting",
            Stage::Published => "running",
            Stage::Known(outcome) | Stage::Told(outcome) => match outcome {
                Outcome { value: Some(_), .. } => "done",
                lost if lost.is_lost() => "lost",
                _ => "failed",
            },
        }
    }
}
