//! A broker that goes away in the middle of a look, as a patient session sees it: the answer does
//! not come, or late. In a process of its own, since it signals itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "rig/harness.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod harness;

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use harness::{Rig, fake_runner, job};
use rustix::process::{Signal, getpid, kill_process};
use shared::{
    broker::{Broker, BrokerError, Delivery, Listener, Subscription, Tag},
    job::Arch,
    messages::{FleetState, NodeOrder},
    outcome::{Device, Return, Verdict},
    wire::{self, Message},
};
use tokio::sync::{Mutex, Notify};
use worker::{
    WorkerError,
    admission::{Gate, Limits, MemorySource, Rules, Spacing},
    devices::{Gauges, System},
    job::Bench,
    scripts::Scripts,
    service::{Node, Service},
    signals::{Asked, Signals},
    slots::Slot,
    spawn::Spawner,
};

/// One test at a time: a signal is everybody's.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A look that finds nothing is never answered; with an `answer`, every look waits for that.
#[derive(Debug)]
struct Away {
    inner: Arc<dyn Broker>,
    unanswered: Arc<Notify>,
    answer: Option<Arc<Notify>>,
}

#[async_trait]
impl Broker for Away {
    async fn publish_all(&self, messages: Vec<(String, Message)>) -> Result<(), BrokerError> {
        self.inner.publish_all(messages).await
    }

    async fn take(&self, queue: &str) -> Result<Option<Delivery>, BrokerError> {
        if queue != harness::queue() {
            return Ok(None);
        }
        if let Some(answer) = &self.answer {
            self.unanswered.notify_one();
            answer.notified().await;
            return self.inner.take(queue).await;
        }
        if let Some(delivery) = self.inner.take(queue).await? {
            return Ok(Some(delivery));
        }
        self.unanswered.notify_one();
        pending().await
    }

    async fn subscribe(&self, _: &str, _: u16) -> Result<Box<dyn Subscription>, BrokerError> {
        pending().await
    }

    async fn ack(&self, tags: Vec<Tag>) -> Result<(), BrokerError> {
        self.inner.ack(tags).await
    }

    async fn broadcast(&self, event: Message) -> Result<(), BrokerError> {
        if self.answer.is_none() {
            pending::<()>().await;
        }
        self.inner.broadcast(event).await
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, BrokerError> {
        self.inner.listen().await
    }

    async fn depth(&self, _: &str) -> Result<Option<u64>, BrokerError> {
        pending().await
    }

    async fn close(&self) {
        pending::<()>().await;
    }
}

/// A node of its own.
fn node(folder: &std::path::Path, slots: usize) -> Node {
    let rules =
        Rules { source: MemorySource::below("/"), reserve: 0, wait: Duration::from_secs(600) };
    Node {
        limits: Limits::open(folder, "node", 2, 0).unwrap(),
        spacing: Spacing::open(folder, "node", "cpu", Duration::ZERO).unwrap(),
        gate: Gate::new(rules, Arch::Cpu, slots),
        leases: folder.to_owned(),
        gauge: Arc::new(Gauges::start(&[], &System::here()).unwrap()),
        kernel_log: None,
    }
}

/// A worker with two slots, and when a look of it has no answer.
async fn at_work(
    rig: &Rig,
    answer: Option<Arc<Notify>>,
) -> (tokio::task::JoinHandle<Result<Asked, WorkerError>>, Arc<Notify>) {
    let mut signals = Signals::new().unwrap();
    let unanswered = Arc::new(Notify::new());
    let inner = Arc::clone(&rig.broker);
    let broker = Away { inner, unanswered: Arc::clone(&unanswered), answer };
    let pids = rig.folder.path().join("pids").display().to_string();
    let env: Arc<[(String, String)]> =
        Arc::new([("FAKE_RUNNER".to_owned(), "short".to_owned()), ("FAKE_PIDS".to_owned(), pids)]);
    let slot = |name: &str| {
        let device = Device { name: name.to_owned(), model: "none".to_owned(), threads: 1 };
        Arc::new(Slot {
            arch: Arch::Cpu,
            device,
            gpu: None,
            endpoint: None,
            runner: fake_runner(),
            env: Arc::clone(&env),
        })
    };
    let bench = Bench {
        scripts: Scripts::none(),
        node: "node".to_owned(),
        instance: "instance".to_owned(),
        spawner: Spawner::new().unwrap(),
        stall: Duration::from_secs(60),
        grace: Duration::from_secs(45),
        target_seconds: 30.0,
        measured: Vec::new(),
    };
    let slots = vec![slot("cpu0"), slot("cpu1")];
    let node = node(rig.folder.path(), slots.len());
    let service = Service::start(Arc::new(broker), Arc::new(bench), slots, node, true).await;
    let service = service.unwrap();
    let running =
        tokio::spawn(async move { service.run(&mut signals, Duration::from_secs(60)).await });
    (running, unanswered)
}

#[tokio::test]
async fn a_busy_worker_drains_while_a_look_has_no_answer() {
    let _alone = ALONE.lock().await;
    let rig = Rig::new().await;
    rig.publish(&job("job-1", 0, 999)).await;
    let (running, unanswered) = at_work(&rig, None).await;
    rig.started(1).await;
    unanswered.notified().await;
    kill_process(getpid(), Signal::TERM).unwrap();
    let ended = tokio::time::timeout(harness::PATIENCE, running).await.unwrap().unwrap();
    assert_eq!(ended.unwrap(), Asked::Terminate);
    // Done short, or returned when TERM came before the runner listened for it.
    let verdict = rig.outcome().await.verdict;
    assert!(!matches!(verdict, Verdict::Failed { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_job_that_a_late_answer_brings_to_a_paused_node_goes_back() {
    let _alone = ALONE.lock().await;
    let rig = Rig::new().await;
    rig.publish(&job("job-1", 0, 999)).await;
    let mut ears = rig.ears().await;
    let answer = Arc::new(Notify::new());
    let (running, unanswered) = at_work(&rig, Some(Arc::clone(&answer))).await;
    unanswered.notified().await;
    let nodes = [("node".to_owned(), NodeOrder::Pause)].into();
    let state = FleetState { nodes, ..FleetState::default() };
    rig.broker.broadcast(wire::encode(&state).unwrap()).await.unwrap();
    ears.heartbeat(|heartbeat| heartbeat.paused).await;
    answer.notify_one();
    let outcome = rig.outcome().await;
    assert!(
        matches!(&outcome.verdict, Verdict::Returned { reason: Return::Drain, .. }),
        "{outcome:?}"
    );
    assert!(outcome.echo.is_some() && rig.pids().is_empty(), "nothing was started");
    running.abort();
}
