//! Messages that are no job, or no longer one.

use std::collections::BTreeMap;

use shared::{
    messages::FleetState,
    outcome::{Failure, Outcome, Verdict},
    wire::{self, Message, SCHEMA},
};

use crate::harness::{Rig, job, queue, until};

fn failure(outcome: &Outcome) -> (Failure, &str) {
    match &outcome.verdict {
        Verdict::Failed { failure, detail, .. } => (*failure, detail),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_can_not_be_decoded_is_reported_with_its_bytes() {
    let rig = Rig::new().await;
    let _worker = rig.worker("whole");
    let whole = wire::encode(&job("job-1", 0, 9)).unwrap();

    let mut newer = whole.clone();
    newer.headers.insert(SCHEMA.to_owned(), "99".to_owned());
    rig.publish_raw(&queue(), newer.clone()).await;
    let outcome = rig.outcome().await;
    let (kind, detail) = failure(&outcome);
    assert!(kind == Failure::Undecodable && detail.contains("schema 99"), "{detail}");
    assert_eq!(
        (outcome.run.as_str(), outcome.job.as_str(), outcome.attempt),
        ("run-1", "job-1", 1)
    );
    assert_eq!(outcome.echo.as_ref(), Some(&newer.body));

    let noise =
        Message { kind: "Job".to_owned(), headers: whole.headers.clone(), body: vec![0xc1; 40] };
    rig.publish_raw(&queue(), noise).await;
    assert_eq!(failure(&rig.outcome().await).0, Failure::Undecodable);

    let stranger = Message { kind: "Letter".to_owned(), headers: BTreeMap::new(), body: vec![7] };
    rig.publish_raw(&queue(), stranger).await;
    let outcome = rig.outcome().await;
    assert_eq!(failure(&outcome).0, Failure::Undecodable);
    assert_eq!(outcome.run, "unknown");
    assert!(outcome.job.starts_with("unknown-"), "{}", outcome.job);
    assert_eq!(outcome.echo, Some(vec![7]));
    assert!(rig.pids().is_empty(), "no runner was started for any of them");
}

#[tokio::test]
async fn a_job_that_makes_no_sense_is_rejected_unrun() {
    let rig = Rig::new().await;
    let _worker = rig.worker("whole");
    let mut senseless = job("job-1", 0, 9);
    senseless.time_limit_seconds = f64::NAN;
    rig.publish(&senseless).await;
    let outcome = rig.outcome().await;
    let (kind, detail) = failure(&outcome);
    assert!(kind == Failure::Rejected && detail.contains("NaN"), "{detail}");
    assert_eq!(outcome.echo, Some(wire::encode(&senseless).unwrap().body));
    assert!(rig.pids().is_empty());
}

#[tokio::test]
async fn a_finished_job_that_comes_again_is_acknowledged_unrun() {
    let rig = Rig::new().await;
    let mut worker = rig.worker("whole");
    rig.publish(&job("job-1", 0, 9)).await;
    rig.outcome().await;
    rig.publish(&job("job-1", 0, 9)).await;
    rig.publish(&job("job-2", 0, 9)).await;
    assert_eq!(rig.outcome().await.job, "job-2", "the copy has no outcome of its own");
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert_eq!(rig.pids().len(), 2);
    assert!(rig.take(&queue()).await.is_none());
}

#[tokio::test]
async fn jobs_of_an_older_epoch_are_acknowledged_unrun() {
    let rig = Rig::new().await;
    // Not eager: it waits for the fleet's state before its first take.
    rig.publish(&job("old", 0, 9)).await;
    let mut current = job("new", 0, 9);
    current.epoch = 2;
    rig.publish(&current).await;
    let mut ears = rig.ears().await;
    let mut worker = rig.worker_with("whole", &[], "");
    let first = ears.heartbeat(|heartbeat| !heartbeat.informed).await;
    assert_eq!((first.slots.len(), first.draining), (1, false));
    let state =
        FleetState { min_epochs: [("run-1".to_owned(), 2)].into(), ..FleetState::default() };
    rig.broker.broadcast(wire::encode(&state).unwrap()).await.unwrap();
    assert_eq!(rig.outcome().await.job, "new");
    assert_eq!(rig.pids().len(), 1);
    ears.heartbeat(|heartbeat| heartbeat.informed).await;
    until("an empty queue", async || {
        (rig.broker.depth(&queue()).await.unwrap() == Some(0)).then_some(())
    })
    .await;
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert!(rig.take(&queue()).await.is_none(), "the old one was acknowledged");
}
