//! Whatever is killed or cut in the middle of a run, nothing is lost and nothing counts twice.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeMap, env, fs};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{
    exact::{LONG, Waiting, both_brokers, text},
    rig::Rig,
};

/// Starts `enqueue --wait` for the run `r`.
fn enqueue(rig: &Rig) -> Waiting {
    LONG.enqueue(rig, "r")
}

/// Waits for the waiting producer: the end is exact, whatever went wrong before.
#[track_caller]
fn finish(rig: &Rig, waiting: Waiting) {
    LONG.finish(rig, waiting);
}

#[track_caller]
fn check(status: &Value) {
    LONG.check_jobs(status);
}

#[test]
fn a_killed_worker_costs_nothing() {
    both_brokers(|rig| {
        rig.spawn_aggregator();
        let worker = rig.spawn_worker(2);
        let waiting = enqueue(rig);
        rig.until_under_way("r");
        rig.kill9(worker);
        rig.spawn_worker(2);
        finish(rig, waiting);
    });
}

#[test]
fn workers_that_are_killed_again_and_again_cost_nothing() {
    both_brokers(|rig| {
        rig.spawn_aggregator();
        let steady = rig.spawn_worker(1);
        let waiting = enqueue(rig);
        let mut covered = 0;
        for _ in 0..4 {
            let worker = rig.spawn_worker(2);
            let status = rig.until_status("r", "more to be covered", |status| {
                status["covered"].as_u64().is_some_and(|now| now > covered)
            });
            covered = status["covered"].as_u64().unwrap();
            rig.kill9(worker);
        }
        finish(rig, waiting);
        assert!(rig.terminate(steady).success());
    });
}

#[test]
fn a_killed_aggregator_costs_nothing() {
    both_brokers(|rig| {
        let aggregator = rig.spawn_aggregator();
        rig.spawn_worker(2);
        let waiting = enqueue(rig);
        let before = rig.until_under_way("r");
        rig.kill9(aggregator);
        // The ledger answers without it, and has lost nothing.
        let after = rig.status("r").unwrap();
        assert!(after["covered"].as_u64() >= before["covered"].as_u64());
        let again = rig.spawn_aggregator();
        finish(rig, waiting);
        assert!(rig.terminate(again).success());
    });
}

#[test]
fn everything_killed_at_once_goes_on_where_it_was() {
    both_brokers(|rig| {
        let aggregator = rig.spawn_aggregator();
        let worker = rig.spawn_worker(2);
        let (producer, _) = enqueue(rig);
        rig.until_under_way("r");
        for part in [producer, aggregator, worker] {
            rig.kill9(part);
        }
        rig.spawn_worker(2);
        rig.spawn_aggregator();
        check(&rig.until_status("r", "its end", |status| status["state"] != "open"));
    });
}

#[test]
fn a_drained_worker_returns_what_it_did_not_test() {
    both_brokers(|rig| {
        rig.spawn_aggregator();
        let worker = rig.spawn_worker(2);
        let waiting = enqueue(rig);
        rig.until_under_way("r");
        assert!(rig.terminate(worker).success());
        rig.spawn_worker(2);
        finish(rig, waiting);
    });
}

#[test]
fn an_interrupted_run_is_resumed() {
    let rig = Rig::embedded();
    let asked = LONG.arguments(&rig, &["run", "--run", "r"]);
    let run = rig.start_producer(&text(&asked));
    rig.until_under_way("r");
    rig.signal(run, Signal::INT);
    let answer = rig.answer(run, &text(&asked));
    assert_eq!(answer.code, 130, "{answer}");
    assert!(answer.stderr.contains("--resume r"), "{answer}");
    assert_eq!(answer.stdout, "", "{answer}");
    assert_eq!(rig.status("r").unwrap()["state"], "open");
    resume(&rig);
    // Resumed once more it only says what is known.
    resume(&rig);
}

#[track_caller]
fn resume(rig: &Rig) {
    let resumed = rig.producer(&["run", "--resume", "r", "--json", "--limit", "100000"]);
    check(&resumed.ok().json());
}

#[test]
fn a_killed_run_takes_its_parts_along_and_is_resumed() {
    let rig = Rig::embedded();
    let run = rig.start_producer(&text(&LONG.arguments(&rig, &["run", "--run", "r"])));
    rig.until_under_way("r");
    let parts = children(rig.pid(run));
    assert_eq!(parts.len(), 2, "a worker and an aggregator: {parts:?}");
    rig.kill9(run);
    rig.until("its parts to end", || parts.keys().all(|pid| !lives(*pid)).then_some(()));
    resume(&rig);
}

#[test]
fn a_run_replaces_its_own_parts_that_are_killed() {
    let rig = Rig::embedded();
    let asked = LONG.arguments(&rig, &["run", "--run", "r"]);
    let run = rig.start_producer(&text(&asked));
    for name in ["worker", "producer"] {
        let before = rig.until_under_way("r")["covered"].as_u64();
        let parts = children(rig.pid(run));
        let part = parts.iter().find(|(_, known)| *known == name).map(|(pid, _)| *pid).unwrap();
        kill_process(Pid::from_raw(part).unwrap(), Signal::KILL).unwrap();
        rig.until_status("r", "more to be covered", |now| now["covered"].as_u64() > before);
    }
    let answer = rig.answer(run, &text(&asked)).ok();
    assert!(answer.stderr.contains("starting another"), "{answer}");
    check(&answer.json());
}

/// Sessions that end soon are tried again more and more slowly, so that fifty closings take eight
/// minutes: `make chaos` asks for so many by this.
const ENV_CLOSINGS: &str = "RIGQUEUE_TEST_CLOSINGS";

#[test]
fn connections_that_an_operator_closes_again_and_again_come_back() {
    let closings = env::var(ENV_CLOSINGS).map_or(4, |number| number.parse().unwrap());
    let Some(mut rig) = Rig::rabbit() else { return };
    rig.use_own_user();
    let parts = [rig.spawn_aggregator(), rig.spawn_worker(2)];
    let mut runs: Vec<(String, Waiting)> = Vec::new();
    let is_over = |run: &str| rig.status(run).is_some_and(|status| status["state"] != "open");
    for times in 1..=closings {
        // One run after another, so that each closing has one to interrupt.
        if runs.last().is_none_or(|(run, _)| is_over(run)) {
            let run = format!("r{times}");
            let waiting = LONG.enqueue(&rig, &run);
            rig.until_status(&run, "some of it", |s| s["covered"].as_u64() > Some(0));
            runs.push((run, waiting));
        }
        rig.cut();
        for part in parts {
            rig.until("the broker to be back", || {
                (rig.log(part).matches("the broker is back").count() >= times).then_some(())
            });
        }
    }
    assert!(runs.len() < closings, "every run was over at its first closing");
    for (_, waiting) in runs {
        finish(&rig, waiting);
    }
    rig.until_empty();
    for part in parts {
        assert!(rig.terminate(part).success());
    }
}

#[test]
fn a_run_that_was_queued_before_anybody_listened_is_done_all_the_same() {
    both_brokers(|rig| {
        let asked = LONG.arguments(rig, &["enqueue", "--run", "r"]);
        let asked = text(&asked);
        let jobs = rig.producer(&asked).ok().json()["jobs"].as_u64();
        assert_eq!(jobs, Some(u64::from(LONG.pieces())));
        // The worker first: outcomes wait for the aggregator.
        rig.spawn_worker(2);
        rig.spawn_aggregator();
        check(&rig.until_status("r", "its end", |status| status["state"] != "open"));
    });
}

/// A process's children, with their names.
fn children(parent: Pid) -> BTreeMap<i32, String> {
    let parent = parent.as_raw_nonzero().to_string();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        // PID (NAME) STATE PARENT …
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        if rest.split_whitespace().nth(1) == Some(parent.as_str()) {
            let name = head.split_once('(').map_or("", |(_, name)| name);
            found.insert(pid, name.to_owned());
        }
    }
    found
}

/// Whether a process lives (a zombie does not).
fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}
