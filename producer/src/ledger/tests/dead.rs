//! Dead letters: listed with every try, copied to the broker, queued again or discarded.

use shared::{
    job::Job,
    outcome::Failure,
    topology,
    wire::{Message, Wire as _, encode},
};

use super::books::*;
use crate::ledger::{DeadFilter, Record, RunState};

fn all() -> DeadFilter {
    DeadFilter::default()
}

fn of_failure(failure: &str) -> DeadFilter {
    DeadFilter { failure: Some(failure.to_owned()), ..all() }
}

/// A run of three jobs, the first of which has crashed three times.
fn with_a_dead_job() -> Books {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 29), 3)))]);
    let mut current = job("a", span(0, 9));
    for seq in 2..=4 {
        books.apply(&[failed(&current, Failure::Crashed(11))]);
        current = Job { seq, attempt: seq, ..current };
    }
    books
}

#[test]
fn a_dead_job_is_listed_with_every_try_and_copied() {
    let books = with_a_dead_job();
    let details = books.ledger.dead_details(&all()).unwrap();
    let [dead] = details.as_slice() else { panic!("{details:?}") };
    let letter = &dead.letter;
    assert_eq!((letter.job.as_str(), letter.run.as_str()), ("a", "r"));
    assert_eq!((letter.failure.as_str(), letter.attempts), ("Crashed(11)", 3));
    assert_eq!((letter.node.as_str(), letter.stderr_tail.as_str()), ("n/cpu0", "tail"));
    assert_eq!(letter.kind, "sieve xorshift32");
    assert_eq!(dead.tries.len(), 3);
    assert!(
        dead.tries.iter().all(|a| a.failure.as_deref() == Some("Crashed(11)") && a.model == "m")
    );
    let due = books.ledger.due(1e12, 100).unwrap();
    let copies: Vec<_> = due.iter().filter(|due| due.queue == topology::DEAD_JOBS).collect();
    assert_eq!(copies.len(), 1);
    let headers = &copies[0].message.headers;
    assert_eq!((headers["job"].as_str(), headers["node"].as_str()), ("a", "n/cpu0"));
    assert!(headers["last_error"].starts_with("Crashed(11): "), "{headers:?}");
}

#[test]
fn filters_take_what_meets_every_condition() {
    let mut books = with_a_dead_job();
    books.apply(&[failed(&job("b", span(10, 19)), Failure::Rejected)]);
    let names = |filter: &DeadFilter| -> Vec<String> {
        books.ledger.dead_letters(filter).unwrap().into_iter().map(|dead| dead.job).collect()
    };
    assert_eq!(names(&all()), ["a", "b"]);
    assert_eq!(names(&of_failure("Crashed")), ["a"]);
    assert_eq!(names(&of_failure("Crashed(11)")), ["a"]);
    assert!(names(&of_failure("Crashed(6)")).is_empty());
    assert_eq!(names(&DeadFilter { jobs: vec!["b".to_owned()], ..all() }), ["b"]);
    assert!(names(&DeadFilter { run: Some("other".to_owned()), ..all() }).is_empty());
}

#[test]
fn a_requeued_job_begins_anew() {
    let mut books = with_a_dead_job();
    let before = books.outbox().len();
    assert_eq!(books.ledger.requeue_dead(&all(), 200.0).unwrap().len(), 1);
    let queued = books.outbox();
    assert_eq!(queued.len(), before + 1);
    let again = queued.last().unwrap().clone();
    assert_eq!((again.attempt, again.starts, again.seq), (1, 0, 4));
    assert!(again.failed_on.is_empty());
    let run = books.run();
    assert_eq!((run.counts.dead, run.counts.requeued), (0, 1));
    assert!(books.ledger.dead_letters(&all()).unwrap().is_empty());
    books.apply(&[done(&again, span(0, 9), &[])]);
    assert_eq!(books.ledger.covered(&run).unwrap().as_slice(), [span(0, 9)]);
}

#[test]
fn requeueing_opens_a_failed_run_again() {
    let mut books = with_a_dead_job();
    for (id, seeds) in [("b", span(10, 19)), ("c", span(20, 29))] {
        books.apply(&[failed(&job(id, seeds), Failure::Rejected)]);
    }
    assert_eq!(books.run().state, RunState::Failed);
    books.ledger.requeue_dead(&of_failure("Rejected"), 200.0).unwrap();
    let run = books.run();
    assert_eq!((run.state, run.requeue, run.ended_at), (RunState::Open, true, None));
    // The one that was not meant stays dead, and what it stands for is not queued.
    assert_eq!(books.ledger.lacking(&run).unwrap().as_slice(), [span(10, 29)]);
}

#[test]
fn a_discarded_job_is_off_the_list_and_its_seeds_stay_given_up() {
    let mut books = with_a_dead_job();
    books.ledger.discard_dead(&all(), 200.0).unwrap();
    assert!(books.ledger.dead_letters(&all()).unwrap().is_empty());
    assert_eq!(books.ledger.lacking(&books.run()).unwrap().as_slice(), [span(10, 29)]);
    books.apply(&[
        done(&job("b", span(10, 19)), span(10, 19), &[]),
        done(&job("c", span(20, 29)), span(20, 29), &[]),
    ]);
    assert_eq!(books.run().state, RunState::Failed);
}

#[test]
fn a_job_of_a_cancelled_run_waits_for_its_run() {
    let mut books = with_a_dead_job();
    books.ledger.cancel("r", 150.0).unwrap();
    let error = books.ledger.requeue_dead(&all(), 200.0).unwrap_err().to_string();
    assert!(error.contains("producer resume r"), "{error}");
    assert_eq!(books.ledger.dead_letters(&all()).unwrap().len(), 1);
}

#[test]
fn a_job_that_the_broker_gave_up_on_is_dead() {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 19), 2)))]);
    let mut message = encode(&job("a", span(0, 9))).unwrap();
    message.headers.insert("x-first-death-queue".to_owned(), "jobs.seed.cpu".to_owned());
    books.apply(&[Record::decode(&message).unwrap(), Record::decode(&message).unwrap()]);
    let letters = books.ledger.dead_letters(&all()).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].failure, "DeliveryLimit");
    assert!(letters[0].last_error.contains("jobs.seed.cpu"), "{letters:?}");
}

#[test]
fn messages_that_name_no_job_are_told_apart() {
    let mut books = Books::new();
    let torn = |body: &[u8]| {
        let message =
            Message { kind: Job::TYPE.to_owned(), headers: [].into(), body: body.to_vec() };
        Record::decode(&message).unwrap()
    };
    books.apply(&[torn(b"one"), torn(b"another"), torn(b"one")]);
    assert_eq!(books.ledger.dead_letters(&all()).unwrap().len(), 2);
}

#[test]
fn a_job_that_nobody_could_read_is_dead_whatever_became_of_its_run() {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 9), 1)))]);
    let unread = |id: &str| {
        let nothing_known = Job { epoch: 0, seq: 0, attempt: 0, ..job(id, span(0, 9)) };
        let Record::Outcome(mut outcome) = failed(&nothing_known, Failure::Undecodable) else {
            panic!("an outcome")
        };
        outcome.echo = Some(b"torn".to_vec());
        Record::Outcome(outcome)
    };
    books.apply(&[unread("torn")]);
    books.apply(&[done(&job("a", span(0, 9)), span(0, 9), &[])]);
    assert_eq!(books.run().state, RunState::Complete);
    books.apply(&[unread("late")]);
    let letters = books.ledger.dead_letters(&all()).unwrap();
    let names: Vec<&str> = letters.iter().map(|letter| letter.job.as_str()).collect();
    assert_eq!(names, ["late", "torn"]);
}

#[test]
fn a_poison_result_is_listed_once_and_can_be_tried_again() {
    let mut books = Books::new();
    let mut message = encode(&job("a", span(0, 9))).unwrap();
    message.kind = "Outcome".to_owned();
    message.headers.insert("schema".to_owned(), "9".to_owned());
    let why = Record::decode(&message).unwrap_err().to_string();
    for _ in 0..2 {
        books.ledger.set_aside(&message, &why, 5.0).unwrap();
    }
    let letters = books.ledger.dead_letters(&all()).unwrap();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.kind.as_str(), letter.run.as_str()), ("result", "r"));
    assert!(letter.last_error.contains("upgrade"), "{letter:?}");
    let due = books.ledger.due(1e12, 10).unwrap();
    assert_eq!((due.len(), due[0].queue.as_str()), (1, topology::DEAD_RESULTS));
    books.ledger.posted(&due).unwrap();
    books
        .ledger
        .requeue_dead(&DeadFilter { jobs: vec![letter.job.clone()], ..all() }, 6.0)
        .unwrap();
    let again = books.ledger.due(1e12, 10).unwrap();
    assert_eq!(again[0].queue, topology::RESULTS_SEED);
    let unchanged: &Message = &again[0].message;
    assert_eq!(unchanged, &message);
    assert!(books.ledger.dead_letters(&all()).unwrap().is_empty());
}
