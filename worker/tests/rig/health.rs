//! Devices that fail: set aside, probed, and nothing taken when none is left.

use std::time::Duration;

use rustix::process::Signal;
use shared::outcome::{Failure, Verdict};

use crate::{
    cards::{Machine, ROOT},
    harness::{Rig, Worker, fake_runner, job, queue, until},
};

const ONE: &str =
    "[worker]\nslots = 1\nnode = \"here\"\ngrace = \"100ms\"\nstall_timeout = \"200ms\"\n";

#[tokio::test]
async fn a_node_whose_only_device_computes_wrongly_takes_nothing_and_says_so_once() {
    let rig = Rig::new().await;
    let mut ears = rig.ears().await;
    let mut worker = rig.worker_with("bad memory", &["--eager"], ONE);
    for id in ["job-1", "job-2"] {
        rig.publish(&job(id, 0, 9)).await;
    }
    let outcome = rig.outcome().await;
    let Verdict::Failed { failure, .. } = outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(failure, Failure::WitnessMissed);
    // Two heartbeats later it has still taken nothing, although a bell rings.
    for _ in 0..2 {
        rig.publish(&job("job-3", 0, 9)).await;
        let heartbeat = ears.heartbeat(|heartbeat| heartbeat.slots[0].unfit.is_some()).await;
        assert!(heartbeat.slots[0].job.is_none() && heartbeat.kept.is_empty());
    }
    assert_eq!(rig.broker.depth(&queue()).await.unwrap(), Some(3));
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    let log = worker.log();
    assert_eq!(log.matches("no device is fit for work").count(), 1, "{log}");
    assert!(log.contains("in quarantine: probed in 60s"), "{log}");
}

#[tokio::test]
async fn a_device_whose_runner_stalls_is_probed_at_once() {
    let rig = Rig::new().await;
    let mut worker = rig.worker_with("silent", &["--eager"], ONE);
    rig.publish(&job("job-1", 0, 9)).await;
    let outcome = rig.outcome().await;
    let Verdict::Failed { failure, .. } = outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(failure, Failure::Stalled);
    // The probe's runner is as silent.
    let pids = rig.started(2).await;
    assert_eq!(pids.len(), 2);
    crate::harness::until("the probe's end", async || {
        worker.log().contains("it failed its probe; the next is in 60s").then_some(())
    })
    .await;
    rig.all_gone().await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert!(worker.log().contains("Stalled: the runner made no progress"));
}

#[tokio::test]
async fn a_device_that_the_kernel_resets_is_probed() {
    let rig = Rig::new().await;
    let root = rig.folder.path().join("machine");
    let machine = Machine::of_rx6600(&root, 2);
    let program = rig.install(&fake_runner());
    let mut command = rig.command(&program, "[worker]\narch = \"rocm\"\n");
    command.arg("--eager").env(ROOT, &root).env("FAKE_RUNNER", "whole");
    let mut worker = Worker::start(command, &rig.log());
    let said = async |words: &str| {
        until(words, async || worker.log().contains(words).then_some(())).await;
    };
    said("at work").await;
    machine.write("dev/kmsg", "6,900,5000000,-;amdgpu 0000:06:00.0: amdgpu: GPU reset begin!\n");
    // The fake runner finds nothing, so the card that was reset fails its probe, and no other does.
    said("it failed its probe").await;
    let heartbeat = rig.heartbeat(|heartbeat| heartbeat.slots[1].unfit.is_some()).await;
    assert_eq!(heartbeat.slots[0].unfit, None);
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
}

/// The known job, by whatever runner there is.
#[tokio::test]
async fn the_real_runner_passes_the_probe_and_one_that_computes_wrongly_does_not() {
    use shared::{job::Arch, outcome::Device};
    use std::{env, path::Path, sync::Arc};
    use worker::{
        health::{Finding, probe},
        job::Bench,
        scripts::Scripts,
        slots::Slot,
        spawn::Spawner,
    };

    let bench = Bench {
        scripts: Scripts::none(),
        node: "node".to_owned(),
        instance: "instance".to_owned(),
        spawner: Spawner::new().unwrap(),
        stall: Duration::from_secs(60),
        grace: Duration::from_secs(1),
        target_seconds: 30.0,
        measured: Vec::new(),
    };
    let ask = async |runner: &Path, behaviour: &str| {
        let parent = ("RIGQUEUE_PARENT".to_owned(), std::process::id().to_string());
        let env = Arc::new([("FAKE_RUNNER".to_owned(), behaviour.to_owned()), parent]);
        let device = Device { name: "cpu0".to_owned(), model: "none".to_owned(), threads: 1 };
        let slot = Slot {
            arch: Arch::Cpu,
            device,
            gpu: None,
            endpoint: None,
            runner: runner.to_owned(),
            env,
        };
        let (_orders, ordered) = tokio::sync::watch::channel(None);
        probe(&bench, &slot, None, ordered).await
    };
    let fake = crate::harness::fake_runner();
    let blind = ask(&fake, "whole").await;
    assert!(matches!(&blind, Finding::Faulty(why) if why.contains("0 survivors")), "{blind:?}");
    let bad = ask(&fake, "bad memory").await;
    assert!(matches!(&bad, Finding::Faulty(why) if why.starts_with("WitnessMissed")), "{bad:?}");
    let gone = ask(Path::new("/nowhere/runner"), "").await;
    assert!(matches!(&gone, Finding::NotMade(why) if why.contains("/nowhere")), "{gone:?}");

    let tests = env::current_exe().unwrap();
    let runner = tests.parent().and_then(Path::parent).unwrap().join("runner-cpu");
    if runner.is_file() {
        assert_eq!(ask(&runner, "").await, Finding::Sound);
    } else {
        println!("skipped: {} is not built (cargo build --release -p kernels)", runner.display());
    }
}
