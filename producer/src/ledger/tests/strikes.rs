//! Whose fault it was, and what becomes of a device that is at fault too often.

use shared::{job::Job, outcome::Failure};

use super::books::*;
use crate::ledger::Record;

/// The same record from another device.
fn on(record: Record, device: &str) -> Record {
    let Record::Outcome(mut outcome) = record else { panic!("an outcome") };
    outcome.device.name = device.to_owned();
    Record::Outcome(outcome)
}

fn at(books: &mut Books, now: f64, record: Record) {
    books.ledger.apply(&[record], now).unwrap();
}

fn quarantined(books: &Books, now: f64) -> Vec<String> {
    books.ledger.fleet_state(now).unwrap().quarantined.into_iter().collect()
}

fn stalled(number: u64) -> Record {
    let record = failed(&job(&format!("j{number}"), span(number, number)), Failure::Stalled);
    on(record, "gpu1")
}

#[test]
fn three_strikes_within_a_day_put_a_device_away() {
    let mut books = Books::new();
    at(&mut books, 0.0, Record::Opened(Box::new(opened(span(0, 999), 1000))));
    at(&mut books, 10.0, stalled(1));
    at(&mut books, 11.0, stalled(1));
    at(&mut books, 20.0, stalled(2));
    // The first is a day old when this one comes, and the same outcome twice is one strike.
    at(&mut books, 86_411.0, stalled(3));
    assert!(quarantined(&books, 86_411.0).is_empty());
    at(&mut books, 86_415.0, stalled(4));
    assert_eq!(quarantined(&books, 86_416.0), ["n/gpu1"]);
    assert!(quarantined(&books, 86_475.0).is_empty(), "a minute later it is on probation");
    // Strikes on probation put it back at once, for twice as long each time, an hour at most.
    let mut now = 86_480.0;
    for (number, seconds) in (5..).zip([120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]) {
        at(&mut books, now, stalled(number));
        assert_eq!(quarantined(&books, now + seconds - 1.0).len(), 1, "{seconds}");
        assert!(quarantined(&books, now + seconds + 1.0).is_empty(), "{seconds}");
        now += seconds + 2.0;
    }
    // A success on probation clears it: it takes three strikes again.
    let good = job("good", span(900, 900));
    at(&mut books, now, on(done(&good, span(900, 900), &[]), "gpu1"));
    at(&mut books, now + 1.0, stalled(20));
    at(&mut books, now + 2.0, stalled(21));
    assert!(quarantined(&books, now + 3.0).is_empty());
    at(&mut books, now + 3.0, stalled(22));
    assert_eq!(quarantined(&books, now + 4.0).len(), 1);
}

#[test]
fn a_crash_is_the_devices_fault_only_when_the_job_succeeds_elsewhere() {
    let mut books = Books::new();
    at(&mut books, 0.0, Record::Opened(Box::new(opened(span(0, 999), 1000))));
    for number in 0..4u64 {
        let first = job(&format!("j{number}"), span(number, number));
        let again = Job { seq: 2, attempt: 2, ..first.clone() };
        at(&mut books, 1.0, on(failed(&first, Failure::Crashed(11)), "gpu1"));
        // Three of them succeed on another device, one on the same.
        let device = if number == 0 { "gpu1" } else { "gpu2" };
        assert!(quarantined(&books, 2.0).is_empty());
        at(&mut books, 2.0, on(done(&again, span(number, number), &[]), device));
    }
    assert_eq!(quarantined(&books, 3.0), ["n/gpu1"]);
    let exit =
        |number: u64| failed(&job(&format!("e{number}"), span(500, 500)), Failure::ExitCode(1));
    for number in 0..5 {
        at(&mut books, 4.0, exit(number));
    }
    assert_eq!(quarantined(&books, 5.0), ["n/gpu1"], "a job's own failure is no strike");
}
