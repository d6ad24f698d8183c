//! Two workers and made cards: never two jobs on one device, seen from outside.

use std::{collections::BTreeSet, fs};

use rustix::process::Signal;
use shared::{
    job::{Arch, Job, Task, Urgency},
    outcome::{Outcome, Verdict},
    script::Script,
    topology::{RESULTS_SCRIPT, RESULTS_SEED, seed_queue},
    wire,
};

use crate::{
    cards::{Machine, ROOT},
    harness::{PATIENCE, Rig, Worker, fake_runner, job},
};

const CARDS: u32 = 26;
const JOBS: u64 = 10_000;
/// Published at a time.
const BATCH: u64 = 500;

#[tokio::test]
async fn ten_thousand_jobs_never_share_a_device() {
    let rig = Rig::new().await;
    let machine = rig.folder.path().join("machine");
    Machine::of_rx6600(&machine, CARDS);
    let queue = seed_queue(Arch::Rocm, Urgency::Normal);
    for first in (0..JOBS).step_by(BATCH as usize) {
        let jobs = (first..first + BATCH).map(|number| {
            let mut job = job(&format!("j{number}"), number, number);
            job.arch = Arch::Rocm;
            (queue.clone(), wire::encode(&job).unwrap())
        });
        rig.broker.publish_all(jobs.collect()).await.unwrap();
    }
    let program = rig.install(&fake_runner());
    let workers: Vec<Worker> = (0..2)
        .map(|number| {
            let mut command = rig.command(&program, "[worker]\narch = \"rocm\"\n");
            command
                .args(["--eager", "--node", "rig"])
                .env(ROOT, &machine)
                .env("FAKE_RUNNER", "alone")
                .env("RIGQUEUE_LOG", "info");
            Worker::start(command, &rig.folder.path().join(format!("worker-{number}.log")))
        })
        .collect();

    let mut results = rig.broker.subscribe(RESULTS_SEED, 1024).await.unwrap();
    let mut done = BTreeSet::new();
    let mut nodes = BTreeSet::new();
    let mut devices = BTreeSet::new();
    while done.len() < JOBS as usize {
        let batch = tokio::time::timeout(PATIENCE, results.next(1024)).await.expect("outcomes");
        let mut tags = Vec::new();
        for delivery in batch.unwrap() {
            let outcome: Outcome = wire::decode(&delivery.message).unwrap();
            let Outcome { verdict, job, device, instance, .. } = outcome;
            assert!(matches!(verdict, Verdict::Done(_)), "{job}: {verdict:?}");
            assert!(done.insert(job.clone()), "{job} has two outcomes");
            devices.insert(device.name);
            nodes.insert(instance);
            tags.push(delivery.tag);
        }
        rig.broker.ack(tags).await.unwrap();
    }
    assert_eq!(devices.len(), CARDS as usize);
    assert_eq!(nodes.len(), 2, "both workers had jobs");
    // What the runners themselves saw, each with a file that only one at a time could make.
    let pids = rig.folder.path().join("pids");
    let collisions = fs::read_to_string(pids.join("collisions")).unwrap_or_default();
    assert_eq!(collisions, "");
    let seen = fs::read_dir(&pids).unwrap().flatten();
    let devices = seen.filter(|entry| entry.file_name().to_string_lossy().starts_with("used-"));
    assert_eq!(devices.count(), CARDS as usize);
    for mut worker in workers {
        worker.signal(Signal::TERM);
        assert!(worker.end().await.success());
    }
}

/// Holds what only one at a time can make, and says which devices it sees.
const TRIAL: &str = "\
import json, os, sys
held = os.open(sys.argv[1], os.O_CREAT | os.O_EXCL)
sum(range(10**6))
os.unlink(sys.argv[1])
print(json.dumps(os.environ['HIP_VISIBLE_DEVICES']))
";

#[tokio::test]
async fn trials_that_want_one_card_take_turns_and_none_waits_for_ever() {
    const TRIALS: usize = 30;
    let rig = Rig::new().await;
    let machine = rig.folder.path().join("machine");
    Machine::of_rx6600(&machine, 1);
    let folder = rig.folder.path().join("scripts");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("trial.py"), TRIAL).unwrap();
    let settings = format!(
        "[worker]\narch = \"rocm\"\n[arch.rocm]\nstart_spacing = \"0s\"\n\
         [scripts]\nfolders = [{folder:?}]\n"
    );
    let program = rig.install(&fake_runner());
    let workers: Vec<Worker> = (0..2)
        .map(|number| {
            let mut command = rig.command(&program, &settings);
            command.args(["--eager", "--node", "rig"]).env(ROOT, &machine);
            Worker::start(command, &rig.folder.path().join(format!("worker-{number}.log")))
        })
        .collect();
    let held = rig.folder.path().join("held").display().to_string();
    for number in 0..TRIALS {
        let script = Script {
            index: number as u64,
            name: "trial.py".to_owned(),
            args: vec![held.clone()],
            // Each asks for the same one.
            gpu: Some(0),
            ..Script::default()
        };
        let id = format!("t{number}");
        let task = Task::Script(script);
        let job = Job { arch: Arch::Rocm, task, time_limit_seconds: 60.0, ..job(&id, 0, 0) };
        rig.publish(&job).await;
    }
    let mut done = BTreeSet::new();
    while done.len() < TRIALS {
        let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
        let Verdict::Finished(result) = &outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!(result.value.as_deref(), Some("\"0\""), "its card is device 0");
        assert!(done.insert(outcome.job.clone()), "{} has two outcomes", outcome.job);
    }
    for mut worker in workers {
        worker.signal(Signal::TERM);
        assert!(worker.end().await.success());
    }
}
