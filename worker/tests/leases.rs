//! GPUs that others hold, and GPUs that are not well: the service with devices that were made up,
//! and a fake runner. In a process of its own, since it listens for signals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "rig/harness.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod harness;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use harness::{Rig, fake_runner, job};
use shared::{
    health::{Condition, Health, Readings},
    job::{Arch, Job},
    outcome::{Device, Return, Verdict},
};
use tokio::task::JoinHandle;
use worker::{
    WorkerError,
    admission::{Gate, Limits, MemorySource, Rules, Spacing},
    devices::Gpu,
    health::Gauge,
    job::Bench,
    lease::Lease,
    scripts::Scripts,
    service::{Node, Service},
    signals::{Asked, Signals},
    slots::Slot,
    spawn::Spawner,
};

fn gpu(index: u32) -> Gpu {
    Gpu {
        index,
        ordinal: index,
        arch: Arch::Rocm,
        architecture: "gfx1032".to_owned(),
        name: "AMD Radeon RX 6600".to_owned(),
        uuid: None,
        pci: format!("0000:0{index}:00.0"),
        memory_bytes: 8 << 30,
    }
}

/// What the tests say of the first GPU.
#[derive(Debug, Default)]
struct Told(Mutex<Health>);

impl Gauge for Told {
    fn ask(&self) {}

    fn health(&self, gpu: &Gpu) -> Health {
        if gpu.index == 0 { self.0.lock().unwrap().clone() } else { Health::default() }
    }
}

impl Told {
    fn heat(&self, degrees: i32) {
        let readings = Readings { temperature_c: Some(degrees), ..Readings::default() };
        *self.0.lock().unwrap() = Health::of(readings, 105);
    }
}

type Work = JoinHandle<Result<Asked, WorkerError>>;

/// A worker with that many GPUs, whose jobs are kept so long.
async fn at_work(rig: &Rig, gpus: u32, wait: Duration) -> (Work, Arc<Told>) {
    let folder = rig.folder.path();
    let env: Arc<[(String, String)]> = Arc::new([("FAKE_RUNNER".to_owned(), "whole".to_owned())]);
    let slot = |index| {
        let name = format!("gpu{index}");
        Arc::new(Slot {
            arch: Arch::Rocm,
            device: Device { name, model: "RX 6600".to_owned(), threads: 1 },
            gpu: Some(gpu(index)),
            endpoint: None,
            runner: fake_runner(),
            env: Arc::clone(&env),
        })
    };
    let bench = Bench {
        scripts: Scripts::none(),
        node: "node".to_owned(),
        instance: uuid(),
        spawner: Spawner::new().unwrap(),
        stall: Duration::from_secs(60),
        grace: Duration::from_secs(45),
        target_seconds: 30.0,
        measured: Vec::new(),
    };
    let told = Arc::new(Told::default());
    let rules = Rules { source: MemorySource::below("/"), reserve: 0, wait };
    let node = Node {
        limits: Limits::open(folder, "node", 26, 0).unwrap(),
        spacing: Spacing::open(folder, "node", "rocm", Duration::ZERO).unwrap(),
        gate: Gate::new(rules, Arch::Rocm, gpus as usize),
        leases: folder.to_owned(),
        gauge: Arc::clone(&told) as Arc<dyn Gauge>,
        kernel_log: None,
    };
    let slots = (0..gpus).map(slot).collect();
    let broker = Arc::clone(&rig.broker);
    let service = Service::start(broker, Arc::new(bench), slots, node, true).await.unwrap();
    let mut signals = Signals::new().unwrap();
    let work =
        tokio::spawn(async move { service.run(&mut signals, Duration::from_secs(60)).await });
    (work, told)
}

fn uuid() -> String {
    format!("{:?}", std::time::Instant::now())
}

fn on_a_gpu(id: &str) -> Job {
    Job { arch: Arch::Rocm, ..job(id, 0, 9) }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_job_waits_for_the_device_that_another_holds_and_for_no_other() {
    let rig = Rig::new().await;
    let mut ears = rig.ears().await;
    let theirs = Lease::take(rig.folder.path(), &gpu(0).key()).unwrap().unwrap();
    let (work, _) = at_work(&rig, 1, LONG).await;
    rig.publish(&on_a_gpu("waits")).await;
    let heartbeat = ears.heartbeat(|heartbeat| !heartbeat.kept.is_empty()).await;
    assert_eq!(heartbeat.kept[0].waits_for.as_deref(), Some("another process holds gpu0"));
    drop(theirs);
    let outcome = rig.outcome().await;
    assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
    work.abort();

    // With a second device there is nothing to wait for.
    let rig = Rig::new().await;
    let _theirs = Lease::take(rig.folder.path(), &gpu(0).key()).unwrap().unwrap();
    let (work, _) = at_work(&rig, 2, LONG).await;
    for id in ["one", "two", "three"] {
        rig.publish(&on_a_gpu(id)).await;
        let outcome = rig.outcome().await;
        assert_eq!((outcome.job.as_str(), outcome.device.name.as_str()), (id, "gpu1"));
    }
    work.abort();
}

#[tokio::test]
async fn a_job_goes_back_when_its_device_is_not_given_back_in_time() {
    let rig = Rig::new().await;
    let _theirs = Lease::take(rig.folder.path(), &gpu(0).key()).unwrap().unwrap();
    let (work, _) = at_work(&rig, 1, Duration::from_millis(300)).await;
    rig.publish(&on_a_gpu("waits")).await;
    let outcome = rig.outcome().await;
    let Verdict::Returned { reason, detail } = &outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(*reason, Return::Busy);
    assert!(detail.starts_with("another process holds gpu0; it was kept for 0."), "{detail}");
    // Now it is known that the device is held: nothing is taken for it.
    rig.publish(&on_a_gpu("stays")).await;
    let queue = shared::topology::seed_queue(Arch::Rocm, shared::job::Urgency::Normal);
    rig.heartbeat(|heartbeat| heartbeat.kept.is_empty()).await;
    assert_eq!(rig.broker.depth(&queue).await.unwrap(), Some(1));
    work.abort();
}

/// Two workers, one device, many jobs: each job waits for the other's, and all are done.
#[tokio::test]
async fn two_workers_take_turns_on_one_device() {
    let rig = Rig::new().await;
    let (one, _) = at_work(&rig, 1, LONG).await;
    let (other, _) = at_work(&rig, 1, LONG).await;
    for number in 0..40 {
        rig.publish(&on_a_gpu(&format!("job-{number}"))).await;
    }
    for _ in 0..40 {
        let outcome = rig.outcome().await;
        assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
    }
    one.abort();
    other.abort();
}

#[tokio::test]
async fn a_device_that_is_too_hot_takes_nothing_until_it_is_ten_degrees_cooler() {
    let rig = Rig::new().await;
    let mut ears = rig.ears().await;
    let (work, told) = at_work(&rig, 2, LONG).await;
    told.heat(106);
    let is_hot = |heartbeat: &shared::messages::Heartbeat| heartbeat.slots[0].unfit.is_some();
    let heartbeat = ears.heartbeat(is_hot).await;
    let slot = &heartbeat.slots[0];
    assert_eq!(slot.unfit.as_deref(), Some("too hot: 106 C now, nothing before 96 C"));
    assert_eq!(slot.health.as_ref().unwrap().condition, Condition::Hot);
    told.heat(97);
    let cooler = |heartbeat: &shared::messages::Heartbeat| {
        let health = heartbeat.slots[0].health.as_ref();
        health.is_some_and(|health| health.readings.temperature_c == Some(97))
    };
    let heartbeat = ears.heartbeat(cooler).await;
    assert!(is_hot(&heartbeat), "not cool enough");
    for id in ["one", "two"] {
        rig.publish(&on_a_gpu(id)).await;
        assert_eq!(rig.outcome().await.device.name, "gpu1");
    }
    told.heat(96);
    ears.heartbeat(|heartbeat| !is_hot(heartbeat)).await;
    rig.publish(&on_a_gpu("three")).await;
    assert_eq!(rig.outcome().await.device.name, "gpu0");
    work.abort();
}
