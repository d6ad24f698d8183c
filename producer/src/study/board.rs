//! What a study does next.
//!
//! Trials are told in the order of their numbers, whatever order they end in, and trial `n` is
//! asked for when exactly the trials up to `n - window` are told. So what Optuna knows when it
//! proposes a trial, and which models are set aside by then, never depends on how many trials run
//! at a time, on how fast they are, or on when the study was interrupted.

use std::collections::BTreeSet;

use super::trial::{Outcome, Stage, Trial};

/// A model without a good trial is set aside after so many that failed.
const NEVER_GOOD: usize = 3;
/// One that had good ones, after so many failures in a row.
const IN_A_ROW: usize = 5;

/// The trials of a study.
#[derive(Debug)]
pub(crate) struct Board {
    models: Vec<String>,
    window: u64,
    wanted: u64,
    trials: Vec<Trial>,
}

/// What is to be done with Optuna now.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Ask for trial `number`, of this model; as a lost trial was, if it replaces one.
    Ask {
        /// The number that it will have.
        number: u64,
        /// Its model.
        model: String,
        /// The lost trial that it replaces.
        replaces: Option<u64>,
    },
    /// Tell what came of this trial.
    Tell(u64),
    /// Nothing, before more is known.
    Nothing,
}

impl Board {
    /// The trials there are of a study that is to have `wanted`.
    pub(crate) const fn new(
        models: Vec<String>,
        window: u64,
        wanted: u64,
        trials: Vec<Trial>,
    ) -> Self {
        Self { models, window, wanted, trials }
    }

    /// All trials, by number.
    pub(crate) fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// How many trials there are to be, those that replace lost ones included.
    pub(crate) fn end(&self) -> u64 {
        self.wanted.max(self.asked() - self.lost()) + self.lost()
    }

    /// How many were asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.trials.len() as u64
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.trials.iter().filter(|trial| trial.stage == Stage::Published).count()
    }

    /// How many were lost that others stand for.
    fn lost(&self) -> u64 {
        self.trials.iter().filter(|trial| is_lost(trial)).count() as u64
    }

    /// How many are told, up to the first that is not.
    fn told(&self) -> u64 {
        let is_told = |trial: &&Trial| matches!(trial.stage, Stage::Told(_));
        self.trials.iter().take_while(is_told).count() as u64
    }

    /// What is to be done with Optuna now.
    pub(crate) fn next(&self) -> Next {
        let (asked, told) = (self.asked(), self.told());
        if asked < self.end() && asked < told + self.window {
            if let Some(trial) = self.to_replace() {
                let (model, replaces) = (trial.about.model.clone(), Some(trial.number));
                return Next::Ask { number: asked, model, replaces };
            }
            if let Some(model) = self.turn() {
                return Next::Ask { number: asked, model: model.to_owned(), replaces: None };
            }
        }
        let known = self.trials.iter().find(|trial| !matches!(trial.stage, Stage::Told(_)));
        match known {
            Some(Trial { number, stage: Stage::Known(_), .. }) => Next::Tell(*number),
            _ => Next::Nothing,
        }
    }

    /// Whether nothing is left to ask, run or tell.
    pub(crate) fn is_done(&self) -> bool {
        self.next() == Next::Nothing && self.told() == self.asked()
    }

    /// The first lost trial that nothing stands for.
    fn to_replace(&self) -> Option<&Trial> {
        let replaced: BTreeSet<u64> =
            self.trials.iter().filter_map(|trial| trial.about.replaces).collect();
        self.trials.iter().find(|trial| is_lost(trial) && !replaced.contains(&trial.number))
    }

    /// The model whose turn it is: of those that are not set aside, the one with the fewest trials.
    fn turn(&self) -> Option<&str> {
        let aside = self.set_aside();
        let mut names = self.models.iter().filter(|model| !aside.contains(model.as_str()));
        let first = names.next()?;
        let fewest = names.fold((self.count(first), first), |fewest, model| {
            let count = self.count(model);
            if count < fewest.0 { (count, model) } else { fewest }
        });
        Some(fewest.1)
    }

    fn count(&self, model: &str) -> usize {
        self.trials.iter().filter(|trial| trial.about.model == model && !is_lost(trial)).count()
    }

    /// The models whose trials keep failing, as far as Optuna knows.
    pub(crate) fn set_aside(&self) -> BTreeSet<&str> {
        let keeps_failing = |model: &&String| {
            let told = self.trials.iter().filter_map(|trial| match &trial.stage {
                Stage::Told(outcome) if trial.about.model == **model && !outcome.is_lost() => {
                    Some(outcome.value.is_some())
                }
                _ => None,
            });
            let (mut good, mut failed, mut in_a_row) = (0, 0, 0);
            for well in told {
                if well {
                    (good, in_a_row) = (good + 1, 0);
                } else {
                    (failed, in_a_row) = (failed + 1, in_a_row + 1);
                }
                if (good == 0 && failed >= NEVER_GOOD) || in_a_row >= IN_A_ROW {
                    return true;
                }
            }
            false
        };
        self.models.iter().filter(keeps_failing).map(String::as_str).collect()
    }

    /// Adds the trial that was asked for.
    pub(crate) fn add(&mut self, trial: Trial) {
        self.trials.push(trial);
    }

    /// The first trial that waits for a place to run in.
    pub(crate) fn waiting(&self) -> Option<&Trial> {
        self.trials.iter().find(|trial| trial.stage == Stage::Asked)
    }

    /// A trial's job is published.
    pub(crate) fn published(&mut self, number: u64) {
        self.set(number, Stage::Published);
    }

    /// The ledger has a trial's outcome.
    pub(crate) fn known(&mut self, number: u64, outcome: Outcome) {
        self.set(number, Stage::Known(outcome));
    }

    /// Optuna has a trial's outcome.
    pub(crate) fn told_of(&mut self, number: u64) -> Option<&Trial> {
        let trial = self.trial_mut(number)?;
        if let Stage::Known(outcome) = &trial.stage {
            trial.stage = Stage::Told(outcome.clone());
        }
        Some(trial)
    }

    fn set(&mut self, number: u64, stage: Stage) {
        if let Some(trial) = self.trial_mut(number) {
            trial.stage = stage;
        }
    }

    fn trial_mut(&mut self, number: u64) -> Option<&mut Trial> {
        self.trials.get_mut(usize::try_from(number).ok()?)
    }

    /// A trial by its number.
    pub(crate) fn trial(&self, number: u64) -> Option<&Trial> {
        self.trials.get(usize::try_from(number).ok()?)
    }

    /// The best trial so far, of one model or of all; of equals the first.
    pub(crate) fn best(&self, model: Option<&str>) -> Option<&Trial> {
        let mut best: Option<(f64, &Trial)> = None;
        for trial in &self.trials {
            if model.is_some_and(|model| model != trial.about.model) {
                continue;
            }
            if let Some(value) = trial.value()
                && best.is_none_or(|(most, _)| value > most)
            {
                best = Some((value, trial));
            }
        }
        best.map(|(_, trial)| trial)
    }
}

/// Whether it is lost and may be replaced: once, so that what stands for another is not.
fn is_lost(trial: &Trial) -> bool {
    trial.about.replaces.is_none() && trial.outcome().is_some_and(Outcome::is_lost)
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
