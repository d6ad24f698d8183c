//! With the real runner, when it was built.

use std::{env, fs, path::Path};

use shared::outcome::Verdict;

use crate::harness::{Rig, Worker, job, until};

/// The names of GPU libraries that a worker must never load.
const GPU_LIBRARIES: [&str; 5] = ["libcuda", "libnvidia", "libOpenCL", "libamdhip", "libhsa"];

#[tokio::test]
async fn a_real_job_runs_and_the_worker_loads_no_gpu_library() {
    let tests = env::current_exe().unwrap();
    let runner = tests.parent().and_then(Path::parent).unwrap().join("runner-cpu");
    if !runner.is_file() {
        println!("skipped: {} is not built (cargo build --release -p kernels)", runner.display());
        return;
    }
    let rig = Rig::new().await;
    let program = rig.install(&runner);
    let mut command = rig.command(&program, "");
    command.arg("--eager");
    let mut worker = Worker::start(command, &rig.log());

    rig.publish(&job("small", 0, 99_999)).await;
    let outcome = rig.outcome().await;
    let Verdict::Done(result) = &outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(result.tested.len(), 1);
    assert!(outcome.echo.is_none(), "it was done whole");

    // One that runs until it is told to finish.
    let mut long = job("long", 0, (1 << 47) - 1);
    long.soft_seconds = 3600.0;
    long.time_limit_seconds = 7200.0;
    rig.publish(&long).await;
    rig.heartbeat(|heartbeat| heartbeat.slots[0].job.as_ref().is_some_and(|job| job.tested > 0))
        .await;
    let maps = fs::read_to_string(format!("/proc/{}/maps", worker.id())).unwrap();
    for library in GPU_LIBRARIES {
        assert!(!maps.contains(library), "the worker has {library} in its memory");
    }
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    let outcome = rig.outcome().await;
    let Verdict::Done(result) = &outcome.verdict else { panic!("{outcome:?}") };
    assert!(!result.tested.is_empty() && outcome.echo.is_some(), "its rest must follow");
}

#[tokio::test]
async fn a_real_runner_dies_with_its_worker() {
    let tests = env::current_exe().unwrap();
    let runner = tests.parent().and_then(Path::parent).unwrap().join("runner-cpu");
    if !runner.is_file() {
        println!("skipped: {} is not built (cargo build --release -p kernels)", runner.display());
        return;
    }
    let rig = Rig::new().await;
    let program = rig.install(&runner);
    let mut command = rig.command(&program, "");
    command.arg("--eager");
    let mut worker = Worker::start(command, &rig.log());
    let mut long = job("long", 0, (1 << 47) - 1);
    long.soft_seconds = 3600.0;
    rig.publish(&long).await;
    let threads = format!("/proc/{}/task", worker.id());
    let children = until("a runner", async || {
        let tasks = fs::read_dir(&threads).unwrap().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let all: Vec<i32> = lists
            .flat_map(|list| {
                list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()
            })
            .collect();
        (!all.is_empty()).then_some(all)
    })
    .await;
    rig.heartbeat(|heartbeat| heartbeat.slots[0].job.as_ref().is_some_and(|job| job.tested > 0))
        .await;
    worker.signal(rustix::process::Signal::KILL);
    worker.end().await;
    until("the runner's end", async || {
        children.iter().all(|&pid| !crate::harness::lives(pid)).then_some(())
    })
    .await;
}
