//! What is asked of a study.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::job::{Arch, Urgency};

/// What a study looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The best model and its parameters (step 5).
    Compare,
    /// The best parameters of the scorer (step 2.5).
    Scorer,
    /// The best architecture (step 4).
    Architecture,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::Compare, Self::Scorer, Self::Architecture];

    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compare => "compare",
            Self::Scorer => "scorer",
            Self::Architecture => "architecture",
        }
    }

    /// The pipeline step whose preset its trials have.
    pub(crate) const fn step(self) -> &'static str {
        match self {
            Self::Compare => "5",
            Self::Scorer => "2.5",
            Self::Architecture => "4",
        }
    }

    /// The script of its trials where the preset names none.
    pub(crate) const fn script(self) -> &'static str {
        match self {
            Self::Compare => "train_trial.py",
            Self::Scorer => "scorer_trial.py",
            Self::Architecture => "adaptive_meta.py",
        }
    }

    /// The models that there are. A study of one has the kind's own name for it.
    pub(crate) fn models(self) -> Vec<String> {
        let names: &[&str] = match self {
            Self::Compare => &["neural_net", "lightgbm", "xgboost", "catboost"],
            _ => &[self.name()],
        };
        names.iter().map(ToString::to_string).collect()
    }
}

/// A study, as it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct StudyRequest {
    /// What it looks for.
    pub(crate) kind: Kind,
    /// Among which models.
    pub(crate) models: Vec<String>,
    /// The survivors that trials learn from.
    pub(crate) survivors: PathBuf,
    /// The draws.
    pub(crate) draws: PathBuf,
    /// How many trials, those of earlier sessions included.
    pub(crate) trials: u64,
    /// How many at a time.
    pub(crate) parallel: usize,
    /// Optuna's storage; `None` for `studies.db` in the data folder.
    pub(crate) storage: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// The seed that all others are derived from; `None` for what it has, or 42.
    pub(crate) seed: Option<u64>,
    /// How many trials may be asked for and not told; `None` for what it has, or the default.
    pub(crate) window: Option<u64>,
    /// Whether every trial's model is kept.
    pub(crate) save_all_models: bool,
    /// Where outputs belong; `None` for the aggregator's folder.
    pub(crate) output_dir: Option<PathBuf>,
    /// The search spaces, by model.
    pub(crate) space: Map<String, Value>,
    /// What every trial's script gets beside the trial's own arguments.
    pub(crate) script_args: Vec<String>,
    /// How often a trial's job is tried.
    pub(crate) max_attempts: u32,
    /// The only architecture that trials run on.
    pub(crate) arch: Option<Arch>,
    /// How soon.
    pub(crate) urgency: Urgency,
}

/// What a study was made with: kept in its storage, and the same for as long as it lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// What it looks for.
    pub(crate) kind: Kind,
    /// The seed that all others are derived from.
    pub(crate) seed: u64,
    /// How many trials may be asked for and not told.
    pub(crate) window: u64,
    /// The models, in the order in which they take turns.
    pub(crate) models: Vec<String>,
    /// Their search spaces.
    pub(crate) space: Map<String, Value>,
    /// What every trial's script gets beside the trial's own arguments.
    #[serde(default)]
    pub(crate) script_args: Vec<String>,
    /// BLAKE3 of the survivors.
    pub(crate) survivors: String,
    /// BLAKE3 of the draws.
    pub(crate) draws: String,
}

/// The least window unless one is asked for: studies of up to four trials at a time are the same.
const WINDOW: u64 = 8;

impl StudyRequest {
    /// What a new study of these inputs (by their hashes) is made with.
    pub(crate) fn settings(&self, survivors: String, draws: String) -> Settings {
        let twice = 2 * u64::try_from(self.parallel).unwrap_or(WINDOW);
        Settings {
            kind: self.kind,
            seed: self.seed.unwrap_or(42),
            window: self.window.unwrap_or_else(|| twice.max(WINDOW)),
            models: self.models.clone(),
            space: self.space.clone(),
            script_args: self.script_args.clone(),
            survivors,
            draws,
        }
    }

    /// What of a known study is not as it is asked for now, in words.
    pub(crate) fn disagreement(&self, known: &Settings, new: &Settings) -> Option<String> {
        let differs = |what: &str, was: &dyn std::fmt::Display, is: &dyn std::fmt::Display| {
            Some(format!("its {what} is {was}, not {is}"))
        };
        if known.kind != new.kind {
            return differs("kind", &known.kind.name(), &new.kind.name());
        }
        if self.seed.is_some_and(|seed| seed != known.seed) {
            return differs("seed", &known.seed, &new.seed);
        }
        if self.window.is_some_and(|window| window != known.window) {
            return differs("window", &known.window, &new.window);
        }
        if known.models != new.models {
            return differs("choice of models", &known.models.join(","), &new.models.join(","));
        }
        if known.survivors != new.survivors || known.draws != new.draws {
            return Some("its survivors or draws have other contents".to_owned());
        }
        if known.script_args != new.script_args {
            let (was, is) = (known.script_args.join(" "), new.script_args.join(" "));
            return Some(format!("its scripts get '{was}', not '{is}'"));
        }
        (known.space != new.space).then(|| "its search space is another".to_owned())
    }
}
