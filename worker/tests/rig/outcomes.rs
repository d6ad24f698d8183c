//! What becomes of a job, whatever its runner does.

use shared::{
    job::Arch,
    outcome::{Failure, MAX_STDERR_TAIL, Outcome, Verdict},
    spans::Span,
    wire,
};

use crate::{
    cards::{Machine, ROOT},
    harness::{Rig, job, queue},
};

const SETTINGS: &str = "[worker]\nslots = 1\ngrace = \"300ms\"\n[planner]\ntarget_seconds = 7.5\n";
/// For runners that are ended because they say nothing.
const IMPATIENT: &str = "[worker]\nslots = 1\ngrace = \"300ms\"\nstall_timeout = \"1s\"\n";

/// What comes of one job under a runner that behaves so, and that nothing of it is left.
async fn outcome_of(behaviour: &str, settings: &str) -> Outcome {
    let rig = Rig::new().await;
    let mut job = job("job-1", 100, 199_999);
    if behaviour == "chatty" {
        job.time_limit_seconds = 0.5;
    }
    let _worker = rig.worker_with(behaviour, &["--eager"], settings);
    rig.publish(&job).await;
    let outcome = rig.outcome().await;
    assert_eq!((outcome.run.as_str(), outcome.job.as_str(), outcome.seq), ("run-1", "job-1", 1));
    assert_eq!((outcome.epoch, outcome.attempt, outcome.arch), (1, 1, Arch::Cpu));
    assert_eq!(outcome.device.name, "cpu0");
    if let Verdict::Done(_) = outcome.verdict {
        assert_eq!(outcome.echo, None, "nothing must follow");
    } else {
        assert_eq!(outcome.echo, Some(wire::encode(&job).unwrap().body));
    }
    rig.all_gone().await;
    outcome
}

async fn failure_of(behaviour: &str, settings: &str) -> (Failure, String, String) {
    match outcome_of(behaviour, settings).await.verdict {
        Verdict::Failed { failure, detail, stderr_tail } => {
            assert!(!detail.contains('\n'), "{detail}");
            (failure, detail, stderr_tail)
        }
        other => panic!("{behaviour}: {other:?}"),
    }
}

#[tokio::test]
async fn a_job_goes_from_its_queue_to_its_outcome() {
    let rig = Rig::new().await;
    let mut worker = rig.worker("whole");
    rig.publish(&job("job-1", 0, 9)).await;
    let outcome = rig.outcome().await;
    let Verdict::Done(result) = outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(result.tested, [Span::new(0, 9).unwrap()]);
    assert!(outcome.seconds > 0.0 && outcome.taken_at > 1.7e9);
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert!(rig.take(&queue()).await.is_none(), "acknowledged, it does not come back");
}

#[tokio::test]
async fn the_longest_result_comes_whole() {
    let outcome = outcome_of("full", SETTINGS).await;
    let Verdict::Done(result) = outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(result.survivors.len(), 20_000);
}

#[tokio::test]
async fn an_exit_code_is_the_jobs_fault() {
    let (failure, detail, tail) = failure_of("exit 3", SETTINGS).await;
    assert_eq!(failure, Failure::ExitCode(3));
    assert!(detail.contains("code 3") && detail.ends_with("last words"), "{detail}");
    assert_eq!(tail, "first words\nlast words\n");
}

#[tokio::test]
async fn a_flood_of_stderr_is_kept_to_its_end() {
    let (failure, _, tail) = failure_of("flood", SETTINGS).await;
    assert_eq!(failure, Failure::ExitCode(1));
    assert!(tail.ends_with("x\nthe very end\n") && tail.len() == MAX_STDERR_TAIL, "{}", tail.len());
}

#[tokio::test]
async fn a_crash_tells_its_signal() {
    let (failure, detail, _) = failure_of("segfault", SETTINGS).await;
    assert_eq!(failure, Failure::Crashed(11), "{detail}");
}

#[tokio::test]
async fn what_is_no_result_is_invalid() {
    for behaviour in ["garbage", "nothing", "cut", "outside"] {
        let (failure, detail, _) = failure_of(behaviour, SETTINGS).await;
        assert_eq!(failure, Failure::InvalidOutput, "{behaviour}: {detail}");
    }
}

#[tokio::test]
async fn silence_is_a_stall_and_so_is_a_runner_past_its_limit() {
    let (failure, detail, _) = failure_of("silent", IMPATIENT).await;
    assert!(failure == Failure::Stalled && detail.contains("no progress"), "{detail}");
    let (failure, detail, _) = failure_of("deaf", IMPATIENT).await;
    assert!(failure == Failure::Stalled && detail.contains("no progress"), "{detail}");
    let (failure, detail, _) = failure_of("chatty", SETTINGS).await;
    assert!(failure == Failure::Stalled && detail.contains("time limit of 0.5 s"), "{detail}");
}

#[tokio::test]
async fn the_whole_tree_is_killed() {
    let (failure, ..) = failure_of("deaf with a child", IMPATIENT).await;
    assert_eq!(failure, Failure::Stalled);
    // The leader ended well; what it left behind goes all the same.
    let outcome = outcome_of("leaves a child", SETTINGS).await;
    assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_runner_that_is_not_executable_is_the_nodes_fault() {
    let rig = Rig::new().await;
    let text = rig.folder.path().join("text");
    std::fs::write(&text, "this is no program").unwrap();
    let program = rig.install(&text);
    let mut command = rig.command(&program, SETTINGS);
    command.arg("--eager");
    let _worker = crate::harness::Worker::start(command, &rig.log());
    rig.publish(&job("job-1", 0, 9)).await;
    let outcome = rig.outcome().await;
    let Verdict::Failed { failure, detail, .. } = outcome.verdict else { panic!("{outcome:?}") };
    assert!(failure == Failure::SpawnFailed && detail.contains("runner-cpu"), "{detail}");
    assert!(outcome.echo.is_some());
}

#[tokio::test]
async fn a_thief_finishes_short_and_a_runner_knows_its_threads() {
    for (arch, expected) in [(Arch::Cpu, ""), (Arch::Rocm, " --soft-seconds 7.5")] {
        let rig = Rig::new().await;
        let mut stolen = job("job-1", 0, 9);
        stolen.arch = arch;
        let _worker = rig.worker_with("arguments", &["--eager"], SETTINGS);
        rig.publish(&stolen).await;
        let outcome = rig.outcome().await;
        assert_eq!(outcome.arch, arch);
        let threads = outcome.device.threads;
        let Verdict::Failed { failure, detail, .. } = outcome.verdict else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (failure, detail),
            (Failure::Rejected, format!("--threads {threads}{expected}"))
        );
    }
}

/// A runner that says whose fault its failure is is believed.
#[tokio::test]
async fn a_device_that_computes_wrongly_is_blamed() {
    let (failure, detail, _) = failure_of("bad memory", SETTINGS).await;
    assert_eq!(failure, Failure::WitnessMissed);
    assert_eq!(detail, "the device and the processor disagree");
}

#[tokio::test]
async fn each_architecture_has_its_runner_and_its_queue() {
    for (arch, runner) in [(Arch::Cuda, "runner-cuda"), (Arch::Rocm, "runner-opencl")] {
        let rig = Rig::new().await;
        let mut own = job("job-1", 0, 9);
        own.arch = arch;
        let args = ["--eager", "--arch", arch.name(), "--slots", "2"];
        let program = rig.install(&crate::harness::fake_runner());
        // The other runners are none: it is its own that is started.
        for other in ["runner-cpu", "runner-cuda", "runner-opencl"] {
            if other != runner {
                std::fs::remove_file(rig.folder.path().join("bin").join(other)).unwrap();
            }
        }
        let mut command = rig.command(&program, SETTINGS);
        let root = rig.folder.path().join("machine");
        Machine::of_rx6600(&root, 2).nvidia(2);
        command.args(args).env("FAKE_RUNNER", "arguments").env(ROOT, root);
        let _worker = crate::harness::Worker::start(command, &rig.log());
        rig.publish(&own).await;
        let outcome = rig.outcome().await;
        assert!(outcome.device.name.starts_with("gpu"), "{outcome:?}");
        let model =
            if arch == Arch::Cuda { "NVIDIA GeForce RTX 3080 Ti" } else { "AMD Radeon RX 6600" };
        assert_eq!(outcome.device.model, model);
        let Verdict::Failed { detail, .. } = outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!(detail, "--threads 1", "no thief: it is its own queue");
    }
}
