//! What people tell runs, jobs and nodes to do, and what heals by itself.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

use serde_json::Value;
use shared::{
    messages::Bell,
    topology::{DEAD_JOBS, DEAD_RESULTS, RESULTS_SEED, job_queues},
    wire::{self, Message},
};
use tests::{
    exact::{LONG, SHORT, both_brokers, text},
    rig::{PATIENCE, Rig},
};

/// A run that is silent for so long is looked at.
const SOON: &str = "[aggregator]\nreconcile_after = \"2s\"";

/// Publishes a run and does not wait for it.
fn enqueue(rig: &Rig, run: &str) {
    let asked = LONG.arguments(rig, &["enqueue", "--run", run]);
    let asked = text(&asked);
    drop(rig.producer(&asked).ok());
}

fn state(rig: &Rig, run: &str) -> String {
    rig.status(run).unwrap()["state"].as_str().unwrap().to_owned()
}

/// Waits until no worker says to hold a job.
fn until_idle(rig: &Rig) {
    rig.until("idle workers", || {
        let nodes = rig.producer(&["node", "list", "--json"]).ok().json();
        let running = |node: &Value| node["running"].as_u64().unwrap();
        (nodes.as_array().unwrap().iter().map(running).sum::<u64>() == 0).then_some(())
    });
}

fn order(rig: &Rig, words: &[&str]) -> Value {
    let mut words = words.to_vec();
    words.push("--json");
    rig.producer(&words).ok().json()
}

#[test]
fn a_run_is_paused_resumed_cancelled_resumed_and_forgotten() {
    both_brokers(|rig| {
        rig.spawn_aggregator();
        rig.spawn_worker(2);
        enqueue(rig, "r");
        for (word, state_then) in [("pause", "paused"), ("cancel", "cancelled")] {
            rig.until_under_way("r");
            assert_eq!(order(rig, &[word, "r"])["state"], state_then);
            // Asked again it stays so.
            assert_eq!(order(rig, &[word, "r"])["state"], state_then);
            until_idle(rig);
            // What was queued is acknowledged unrun, by and by.
            rig.until_empty();
            let status = rig.status("r").unwrap();
            assert_eq!(status["state"], state_then);
            assert!(status["covered"].as_u64() < Some(u64::from(LONG.end)), "too late: {status}");
            assert_eq!(order(rig, &["resume", "r"])["state"], "open");
        }
        let status = rig.until_status("r", "its end", |status| status["state"] != "open");
        LONG.check(&status);
        assert!(status["jobs"]["requeued"].as_u64() > Some(0), "{status}");
        let refused = rig.producer(&["cancel", "r"]);
        assert_eq!(refused.code, 2, "{refused}");
        assert!(refused.stderr.contains("run r is complete"), "{refused}");
        assert_eq!(order(rig, &["forget", "r"])["state"], "forgotten");
        for word in ["status", "pause", "cancel", "resume", "forget"] {
            assert_eq!(rig.producer(&[word, "r"]).code, 5, "{word}");
        }
    });
}

#[test]
fn a_node_stands_aside_and_comes_back() {
    let rig = Rig::embedded();
    rig.spawn_aggregator();
    rig.spawn_worker(2);
    enqueue(&rig, "r");
    rig.until_under_way("r");
    let name = rig.until("a node", || {
        let nodes = order(&rig, &["node", "list"]);
        nodes[0]["node"].as_str().map(str::to_owned)
    });
    for word in ["pause", "drain"] {
        assert_eq!(order(&rig, &["node", word, &name])["order"], word);
        until_idle(&rig);
        assert_eq!(order(&rig, &["node", "list"])[0]["order"], word);
        assert_eq!(state(&rig, "r"), "open");
        assert_eq!(order(&rig, &["node", "resume", &name])["order"], Value::Null);
    }
    LONG.check(&rig.until_status("r", "its end", |status| status["state"] != "open"));
    assert_eq!(rig.producer(&["node", "pause", "nobody"]).code, 5);
}

#[test]
fn dead_letters_are_listed_shown_queued_again_and_discarded() {
    both_brokers(|rig| {
        let aggregator = rig.spawn_aggregator();
        rig.spawn_worker(1);
        let (runtime, broker) = rig.session();
        // A job that nobody can read, one of a version to come, and a result that is none.
        let garbage = |kind: &str, job: &str, schema: &str| {
            let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            let headers = [header("run", "r"), header("job", job), header("schema", schema)].into();
            Message { kind: kind.to_owned(), headers, body: job.as_bytes().to_vec() }
        };
        let queues = vec!["jobs.seed.cpu".to_owned()];
        runtime.block_on(async {
            let queue = queues[0].as_str();
            broker.publish(queue, garbage("Job", "torn", "1")).await.unwrap();
            broker.publish(queue, garbage("Job", "newer", "99")).await.unwrap();
            broker.publish(RESULTS_SEED, garbage("Outcome", "poison", "1")).await.unwrap();
            broker
                .broadcast(wire::encode(&Bell { queues: queues.clone() }).unwrap())
                .await
                .unwrap();
        });
        let list = |filters: &[&str]| {
            let mut words = vec!["dead", "list"];
            words.extend(filters);
            order(rig, &words).as_array().unwrap().clone()
        };
        let letters = rig.until("three dead letters", || {
            let letters = list(&[]);
            (letters.len() == 3).then_some(letters)
        });
        let of = |job: &str| letters.iter().find(|letter| letter["job"] == job).unwrap();
        assert_eq!(of("torn")["failure"], "Undecodable");
        assert!(of("newer")["last_error"].as_str().unwrap().contains("upgrade"), "{letters:?}");
        let poison = letters.iter().find(|letter| letter["kind"] == "result").unwrap();
        assert_eq!(poison["failure"], "Poison");
        assert_eq!(list(&["--failure", "Undecodable", "--run", "r"]).len(), 2);
        let shown = order(rig, &["dead", "show", "newer"]);
        let tries = shown[0]["tries"].as_array().unwrap();
        assert_eq!((tries.len(), &tries[0]["device"]), (1, &"cpu0".into()), "{shown}");
        // People at the broker see copies of them.
        for (queue, copies) in [(DEAD_JOBS, 2), (DEAD_RESULTS, 1)] {
            rig.until("copies", || {
                let depth = runtime.block_on(broker.depth(queue)).unwrap();
                (depth == Some(copies)).then_some(())
            });
        }
        // Tried again, the result is poison again.
        let poison = poison["job"].as_str().unwrap();
        assert_eq!(order(rig, &["dead", "requeue", poison]).as_array().unwrap().len(), 1);
        rig.until("the poison to be back", || {
            list(&["--failure", "Poison"]).first().filter(|again| again["job"] != poison).cloned()
        });
        assert_eq!(rig.producer(&["dead", "discard"]).code, 2, "it must be said which");
        assert_eq!(rig.producer(&["dead", "discard", "nobody"]).code, 5);
        assert_eq!(order(rig, &["dead", "discard", "--all"]).as_array().unwrap().len(), 3);
        assert!(list(&[]).is_empty());
        assert!(rig.terminate(aggregator).success());
        runtime.block_on(broker.close());
    });
}

#[test]
fn a_run_whose_queues_are_deleted_heals_by_itself() {
    let Some(rig) = Rig::rabbit() else { return };
    rig.add_settings(SOON);
    let aggregator = rig.spawn_aggregator();
    let worker = rig.spawn_worker(2);
    enqueue(&rig, "r");
    rig.until_under_way("r");
    let (node, vhost) = rig.node().unwrap();
    for queue in job_queues().iter().map(String::as_str).chain([RESULTS_SEED]) {
        node.delete(&format!("queues/{vhost}/{queue}")).unwrap();
    }
    let status = rig.until_status("r", "its end", |status| status["state"] != "open");
    LONG.check(&status);
    assert!(status["jobs"]["requeued"].as_u64() > Some(0), "{status}");
    assert!(status["note"].as_str().unwrap().contains("queued again"), "{status}");
    assert!(
        rig.log(aggregator).contains("declaring the topology again"),
        "{}",
        rig.log(aggregator)
    );
    assert!(rig.terminate(worker).success());
    assert!(rig.terminate(aggregator).success());
}

#[test]
fn queues_that_are_deleted_while_nothing_is_to_be_done_come_back() {
    let Some(rig) = Rig::rabbit() else { return };
    let aggregator = rig.spawn_aggregator();
    let worker = rig.spawn_worker(2);
    let waiting = LONG.enqueue(&rig, "r");
    LONG.finish(&rig, waiting);
    assert!(rig.terminate(worker).success());
    let (node, vhost) = rig.node().unwrap();
    let queues = job_queues();
    for queue in &queues {
        node.delete(&format!("queues/{vhost}/{queue}")).unwrap();
    }
    let (runtime, broker) = rig.session();
    rig.until("the queues to be back", || {
        let is_there = |queue: &String| runtime.block_on(broker.depth(queue)).unwrap().is_some();
        queues.iter().all(is_there).then_some(())
    });
    runtime.block_on(broker.close());
    assert!(rig.terminate(aggregator).success());
}

#[test]
fn a_lost_vhost_heals_by_itself() {
    let Some(rig) = Rig::rabbit() else { return };
    rig.add_settings(SOON);
    let aggregator = rig.spawn_aggregator();
    let worker = rig.spawn_worker(2);
    enqueue(&rig, "r");
    rig.until_under_way("r");
    let (node, vhost) = rig.node().unwrap();
    node.delete(&format!("vhosts/{vhost}")).unwrap();
    node.restore_vhost(vhost).unwrap();
    let status = rig.until_status("r", "its end", |status| status["state"] != "open");
    LONG.check(&status);
    assert!(rig.terminate(worker).success());
    assert!(rig.terminate(aggregator).success());
}

#[test]
fn a_broker_has_one_ledger_and_a_ledger_one_aggregator() {
    both_brokers(|rig| {
        rig.spawn_aggregator();
        rig.until("a ledger that is owned", || {
            rig.home().join("ledger.lock").exists().then_some(())
        });
        // It may not have locked it yet.
        let second = rig.until("a second aggregator to be kept out", || {
            let answer = rig.producer(&["aggregate", "--until-complete", "nothing"]);
            (answer.code == 3).then_some(answer)
        });
        assert!(second.stderr.contains("another aggregator"), "{second}");
        let other = rig.path("other");
        let elsewhere = |words: &[&str]| {
            let mut command = rig.command("producer", words);
            command.env("RIGQUEUE_HOME", &other).output().unwrap()
        };
        let refused = rig.until("the other ledger to be refused", || {
            let refused = elsewhere(&["topology", "apply"]);
            (!refused.status.success()).then_some(refused)
        });
        assert_eq!(refused.status.code(), Some(3));
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains("--adopt") && why.lines().count() <= 2, "{why}");
        let refused = elsewhere(&["aggregate"]);
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    });
}

#[test]
fn commands_on_other_machines_ask_the_server() {
    let rig = Rig::embedded();
    let token = "Pfefferkuchen-1234";
    rig.add_settings(&format!("[serve]\ntoken = \"{token}\""));
    let server = rig.start_producer(&["serve", "--listen", "127.0.0.1:0"]);
    let url = rig.until("an address", || {
        let log = rig.log(server);
        let at = log.split("address=").nth(1)?;
        Some(format!("http://{}", at.split_whitespace().next()?))
    });
    rig.spawn_worker(2);
    let empty = rig.path("elsewhere");
    fs::create_dir(&empty).unwrap();
    let from = |home: &Path, words: &[&str]| {
        let mut command = rig.command("producer", words);
        command.env("RIGQUEUE_SERVER", &url).env("RIGQUEUE_HOME", home);
        command.env("RIGQUEUE_BROKER", rig.url()).output().unwrap()
    };
    let ask = |words: &[&str]| {
        let output = from(&empty, words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        output.stdout
    };
    let json = |words: &[&str]| -> Value { serde_json::from_slice(&ask(words)).unwrap() };
    let asked = SHORT.arguments(&rig, &["enqueue", "--wait", "--run", "r"]);
    let waited: Value = serde_json::from_slice(&ask(&text(&asked))).unwrap();
    SHORT.check(&waited["status"]);
    let here = rig.status("r").unwrap();
    let there = json(&["status", "r", "--json", "--limit", "10000000"]);
    assert_eq!(here, there);
    assert_eq!(json(&["runs", "--json"])[0]["run"], "r");
    rig.until("a node", || (json(&["node", "list", "--json"])[0]["slots"] == 2).then_some(()));
    assert_eq!(json(&["dead", "list", "--json"]), Value::Array(Vec::new()));
    for format in ["csv", "json", "certificate"] {
        let words = ["export", "r", "--format", format];
        assert_eq!(ask(&words), rig.producer(&words).ok().stdout.into_bytes(), "{format}");
    }
    for (words, code, said) in [
        (&["status", "nobody"][..], 5, "no run is called 'nobody'"),
        (&["export", "nobody", "--format", "csv"], 5, "no run is called 'nobody'"),
        (&["cancel", "r"], 2, "run r is complete"),
        (&["node", "pause", "nobody"], 5, "no node called 'nobody'"),
    ] {
        let refused = from(&empty, words);
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), why.contains(said)), (Some(code), true), "{why}");
    }
    // Nobody is let in without the token, and nobody is there when the server is gone.
    let config = rig.file("strange.toml", "[serve]\ntoken = \"another\"\n");
    let mut stranger = rig.command("producer", ["--config", &config, "runs"]);
    let stranger = stranger.env("RIGQUEUE_SERVER", &url).output().unwrap();
    let why = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(stranger.status.code() == Some(3) && why.contains("token"), "{why}");
    assert!(!why.contains(token) && !why.contains("another\""), "{why}");
    assert!(rig.terminate(server).success());
    let gone = from(&empty, &["runs"]);
    assert_eq!(gone.status.code(), Some(3), "{gone:?} within {PATIENCE:?}");
}
