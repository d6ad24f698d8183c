//! What the ledger's tests are written with: jobs, outcomes, and a ledger to apply them to.

use shared::{
    families::Family,
    job::{Arch, Engine, Job, Task, Urgency},
    messages::{MaxDead, RunOpened},
    outcome::{Best, Device, Failure, Outcome, SieveResult, Survivor, Survivors, Verdict},
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    spans::Span,
    wire,
    witness::{NearMisses, Witness},
};

use crate::ledger::{Applied, Due, Ledger, Record, RunRow};

pub(super) fn span(first: u64, last: u64) -> Span {
    Span::new(first, last).unwrap()
}

pub(super) fn sieve() -> Sieve {
    Sieve {
        family: Family::Xorshift32,
        direction: Direction::Forward,
        mode: Mode::Fixed,
        modulus: 1000,
        draws: vec![1, 2, 3],
        advance: 0,
        skips: Skips { lo: 0, hi: 0 },
        need: 1,
        reverse_need: 1,
    }
}

pub(super) fn opened(requested: Span, jobs: u64) -> RunOpened {
    RunOpened {
        run: "r".to_owned(),
        epoch: 1,
        step: "2".to_owned(),
        kind: "sieve".to_owned(),
        sieve: Some(sieve()),
        statistics: None,
        scripts: None,
        requested,
        samples: Vec::new(),
        parts: 0,
        jobs,
        expected_by_chance: 0.0,
        expected_error: None,
        expected_method: "binomial".to_owned(),
        arch: None,
        chunk: None,
        engine: Engine::Auto,
        urgency: Urgency::Normal,
        max_attempts: 3,
        target_seconds: 30.0,
        max_dead: MaxDead::Percent(1.0),
        version: "0".to_owned(),
        opened_at: 0.0,
    }
}

pub(super) fn job(id: &str, seeds: Span) -> Job {
    Job {
        run: "r".to_owned(),
        epoch: 1,
        id: id.to_owned(),
        seq: 1,
        task: Task::Sieve {
            sieve: sieve(),
            seeds: Seeds::Range(seeds),
            witness: Witness { first: 3, least: 1 },
        },
        arch: Arch::Cpu,
        urgency: Urgency::Normal,
        engine: Engine::Auto,
        attempt: 1,
        max_attempts: 3,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: 600.0,
        soft_seconds: 60.0,
        memory_mb: 0,
    }
}

pub(super) fn outcome(job: &Job, verdict: Verdict) -> Record {
    let echo = rmp_serde::to_vec_named(job).unwrap();
    Record::Outcome(Box::new(Outcome {
        run: job.run.clone(),
        epoch: job.epoch,
        job: job.id.clone(),
        seq: job.seq,
        attempt: job.attempt,
        arch: job.arch,
        node: "n".to_owned(),
        instance: "i".to_owned(),
        device: Device { name: "cpu0".to_owned(), model: "m".to_owned(), threads: 1 },
        verdict,
        echo: Some(echo),
        taken_at: 0.0,
        seconds: 1.0,
    }))
}

impl Books {
    pub(super) fn survivors(&self, run: &RunRow) -> Vec<Survivor> {
        let kept = self.ledger.survivors(run, 10_000).unwrap();
        kept.into_iter().map(|kept| kept.survivor).collect()
    }
}

pub(super) fn survivor(seed: u64, matches: u32) -> Survivor {
    Survivor { seed, best: Best { matches, skip: 0 }, reverse: None }
}

pub(super) fn done(job: &Job, tested: Span, survivors: &[Survivor]) -> Record {
    let mut columns = Survivors::default();
    columns.extend(survivors.iter().copied());
    let result = SieveResult {
        engine: Engine::Scan,
        tested: vec![tested],
        survivors: columns,
        near_misses: NearMisses::default(),
        planted: false,
        reports: Vec::new(),
        busy_seconds: 1.0,
    };
    outcome(job, Verdict::Done(result))
}

pub(super) fn failed(job: &Job, failure: Failure) -> Record {
    let verdict =
        Verdict::Failed { failure, detail: "why".to_owned(), stderr_tail: "tail".to_owned() };
    outcome(job, verdict)
}

pub(super) struct Books {
    pub(super) ledger: Ledger,
    _home: tempfile::TempDir,
}

impl Books {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ledger = Ledger::write(home.path()).unwrap();
        ledger.db.pragma_update(None, "synchronous", "off").unwrap();
        Self { ledger, _home: home }
    }

    pub(super) fn apply(&mut self, records: &[Record]) -> Applied {
        self.ledger.apply(records, 100.0).unwrap()
    }

    pub(super) fn run(&self) -> RunRow {
        self.ledger.run("r").unwrap().unwrap()
    }

    /// Everything in the outbox, whenever due.
    pub(super) fn outbox(&self) -> Vec<Job> {
        jobs(&self.ledger.due(1e12, 1000).unwrap())
    }
}

/// The jobs among what is due.
pub(super) fn jobs(due: &[Due]) -> Vec<Job> {
    let jobs = due.iter().filter(|due| due.queue.starts_with("jobs."));
    jobs.map(|due| wire::decode(&due.message).unwrap()).collect()
}
