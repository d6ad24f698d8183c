//! The ledger's promises, against outcomes in any order, repeated, short, failed and absurd.

use proptest::prelude::*;
use shared::{
    job::{Arch, Job},
    messages::{Heartbeat, RunOpened, SlotState},
    outcome::{Device, Failure, Return, Survivor, Verdict},
};

use super::books::*;
use crate::ledger::{DeadFilter, Record, RunState};

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
        assert_eq!(books.survivors(&run), [survivor(4, 2)]);
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

/// A worker of a node, with one slot.
fn heartbeat(node: &str) -> Heartbeat {
    let device = Device { name: "cpu0".to_owned(), model: "m".to_owned(), threads: 1 };
    let slot = SlotState {
        arch: Arch::Cpu,
        device,
        job: None,
        health: None,
        unfit: None,
        is_endpoint: false,
    };
    Heartbeat {
        node: node.to_owned(),
        instance: "i".to_owned(),
        version: String::new(),
        slots: vec![slot],
        draining: false,
        paused: false,
        kept: Vec::new(),
        memory: None,
        informed: true,
        staged: None,
        measured: Vec::new(),
        at: 0.0,
    }
}

#[test]
fn a_job_that_no_node_can_ever_run_is_rejected_when_the_last_of_them_has_said_so() {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 99), 10)))]);
    books.ledger.heard([&heartbeat("gone")], 900.0).unwrap();
    books.ledger.heard([&heartbeat("n"), &heartbeat("m")], 990.0).unwrap();
    let refused_at = |node: &str, job: &Job| {
        let detail = format!("memory: 7.0 GiB of 8.0 are for jobs on {node}, job wants 9.0");
        let verdict = Verdict::Returned { reason: Return::NeverFits, detail };
        let Record::Outcome(mut refused) = outcome(job, verdict) else { panic!("an outcome") };
        refused.node = node.to_owned();
        Record::Outcome(refused)
    };
    let first = job("a", span(0, 9));
    books.ledger.apply(&[refused_at("n", &first)], 1000.0).unwrap();
    assert_eq!(books.run().counts.dead, 0, "another node has not refused it");
    let second = books.outbox().remove(0);
    // The same node again changes nothing.
    books.ledger.apply(&[refused_at("n", &second)], 1000.0).unwrap();
    let third = books.outbox().into_iter().max_by_key(|job| job.seq).unwrap();
    assert_eq!((third.refused_by.as_slice(), third.attempt), (&["n".to_owned()][..], 1));
    books.ledger.apply(&[refused_at("m", &third)], 1000.0).unwrap();
    assert_eq!(books.run().counts.dead, 1);
    let dead = books.ledger.dead_letters(&DeadFilter::default()).unwrap();
    assert_eq!(dead[0].failure, "Rejected");
    for words in ["(n, m)", "m: memory: 7.0 GiB of 8.0 are for jobs on m, job wants 9.0"] {
        assert!(dead[0].last_error.contains(words), "{}", dead[0].last_error);
    }
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
    assert_eq!(books.ledger.fleet_state(100.0).unwrap().min_epochs["r"], 3);
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
            queue.extend(jobs(&due));
        }
        let run = books.run();
        prop_assert_eq!(run.state, RunState::Complete);
        let covered = books.ledger.covered(&run).unwrap();
        prop_assert_eq!(covered.as_slice(), &[whole]);
        let expected: Vec<Survivor> = (whole.first()..=whole.last())
            .filter(|seed| seed % 7 == 0)
            .map(|seed| survivor(seed, 2))
            .collect();
        prop_assert_eq!(books.survivors(&run), expected);
        prop_assert_eq!(run.counts.done, run.manifest.unwrap().jobs + run.counts.rests);
    }
}
