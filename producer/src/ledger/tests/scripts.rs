//! Script jobs in the ledger: the first success of each counts, whatever comes when.

use shared::{
    handover::{Fate, FinishedAttempt},
    job::{Job, Task},
    messages::{KIND_STUDY, MaxDead, RunOpened, RunPart, ScriptOutputs},
    outcome::{Failure, Outcome, Verdict},
    script::{OutputFile, Script, ScriptResult},
};

use super::books::{Books, failed, job, opened, outcome, span};
use crate::{
    ledger::{DeadFilter, Outstanding, Record, RunState, ScriptRow, Stand},
    reconcile::plan_rest,
};

fn script(index: u64) -> Job {
    let script = Script {
        index,
        name: "a.py".to_owned(),
        args: vec!["--n".to_owned(), index.to_string()],
        anywhere: true,
        ..Script::default()
    };
    Job { task: Task::Script(script), ..job(&format!("trial {index}"), span(0, 0)) }
}

/// A run of `count` scripts, with its manifest and `parts` parts.
fn run_of(count: u64, max_dead: MaxDead) -> Vec<Record> {
    let manifest = RunOpened {
        step: "3".to_owned(),
        kind: "script".to_owned(),
        sieve: None,
        scripts: Some(ScriptOutputs::default()),
        parts: 2,
        max_dead,
        ..opened(span(0, count - 1), count)
    };
    let part = |part: u32, places: std::ops::Range<u64>| {
        Record::Part(RunPart {
            run: "r".to_owned(),
            part,
            first_index: places.start,
            seeds: Vec::new(),
            jobs: places.map(script).collect(),
        })
    };
    vec![Record::Opened(Box::new(manifest)), part(0, 0..1), part(1, 1..count)]
}

fn books_of(count: u64) -> Books {
    let mut books = Books::new();
    books.apply(&run_of(count, MaxDead::Percent(100.0)));
    books
}

fn result(job: &Job, value: &str, files: Vec<OutputFile>) -> Verdict {
    let Task::Script(script) = &job.task else { panic!("a script") };
    let value = Some(value.to_owned());
    Verdict::Finished(ScriptResult { index: script.index, value, files })
}

fn finished(job: &Job) -> Record {
    outcome(job, result(job, "{\"loss\": 1}", Vec::new()))
}

fn rows(books: &Books) -> Vec<ScriptRow> {
    books.ledger.scripts(&books.run(), 100).unwrap()
}

#[test]
fn a_run_is_complete_when_every_script_has_succeeded_once() {
    let mut books = books_of(3);
    books.apply(&[finished(&script(0)), finished(&script(2)), finished(&script(0))]);
    let other = outcome(&script(0), result(&script(0), "2", Vec::new()));
    books.apply(&[other]);
    let run = books.run();
    assert_eq!((run.state, run.counts.done), (RunState::Open, 2));
    let applied = books.apply(&[finished(&script(1))]);
    assert_eq!(applied.ended, [("r".to_owned(), RunState::Complete)]);
    assert_eq!(books.run().counts.done, 3);
    let rows = rows(&books);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].success, Some((Some("{\"loss\": 1}".to_owned()), Vec::new())), "the first");
    assert_eq!(
        (rows[0].attempts, rows[0].node.as_deref(), &rows[0].failure),
        (3, Some("n"), &None)
    );
    assert!(books.outbox().is_empty());
}

#[test]
fn an_outcome_before_its_manifest_counts_too() {
    let mut books = Books::new();
    books.apply(&[finished(&script(1))]);
    assert_eq!(books.run().state, RunState::Open);
    books.apply(&run_of(2, MaxDead::Percent(1.0)));
    assert_eq!(books.run().state, RunState::Open);
    books.apply(&[finished(&script(0))]);
    assert_eq!((books.run().state, books.run().counts.done), (RunState::Complete, 2));
}

#[test]
fn a_failure_is_tried_again_and_then_dead_and_a_late_success_overrides_that() {
    let mut books = books_of(2);
    books.apply(&[finished(&script(1))]);
    let mut try_of = script(0);
    for attempt in 1..=3 {
        assert_eq!(try_of.attempt, attempt);
        books.apply(&[failed(&try_of, Failure::ExitCode(7))]);
        if let Some(next) = books.outbox().pop() {
            assert_eq!((next.id.as_str(), next.seq), ("trial 0", try_of.seq + 1));
            assert_eq!(next.queue(), "jobs.script.any");
            let due = books.ledger.due(1e12, 10).unwrap();
            books.ledger.posted(&due).unwrap();
            try_of = next;
        }
    }
    let run = books.run();
    assert_eq!((run.state, run.counts.dead, run.counts.retried), (RunState::Failed, 1, 2));
    assert_eq!(books.ledger.failures(&run).unwrap(), 3);
    let dead = &rows(&books)[0];
    assert!(dead.is_dead && dead.attempts == 3, "{dead:?}");
    assert_eq!(dead.failure, Some(("ExitCode(7)".to_owned(), "why".to_owned())));

    let applied = books.apply(&[finished(&script(0))]);
    assert_eq!(applied.ended, [("r".to_owned(), RunState::Complete)]);
    let run = books.run();
    assert_eq!((run.state, run.counts.dead, run.counts.done), (RunState::Complete, 0, 2));
    assert!(!rows(&books)[0].is_dead && rows(&books)[0].failure.is_none());
}

#[test]
fn a_failure_after_a_success_changes_nothing() {
    let mut books = books_of(2);
    let again = Job { seq: 2, ..script(0) };
    books.apply(&[finished(&script(0)), failed(&again, Failure::Crashed(11))]);
    let run = books.run();
    assert_eq!((run.counts.retried, run.counts.dead, run.counts.done), (0, 0, 1));
    assert!(books.outbox().is_empty());
}

#[test]
fn too_many_dead_scripts_end_the_run() {
    let mut books = Books::new();
    books.apply(&run_of(5, MaxDead::Jobs(1)));
    books.apply(&[finished(&script(4)), failed(&script(0), Failure::Rejected)]);
    assert_eq!(books.run().state, RunState::Open);
    books.apply(&[failed(&script(1), Failure::Rejected)]);
    assert_eq!(books.run().state, RunState::Failed);
}

#[test]
fn what_is_neither_done_nor_dead_is_queued_again_by_its_own_id() {
    let settings = shared::settings::Layers::load(None).unwrap().settings().unwrap();
    let mut books = books_of(4);
    let retried = Job { seq: 3, ..script(2) };
    books.apply(&[
        finished(&script(0)),
        failed(&script(1), Failure::Rejected),
        failed(&retried, Failure::Timeout),
    ]);
    books.ledger.pause("r").unwrap();
    books.ledger.resume("r").unwrap();
    let jobs = plan_rest(&books.ledger, &settings, &books.run()).unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["trial 2", "trial 3"]);
    books.ledger.requeue("r", jobs, None, 100.0).unwrap();
    let again = books.outbox();
    let epoch = books.run().epoch;
    let keys: Vec<_> = again.iter().map(|job| (job.id.as_str(), job.seq, job.epoch)).collect();
    assert_eq!(keys, [("trial 2", 5, epoch), ("trial 3", 2, epoch)], "seq 4 was the retry's");
    assert_eq!(books.run().counts.requeued, 2);
    // What the older epoch still does counts as a success, and a failure of it as nothing.
    books.apply(&[failed(&script(3), Failure::Timeout), finished(&script(2))]);
    assert_eq!(books.run().counts.done, 2);
    books.apply(&[finished(&again[1])]);
    assert_eq!(books.run().state, RunState::Failed, "nothing is left but a dead job");

    books.ledger.requeue_dead(&DeadFilter::default(), 100.0).unwrap();
    let jobs = plan_rest(&books.ledger, &settings, &books.run()).unwrap();
    assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["trial 1"]);
}

#[test]
fn a_run_ends_when_its_files_are_in_place() {
    let mut books = books_of(2);
    let file = OutputFile {
        name: "o.json".to_owned(),
        folder: "/attempt".to_owned(),
        size: 3,
        blake3: "00".to_owned(),
    };
    let wrote = outcome(&script(1), result(&script(1), "1", vec![file.clone()]));
    books.apply(&[finished(&script(0)), wrote]);
    assert_eq!(books.run().state, RunState::Open);
    let unplaced = books.ledger.unplaced(Outstanding::New, None, 10, 0.0).unwrap();
    assert_eq!((unplaced.len(), &unplaced[0].files, unplaced[0].seq), (1, &vec![file], 1));
    // On its way from another machine: the run waits.
    let awaited = Stand { trouble: None, awaits: Some("00".to_owned()) };
    let applied = books.ledger.placed(&[(unplaced[0].clone(), awaited)], 90.0).unwrap();
    assert!(applied.ended.is_empty() && books.run().state == RunState::Open);
    assert!(books.ledger.unplaced(Outstanding::New, None, 10, 95.0).unwrap().is_empty());
    assert!(books.ledger.unplaced(Outstanding::Awaiting("01"), None, 10, 95.0).unwrap().is_empty());
    let awaited = books.ledger.unplaced(Outstanding::Awaiting("00"), None, 10, 95.0).unwrap();
    assert_eq!(awaited[0].awaited_seconds, Some(5));
    assert!(books.ledger.unplaced(Outstanding::All, awaited.first(), 10, 95.0).unwrap().is_empty());
    let trouble = Stand { trouble: Some("it is on another machine".to_owned()), awaits: None };
    let applied = books.ledger.placed(&[(unplaced[0].clone(), trouble)], 100.0).unwrap();
    assert_eq!(applied.ended, [("r".to_owned(), RunState::Complete)]);
    assert!(books.run().note.unwrap().contains("of 1 jobs; it is on another machine"));
    assert!(books.ledger.unplaced(Outstanding::New, None, 10, 0.0).unwrap().is_empty());
    let unplaced = books.ledger.unplaced(Outstanding::All, None, 10, 0.0).unwrap();
    let attempt = |place: &str| FinishedAttempt {
        run: "r".to_owned(),
        job: unplaced[0].job.clone(),
        seq: 1,
        place: place.to_owned(),
    };
    let fate = |books: &Books, place: &str| books.ledger.fate(&attempt(place)).unwrap();
    assert!(matches!(fate(&books, "attempt"), Fate::Wanted(files) if files.len() == 1));
    assert_eq!(fate(&books, "other"), Fate::Settled, "another attempt was accepted");
    assert!(books.ledger.needed_files().unwrap().contains("00"));
    books.ledger.placed(&[(unplaced[0].clone(), Stand::default())], 100.0).unwrap();
    assert_eq!(fate(&books, "attempt"), Fate::Settled, "it is in place");
    let mut unknown = attempt("attempt");
    unknown.job = "unheard of".to_owned();
    assert_eq!(books.ledger.fate(&unknown).unwrap(), Fate::Unknown);
    unknown.run = "nobody".to_owned();
    assert_eq!(books.ledger.fate(&unknown).unwrap(), Fate::Unknown);
    assert_eq!(books.run().note, None);
    assert!(books.ledger.unplaced(Outstanding::All, None, 10, 0.0).unwrap().is_empty());
    assert_eq!(books.ledger.scripts_without_manifest().unwrap(), ["r"]);
    books.ledger.outputs_written("r", 1.0).unwrap();
    assert!(books.ledger.scripts_without_manifest().unwrap().is_empty());
    books.ledger.forget("r", 100.0).unwrap();
    let left: u64 = books
        .ledger
        .db
        .query_row(
            "SELECT (SELECT count(*) FROM script_jobs) + (SELECT count(*) FROM script_results)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn successes_that_make_no_sense_are_refused() {
    let mut books = books_of(3);
    let mut misplaced = script(1);
    misplaced.id = "trial 0".to_owned();
    let refusal = |books: &mut Books, record: Record| {
        books.ledger.apply(&[record], 100.0).unwrap_err().to_string()
    };
    assert!(refusal(&mut books, finished(&misplaced)).contains("but 0 in the run's list"));
    assert!(refusal(&mut books, finished(&script(3))).contains("outside of"));
    let words = outcome(&script(0), result(&script(0), "done", Vec::new()));
    assert!(refusal(&mut books, words).contains("no JSON"));
    let file = OutputFile {
        name: "../o".to_owned(),
        folder: "/a".to_owned(),
        size: 1,
        blake3: String::new(),
    };
    let leaving = outcome(&script(0), result(&script(0), "1", vec![file]));
    assert!(refusal(&mut books, leaving).contains("'..'"));
    let part = |jobs| {
        Record::Part(RunPart {
            run: "r".to_owned(),
            part: 9,
            first_index: 0,
            seeds: Vec::new(),
            jobs,
        })
    };
    let twice = Job { id: "trial 0".to_owned(), ..script(7) };
    assert!(refusal(&mut books, part(vec![twice])).contains("twice"));
    assert!(refusal(&mut books, part(vec![job("j", span(0, 1))])).contains("is none"));

    let mut sieve = Books::new();
    sieve.apply(&[Record::Opened(Box::new(opened(span(0, 9), 1)))]);
    assert!(refusal(&mut sieve, finished(&script(0))).contains("asks for no scripts"));
    let Record::Outcome(mut done) = super::books::done(&script(0), span(0, 0), &[]) else {
        panic!()
    };
    *done = Outcome { job: "trial 0".to_owned(), ..*done };
    assert!(refusal(&mut books, Record::Outcome(done)).contains("another question"));
    assert_eq!(books.run().counts.done, 0);
}

#[test]
fn a_list_that_grows_lacks_only_what_is_on_it() {
    let settings = shared::settings::Layers::load(None).unwrap().settings().unwrap();
    let mut records = run_of(4, MaxDead::Percent(100.0));
    records.truncate(1);
    if let Record::Opened(manifest) = &mut records[0] {
        (manifest.kind, manifest.parts) = (KIND_STUDY.to_owned(), 4);
    }
    let part = |place: u64| {
        Record::Part(RunPart {
            run: "r".to_owned(),
            part: u32::try_from(place).unwrap(),
            first_index: place,
            seeds: Vec::new(),
            jobs: vec![script(place)],
        })
    };
    let mut books = Books::new();
    books.apply(&records);
    let lacking = |books: &Books| -> Vec<String> {
        let jobs = plan_rest(&books.ledger, &settings, &books.run()).unwrap();
        jobs.into_iter().map(|job| job.id).collect()
    };
    assert_eq!(lacking(&books), [""; 0], "nothing was asked for yet");
    books.apply(&[part(0), part(1), failed(&script(0), Failure::Rejected)]);
    assert_eq!(lacking(&books), ["trial 1"]);
    books.apply(&[failed(&script(1), Failure::Rejected)]);
    // All that there is is dead, and more may come.
    assert_eq!((books.run().state, books.run().counts.dead), (RunState::Open, 2));
    books.ledger.pause("r").unwrap();
    books.ledger.resume("r").unwrap();
    books.ledger.requeue("r", Vec::new(), None, 100.0).unwrap();
    assert_eq!(books.run().state, RunState::Open);
    let epoch = books.run().epoch;
    let late = |place| Job { epoch, ..script(place) };
    books.apply(&[part(2), finished(&late(2)), part(3), finished(&late(3))]);
    assert_eq!(books.run().state, RunState::Failed, "nothing is left but dead jobs");

    let mut books = Books::new();
    books.apply(&records);
    for place in 0..4 {
        assert_eq!(books.run().state, RunState::Open);
        books.apply(&[part(place), finished(&script(place))]);
    }
    assert_eq!(books.run().state, RunState::Complete);
}
