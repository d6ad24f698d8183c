//! The model of the best trial: where not every trial's was kept, it is trained once more, from the
//! same parameters and seed, and saved.

use shared::{messages::RunOpened, spans::Span};

use super::{
    ground::Ground,
    runs::{self, Jobs},
    trial::{Outcome, Trial},
};
use crate::{failure::Failure, script_summary::ScriptRecord, summary::RunSummary};

/// What came of it: the model's path in the output folder, or why there is none.
pub(super) type Saved = Result<String, String>;

/// Trains the best trial again in a run of its own, unless that was done already. `like` is the
/// manifest of one of the study's runs.
pub(super) async fn save(
    ground: &mut Ground,
    jobs: &Jobs<'_>,
    best: &Trial,
    like: &RunOpened,
) -> Result<Saved, Failure> {
    let first = like.run.split('.').next().unwrap_or(&like.run);
    let run = format!("{first}.best-{}", best.number);
    let mut trial = best.clone();
    trial.about.run.clone_from(&run);
    trial.about.place = 0;
    let mut summary = ground.status(&run)?.filter(|summary| summary.requested.is_some());
    if summary.is_none() {
        let one = Span::new(0, 0).map_err(Failure::internal)?;
        let manifest =
            RunOpened { run: run.clone(), requested: one, parts: 1, jobs: 1, ..like.clone() };
        runs::open(ground.broker.as_ref(), manifest).await?;
        summary = Some(ground.known(&run).await?);
    }
    let epoch = summary.as_ref().map_or(1, |summary| summary.epoch);
    if record(summary.as_ref()).is_none() {
        let job = jobs.saving(&trial, epoch)?;
        runs::publish(ground.broker.as_ref(), job, 0).await?;
    }
    loop {
        if let Some(summary) = ground.status(&run)?.filter(RunSummary::is_ended) {
            return Ok(judge(&run, best, record(Some(&summary))));
        }
        ground.changed().await?;
    }
}

fn record(summary: Option<&RunSummary>) -> Option<&ScriptRecord> {
    summary?.results.as_ref()?.first()
}

fn judge(run: &str, best: &Trial, record: Option<&ScriptRecord>) -> Saved {
    let outcome = record.and_then(Outcome::of);
    let Some((record, outcome)) = record.zip(outcome) else {
        return Err(format!("the run {run} was ended before it was trained again"));
    };
    if let Some(failure) = outcome.failure {
        return Err(format!("training it again failed: {failure}"));
    }
    match (outcome.value, best.value()) {
        (Some(again), Some(value)) if again != value => Err(format!(
            "training it again came to {again}, not to {value}: the same seed and parameters do not \
             give the same model there"
        )),
        _ => match record.outputs.first() {
            Some(output) => Ok(format!("{run}/{output}")),
            None => Err("its script saved no file".to_owned()),
        },
    }
}
