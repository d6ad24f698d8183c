//! From a request to published jobs: whose slots, at what rates, which pieces, in which order.

use std::collections::BTreeSet;

use shared::{
    broker::{Broker, BrokerError},
    failpoint::{self, Point},
    job::Job,
    messages::{Bell, MAX_PART_BYTES, RunOpened, RunPart},
    settings::Settings,
    topology,
    wire::{self, Message},
};

use crate::{
    aggregate::now,
    failure::Failure,
    fleet::{Known, fleet},
    planner::{self, Plan, PlanInput},
    request::{Asked, Question, Request},
};

/// Jobs published at a time: a failure midway leaves a run that is known to the ledger.
const BATCH: usize = 2000;
/// The bytes of one candidate on the wire at most.
const CANDIDATE_BYTES: usize = 9;

/// A run, planned and ready to be published.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The run's id.
    pub(super) run: String,
    /// What was asked.
    pub(super) request: Request,
    /// How it is cut.
    pub(super) plan: Plan,
    /// Where slots and rates came from, in words.
    pub(super) basis: String,
}

/// Plans a request for the fleet that is known.
pub(super) fn prepare(
    settings: &Settings,
    known: &Known,
    run: String,
    request: Request,
) -> Result<Prepared, Failure> {
    let (fleet, basis) = fleet(settings, known, &request);
    let input = PlanInput::of(&request, fleet, &settings.planner);
    let plan = planner::plan(&input).map_err(Failure::usage)?;
    check_consumer_timeout(settings, &plan)?;
    Ok(Prepared { run, request, plan, basis })
}

/// A job must end before the broker takes its delivery back.
fn check_consumer_timeout(settings: &Settings, plan: &Plan) -> Result<(), Failure> {
    let allowed = settings.broker.consumer_timeout.0;
    let most = settings.longest_held(plan.time_limit_seconds);
    if most < allowed {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "a job may take {most:.0} s (its time limit, admission_wait, grace and 2 min), but \
         broker.consumer_timeout is {allowed} s: raise that, here and in the broker, or lower \
         planner.target_seconds"
    )))
}

impl Prepared {
    /// The manifest.
    pub(super) fn manifest(&self) -> RunOpened {
        let request = &self.request;
        RunOpened {
            run: self.run.clone(),
            epoch: 1,
            step: "2".to_owned(),
            kind: request.kind.name().to_owned(),
            sieve: request.question.sieve().cloned(),
            statistics: match &request.question {
                Question::Sieve(_) => None,
                Question::Statistics(statistics) => Some(*statistics),
            },
            scripts: None,
            requested: request.asked.requested(),
            samples: Vec::new(),
            parts: u32::try_from(self.parts().len()).unwrap_or(u32::MAX),
            jobs: self.plan.pieces.len() as u64,
            expected_by_chance: self.plan.expected_by_chance,
            expected_error: self.plan.expected_error,
            expected_method: self.plan.expected_method.to_owned(),
            engine: request.engine,
            arch: request.arch,
            chunk: request.chunk,
            urgency: request.urgency,
            max_attempts: request.max_attempts,
            target_seconds: self.plan.target_seconds,
            max_dead: request.max_dead,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            opened_at: now(),
        }
    }

    fn parts(&self) -> Vec<RunPart> {
        let Asked::Candidates(seeds) = &self.request.asked else { return Vec::new() };
        let most = MAX_PART_BYTES / CANDIDATE_BYTES;
        let chunks = seeds.chunks(most).enumerate();
        chunks
            .map(|(part, seeds)| RunPart {
                run: self.run.clone(),
                part: u32::try_from(part).unwrap_or(u32::MAX),
                first_index: (part * most) as u64,
                seeds: seeds.to_vec(),
                jobs: Vec::new(),
            })
            .collect()
    }

    /// Publishes the manifest and its parts, then the jobs, then rings. Nothing is published when
    /// a queue is missing.
    pub(super) async fn publish(&self, broker: &dyn Broker) -> Result<(), Failure> {
        let queues: BTreeSet<String> = self
            .plan
            .pieces
            .iter()
            .map(|piece| topology::seed_queue(piece.arch, self.request.urgency))
            .collect();
        let manifest = (topology::RESULTS_SEED, self.manifest(), self.parts());
        let jobs = planner::jobs(&self.request, &self.plan, &self.run);
        publish_run(broker, manifest, jobs, queues).await
    }
}

/// Publishes a run's manifest and its parts to `results`, then its jobs to `queues`, then rings.
/// Nothing is published when a queue is missing.
pub(crate) async fn publish_run(
    broker: &dyn Broker,
    (results, manifest, parts): (&str, RunOpened, Vec<RunPart>),
    jobs: impl Iterator<Item = Job>,
    queues: BTreeSet<String>,
) -> Result<(), Failure> {
    for queue in queues.iter().map(String::as_str).chain([results]) {
        if broker.depth(queue).await?.is_none() {
            return Err(Failure::unreachable(format!(
                "the broker has no queue '{queue}': run `producer topology apply` once"
            )));
        }
    }
    let mut first = vec![(results.to_owned(), wire::encode(&manifest)?)];
    for part in parts {
        first.push((results.to_owned(), wire::encode(&part)?));
    }
    broker.publish_all(first).await?;
    failpoint::pass(Point::ManifestPublished);
    let mut batch: Vec<(String, Message)> = Vec::new();
    for job in jobs {
        batch.push((job.queue(), wire::encode(&job)?));
        if batch.len() == BATCH {
            broker.publish_all(std::mem::take(&mut batch)).await?;
            failpoint::pass(Point::SomeJobsPublished);
        }
    }
    broker.publish_all(batch).await?;
    failpoint::pass(Point::JobsPublished);
    ring(broker, queues).await?;
    Ok(())
}

/// Tells workers that jobs are in `queues`.
pub(crate) async fn ring(broker: &dyn Broker, queues: BTreeSet<String>) -> Result<(), BrokerError> {
    let bell = Bell { queues: queues.into_iter().collect() };
    let bell = wire::encode(&bell).map_err(|error| BrokerError::Internal(error.to_string()))?;
    broker.broadcast(bell).await
}

/// A fresh run id: when, and four random letters.
pub(crate) fn fresh_run_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds since 1970")]
    let seconds = now() as i64;
    format!("{}-{}", utc_stamp(seconds), &random[..4])
}

/// Unix seconds as `YYYYMMDD-HHMMSS`, UTC (civil-from-days, Howard Hinnant's chrono algorithms).
fn utc_stamp(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_agree_with_date() {
        // date -u -d @N +%Y%m%d-%H%M%S
        assert_eq!(utc_stamp(0), "19700101-000000");
        assert_eq!(utc_stamp(951_782_399), "20000228-235959");
        assert_eq!(utc_stamp(951_868_799), "20000229-235959");
        assert_eq!(utc_stamp(1_795_305_600), "20261122-000000");
    }
}
