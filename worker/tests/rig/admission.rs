//! Memory and the node's limits: what is kept, what goes back, what waits for others.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use rustix::process::Signal;
use shared::{
    job::{Job, Task},
    messages::{FleetState, Heartbeat, HeldJob, NodeOrder, Stage},
    outcome::{Return, Verdict},
    script::Script,
    topology::RESULTS_SCRIPT,
    wire,
};

use crate::harness::{Rig, Worker, fake_runner, job, queue, until};

const PATIENT: &str = "[worker]\nslots = 2\nnode = \"here\"\n";

/// A job that declares so much memory, in MiB.
fn wants(id: &str, memory_mb: u64) -> Job {
    Job { memory_mb, ..job(id, 0, 9) }
}

/// What stands for the host's own files.
fn system(rig: &Rig) -> PathBuf {
    rig.folder.path().join("system")
}

/// The host has 8 GiB, of which so many MiB are available.
fn available(rig: &Rig, mib: u64) {
    let folder = system(rig).join("proc");
    fs::create_dir_all(&folder).unwrap();
    let text = format!("MemTotal: 8388608 kB\nMemAvailable: {} kB\n", mib * 1024);
    // At once: the worker may read at any moment.
    fs::write(folder.join("meminfo.new"), text).unwrap();
    fs::rename(folder.join("meminfo.new"), folder.join("meminfo")).unwrap();
}

fn worker(rig: &Rig, settings: &str) -> Worker {
    let program = rig.install(&fake_runner());
    let mut command = rig.command(&program, settings);
    command.arg("--eager").env("FAKE_RUNNER", "whole").env("RIGQUEUE_SYSTEM_ROOT", system(rig));
    Worker::start(command, &rig.log())
}

fn kept(heartbeat: &Heartbeat) -> Option<&HeldJob> {
    heartbeat.kept.first()
}

/// A rig with little memory, whose worker keeps the one job that there is.
async fn keeping(settings: &str) -> (Rig, Worker) {
    let rig = Rig::new().await;
    available(&rig, 1536);
    let mut ears = rig.ears().await;
    let worker = worker(&rig, settings);
    rig.publish(&wants("large", 1024)).await;
    let heartbeat = ears.heartbeat(|heartbeat| kept(heartbeat).is_some()).await;
    let held = kept(&heartbeat).unwrap();
    assert_eq!((held.job.as_str(), held.stage), ("large", Stage::Kept));
    let why = "memory: 1.5 GiB free, of which 1.0 stay so, job wants 1.0; \
               lower sample_size rather than GPU count";
    assert_eq!(held.waits_for.as_deref(), Some(why));
    assert!(heartbeat.slots.iter().all(|slot| slot.job.is_none()));
    let memory = heartbeat.memory.unwrap();
    assert_eq!((memory.available_bytes, memory.jobs_allowed), (1536 << 20, 2));
    (rig, worker)
}

#[tokio::test]
async fn a_job_that_does_not_fit_now_is_kept_and_starts_when_memory_is_back() {
    let (rig, mut worker) = keeping(PATIENT).await;
    rig.publish(&wants("small", 0)).await;
    let mut ears = rig.ears().await;
    ears.heartbeat(|heartbeat| kept(heartbeat).is_some()).await;
    assert_eq!(rig.broker.depth(&queue()).await.unwrap(), Some(1), "nothing else is taken");
    assert!(rig.pids().is_empty());
    available(&rig, 4096);
    let mut done = BTreeSet::new();
    for _ in 0..2 {
        let outcome = rig.outcome().await;
        assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
        done.insert(outcome.job);
    }
    assert_eq!(done.into_iter().collect::<Vec<_>>(), ["large", "small"]);
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert!(rig.take(&queue()).await.is_none(), "both are acknowledged");
    assert_eq!(worker.log().matches("a job is kept").count(), 1, "told once");
}

#[tokio::test]
async fn a_job_is_kept_for_so_long_and_then_goes_back_with_the_figures() {
    let rig = Rig::new().await;
    available(&rig, 1536);
    let settings = "[worker]\nslots = 2\nnode = \"here\"\nadmission_wait = \"400ms\"\n";
    let _worker = worker(&rig, settings);
    rig.publish(&wants("large", 1024)).await;
    rig.publish(&wants("huge", 7680)).await;
    rig.publish(&wants("small", 0)).await;
    let large = rig.outcome().await;
    let Verdict::Returned { reason, detail } = &large.verdict else { panic!("{large:?}") };
    assert_eq!((large.job.as_str(), *reason), ("large", Return::NoMemoryNow));
    assert!(detail.starts_with("memory: 1.5 GiB free"), "{detail}");
    assert!(detail.contains("it was kept for 0."), "{detail}");
    assert!(large.echo.is_some());
    // What can never fit is not kept at all.
    let huge = rig.outcome().await;
    let Verdict::Returned { reason, detail } = &huge.verdict else { panic!("{huge:?}") };
    assert_eq!((huge.job.as_str(), *reason), ("huge", Return::NeverFits));
    assert!(detail.starts_with("memory: 7.0 GiB of 8.0 are for jobs, job wants 7.5"), "{detail}");
    let small = rig.outcome().await;
    assert!(matches!(small.verdict, Verdict::Done(_)), "{small:?}");
}

async fn tell(rig: &Rig, state: &FleetState) {
    rig.broker.broadcast(wire::encode(state).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_kept_job_of_a_cancelled_run_is_acknowledged_unrun() {
    let (rig, mut worker) = keeping(PATIENT).await;
    let mut ears = rig.ears().await;
    let min_epochs = [("run-1".to_owned(), 2)].into();
    let ended = ["run-1".to_owned()].into();
    tell(&rig, &FleetState { min_epochs, ended, ..FleetState::default() }).await;
    ears.heartbeat(|heartbeat| heartbeat.informed && kept(heartbeat).is_none()).await;
    // The next job is taken as if nothing had been.
    rig.publish(&Job { epoch: 2, ..wants("small", 0) }).await;
    assert_eq!(rig.outcome().await.job, "small");
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert!(rig.take(&queue()).await.is_none());
    assert!(rig.take(shared::topology::RESULTS_SEED).await.is_none());
}

#[tokio::test]
async fn a_kept_job_goes_back_when_the_node_stands_aside() {
    for order in [NodeOrder::Pause, NodeOrder::Drain] {
        let (rig, _worker) = keeping(PATIENT).await;
        let nodes = [("here".to_owned(), order)].into();
        tell(&rig, &FleetState { nodes, ..FleetState::default() }).await;
        let verdict = rig.outcome().await.verdict;
        assert!(matches!(verdict, Verdict::Returned { reason: Return::Drain, .. }), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_kept_job_goes_back_when_its_last_device_is_put_in_quarantine() {
    let (rig, _worker) = keeping(PATIENT).await;
    let quarantined = ["here/cpu0".to_owned(), "here/cpu1".to_owned()].into();
    tell(&rig, &FleetState { quarantined, ..FleetState::default() }).await;
    let verdict = rig.outcome().await.verdict;
    assert!(matches!(verdict, Verdict::Returned { reason: Return::Drain, .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_kept_job_goes_back_when_the_worker_ends_and_comes_back_when_it_dies() {
    let (rig, mut worker) = keeping(PATIENT).await;
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    let outcome = rig.outcome().await;
    assert!(
        matches!(&outcome.verdict, Verdict::Returned { reason: Return::Drain, .. }),
        "{outcome:?}"
    );
    assert!(outcome.echo.is_some() && rig.take(&queue()).await.is_none());

    let (rig, mut worker) = keeping(PATIENT).await;
    worker.signal(Signal::KILL);
    assert_eq!(worker.end().await.code(), None);
    let back = until("the job's return", async || rig.take(&queue()).await).await;
    assert!(back.redelivered && rig.pids().is_empty());
}

/// From the outside: each runner counts those that live beside it.
#[tokio::test]
async fn two_workers_of_a_node_share_its_limit() {
    const JOBS: usize = 24;
    let rig = Rig::new().await;
    let settings = "[worker]\nslots = 2\nnode = \"here\"\nmax_jobs = 2\n";
    let program = rig.install(&fake_runner());
    let start = |log: &str| {
        let mut command = rig.command(&program, settings);
        command.arg("--eager").env("FAKE_RUNNER", "counts");
        Worker::start(command, &rig.folder.path().join(log))
    };
    let mut workers = [start("one.log"), start("two.log")];
    for number in 0..JOBS {
        rig.publish(&job(&format!("job-{number}"), 0, 9)).await;
    }
    let mut done = BTreeSet::new();
    while done.len() < JOBS {
        let outcome = rig.outcome().await;
        assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
        done.insert(outcome.job);
    }
    let counts: BTreeSet<String> = rig.pids().into_values().collect();
    assert!(counts.contains("counted 2"), "two run side by side: {counts:?}");
    assert!(!counts.iter().any(|count| count == "counted 3" || count == "counted 4"), "{counts:?}");
    for worker in &mut workers {
        worker.signal(Signal::TERM);
        assert_eq!(worker.end().await.code(), Some(0));
    }
}

/// A script that says when it began and when it ended, of a step that runs so many at once.
fn script(id: &str, concurrency: Option<u32>) -> Job {
    let words =
        ["a = time.monotonic()", "time.sleep(0.03)", "print(json.dumps([a, time.monotonic()]))"];
    let script = Script {
        name: "do.py".to_owned(),
        args: words.map(str::to_owned).into(),
        anywhere: true,
        step: "5".to_owned(),
        concurrency,
        ..Script::default()
    };
    Job { task: Task::Script(script), time_limit_seconds: 60.0, ..job(id, 0, 0) }
}

/// Two workers of a node with those settings beside, at eight such scripts and eight pieces.
/// Returns when each script began and ended, in order, and what the workers logged.
async fn two_at_scripts(limits: &str, concurrency: Option<u32>) -> (Vec<[f64; 2]>, String) {
    const SCRIPTS: usize = 8;
    let rig = Rig::new().await;
    let folder = rig.folder.path().join("scripts");
    fs::create_dir(&folder).unwrap();
    let text = "import json, sys, time\nfor line in sys.argv[1:]:\n    exec(line)\n";
    fs::write(folder.join("do.py"), text).unwrap();
    let settings = format!(
        "[worker]\nslots = 2\nnode = \"here\"\n{limits}\n\
         [scripts]\nfolders = [{folder:?}]\n"
    );
    let program = rig.install(&fake_runner());
    let start = |log: &str| {
        let mut command = rig.command(&program, &settings);
        command.arg("--eager").env("FAKE_RUNNER", "whole");
        Worker::start(command, &rig.folder.path().join(log))
    };
    let mut workers = [start("one.log"), start("two.log")];
    for number in 0..SCRIPTS {
        rig.publish(&script(&format!("script-{number}"), concurrency)).await;
        rig.publish(&job(&format!("job-{number}"), 0, 9)).await;
    }
    let mut times = Vec::new();
    for _ in 0..SCRIPTS {
        assert!(matches!(rig.outcome().await.verdict, Verdict::Done(_)));
        let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
        let Verdict::Finished(result) = &outcome.verdict else { panic!("{outcome:?}") };
        times.push(serde_json::from_str::<[f64; 2]>(result.value.as_deref().unwrap()).unwrap());
    }
    times.sort_by(|a, b| a[0].total_cmp(&b[0]));
    for worker in &mut workers {
        worker.signal(Signal::TERM);
        assert_eq!(worker.end().await.code(), Some(0));
    }
    (times, workers.map(|worker| worker.log()).concat())
}

/// The most scripts that ran at once.
fn at_once(times: &[[f64; 2]]) -> usize {
    let begins = times.iter().map(|time| time[0]);
    let at =
        |moment: f64| times.iter().filter(|time| time[0] <= moment && moment < time[1]).count();
    begins.map(at).max().unwrap()
}

#[tokio::test]
async fn two_workers_of_a_node_share_its_limit_of_scripts_and_pieces_pass_by() {
    let (times, _) = two_at_scripts("max_concurrent_script_jobs = 1", None).await;
    assert_eq!(at_once(&times), 1, "{times:?}");
}

#[tokio::test]
async fn two_workers_of_a_node_share_a_steps_concurrency_and_pieces_pass_by() {
    let (times, log) = two_at_scripts("", Some(2)).await;
    assert!(at_once(&times) <= 2, "{times:?}");
    assert!(log.contains("concurrency: step 5 runs 2 at once on this node"), "{log}");
    assert!(!log.contains("a job goes back"), "{log}");
}

/// A worker at a script that waits for a file, with another one of a step that runs one at a time.
async fn one_at_a_time(admission_wait: &str) -> (Rig, Worker, PathBuf) {
    let rig = Rig::new().await;
    let folder = rig.folder.path().join("scripts");
    fs::create_dir(&folder).unwrap();
    let text = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]):\n    \
                time.sleep(0.01)\nprint(1)\n";
    fs::write(folder.join("do.py"), text).unwrap();
    let settings = format!(
        "[worker]\nslots = 3\nnode = \"here\"\nadmission_wait = \"{admission_wait}\"\n\
         [scripts]\nfolders = [{folder:?}]\n"
    );
    let worker = rig.worker_with("whole", &["--eager"], &settings);
    let end = rig.folder.path().join("end");
    for id in ["first", "second"] {
        let mut job = script(id, Some(1));
        let Task::Script(script) = &mut job.task else { panic!("a script") };
        script.args = vec![end.display().to_string()];
        rig.publish(&job).await;
    }
    (rig, worker, end)
}

#[tokio::test]
async fn what_waits_for_its_step_lets_pieces_pass() {
    let (rig, _worker, end) = one_at_a_time("10m").await;
    let heartbeat = rig.heartbeat(|heartbeat| kept(heartbeat).is_some()).await;
    let why = kept(&heartbeat).unwrap().waits_for.clone();
    assert_eq!(why.as_deref(), Some("concurrency: step 5 runs 1 at once on this node"));
    rig.publish(&job("piece", 0, 9)).await;
    assert_eq!(rig.outcome().await.job, "piece", "while one script runs and one is kept");
    fs::write(end, "").unwrap();
    for id in ["first", "second"] {
        let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
        assert!(
            matches!(outcome.verdict, Verdict::Finished(_)) && outcome.job == id,
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn what_waits_for_its_step_goes_back_in_time() {
    let (rig, _worker, end) = one_at_a_time("300ms").await;
    let back = rig.outcome_in(RESULTS_SCRIPT).await;
    let Verdict::Returned { reason: Return::Busy, detail } = &back.verdict else {
        panic!("{back:?}")
    };
    assert!(
        detail.starts_with("concurrency: step 5") && detail.contains("it was kept for "),
        "{detail}"
    );
    assert!(back.job == "second" && back.echo.is_some());
    fs::write(end, "").unwrap();
    assert_eq!(rig.outcome_in(RESULTS_SCRIPT).await.job, "first");
}

/// A control group of a limit, with what is to run inside of it.
struct Group(PathBuf);

impl Group {
    /// Below the one that this process is in; `None` where that is not allowed.
    fn new(limit: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = own.lines().find_map(|line| line.split_once(":memory:"))?.1;
        let name = format!("rigqueue-test-{}", std::process::id());
        let folder = PathBuf::from("/sys/fs/cgroup/memory").join(&path[1..]).join(name);
        fs::create_dir(&folder).ok()?;
        let group = Self(folder);
        fs::write(group.0.join("memory.limit_in_bytes"), limit.to_string()).ok()?;
        Some(group)
    }

    /// The same command, run inside of it.
    fn command(&self, inner: &Command) -> Command {
        let mut command = Command::new("sh");
        let script = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", script]).arg(&self.0).arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What was in it may take a moment to be gone.
        for _ in 0..1000 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// With real memory: a worker whose group may use 1 GiB, and something beside it that holds 700
/// MiB of that.
#[tokio::test]
async fn a_memory_hog_keeps_jobs_from_starting_only_while_it_lasts() {
    let Some(group) = Group::new(1 << 30) else {
        println!("skipped: no control group with a memory limit can be made here");
        return;
    };
    let hog = tempfile::Builder::new().prefix("rigqueue-hog-").tempfile_in("/dev/shm").unwrap();
    let mut fill = Command::new("dd");
    let target = format!("of={}", hog.path().display());
    fill.args(["if=/dev/zero", &target, "bs=1M", "count=700", "conv=notrunc", "status=none"]);
    assert!(group.command(&fill).status().unwrap().success());

    let rig = Rig::new().await;
    let mut ears = rig.ears().await;
    let program = rig.install(&fake_runner());
    let settings = "[worker]\nslots = 2\nnode = \"here\"\nreserve_memory_mb = 128\n";
    let mut command = rig.command(&program, settings);
    command.arg("--eager").env("FAKE_RUNNER", "whole");
    let mut worker = Worker::start(group.command(&command), &rig.log());
    for number in 0..4 {
        rig.publish(&wants(&format!("job-{number}"), 400)).await;
    }
    let heartbeat = ears.heartbeat(|heartbeat| kept(heartbeat).is_some()).await;
    let memory = heartbeat.memory.unwrap();
    assert_eq!(memory.total_bytes, 1 << 30);
    assert!(memory.available_bytes < 400 << 20, "{memory:?}");
    assert!(rig.pids().is_empty(), "nothing was started into too little memory");
    drop(hog);
    let mut done = BTreeSet::new();
    while done.len() < 4 {
        let outcome = rig.outcome().await;
        assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
        done.insert(outcome.job);
    }
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
}
