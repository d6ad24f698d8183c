//! Runs that are paused, resumed and cancelled, and nodes that stand aside, while jobs run.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::time::Instant;

use serde_json::Value;
use tests::{
    exact::{LONG, SHORT, both_brokers, text},
    rig::{Part, Rig},
};

/// A run `r` under way: the waiting producer and its arguments are not needed.
fn under_way(rig: &Rig) -> (Part, Part) {
    let services = (rig.spawn_aggregator(), rig.spawn_worker(2));
    let asked = LONG.arguments(rig, &["enqueue", "--run", "r"]);
    let asked: Vec<&str> =
        text(&asked).into_iter().filter(|a| !["--limit", "100000"].contains(a)).collect();
    let jobs = rig.producer(&asked).ok().json()["jobs"].as_u64();
    assert_eq!(jobs, Some(u64::from(LONG.pieces())));
    rig.until_under_way("r");
    services
}

/// Gives an order, which is answered so.
#[track_caller]
fn tell(rig: &Rig, order: &[&str], answer: &str) {
    assert_eq!(rig.producer(order).ok().stdout.trim(), answer);
}

fn ended(rig: &Rig) -> Value {
    rig.until_status("r", "its end", |status| status["state"] != "open")
}

/// What `node list` says of the only worker.
fn worker(rig: &Rig) -> Option<Value> {
    let mut lines = rig.producer(&["node", "list", "--json"]).ok().json();
    lines.as_array_mut().unwrap().pop()
}

/// Waits until the worker says anew that it holds nothing; what is covered then.
fn until_idle(rig: &Rig) -> u64 {
    let since = Instant::now();
    rig.until("an idle worker", || {
        let line = worker(rig)?;
        let is_news = line["heard_seconds_ago"].as_f64()? < since.elapsed().as_secs_f64();
        (is_news && line["running"] == 0).then_some(())
    });
    rig.status("r").unwrap()["covered"].as_u64().unwrap()
}

#[test]
fn a_paused_run_stands_still_and_is_resumed_exact() {
    both_brokers(|rig| {
        under_way(rig);
        for _ in 0..2 {
            tell(rig, &["pause", "r"], "run r: paused");
            // Its queued jobs are acknowledged unrun, its running ones finish short.
            rig.until_empty();
            let covered = until_idle(rig);
            let status = rig.status("r").unwrap();
            assert_eq!(status["state"], "paused", "{status}");
            assert!(covered < u64::from(LONG.end), "it was over before it was paused");
            tell(rig, &["resume", "r"], "run r: open");
            rig.until_status("r", "more to be covered", |status| {
                status["covered"].as_u64() > Some(covered)
            });
        }
        LONG.check(&ended(rig));
        rig.until_empty();
        rig.end_services();
        rig.until_empty();
    });
}

#[test]
fn a_cancelled_run_leaves_nothing_behind_and_others_go_on() {
    both_brokers(|rig| {
        under_way(rig);
        tell(rig, &["cancel", "r"], "run r: cancelled");
        rig.until_empty();
        until_idle(rig);
        let status = rig.status("r").unwrap();
        assert_eq!(status["state"], "cancelled", "{status}");
        let known = tests::planted::listed(&status);
        let expected = LONG.expected();
        assert!(known.iter().all(|(seed, best)| expected.get(seed) == Some(best)));
        let next = SHORT.enqueue(rig, "next");
        SHORT.finish(rig, next);
        rig.until_empty();
        rig.end_services();
        rig.until_empty();
    });
}

#[test]
fn a_drained_node_takes_nothing_until_it_is_told_to_work_again() {
    both_brokers(|rig| {
        let (_, part) = under_way(rig);
        let node = rig.until("a node", || worker(rig))["node"].as_str().unwrap().to_owned();
        for order in ["drain", "pause"] {
            tell(rig, &["node", order, &node], &format!("node {node}: told to {order}"));
            let words = if order == "drain" { "the node drains" } else { "the node is paused" };
            rig.until("the order to be heard", || rig.log(part).contains(words).then_some(()));
            let covered = until_idle(rig);
            assert!(covered < u64::from(LONG.end), "it was over before the node was told");
            tell(rig, &["node", "resume", &node], &format!("node {node}: told to work"));
            rig.until_status("r", "more to be covered", |status| {
                status["covered"].as_u64() > Some(covered)
            });
        }
        LONG.check_jobs(&ended(rig));
        rig.until_empty();
        rig.end_services();
        rig.until_empty();
    });
}
