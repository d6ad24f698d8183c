//! Whatever a job does to stay, nothing of it is left when its outcome is told.

use rustix::process::{Resource, Rlimit, setrlimit};
use shared::outcome::{Failure, Outcome, Verdict};

use crate::harness::{Rig, Worker, example, job, lives};

const SETTINGS: &str = "[worker]\nslots = 1\ngrace = \"300ms\"\n";

fn hostile(rig: &Rig, behaviour: &str) -> Worker {
    rig.worker_of(&example("hostile"), behaviour, &["--eager"], SETTINGS)
}

/// What comes of one job, and that only the worker is left of its rig. It says how often what was
/// written down was an escapee.
async fn outcome_of(behaviour: &str, seconds: f64, memory_mb: u64) -> (Outcome, usize) {
    let rig = Rig::new().await;
    let worker = hostile(&rig, behaviour);
    let mut job = job("job-1", 0, 9);
    (job.time_limit_seconds, job.memory_mb) = (seconds, memory_mb);
    rig.publish(&job).await;
    let outcome = rig.outcome().await;
    // Now and not soon: the slot was free for the next job before this was told.
    assert_eq!(rig.processes(), [worker.id()], "{behaviour}");
    let pids = rig.pids();
    assert!(pids.keys().all(|&pid| !lives(pid)), "{behaviour}: {pids:?}");
    assert!(zombies(worker.id()).is_empty(), "{behaviour}");
    (outcome, pids.values().filter(|text| *text == "escapee\n").count())
}

/// The children of a process that have ended and wait for it.
fn zombies(parent: i32) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let of_parent = format!("Z {parent} ");
    stats
        .filter(|stat| stat.rsplit_once(") ").is_some_and(|(_, s)| s.starts_with(&of_parent)))
        .collect()
}

fn failure(outcome: Outcome) -> (Failure, String) {
    match outcome.verdict {
        Verdict::Failed { failure, detail, .. } => (failure, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_escapee_is_found_by_its_mark_and_one_without_by_its_adoption() {
    for behaviour in ["escapes", "escapes unmarked"] {
        let (outcome, escapees) = outcome_of(behaviour, 60.0, 0).await;
        assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
        assert_eq!(escapees, 1, "{behaviour}");
    }
}

#[tokio::test]
async fn an_escapee_goes_with_the_job_that_is_past_its_limit() {
    let (outcome, escapees) = outcome_of("escapes and stays", 0.5, 0).await;
    assert_eq!((failure(outcome).0, escapees), (Failure::Stalled, 1));
}

#[tokio::test]
async fn a_thousand_processes_go_with_their_job() {
    let (outcome, _) = outcome_of("multiplies", 60.0, 0).await;
    assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_job_over_its_own_memory_is_ended_and_told_by_how_much() {
    let (outcome, _) = outcome_of("hoards", 60.0, 200).await;
    let (failure, detail) = failure(outcome);
    assert_eq!(failure, Failure::OutOfMemory, "{detail}");
    assert!(detail.starts_with("it used ") && detail.ends_with("its limit is 200 MiB"), "{detail}");
}

#[tokio::test]
async fn an_escapee_of_one_job_is_no_matter_of_another() {
    let rig = Rig::new().await;
    let settings = "[worker]\nslots = 2\ngrace = \"300ms\"\n";
    let args = &["--eager"];
    let behaviour = "hoards if it is bounded, else escapes and stays";
    let _worker = rig.worker_of(&example("hostile"), behaviour, args, settings);
    let (mut first, mut second) = (job("job-1", 0, 9), job("job-2", 0, 9));
    // The second is over its memory at the first look: no matter of its device either.
    (first.time_limit_seconds, second.memory_mb) = (60.0, 100);
    rig.publish(&first).await;
    rig.started(2).await;
    rig.publish(&second).await;
    let outcome = rig.outcome().await;
    assert_eq!((outcome.job.as_str(), failure(outcome.clone()).0), ("job-2", Failure::OutOfMemory));
    let pids = rig.pids();
    assert_eq!(pids.keys().filter(|&&pid| lives(pid)).count(), 2, "{pids:?}");
}

/// The worker's largest size, in bytes.
fn largest(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_flood_neither_fills_the_worker_nor_outlasts_its_limits() {
    for (behaviour, expected) in
        [("floods", Failure::InvalidOutput), ("floods with progress", Failure::Stalled)]
    {
        let rig = Rig::new().await;
        let worker = hostile(&rig, behaviour);
        let mut job = job("job-1", 0, 9);
        job.time_limit_seconds = 1.0;
        rig.publish(&job).await;
        let (failure, detail) = failure(rig.outcome().await);
        assert_eq!(failure, expected, "{behaviour}: {detail}");
        assert_eq!(rig.processes(), [worker.id()]);
        let largest = largest(worker.id());
        assert!(largest < 64 << 20, "{behaviour}: {largest}");
    }
}

#[tokio::test]
async fn nothing_that_a_worker_starts_leaves_a_core_file() {
    // It would, as far as the tests may decide that.
    let none = Rlimit { current: None, maximum: None };
    if let Err(error) = setrlimit(Resource::Core, none) {
        eprintln!("the limit on core files can't be lifted, so nothing is shown: {error}");
    }
    let (outcome, _) = outcome_of("tells its limits", 60.0, 0).await;
    let (_, limits) = failure(outcome);
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{line}");
}
