//! Reports of `correlation` and `analysis` in the books.

use shared::{
    job::{Job, Task},
    messages::RunOpened,
    outcome::{SieveResult, Verdict},
    sieve::Seeds,
    spans::Span,
    statistics::{Correlation, Prng, Report, Statistics},
};

use super::books::{Books, done, job, opened, outcome, span, survivor};
use crate::ledger::{LedgerError, Record, RunState};

const QUESTION: Statistics = Statistics::Correlation { prng: Prng::Lcg, samples: 100, lags: 1 };

fn books() -> Books {
    let mut books = Books::new();
    let manifest = RunOpened {
        kind: "correlation".to_owned(),
        sieve: None,
        statistics: Some(QUESTION),
        ..opened(span(0, 9), 1)
    };
    books.apply(&[Record::Opened(Box::new(manifest))]);
    books
}

fn piece(first: u64, last: u64) -> Job {
    let seeds = Seeds::Range(span(first, last));
    Job {
        task: Task::Statistics { statistics: QUESTION, seeds },
        ..job(&format!("j{first}"), span(first, last))
    }
}

fn report(seed: u64) -> Report {
    let autocorrelations = vec![seed as f64 / 16.0];
    let (initial_state, constant) = (seed as u32, false);
    Report::Correlation(Correlation { seed, initial_state, autocorrelations, constant })
}

fn reported(job: &Job, tested: Span, reports: Vec<Report>) -> Record {
    let tested = vec![tested];
    let result = SieveResult { tested, reports, busy_seconds: 1.0, ..SieveResult::default() };
    outcome(job, Verdict::Done(result))
}

#[test]
fn reports_are_kept_once_and_complete_a_run() {
    let mut books = books();
    let whole = piece(0, 9);
    // Half of it finishes short; the rest is posted as a job of the same kind.
    let head: Vec<Report> = (0..4).map(report).collect();
    books.apply(&[reported(&whole, span(0, 3), head.clone())]);
    assert_eq!(books.run().counts.rests, 1);
    books.apply(&[reported(&whole, span(0, 3), head)]);
    books.apply(&[reported(&piece(4, 9), span(4, 9), (4..10).map(report).collect())]);
    let run = books.run();
    assert_eq!((run.state, run.counts.survivors), (RunState::Complete, 0));
    assert_eq!(books.ledger.reported(&run).unwrap(), (10, None));
    let all: Vec<Report> = (0..10).map(report).collect();
    assert_eq!(books.ledger.statistics(&run, 100).unwrap(), all);
    assert_eq!(books.ledger.statistics(&run, 3).unwrap(), all[..3]);
    assert!(books.ledger.disagreements(&run).unwrap().is_empty());
}

#[test]
fn two_different_reports_of_a_seed_are_flagged() {
    let mut books = books();
    let whole = piece(0, 9);
    books.apply(&[reported(&whole, span(3, 3), vec![report(3)])]);
    let mut other = report(3);
    let Report::Correlation(correlation) = &mut other else { panic!("a correlation") };
    correlation.autocorrelations[0] += 1e-9;
    books.apply(&[reported(&whole, span(3, 3), vec![other])]);
    let disagreements = books.ledger.disagreements(&books.run()).unwrap();
    assert_eq!(disagreements.iter().map(|d| d.seed).collect::<Vec<_>>(), [3]);
    assert_eq!(books.ledger.statistics(&books.run(), 9).unwrap(), [report(3)]);
}

#[test]
fn results_that_answer_something_else_are_refused() {
    let mut books = books();
    let whole = piece(0, 9);
    for record in [
        done(&whole, span(0, 0), &[survivor(0, 1)]),
        reported(&whole, span(0, 1), vec![report(0)]),
        reported(&whole, span(0, 0), vec![report(7)]),
    ] {
        let refused = books.ledger.apply(&[record], 1.0).unwrap_err();
        assert!(matches!(refused, LedgerError::Refused(_)), "{refused}");
    }
}
