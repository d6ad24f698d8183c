//! What stands between the worker and programs that are none of ours: the shim and cgroups.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use shared::{outcome::Verdict, runner::Progress};
use tokio::sync::watch;
use worker::{
    child::{self, Ended, Ending, Limits, Order},
    output::Stdout,
    shim,
    spawn::{Bounds, Spawner, Start, Started, Ties},
};

use crate::harness::{Rig, example, job, lives, until};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const HOUR: Duration = Duration::from_secs(3600);
const PATIENT: Limits = Limits { time: HOUR, stall: HOUR, grace: HOUR };

/// All that is said.
#[derive(Default)]
struct Text(String);

impl Stdout for Text {
    fn take_in(&mut self, bytes: &[u8]) -> Option<Progress> {
        self.0.push_str(&String::from_utf8_lossy(bytes));
        Some(Progress::default())
    }

    fn is_garbage(&self) -> bool {
        false
    }
}

fn exec(args: &[&str], parent: Option<u32>) -> (Option<i32>, String, String) {
    let mut command = Command::new(WORKER);
    command.arg(shim::WORD).args(args).env_remove("RIGQUEUE_PARENT");
    command.envs(parent.map(|parent| ("RIGQUEUE_PARENT", parent.to_string())));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_shim_becomes_the_program_in_a_session_of_its_own_with_its_limits() {
    let script = "cat /proc/self/limits; cat /proc/$$/oom_score_adj; cut -d' ' -f1,6 /proc/$$/stat; echo \"${RIGQUEUE_PARENT-none}\"; exit 7";
    let args = ["--processes", "50", "--mapped-bytes", "1073741824", "--", "sh", "-c", script];
    let (code, text, _) = exec(&args, Some(std::process::id()));
    assert_eq!(code, Some(7), "{text}");
    let limit = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_ascii_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(
        (limit("Max core file size"), limit("Max data size")),
        ("0".into(), "1073741824".into())
    );
    let processes: u64 = limit("Max processes").parse().unwrap();
    assert!((51..100_000).contains(&processes), "{processes}");
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    let (pid, session) = last[1].split_once(' ').unwrap();
    assert_eq!((last[0], pid, last[2]), ("none", session, "500"));
}

#[test]
fn a_program_that_can_t_be_started_is_told_from_one_that_fails() {
    for (args, parent, why) in [
        (vec!["--", "/nowhere/program"], None, "/nowhere/program could not be started"),
        (vec!["--"], None, "no program"),
        (vec!["--cgroup", "/nowhere", "--", "true"], None, "joining the job's cgroup"),
        (vec!["--", "true"], Some(1), "RIGQUEUE_PARENT"),
    ] {
        let (code, out, text) = exec(&args, parent);
        assert_eq!((code, out.as_str()), (Some(shim::NOT_STARTED.into()), ""), "{text}");
        assert!(text.starts_with(shim::WORDS) && text.contains(why), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

fn script(words: &str) -> Start {
    let parent = ("RIGQUEUE_PARENT".to_owned(), std::process::id().to_string());
    Start {
        folder: None,
        program: "sh".into(),
        args: vec!["-c".into(), words.into()],
        env: Arc::new([parent]),
        input: Arc::new(b"the input".to_vec()),
    }
}

fn shimmed(bounds: Option<Bounds>) -> Ties {
    Ties { name: "run/a job".into(), lease: None, bounds, shim: Some(WORKER.into()) }
}

async fn watched(started: Started, limits: Limits) -> Ending<Text> {
    let (_keep, orders) = watch::channel(None);
    child::watch(started, limits, Text::default(), orders, |_| ()).await.unwrap()
}

#[tokio::test]
async fn a_script_goes_through_the_shim_with_its_input_and_its_marks() {
    let spawner = Spawner::new().unwrap();
    let start = script("cat; echo; echo \"$RIGQUEUE_TREE\"; echo words >&2; exit 3");
    let ending = watched(spawner.start_tied(start, shimmed(None)).await.unwrap(), PATIENT).await;
    assert_eq!(ending.status.code(), Some(3));
    assert!(ending.stdout.0.starts_with("the input\nrun/a job "), "{}", ending.stdout.0);
    assert_eq!((ending.stderr.text().as_str(), ending.ended), ("words\n", None));
}

/// However early it is told: before it has a session there is only itself to end.
#[tokio::test]
async fn a_script_can_be_ended_from_its_first_moment() {
    let spawner = Spawner::new().unwrap();
    for _ in 0..20 {
        let started = spawner.start_tied(script("exec sleep 1000"), shimmed(None)).await.unwrap();
        let (sender, orders) = watch::channel(None);
        sender.send(Some(Order::Kill)).unwrap();
        let ending = child::watch(started, PATIENT, Text::default(), orders, |_| ()).await.unwrap();
        assert!(!ending.status.success() && ending.ended.is_some());
    }
}

#[tokio::test]
async fn what_a_script_used_is_measured_and_held_to_its_limit() {
    let spawner = Spawner::new().unwrap();
    // A shell's string of 64 MiB, told only once it was looked at.
    let words = "a=$(head -c 67108864 /dev/zero | tr '\\0' x); while :; do echo; sleep .1; done";
    let bounds = |bytes| Some(Bounds { memory_bytes: Some(bytes), processes: 500, has_gpu: false });
    let started = spawner.start_tied(script(words), shimmed(bounds(32 << 20))).await.unwrap();
    let ending = watched(started, PATIENT).await;
    let Some(Ended::Memory { used: Some(used), limit: Some(limit) }) = ending.ended else {
        panic!("{:?}", ending.ended)
    };
    assert!(used > limit && limit == 32 << 20 && ending.peak_bytes >= Some(used), "{used}");

    let started = spawner.start_tied(script(words), shimmed(bounds(1 << 40))).await.unwrap();
    let limits = Limits { time: Duration::from_secs(4), grace: Duration::ZERO, ..PATIENT };
    let ending = watched(started, limits).await;
    assert!(matches!(ending.ended, Some(Ended::TimeLimit(_))), "{:?}", ending.ended);
    assert!(ending.peak_bytes > Some(64 << 20), "{:?}", ending.peak_bytes);
}

/// A job must not end because the thread of a pool does.
#[test]
fn a_job_outlives_the_blocking_pools_threads() {
    let keep_alive = Duration::from_millis(50);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(keep_alive)
        .build()
        .unwrap();
    runtime.block_on(async {
        let spawner = Spawner::new().unwrap();
        let asked = spawner.clone();
        // Asked for on a pool's thread, and nevertheless started on the one that stays.
        let handle = tokio::runtime::Handle::current();
        let started = tokio::task::spawn_blocking(move || {
            let ties = shimmed(None);
            let start = script("echo up; exec sleep 1000");
            handle.block_on(asked.start_tied(start, ties)).unwrap()
        })
        .await
        .unwrap();
        // What a pool's thread starts itself does end with it: this test could fail.
        let mut doomed = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(WORKER);
            command.args([shim::WORD, "--", "sleep", "1000"]);
            command.env("RIGQUEUE_PARENT", std::process::id().to_string());
            command.spawn().unwrap()
        })
        .await
        .unwrap();
        until("the pool's thread's end", async || doomed.try_wait().unwrap()).await;

        let (sender, orders) = watch::channel(None);
        let said = |_| {
            // It is up; and still there now that the pool's thread is not.
            sender.send(Some(Order::Kill)).unwrap();
        };
        let ending = child::watch(started, PATIENT, Text::default(), orders, said).await.unwrap();
        assert_eq!(ending.stdout.0, "up\n");
        assert!(ending.ended.is_some(), "it was told to end and did not before");
    });
}

/// A cgroup hierarchy of version 2, mounted for this test alone.
struct Hierarchy {
    mount: PathBuf,
    folder: PathBuf,
    _keep: tempfile::TempDir,
}

impl Hierarchy {
    fn mounted() -> Option<Self> {
        let keep = tempfile::tempdir().unwrap();
        let mount = keep.path().to_owned();
        let mounted = Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&mount).output();
        let folder = mount.join(format!("rigqueue-test-{}", std::process::id()));
        if mounted.is_ok_and(|it| it.status.success()) {
            let own = Self { mount, folder, _keep: keep };
            fs::create_dir(&own.folder).ok()?;
            return Some(own);
        }
        let why = "skipped: a cgroup hierarchy of version 2 can't be mounted here\n";
        std::io::stderr().write_all(why.as_bytes()).unwrap();
        None
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.folder).unwrap().flatten().filter(|it| it.path().is_dir()) {
            fs::remove_dir(entry.path()).ok();
        }
        fs::remove_dir(&self.folder).ok();
        assert!(Command::new("umount").arg(&self.mount).status().unwrap().success());
    }
}

fn jobs_cgroups(folder: &Path) -> usize {
    let all = fs::read_dir(folder).unwrap().flatten();
    all.filter(|entry| entry.file_name().to_string_lossy().starts_with("job-")).count()
}

#[tokio::test]
async fn a_job_with_bounds_has_a_cgroup_and_ends_with_it() {
    let Some(hierarchy) = Hierarchy::mounted() else { return };
    let rig = Rig::new().await;
    let start = |behaviour: &str| {
        let program = rig.install(&example("hostile"));
        let mut command = rig.command(&program, "[worker]\nslots = 1\ngrace = \"300ms\"\n");
        command.arg("--eager").env("FAKE_RUNNER", behaviour);
        command.env("RIGQUEUE_CGROUP", &hierarchy.folder);
        crate::harness::Worker::start(command, &rig.log())
    };
    let mut worker = start("escapes and stays");
    let mut bounded = job("job-1", 0, 9);
    bounded.memory_mb = 1000;
    rig.publish(&bounded).await;
    let pids = rig.started(2).await;
    for pid in &pids {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(cgroup.contains("/job-"), "{cgroup}");
    }
    // Killed, the worker leaves it behind; its successor removes it once it is empty.
    worker.signal(rustix::process::Signal::KILL);
    worker.end().await;
    assert_eq!(jobs_cgroups(&hierarchy.folder), 1);
    let _next = start("escapes unmarked");
    let outcome = rig.outcome().await;
    assert!(matches!(outcome.verdict, Verdict::Done(_)), "{outcome:?}");
    assert_eq!(rig.pids().len(), 4, "the second one's escapee was there");
    assert!(rig.pids().into_keys().all(|pid| !lives(pid)));
    assert_eq!(jobs_cgroups(&hierarchy.folder), 0, "they are removed");
}
