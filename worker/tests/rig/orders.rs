//! What the aggregator orders: runs that end or pause, nodes that stand aside, devices in
//! quarantine.

use rustix::process::Signal;
use shared::{
    job::Job,
    messages::{FleetState, Heartbeat, NodeOrder},
    outcome::{Outcome, Return, Verdict},
    wire,
};

use crate::harness::{Ears, Rig, Worker, job, queue, until};

const ONE: &str = "[worker]\nslots = 1\nnode = \"here\"\ngrace = \"300ms\"\n";
const TWO: &str = "[worker]\nslots = 2\nnode = \"here\"\ngrace = \"45s\"\n";

async fn tell(rig: &Rig, state: &FleetState) {
    rig.broker.broadcast(wire::encode(state).unwrap()).await.unwrap();
}

fn of_run(run: &str, id: &str) -> Job {
    Job { run: run.to_owned(), ..job(id, 0, 999) }
}

/// Run 1 has left its first epoch behind.
fn second_epoch() -> FleetState {
    FleetState { min_epochs: [("run-1".to_owned(), 2)].into(), ..FleetState::default() }
}

fn cancelled() -> FleetState {
    FleetState { ended: ["run-1".to_owned()].into(), ..second_epoch() }
}

fn paused() -> FleetState {
    FleetState { paused: ["run-1".to_owned()].into(), ..second_epoch() }
}

fn ordered(order: NodeOrder) -> FleetState {
    let nodes = [("here".to_owned(), order), ("elsewhere".to_owned(), NodeOrder::Drain)];
    FleetState { nodes: nodes.into(), ..FleetState::default() }
}

/// How many jobs have made progress.
fn busy(heartbeat: &Heartbeat) -> usize {
    let jobs = heartbeat.slots.iter().filter_map(|slot| slot.job.as_ref());
    jobs.filter(|job| job.tested == 7).count()
}

/// A worker whose runners behave so, once they have begun with `count` jobs.
async fn at_work(rig: &Rig, behaviour: &str, settings: &str, count: usize) -> (Worker, Ears) {
    let mut ears = rig.ears().await;
    let worker = rig.worker_with(behaviour, &["--eager"], settings);
    ears.heartbeat(|heartbeat| busy(heartbeat) == count).await;
    (worker, ears)
}

#[track_caller]
fn assert_returned(outcome: &Outcome, why: Return) {
    assert!(
        matches!(&outcome.verdict, Verdict::Returned { reason, .. } if *reason == why),
        "{outcome:?}"
    );
    assert!(outcome.echo.is_some());
}

/// Half of the job's 1,000 seeds.
#[track_caller]
fn assert_short(outcome: &Outcome) {
    let Verdict::Done(result) = &outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(result.tested[0].len(), 500);
    assert!(outcome.echo.is_some(), "its rest must follow, if anything does");
}

#[tokio::test]
async fn a_cancelled_run_ends_even_runners_that_do_not_listen() {
    let rig = Rig::new().await;
    rig.publish(&of_run("run-1", "running")).await;
    let (mut worker, _ears) = at_work(&rig, "deaf with a child", ONE, 1).await;
    rig.publish(&of_run("run-1", "waiting")).await;
    tell(&rig, &cancelled()).await;
    let outcome = rig.outcome().await;
    assert_eq!(outcome.job, "running");
    assert_returned(&outcome, Return::Cancelled);
    rig.all_gone().await;
    // An empty queue is not enough: what was taken just now would come back.
    let passed = async || worker.log().contains("acknowledged unrun").then_some(());
    until("what waited to be passed over", passed).await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert!(rig.take(&queue()).await.is_none(), "what waited is acknowledged unrun");
    assert!(rig.take(shared::topology::RESULTS_SEED).await.is_none());
}

#[tokio::test]
async fn a_result_counts_although_its_run_was_cancelled() {
    let rig = Rig::new().await;
    rig.publish(&of_run("run-1", "running")).await;
    let (_worker, _ears) = at_work(&rig, "short", TWO, 1).await;
    tell(&rig, &cancelled()).await;
    assert_short(&rig.outcome().await);
}

#[tokio::test]
async fn a_paused_run_finishes_short_and_others_go_on() {
    let rig = Rig::new().await;
    rig.publish(&of_run("run-1", "paused")).await;
    rig.publish(&of_run("run-2", "open")).await;
    let (mut worker, mut ears) = at_work(&rig, "short", TWO, 2).await;
    // The second run has left the job's epoch behind as well, but is open: the job goes on.
    let mut state = paused();
    state.min_epochs.insert("run-2".to_owned(), 2);
    tell(&rig, &state).await;
    let outcome = rig.outcome().await;
    assert_eq!(outcome.job, "paused");
    assert_short(&outcome);
    // Heard again it changes nothing.
    tell(&rig, &state).await;
    let heartbeat = ears.heartbeat(|heartbeat| heartbeat.informed && busy(heartbeat) == 1).await;
    let held: Vec<_> = heartbeat.slots.iter().filter_map(|slot| slot.job.as_ref()).collect();
    assert_eq!((held.len(), held[0].job.as_str()), (1, "open"));
    // Resumed, the run's next epoch is taken, under whatever name.
    tell(&rig, &second_epoch()).await;
    rig.publish(&Job { epoch: 2, ..of_run("run-1", "paused") }).await;
    ears.heartbeat(|heartbeat| busy(heartbeat) == 2).await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_runner_that_does_not_finish_short_goes_back_to_its_paused_run() {
    let rig = Rig::new().await;
    rig.publish(&of_run("run-1", "running")).await;
    let (_worker, _ears) = at_work(&rig, "deaf", ONE, 1).await;
    tell(&rig, &paused()).await;
    assert_returned(&rig.outcome().await, Return::Paused);
    rig.all_gone().await;
}

#[tokio::test]
async fn a_node_pauses_drains_and_goes_back_to_work() {
    let rig = Rig::new().await;
    rig.publish(&job("job-1", 0, 999)).await;
    let (mut worker, mut ears) = at_work(&rig, "short", TWO, 1).await;
    tell(&rig, &ordered(NodeOrder::Pause)).await;
    let heartbeat = ears.heartbeat(|heartbeat| heartbeat.paused).await;
    assert!(!heartbeat.draining && busy(&heartbeat) == 1, "what runs goes on");
    rig.publish(&job("job-2", 0, 999)).await;

    tell(&rig, &ordered(NodeOrder::Drain)).await;
    ears.heartbeat(|heartbeat| heartbeat.draining && !heartbeat.paused).await;
    let outcome = rig.outcome().await;
    assert_eq!(outcome.job, "job-1");
    assert_short(&outcome);
    let idle = |heartbeat: &Heartbeat| heartbeat.slots.iter().all(|slot| slot.job.is_none());
    ears.heartbeat(|heartbeat| heartbeat.draining && idle(heartbeat)).await;
    assert_eq!(rig.broker.depth(&queue()).await.unwrap(), Some(1), "nothing new was taken");

    tell(&rig, &FleetState::default()).await;
    ears.heartbeat(|heartbeat| busy(heartbeat) == 1 && !heartbeat.draining).await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    let outcome = rig.outcome().await;
    assert_eq!(outcome.job, "job-2");
    assert_short(&outcome);
    for words in ["the node is paused", "the node drains", "the node is at work again"] {
        assert_eq!(worker.log().matches(words).count(), 1, "{words}");
    }
}

#[tokio::test]
async fn a_draining_node_returns_what_does_not_listen() {
    let rig = Rig::new().await;
    rig.publish(&job("job-1", 0, 999)).await;
    let (_worker, _ears) = at_work(&rig, "deaf", ONE, 1).await;
    tell(&rig, &ordered(NodeOrder::Drain)).await;
    assert_returned(&rig.outcome().await, Return::Drain);
    rig.all_gone().await;
}

#[tokio::test]
async fn a_device_in_quarantine_takes_nothing() {
    let rig = Rig::new().await;
    for id in ["job-1", "job-2"] {
        rig.publish(&job(id, 0, 999)).await;
    }
    let mut ears = rig.ears().await;
    // Not eager: it hears of the quarantine before its first take.
    let mut worker = rig.worker_with("short", &[], TWO);
    ears.heartbeat(|heartbeat| !heartbeat.informed).await;
    let quarantined = ["here/cpu0".to_owned(), "elsewhere/cpu1".to_owned()].into();
    tell(&rig, &FleetState { quarantined, ..FleetState::default() }).await;
    let heartbeat = ears.heartbeat(|heartbeat| busy(heartbeat) == 1).await;
    assert!(heartbeat.slots[0].job.is_none(), "{heartbeat:?}");
    assert_eq!(rig.broker.depth(&queue()).await.unwrap(), Some(1));
    // What runs in quarantine goes on.
    let quarantined = ["here/cpu1".to_owned()].into();
    tell(&rig, &FleetState { quarantined, ..FleetState::default() }).await;
    ears.heartbeat(|heartbeat| busy(heartbeat) == 2).await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    for _ in 0..2 {
        assert_short(&rig.outcome().await);
    }
}

#[tokio::test]
async fn a_job_avoids_the_devices_that_it_failed_on() {
    let rig = Rig::new().await;
    let _worker = rig.worker_with("whole", &["--eager"], TWO);
    let failed_on = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    for (names, device) in [
        (["here/cpu0", "elsewhere/cpu1"], "cpu1"),
        (["here/cpu1", "elsewhere/cpu0"], "cpu0"),
        (["here/cpu1", "here/cpu0"], "cpu0"),
    ] {
        let id = names.concat();
        rig.publish(&Job { failed_on: failed_on(&names), ..job(&id, 0, 9) }).await;
        let outcome = rig.outcome().await;
        assert_eq!((outcome.job, outcome.device.name.as_str()), (id, device));
    }
}
