//! How a worker ends, and that nothing is lost or left behind.

use rustix::process::Signal;
use shared::outcome::{Return, Verdict};

use crate::harness::{Rig, job, queue};

const PATIENT: &str = "[worker]\nslots = 2\ngrace = \"45s\"\n";

#[tokio::test]
async fn a_drain_finishes_short_and_leaves_nothing() {
    let rig = Rig::new().await;
    let mut worker = rig.worker_with("short", &["--eager"], PATIENT);
    for id in ["job-1", "job-2", "job-3"] {
        rig.publish(&job(id, 0, 999)).await;
    }
    let busy = rig.heartbeat(|heartbeat| {
        heartbeat.slots.iter().all(|slot| slot.job.as_ref().is_some_and(|job| job.tested == 7))
    });
    let heartbeat = busy.await;
    assert_eq!(heartbeat.slots.len(), 2);
    let mut ears = rig.ears().await;
    worker.signal(Signal::TERM);
    ears.heartbeat(|heartbeat| heartbeat.draining).await;
    assert_eq!(worker.end().await.code(), Some(0));
    rig.all_gone().await;
    for _ in 0..2 {
        let outcome = rig.outcome().await;
        let Verdict::Done(result) = &outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!(result.tested[0].len(), 500);
        assert!(outcome.echo.is_some(), "its rest must follow");
    }
    let rest = rig.take(&queue()).await.expect("the third was never begun");
    assert_eq!(rest.message.headers["job"], "job-3");
    assert!(rig.take(&queue()).await.is_none(), "the others are acknowledged");
}

#[tokio::test]
async fn a_drain_returns_what_does_not_listen() {
    let rig = Rig::new().await;
    let mut worker = rig.worker("deaf with a child");
    rig.publish(&job("job-1", 0, 999)).await;
    rig.heartbeat(|heartbeat| {
        heartbeat.slots.iter().all(|slot| slot.job.as_ref().is_some_and(|job| job.tested == 7))
    })
    .await;
    worker.signal(Signal::INT);
    assert_eq!(worker.end().await.code(), Some(130));
    rig.all_gone().await;
    let outcome = rig.outcome().await;
    assert!(
        matches!(&outcome.verdict, Verdict::Returned { reason: Return::Drain, .. }),
        "{outcome:?}"
    );
    assert!(outcome.echo.is_some());
    assert!(rig.take(&queue()).await.is_none());
}

#[tokio::test]
async fn a_second_signal_is_immediate() {
    let rig = Rig::new().await;
    let mut worker = rig.worker_with("deaf", &["--eager"], "[worker]\nslots = 2\ngrace = \"1h\"\n");
    rig.publish(&job("job-1", 0, 999)).await;
    rig.publish(&job("job-2", 0, 999)).await;
    rig.started(2).await;
    let mut ears = rig.ears().await;
    worker.signal(Signal::TERM);
    ears.heartbeat(|heartbeat| heartbeat.draining).await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    rig.all_gone().await;
    for _ in 0..2 {
        let verdict = rig.outcome().await.verdict;
        assert!(matches!(verdict, Verdict::Returned { reason: Return::Drain, .. }), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_killed_worker_takes_its_runners_along_and_its_jobs_come_back() {
    let rig = Rig::new().await;
    let mut worker = rig.worker_with("deaf", &["--eager"], PATIENT);
    rig.publish(&job("job-1", 0, 999)).await;
    rig.publish(&job("job-2", 0, 999)).await;
    rig.started(2).await;
    assert!(rig.take(&queue()).await.is_none(), "both are taken");
    worker.signal(Signal::KILL);
    assert_eq!(worker.end().await.code(), None);
    rig.all_gone().await;
    for _ in 0..2 {
        let back =
            crate::harness::until("the job's return", async || rig.take(&queue()).await).await;
        assert!(back.redelivered);
    }
    assert!(rig.take(shared::topology::RESULTS_SEED).await.is_none());
}

#[tokio::test]
async fn a_worker_ends_with_the_process_that_it_belongs_to() {
    let rig = Rig::new().await;
    let program = rig.install(&crate::harness::fake_runner());
    // A shell starts the worker, tells its id, and then waits for a signal.
    let mut command = rig.command(std::path::Path::new("sh"), "");
    let config = rig.folder.path().join("settings.toml");
    let pids = rig.folder.path().join("pids");
    let script =
        "RIGQUEUE_PARENT=$$ \"$1\" --config \"$2\" --eager & echo worker > \"$3/$!\"; wait";
    let mut shell = {
        let mut plain = std::process::Command::new("sh");
        plain.args(["-c", script, "sh"]).arg(&program).arg(&config).arg(&pids);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => plain.env(name, value),
                None => plain.env_remove(name),
            };
        }
        plain.env("FAKE_RUNNER", "whole");
        command = plain;
        crate::harness::Worker::start(command, &rig.log())
    };
    // It works, so it is past its start.
    rig.publish(&job("job-1", 0, 9)).await;
    rig.outcome().await;
    shell.signal(Signal::KILL);
    rig.all_gone().await;
    assert!(!shell.end().await.success());
}
