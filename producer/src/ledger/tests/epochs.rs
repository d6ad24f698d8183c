//! Cancel, pause, resume, requeue and forget.

use shared::{
    job::Job,
    messages::{NodeOrder, RunOpened},
    outcome::Failure,
};

use super::books::*;
use crate::ledger::{LedgerError, Record, RunState};

fn two_jobs() -> (Books, Job, Job) {
    let mut books = Books::new();
    books.apply(&[Record::Opened(Box::new(opened(span(0, 19), 2)))]);
    (books, job("a", span(0, 9)), job("b", span(10, 19)))
}

#[test]
fn a_paused_run_is_resumed_with_what_it_lacks() {
    let (mut books, a, b) = two_jobs();
    books.apply(&[failed(&b, Failure::ExitCode(1))]);
    assert_eq!(books.outbox().len(), 1);
    let paused = books.ledger.pause("r").unwrap().unwrap();
    assert_eq!((paused.state, paused.epoch), (RunState::Paused, 2));
    assert!(books.outbox().is_empty(), "a retry of a paused run is not queued");
    let fleet = books.ledger.fleet_state(100.0).unwrap();
    assert!(fleet.paused.contains("r") && fleet.min_epochs["r"] == 2 && fleet.ended.is_empty());
    // A runner finishes short: its intervals count, its rest is not queued.
    books.apply(&[done(&a, span(0, 4), &[])]);
    assert!(books.outbox().is_empty());
    let resumed = books.ledger.resume("r").unwrap().unwrap();
    assert_eq!(resumed.state, RunState::Open);
    assert!(resumed.requeue);
    let lacking = books.ledger.lacking(&resumed).unwrap();
    assert_eq!(lacking.as_slice(), [span(5, 19)]);
    let jobs = vec![job("0", span(5, 12)), job("1", span(13, 19))];
    assert!(books.ledger.requeue("r", jobs, None, 100.0).unwrap());
    let queued = books.outbox();
    assert_eq!(queued.len(), 2);
    assert_eq!((queued[0].epoch, queued[0].id.as_str(), queued[0].seq), (3, "r.e3.0", 1));
    let run = books.run();
    assert_eq!((run.epoch, run.counts.requeued, run.requeue), (3, 2, false));
    for job in queued {
        books.apply(&[done(&job, job.span().unwrap(), &[])]);
    }
    assert_eq!(books.run().state, RunState::Complete);
    assert!(matches!(books.ledger.resume("r"), Err(LedgerError::Refused(_))));
    assert!(books.ledger.resume("nobody").unwrap().is_none());
}

#[test]
fn a_cancelled_run_ends_and_can_be_taken_up_again() {
    let (mut books, a, _) = two_jobs();
    books.apply(&[failed(&a, Failure::Crashed(9))]);
    let cancelled = books.ledger.cancel("r", 100.0).unwrap().unwrap();
    assert_eq!((cancelled.state, cancelled.ended_at), (RunState::Cancelled, Some(100.0)));
    assert!(books.outbox().is_empty());
    let fleet = books.ledger.fleet_state(101.0).unwrap();
    assert!(fleet.ended.contains("r"));
    assert!(fleet.min_epochs["r"] > cancelled.epoch, "nothing of it is run any more");
    // What comes late still counts, and queues nothing.
    books.apply(&[done(&a, span(0, 4), &[survivor(1, 2)])]);
    assert_eq!(books.run().counts.survivors, 1);
    assert!(books.outbox().is_empty());
    assert!(matches!(books.ledger.pause("r"), Err(LedgerError::Refused(_))));
    let resumed = books.ledger.resume("r").unwrap().unwrap();
    assert_eq!((resumed.state, resumed.ended_at, resumed.requeue), (RunState::Open, None, true));
    assert_eq!(books.ledger.lacking(&resumed).unwrap().as_slice(), [span(5, 19)]);
    assert!(books.ledger.fleet_state(101.0).unwrap().ended.is_empty());
}

#[test]
fn what_dead_jobs_stand_for_is_not_queued_again() {
    let (mut books, a, _) = two_jobs();
    books.apply(&[failed(&a, Failure::Rejected)]);
    assert_eq!(books.ledger.lacking(&books.run()).unwrap().as_slice(), [span(10, 19)]);
    // Nothing else is lacking any more: the run has failed.
    books.apply(&[done(&Job { epoch: 0, ..job("b", span(10, 19)) }, span(10, 19), &[])]);
    assert!(!books.ledger.requeue("r", Vec::new(), None, 100.0).unwrap());
    assert_eq!(books.run().state, RunState::Failed);
}

#[test]
fn a_run_that_is_not_open_takes_no_jobs() {
    let (mut books, a, _) = two_jobs();
    books.ledger.pause("r").unwrap();
    assert!(!books.ledger.requeue("r", vec![a], None, 100.0).unwrap());
    assert!(books.outbox().is_empty());
}

#[test]
fn samples_are_all_that_a_verification_must_cover() {
    let mut books = Books::new();
    let samples = vec![span(3, 5), span(15, 15)];
    books.apply(&[Record::Opened(Box::new(RunOpened { samples, ..opened(span(0, 19), 2) }))]);
    books.apply(&[done(&job("a", span(0, 9)), span(2, 5), &[])]);
    assert_eq!(books.ledger.lacking(&books.run()).unwrap().as_slice(), [span(15, 15)]);
    books.apply(&[done(&job("b", span(15, 15)), span(15, 15), &[])]);
    assert_eq!(books.run().state, RunState::Complete);
}

#[test]
fn a_forgotten_run_stays_forgotten() {
    let (mut books, a, b) = two_jobs();
    let open = Record::Opened(Box::new(opened(span(0, 19), 2)));
    books.apply(&[done(&a, span(0, 9), &[survivor(1, 2)]), failed(&b, Failure::Rejected)]);
    assert!(books.ledger.run("r").unwrap().unwrap().state.is_ended());
    books.ledger.forget("r", 100.0).unwrap().unwrap();
    assert!(books.ledger.run("r").unwrap().is_none());
    for table in ["coverage", "survivors", "outcomes", "outbox", "dead", "strikes"] {
        let sql = format!("SELECT count(*) FROM {table}");
        let left: u32 = books.ledger.db.query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
    // What is still on its way does not bring it back: its manifest delivered again, an outcome.
    books.apply(&[open, done(&a, span(0, 4), &[])]);
    assert!(books.ledger.run("r").unwrap().is_none());
    assert!(books.ledger.fleet_state(101.0).unwrap().min_epochs["r"] > 1);
    // Another run of that name is another run, whatever comes late of the first.
    let other = RunOpened { opened_at: 200.0, ..opened(span(0, 9), 1) };
    books.apply(&[Record::Opened(Box::new(other)), done(&a, span(0, 9), &[survivor(7, 3)])]);
    let run = books.run();
    assert_eq!((run.state, run.counts.survivors), (RunState::Open, 0));
    assert!(run.requeue, "its jobs carry an epoch that the name has left behind");
    assert!(books.ledger.requeue("r", vec![job("0", span(0, 9))], None, 201.0).unwrap());
    let again = books.outbox().remove(0);
    books.apply(&[done(&again, span(0, 9), &[survivor(7, 3)])]);
    assert_eq!((books.run().state, books.run().counts.survivors), (RunState::Complete, 1));
}

#[test]
fn an_open_run_is_not_forgotten() {
    let (mut books, ..) = two_jobs();
    let error = books.ledger.forget("r", 100.0).unwrap_err().to_string();
    assert!(error.contains("producer cancel r"), "{error}");
}

#[test]
fn nodes_do_what_they_are_told_until_they_are_told_otherwise() {
    let (mut books, ..) = two_jobs();
    books.ledger.order_node("a", Some(NodeOrder::Pause), 1.0).unwrap();
    books.ledger.order_node("b", Some(NodeOrder::Pause), 1.0).unwrap();
    books.ledger.order_node("b", Some(NodeOrder::Drain), 2.0).unwrap();
    books.ledger.order_node("a", None, 3.0).unwrap();
    let nodes = books.ledger.fleet_state(4.0).unwrap().nodes;
    assert_eq!(nodes.into_iter().collect::<Vec<_>>(), [("b".to_owned(), NodeOrder::Drain)]);
}

#[test]
fn a_retry_does_not_wait_for_a_clock_that_was_set_back() {
    let (mut books, a, _) = two_jobs();
    books.ledger.apply(&[failed(&a, Failure::ExitCode(1))], 10_000.0).unwrap();
    let ledger = &books.ledger;
    assert!(ledger.next_due(10_000.0).unwrap() > Some(10_000.4), "it waits about a second");
    assert!(ledger.due(10_000.0, 10).unwrap().is_empty());
    assert_eq!(ledger.due(10_001.6, 10).unwrap().len(), 1);
    assert_eq!(ledger.next_due(5_000.0).unwrap(), Some(5_000.0));
    assert_eq!(ledger.due(5_000.0, 10).unwrap().len(), 1);
}
