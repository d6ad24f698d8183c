//! `worker doctor` against real brokers.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use serde_json::Value;
use tests::{
    rabbitmq::PASSWORD,
    rig::{Answer, Rig},
};

/// What a doctor says of one check: its states, in order.
fn states(answer: &Answer, check: &str) -> Vec<String> {
    let findings = answer.json();
    let of = |finding: &&Value| finding["check"] == check;
    let findings = findings.as_array().unwrap().iter().filter(of);
    findings.map(|finding| finding["state"].as_str().unwrap().to_owned()).collect()
}

fn doctor(rig: &Rig) -> Answer {
    rig.run("worker", &["doctor", "--json"])
}

#[test]
fn a_machine_with_nothing_to_mend_is_told_so() {
    let rig = Rig::embedded();
    let answer = doctor(&rig).ok();
    for check in ["settings", "runtime", "home", "runner", "descriptors", "broker"] {
        assert_eq!(states(&answer, check), ["ok"], "{check}: {answer}");
    }
    let told = rig.run("worker", &["doctor"]).ok();
    assert!(told.stdout.lines().last().unwrap().ends_with("0 FAILED"), "{told}");
}

#[test]
fn what_a_broker_lacks_is_named() {
    let Some(rig) = Rig::bare_rabbit() else { return };
    let bare = doctor(&rig);
    assert_eq!((bare.code, states(&bare, "topology")), (2, vec!["failed".to_owned()]), "{bare}");
    assert!(bare.stdout.contains("jobs.seed.cpu"), "{bare}");
    let applied = rig.producer(&["topology", "apply"]).ok();
    assert!(applied.stdout.contains("were made"), "{applied}");
    let whole = doctor(&rig).ok();
    for check in ["broker", "version", "topology", "permissions"] {
        assert_eq!(states(&whole, check), ["ok"], "{check}: {whole}");
    }
    let (node, vhost) = rig.node().unwrap();
    let (version, _) = node.versions().unwrap();
    assert!(whole.stdout.contains(&format!("RabbitMQ {version}")), "{whole}");
    assert_eq!(states(&whole, "timeout"), ["unverified"], "{whole}");
    // Nothing was left behind, and nothing taken.
    let queues = node.get(&format!("queues/{vhost}")).unwrap();
    let named = |name: &str| name.starts_with("events.");
    let queues = queues.as_array().unwrap();
    assert!(!queues.iter().any(|queue| named(queue["name"].as_str().unwrap())), "{queues:?}");
}

#[test]
fn what_a_user_may_not_do_is_named() {
    let Some(rig) = Rig::rabbit() else { return };
    let (node, vhost) = rig.node().unwrap();
    let user = format!("listener-of-{vhost}");
    node.add_user(&user, PASSWORD).unwrap();
    node.grant(&user, vhost, r"^(rigqueue\.)?events").unwrap();
    let url = node.url_as(&user, PASSWORD, vhost);
    let answer = rig.with_env(&[("RIGQUEUE_BROKER", &url)], doctor);
    assert_eq!(answer.code, 2, "{answer}");
    assert!(states(&answer, "permissions").contains(&"failed".to_owned()), "{answer}");
    for said in ["take from jobs.seed.cpu", "publish to rigqueue.results", "hear rigqueue.events"] {
        assert!(answer.stdout.contains(said), "{said}: {answer}");
    }
    assert!(!answer.stdout.contains(PASSWORD) && !answer.stderr.contains(PASSWORD), "{answer}");
}

#[test]
fn a_broker_that_is_not_there_has_its_own_exit_code() {
    let rig = Rig::embedded();
    // Port 1 of loopback: nothing listens on tcpmux.
    let answer = rig.with_env(&[("RIGQUEUE_BROKER", "amqp://127.0.0.1:1/v")], doctor);
    assert_eq!(
        (answer.code, states(&answer, "broker")),
        (3, vec!["failed".to_owned()]),
        "{answer}"
    );
}
