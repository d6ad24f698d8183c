//! The ledger's promises, against outcomes in any order, repeated, short, failed and absurd.

use proptest::prelude::*;
use shared::{
    families::Family,
    job::{Arch, Engine, Task, Urgency},
    messages::MaxDead,
    outcome::{Best, Device, Survivor, Survivors},
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    witness::{NearMisses, Witness},
};

use super::*;

fn span(first: u64, last: u64) -> Span {
    Span::new(first, last).unwrap()
}

fn sieve() -> Sieve {
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

fn opened(requested: Span, jobs: u64) -> RunOpened {
    RunOpened {
        run: "r".to_owned(),
        epoch: 1,
        step: "2".to_owned(),
        kind: "sieve".to_owned(),
        sieve: sieve(),
        requested,
        samples: Vec::new(),
        parts: 0,
        jobs,
        expected_by_chance: 0.0,
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

fn job(id: &str, seeds: Span) -> Job {
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

fn outcome(job: &Job, verdict: Verdict) -> Record {
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

fn survivor(seed: u64, matches: u32) -> Survivor {
    Survivor { seed, best: Best { matches, skip: 0 }, reverse: None }
}

fn done(job: &Job, tested: Span, survivors: &[Survivor]) -> Record {
    let mut columns = Survivors::default();
    columns.extend(survivors.iter().copied());
    let result = SieveResult {
        engine: Engine::Scan,
        tested: vec![tested],
        survivors: columns,
        near_misses: NearMisses::default(),
        busy_seconds: 1.0,
    };
    outcome(job, Verdict::Done(result))
}

fn failed(job: &Job, failure: Failure) -> Record {
    let verdict =
        Verdict::Failed { failure, detail: "why".to_owned(), stderr_tail: "tail".to_owned() };
    outcome(job, verdict)
}

struct Books {
    ledger: Ledger,
    _home: tempfile::TempDir,
}

impl Books {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let ledger = Ledger::write(home.path()).unwrap();
        ledger.db.pragma_update(None, "synchronous", "off").unwrap();
        Self { ledger, _home: home }
    }

    fn apply(&mut self, records: &[Record]) -> Applied {
        self.ledger.apply(records, 100.0).unwrap()
    }

    fn run(&self) -> RunRow {
        self.ledger.run("r").unwrap().unwrap()
    }

    /// Everything in the outbox, whenever due.
    fn outbox(&self) -> Vec<Job> {
        self.ledger.due(1e12, 1000).unwrap().into_iter().map(|due| due.job).collect()
    }
}

#[test]
fn a_run_completes_in_whatever_order_its_messages_come() {
    let (a, b) = (job("a", span(0, 9)), job("b", span(10, 19)));
    let open = Record::Opened(Box::new(opened(span(0, 19), 2)));
    let first = done(&a, span(0, 9), &[survivor(4, 2)]);
    let second = done(&b, span(10, 19), &[]);
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
        let records = [open.clone(), first.clone(), second.clone()];
        let mut books = Books::new();
        let ended: Vec<_> =
            order.iter().flat_map(|&i| books.apply(&records[i..=i]).ended).collect();
        assert_eq!(ended, [("r".to_owned(), RunState::Complete)], "{order:?}");
        let run = books.run();
        assert_eq!((run.counts.done, run.counts.survivors), (2, 1));
        assert_eq!(books.ledger.survivors(&run, 10).unwrap(), [survivor(4, 2)]);
        assert!(books.outbox().is_empty());
    }
}

#[test]
fn the_same_message_twice_changes_nothing() {
    let a = job("a", span(0, 9));
    let open = Record::Opened(Box::new(opened(span(0, 19), 2)));
    let short = done(&a, span(0, 4), &[survivor(4, 2)]);
    let mut books = Books::new();
    books.apply(&[open.clone(), short.clone(), open, short.clone()]);
    books.apply(&[short]);
    let run = books.run();
    assert_eq!((run.counts.done, run.counts.rests, run.counts.survivors), (1, 1, 1));
    assert_eq!(books.ledger.covered(&run).unwrap().count(), 5);
    let rests = books.outbox();
    assert_eq!(rests.len(), 1);
    assert_eq!(rests[0].span(), Some(span(5, 9)));
    assert_eq!((rests[0].id.as_str(), rests[0].seq, rests[0].attempt), ("a+5", 1, 1));
}

#[test]
fn a_failed_job_is_tried_again_until_its_attempts_are_used_up() {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 9), 1)))]);
    let mut current = job("a", span(0, 9));
    for attempt in 2..=3 {
        let before = books.outbox().len();
        books.apply(&[failed(&current, Failure::Crashed(11))]);
        let all = books.outbox();
        assert_eq!(all.len(), before + 1);
        current = all.into_iter().max_by_key(|job| job.seq).unwrap();
        assert_eq!((current.attempt, current.seq), (attempt, attempt));
        assert_eq!(current.failed_on, ["n/cpu0"]);
    }
    let applied = books.apply(&[failed(&current, Failure::Crashed(11))]);
    let run = books.run();
    assert_eq!((run.counts.retried, run.counts.dead), (2, 1));
    // Nothing is left but the dead job.
    assert_eq!(applied.ended, [("r".to_owned(), RunState::Failed)]);
    assert_eq!(run.epoch, 2);
    assert_eq!(books.ledger.dead_jobs(&run).unwrap()[0].failure, "Crashed(11)");
}

#[test]
fn whose_fault_it_is_decides_what_follows() {
    for (failure, attempt, dies) in [
        (Failure::Rejected, 0, true),
        (Failure::Undecodable, 0, true),
        (Failure::SpawnFailed, 1, false),
        (Failure::Stalled, 1, false),
        (Failure::ExitCode(3), 2, false),
    ] {
        let mut books = Books::new();
        books.apply(&[Record::Opened(Box::new(opened(span(0, 99), 10)))]);
        books.apply(&[failed(&job("a", span(0, 9)), failure)]);
        assert_eq!(books.run().counts.dead, u64::from(dies), "{failure}");
        assert_eq!(books.outbox().first().map_or(0, |job| job.attempt), attempt, "{failure}");
    }
    // The device's failures cost no attempt, but eight starts end any job.
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 99), 10)))]);
    let worn = Job { starts: 7, ..job("a", span(0, 9)) };
    books.apply(&[failed(&worn, Failure::Stalled)]);
    assert_eq!(books.run().counts.dead, 1);
}

#[test]
fn a_returned_job_keeps_its_attempts() {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 99), 10)))]);
    let returned = |reason| Verdict::Returned { reason, detail: String::new() };
    let a = job("a", span(0, 9));
    books.apply(&[outcome(&a, returned(Return::NeverFits))]);
    let again = books.outbox().remove(0);
    assert_eq!((again.attempt, again.seq), (1, 2));
    assert_eq!(again.refused_by, ["n"]);
}

#[test]
fn a_late_success_revives_a_dead_job() {
    let mut books = Books::new();
    let a = job("a", span(0, 9));
    books.apply(&[
        Record::Opened(Box::new(opened(span(0, 19), 2))),
        failed(&a, Failure::Rejected),
        done(&Job { seq: 2, ..a }, span(0, 9), &[]),
    ]);
    let run = books.run();
    assert_eq!((run.counts.dead, run.counts.done), (0, 1));
}

#[test]
fn ten_dead_jobs_and_no_other_end_a_run() {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 9_999), 1000)))]);
    for n in 0..10u64 {
        assert_eq!(books.run().state, RunState::Open);
        books.apply(&[failed(&job(&format!("j{n}"), span(n, n)), Failure::Rejected)]);
    }
    assert_eq!(books.run().state, RunState::Failed);
}

#[test]
fn an_older_epoch_adds_intervals_and_survivors_only() {
    let mut books = Books::new();
    let open = Record::Opened(Box::new(RunOpened { epoch: 3, ..opened(span(0, 19), 2) }));
    let a = Job { epoch: 2, ..job("a", span(0, 9)) };
    books.apply(&[open, done(&a, span(0, 4), &[survivor(1, 1)])]);
    let run = books.run();
    assert_eq!((run.counts.done, run.counts.rests, run.counts.survivors), (0, 0, 1));
    assert_eq!(books.ledger.covered(&run).unwrap().count(), 5);
    assert!(books.outbox().is_empty());
    assert_eq!(books.ledger.min_epochs(100.0).unwrap()["r"], 3);
}

#[test]
fn two_devices_that_disagree_are_both_named() {
    let mut books = Books::new();
    let a = job("a", span(0, 9));
    books.apply(&[
        Record::Opened(Box::new(opened(span(0, 19), 2))),
        done(&a, span(0, 9), &[survivor(4, 2)]),
        done(&a, span(0, 9), &[survivor(4, 3)]),
    ]);
    let found = books.ledger.disagreements(&books.run()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].detail, "first 2 matches at skip 0, then 3 matches at skip 0");
    assert_eq!(books.run().counts.survivors, 1);
}

#[test]
fn what_can_not_be_true_is_refused_and_leaves_no_trace() {
    let a = job("a", span(0, 9));
    let mut torn = done(&a, span(0, 9), &[survivor(4, 2)]);
    let mut empty = done(&a, span(0, 9), &[]);
    for (record, change) in [(&mut torn, 0), (&mut empty, 1)] {
        let Record::Outcome(outcome) = record else { unreachable!() };
        let Verdict::Done(result) = &mut outcome.verdict else { unreachable!() };
        if change == 0 { result.survivors.skips.clear() } else { result.tested.clear() }
    }
    let other = RunOpened { jobs: 7, ..opened(span(0, 19), 2) };
    for bad in [
        torn,
        empty,
        done(&a, span(0, 20), &[]),
        done(&a, span(0, 9), &[survivor(12, 2)]),
        Record::Opened(Box::new(other)),
    ] {
        let mut books = Books::new();
        books.apply(&[Record::Opened(Box::new(opened(span(0, 19), 2)))]);
        let good = done(&job("b", span(10, 14)), span(10, 14), &[]);
        let refused = books.ledger.apply(&[good, bad], 100.0).unwrap_err();
        assert!(refused.is_the_records(), "{refused}");
        assert!(books.ledger.covered(&books.run()).unwrap().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A fleet that finishes short at random, fails at random and repeats itself at random: the
    /// run completes, covered exactly, each survivor once, every job done once.
    #[test]
    fn any_history_ends_complete_and_exact(
        length in 1u64..400,
        pieces in 1u64..8,
        choices in prop::collection::vec((0u8..10, 1u64..60, any::<bool>()), 400),
    ) {
        let whole = span(1000, 1000 + length - 1);
        let mut books = Books::new();
        let mut queue: Vec<Job> = Vec::new();
        let mut rest = Some(whole);
        for n in 0..pieces {
            let Some(part) = rest else { break };
            let share = if n + 1 == pieces { part.len() } else { u128::from(length / pieces).max(1) };
            let (head, more) = part.split_at(share);
            queue.push(Job { max_attempts: 1000, ..job(&format!("p{n}"), head) });
            rest = more;
        }
        books.apply(&[Record::Opened(Box::new(opened(whole, queue.len() as u64)))]);
        let mut choices = choices.into_iter();
        while let Some(job) = queue.pop() {
            let (kind, some, twice) = choices.next().unwrap_or((5, 1000, false));
            let seeds = job.span().unwrap();
            let record = if kind == 0 && job.starts < 6 {
                failed(&job, Failure::ExitCode(1))
            } else {
                let (tested, _) = seeds.split_at(u128::from(some));
                let survivors: Vec<Survivor> = (tested.first()..=tested.last())
                    .filter(|seed| seed % 7 == 0)
                    .map(|seed| survivor(seed, 2))
                    .collect();
                done(&job, tested, &survivors)
            };
            books.apply(std::slice::from_ref(&record));
            if twice {
                books.apply(&[record]);
            }
            let due = books.ledger.due(1e12, 100).unwrap();
            books.ledger.posted(&due).unwrap();
            queue.extend(due.into_iter().map(|due| due.job));
        }
        let run = books.run();
        prop_assert_eq!(run.state, RunState::Complete);
        let covered = books.ledger.covered(&run).unwrap();
        prop_assert_eq!(covered.as_slice(), &[whole]);
        let expected: Vec<Survivor> = (whole.first()..=whole.last())
            .filter(|seed| seed % 7 == 0)
            .map(|seed| survivor(seed, 2))
            .collect();
        prop_assert_eq!(books.ledger.survivors(&run, 10_000).unwrap(), expected);
        prop_assert_eq!(run.counts.done, run.manifest.unwrap().jobs + run.counts.rests);
    }
}
