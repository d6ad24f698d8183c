//! Applying results: one transaction for a batch of manifests and outcomes and all that follows.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, TransactionBehavior, params};
use shared::{
    job::{Arch, Job},
    messages::{RunOpened, RunPart},
    outcome::{Device, Failure, Outcome, Return, SieveResult, Verdict},
    spans::{Span, Spans},
    topology::DELIVERY_LIMIT,
    wire::{self, Message, Wire as _},
};

use super::{
    coverage, dead, epochs, nodes,
    open::{Ledger, LedgerError, stored},
    outbox,
    rates::{self, RateKey},
    runs::{self, RunRow, RunState},
    scripts, statistics, strikes, survivors,
};
use crate::cost;

/// A job with so many outcomes of started children is dead, whatever they were.
const MAX_STARTS: u32 = 8;
/// The first wait before another try, in seconds; doubled each time.
const FIRST_BACK_OFF: f64 = 1.0;
/// The longest wait before another try, in seconds.
const LONGEST_BACK_OFF: f64 = 64.0;
/// Shorter measurements say more about starting than about sieving.
const LEAST_MEASURED_SECONDS: f64 = 0.05;

/// A decoded message of a results queue.
#[derive(Debug, Clone)]
pub enum Record {
    /// A run's manifest.
    Opened(Box<RunOpened>),
    /// A part of one.
    Part(RunPart),
    /// What became of a job.
    Outcome(Box<Outcome>),
}

impl Record {
    /// Decodes a message by its type.
    ///
    /// # Errors
    /// [`wire::WireError`] for a message that this build can't read.
    pub fn decode(message: &Message) -> Result<Self, wire::WireError> {
        match message.kind.as_str() {
            RunOpened::TYPE => wire::decode(message).map(|opened| Self::Opened(Box::new(opened))),
            RunPart::TYPE => wire::decode(message).map(Self::Part),
            Job::TYPE => Ok(Self::Outcome(Box::new(undelivered(message)))),
            _ => wire::decode(message).map(|outcome| Self::Outcome(Box::new(outcome))),
        }
    }

    fn run(&self) -> &str {
        match self {
            Self::Opened(opened) => &opened.run,
            Self::Part(part) => &part.run,
            Self::Outcome(outcome) => &outcome.run,
        }
    }
}

/// The outcome of a job that the broker itself gave up on: nobody else tells of it.
fn undelivered(message: &Message) -> Outcome {
    let job: Option<Job> = wire::decode(message).ok();
    let (run, name) = wire::named(message);
    let death = |header: &str| message.headers.get(header).map_or("unknown", String::as_str);
    let detail = format!(
        "the broker took it off {} after {DELIVERY_LIMIT} deliveries without an outcome ({})",
        death("x-first-death-queue"),
        death("x-first-death-reason"),
    );
    Outcome {
        run: job.as_ref().map_or(run, |job| job.run.clone()),
        epoch: job.as_ref().map_or(0, |job| job.epoch),
        job: job.as_ref().map_or(name, |job| job.id.clone()),
        seq: job.as_ref().map_or(0, |job| job.seq),
        attempt: job.as_ref().map_or(0, |job| job.attempt),
        arch: job.as_ref().map_or(Arch::Cpu, |job| job.arch),
        node: "broker".to_owned(),
        instance: String::new(),
        device: Device { name: "none".to_owned(), model: String::new(), threads: 0 },
        verdict: Verdict::Failed {
            failure: Failure::DeliveryLimit,
            detail,
            stderr_tail: String::new(),
        },
        echo: Some(message.body.clone()),
        taken_at: 0.0,
        seconds: 0.0,
    }
}

/// What a batch changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Runs that ended with it, and how.
    pub ended: Vec<(String, RunState)>,
    /// Whether workers must hear of new epochs.
    pub epochs_changed: bool,
    /// The runs that it was about.
    pub touched: BTreeSet<String>,
}

impl Applied {
    /// Adds what another batch changed.
    pub fn merge(&mut self, other: Self) {
        self.ended.extend(other.ended);
        self.epochs_changed |= other.epochs_changed;
        self.touched.extend(other.touched);
    }
}

impl Ledger {
    /// Applies a batch in one transaction: when it returns, all of it is on disk; after an error,
    /// none of it is.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when a record makes no sense (find out which by applying them one
    /// by one); anything else is the ledger's own trouble.
    pub fn apply(&mut self, records: &[Record], now: f64) -> Result<Applied, LedgerError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut touched: BTreeMap<String, RunRow> = BTreeMap::new();
        let mut applied = Applied::default();
        for record in records {
            let name = record.run();
            if !touched.contains_key(name) {
                let known = runs::find(&tx, name)?;
                if known.is_none() && is_of_a_forgotten_run(&tx, record)? {
                    continue;
                }
                applied.epochs_changed |= known.is_none();
                touched.insert(name.to_owned(), runs::find_or_open(&tx, name, now)?);
            }
            let Some(run) = touched.get_mut(name) else { continue };
            match record {
                Record::Opened(opened) => *run = merged(run, runs::open(&tx, opened, now)?),
                Record::Part(part) => keep_part(&tx, run, part)?,
                Record::Outcome(outcome) => apply_outcome(&tx, run, outcome, now)?,
            }
        }
        for run in touched.values_mut() {
            settle_and_write(&tx, run, &mut applied, now)?;
        }
        tx.commit()?;
        applied.touched = touched.into_keys().collect();
        Ok(applied)
    }
}

/// Ends a run if it is time, and writes it back.
pub(super) fn settle_and_write(
    db: &Connection,
    run: &mut RunRow,
    applied: &mut Applied,
    now: f64,
) -> Result<(), LedgerError> {
    let before = run.state;
    runs::settle(db, run, now)?;
    runs::write(db, run)?;
    if run.state != before {
        // What was written of how it ended before is out of date.
        db.execute("UPDATE runs SET outputs_at = NULL WHERE id = ?1", [run.id])?;
        applied.ended.push((run.name.clone(), run.state));
        applied.epochs_changed = true;
    }
    Ok(())
}

/// Whether it is what is left of a run that was deleted, and must not bring it back.
fn is_of_a_forgotten_run(db: &Connection, record: &Record) -> Result<bool, LedgerError> {
    let Some((_, opened_at)) = epochs::forgotten(db, record.run())? else { return Ok(false) };
    Ok(match record {
        Record::Opened(opened) => opened.opened_at.total_cmp(&opened_at).is_eq(),
        Record::Part(_) | Record::Outcome(_) => true,
    })
}

/// The run as its manifest opened it, with the counts that this batch has collected so far.
fn merged(so_far: &RunRow, opened: RunRow) -> RunRow {
    RunRow { counts: so_far.counts, last_outcome_at: so_far.last_outcome_at, ..opened }
}

fn keep_part(db: &Connection, run: &RunRow, part: &RunPart) -> Result<(), LedgerError> {
    if !part.jobs.is_empty() {
        return scripts::keep(db, run.id, part);
    }
    let seeds =
        rmp_serde::to_vec(&part.seeds).map_err(|error| LedgerError::Refused(error.to_string()))?;
    db.execute(
        "INSERT INTO parts (run, part, first_index, seeds) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
        params![run.id, part.part, stored(part.first_index), seeds],
    )?;
    Ok(())
}

fn apply_outcome(
    db: &Connection,
    run: &mut RunRow,
    outcome: &Outcome,
    now: f64,
) -> Result<(), LedgerError> {
    if outcome.epoch < run.first_epoch && outcome.epoch > 0 {
        return Ok(());
    }
    if let Verdict::Done(result) = &outcome.verdict {
        check(run, outcome, result)?;
    }
    if let Verdict::Finished(result) = &outcome.verdict {
        scripts::check(db, run, outcome, result)?;
    }
    let key = params![run.id, outcome.job, outcome.seq];
    let is_first = !db
        .prepare_cached("SELECT 1 FROM outcomes WHERE run = ?1 AND job = ?2 AND seq = ?3 LIMIT 1")?
        .exists(key)?;
    let id = write(db, run, outcome, now)?;
    run.last_outcome_at = Some(now);
    if let Verdict::Done(result) = &outcome.verdict {
        for span in &result.tested {
            coverage::cover(db, run.id, *span)?;
        }
        run.counts.survivors += survivors::insert(db, run.id, id, &result.survivors)?;
        statistics::insert(db, run.id, id, &result.reports)?;
        learn(db, run, outcome, result, now)?;
        dead::revive(db, run, &outcome.job)?;
    }
    if let Verdict::Finished(result) = &outcome.verdict {
        scripts::finish(db, run, (id, outcome), result, now)?;
    }
    if is_first {
        strikes::judge(db, run.id, id, outcome, now)?;
    }
    // Of a message that could not be decoded nobody knows the epoch. A repetition, or a job of an
    // older epoch: intervals and survivors only.
    let is_unread = outcome.epoch == 0;
    let is_current = outcome.epoch >= run.epoch && !run.state.is_ended();
    if is_first && (is_unread || is_current) {
        follow_up(db, run, outcome, now)?;
    }
    Ok(())
}

/// Refuses a result that can't be true.
fn check(run: &RunRow, outcome: &Outcome, result: &SieveResult) -> Result<(), LedgerError> {
    let refuse = |why: String| {
        let who = format!("{}/{}", outcome.node, outcome.device.name);
        Err(LedgerError::Refused(format!("the outcome of {} from {who} {why}", outcome.job)))
    };
    if result.tested.is_empty() {
        return refuse("tested nothing".to_owned());
    }
    if !result.survivors.is_whole() {
        return refuse("has survivor columns of different lengths".to_owned());
    }
    let Some(manifest) = &run.manifest else { return Ok(()) };
    if manifest.scripts.is_some() {
        return refuse("answers another question than the run asks".to_owned());
    }
    let outside =
        result.tested.iter().find(|span| span.intersection(manifest.requested) != Some(**span));
    if let Some(span) = outside {
        return refuse(format!("tested {span}, outside the request {}", manifest.requested));
    }
    let (is_sieve, is_empty) = (manifest.sieve.is_some(), result.survivors.is_empty());
    if (is_sieve && !result.reports.is_empty()) || (!is_sieve && !is_empty) {
        return refuse("answers another question than the run asks".to_owned());
    }
    if !is_sieve {
        let tested: u128 = result.tested.iter().map(|span| span.len()).sum();
        let inside = |seed| result.tested.iter().any(|span| span.contains(seed));
        if tested != result.reports.len() as u128
            || (manifest.parts == 0 && !result.reports.iter().all(|report| inside(report.seed())))
        {
            return refuse("does not report on each seed that it tested".to_owned());
        }
    }
    // Candidates are covered by index, so their seeds can't be compared with what was tested.
    if manifest.parts == 0 && !survivors::all_inside(&result.survivors, &result.tested) {
        return refuse("has a survivor outside of what it tested".to_owned());
    }
    Ok(())
}

fn write(db: &Connection, run: &RunRow, outcome: &Outcome, now: f64) -> Result<i64, LedgerError> {
    let (verdict, failure, detail, stderr, result) = match &outcome.verdict {
        Verdict::Done(result) => ("done", None, None, None, Some(result)),
        Verdict::Finished(_) => ("done", None, None, None, None),
        Verdict::Failed { failure, detail, stderr_tail } => {
            ("failed", Some(failure.to_string()), Some(detail), Some(stderr_tail), None)
        }
        Verdict::Returned { reason, detail } => {
            ("returned", Some(format!("{reason:?}")), Some(detail), None, None)
        }
    };
    let tested = result
        .map(|result| rmp_serde::to_vec(&result.tested))
        .transpose()
        .map_err(|error| LedgerError::Refused(error.to_string()))?;
    let counted = result.filter(|result| !result.planted);
    db.prepare_cached(
        "INSERT INTO outcomes (run, job, seq, attempt, epoch, node, instance, device, model, threads,
         verdict, failure, detail, stderr_tail, engine, tested, near_misses, near_miss_sum, seconds,
         busy_seconds, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
         ?16, ?17, ?18, ?19, ?20, ?21)",
    )?
    .execute(params![
        run.id,
        outcome.job,
        outcome.seq,
        outcome.attempt,
        outcome.epoch,
        outcome.node,
        outcome.instance,
        outcome.device.name,
        outcome.device.model,
        outcome.device.threads,
        verdict,
        failure,
        detail,
        stderr,
        result.map(|result| result.engine.name()),
        tested,
        counted.map(|result| stored(result.near_misses.count)),
        counted.map(|result| stored(result.near_misses.sum)),
        outcome.seconds,
        result.map(|result| result.busy_seconds),
        now
    ])?;
    Ok(db.last_insert_rowid())
}

fn learn(
    db: &Connection,
    run: &RunRow,
    outcome: &Outcome,
    result: &SieveResult,
    now: f64,
) -> Result<(), LedgerError> {
    let Some(sieve) = run.manifest.as_ref().and_then(|manifest| manifest.sieve.as_ref()) else {
        return Ok(());
    };
    // Written so that a NaN from afar is not learned from either.
    if !(result.busy_seconds >= LEAST_MEASURED_SECONDS && result.busy_seconds.is_finite()) {
        return Ok(());
    }
    let tested: u128 = result.tested.iter().map(|span| span.len()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    let operations = cost::Cost::of(sieve, result.engine).seeds(tested as f64);
    let key = RateKey {
        model: outcome.device.model.clone(),
        threads: outcome.device.threads,
        engine: result.engine,
        family: sieve.family,
        mode: sieve.mode,
        arch: outcome.arch,
    };
    rates::learn(db, &key, operations / result.busy_seconds, now)
}

/// Writes what follows the first outcome of a key: a rest, another try, a dead letter.
fn follow_up(
    db: &Connection,
    run: &mut RunRow,
    outcome: &Outcome,
    now: f64,
) -> Result<(), LedgerError> {
    let job: Option<Job> = outcome.echo.as_deref().and_then(|bytes| Job::from_body(bytes).ok());
    // Another attempt of the same script has succeeded meanwhile.
    if job.as_ref().map_or(Ok(false), |job| scripts::is_done(db, run.id, job))? {
        return Ok(());
    }
    match &outcome.verdict {
        Verdict::Done(result) => {
            run.counts.done += 1;
            job.map_or(Ok(()), |job| post_rests(db, run, &job, result, now))
        }
        // Counted where it was taken; nothing follows.
        Verdict::Finished(_) => Ok(()),
        Verdict::Failed { failure, detail, .. } => {
            let next = job.as_ref().and_then(|job| next_try(job, *failure, outcome));
            let Some(next) = next else {
                return dead::bury(db, run, outcome, (*failure, detail), job.as_ref(), now);
            };
            run.counts.retried += 1;
            outbox::post(db, run.id, &next, now + back_off(next.seq - 1))
        }
        Verdict::Returned { reason, detail } => {
            let Some(job) = job else {
                let why = (Failure::Undecodable, "it came back without the job's bytes");
                return dead::bury(db, run, outcome, why, None, now);
            };
            let mut next = Job { seq: outcome.seq + 1, ..job };
            if *reason == Return::NeverFits {
                if !next.refused_by.contains(&outcome.node) {
                    next.refused_by.push(outcome.node.clone());
                }
                if nodes::all_refused(db, &next, now)? {
                    let why = format!(
                        "every node there is has refused it ({}); {}: {detail}",
                        next.refused_by.join(", "),
                        outcome.node
                    );
                    let why = (Failure::Rejected, why.as_str());
                    return dead::bury(db, run, outcome, why, Some(&next), now);
                }
            }
            let wait = if *reason == Return::Drain { 0.0 } else { back_off(outcome.seq) };
            outbox::post(db, run.id, &next, now + wait)
        }
    }
}

/// Posts the parts of a job that its runner did not come to, as new jobs.
fn post_rests(
    db: &Connection,
    run: &mut RunRow,
    job: &Job,
    result: &SieveResult,
    now: f64,
) -> Result<(), LedgerError> {
    let Some(whole) = job.span() else { return Ok(()) };
    let tested: Spans = result.tested.iter().copied().collect();
    for rest in tested.holes(whole) {
        // Another delivery may have tested it meanwhile.
        if coverage::covers(db, run.id, rest)? {
            continue;
        }
        let Some(part) = job.for_part(rest) else { continue };
        run.counts.rests += 1;
        let id = rest_id(&job.id, rest);
        let epoch = run.epoch;
        let part = Job { id, epoch, seq: 1, attempt: 1, starts: 0, ..part };
        outbox::post(db, run.id, &part, now)?;
    }
    Ok(())
}

/// The id of a rest: the first job's, and where the rest begins.
fn rest_id(job: &str, rest: Span) -> String {
    let origin = job.split_once('+').map_or(job, |(origin, _)| origin);
    format!("{origin}+{}", rest.first())
}

/// The next try of a failed job; `None` when it is dead.
fn next_try(job: &Job, failure: Failure, outcome: &Outcome) -> Option<Job> {
    let starts = job.starts + u32::from(failure.started());
    let attempt = job.attempt + u32::from(failure.costs_attempt());
    if failure.is_final() || attempt > job.max_attempts || starts >= MAX_STARTS {
        return None;
    }
    let mut next = Job { seq: outcome.seq + 1, attempt, starts, ..job.clone() };
    let device = format!("{}/{}", outcome.node, outcome.device.name);
    if failure.started() && !next.failed_on.contains(&device) {
        next.failed_on.push(device);
    }
    Some(next)
}

/// Seconds to wait before publication number `published + 1` of a job: 1, 2, 4 … 64, each spread
/// over half to one and a half of it.
fn back_off(published: u32) -> f64 {
    let doubled = FIRST_BACK_OFF * f64::from(1u32 << published.saturating_sub(1).min(6));
    let spread = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
    doubled.min(LONGEST_BACK_OFF) * (0.5 + spread)
}
