//! What a killed worker leaves behind is ended by the next one, or by hand, and nothing else is.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use worker::lease::Lease;

use crate::harness::{Rig, Worker, example, job, lives, until};

const TWELVE: &str = "[worker]\nslots = 12\ngrace = \"45s\"\n";

/// A process beside, killed when dropped.
struct Beside(Child);

impl Beside {
    fn new(rig: &Rig, mark: Option<&str>) -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").env_remove("RIGQUEUE_WORKER").stdin(Stdio::null());
        command.envs(mark.map(|mark| ("RIGQUEUE_WORKER", mark)));
        command.env("FAKE_PIDS", rig.folder.path().join("pids"));
        Self(command.spawn().unwrap())
    }

    fn lives(&self) -> bool {
        lives(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A worker with so many jobs, each with an escapee, that was killed. Returns the escapees.
async fn killed(rig: &Rig, jobs: usize) -> Vec<i32> {
    let mut worker = rig.worker_of(&example("hostile"), "escapes and stays", &["--eager"], TWELVE);
    for number in 0..jobs {
        rig.publish(&job(&format!("job-{number}"), 0, 999)).await;
    }
    let pids = rig.started(2 * jobs).await;
    worker.signal(Signal::KILL);
    worker.end().await;
    let known = rig.pids();
    let (leaders, escapees): (Vec<i32>, Vec<i32>) =
        pids.into_iter().partition(|pid| known[pid] == "leader\n");
    until("the runners' end", async || leaders.iter().all(|&pid| !lives(pid)).then_some(())).await;
    assert!(escapees.iter().all(|&pid| lives(pid)), "escapees outlive a killed worker");
    assert_eq!(escapees.len(), jobs);
    escapees
}

fn cleanup(rig: &Rig, args: &[&str]) -> (Option<i32>, String) {
    let program = rig.install(&example("hostile"));
    let mut command = rig.command(&program, "");
    let Output { status, stdout, stderr } = command.arg("cleanup").args(args).output().unwrap();
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    (status.code(), String::from_utf8(stdout).unwrap())
}

#[tokio::test]
async fn a_killed_workers_node_is_clean_before_the_next_one_takes_a_job() {
    let rig = Rig::new().await;
    let escapees = killed(&rig, 12).await;
    let unmarked = Beside::new(&rig, None);
    let stranger = Beside::new(&rig, Some("00000000-0000-7000-8000-000000000000"));
    let _next = rig.worker("whole");
    rig.outcome().await;
    assert!(escapees.iter().all(|&pid| !lives(pid)), "the first job was taken on a clean node");
    assert!(unmarked.lives() && stranger.lives());
    for _ in 1..12 {
        rig.outcome().await;
    }
}

#[tokio::test]
async fn cleanup_ends_what_dead_workers_left_and_nothing_else() {
    let rig = Rig::new().await;
    let escapees = killed(&rig, 3).await;
    let unmarked = Beside::new(&rig, None);
    let stranger = Beside::new(&rig, Some("00000000-0000-7000-8000-000000000000"));

    let (code, text) = cleanup(&rig, &["--dry-run", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pids = |value: &serde_json::Value| {
        let rows = value.as_array().unwrap().iter();
        rows.map(|row| i32::try_from(row["pid"].as_i64().unwrap()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((code, pids(&found)), (Some(0), escapees.clone()));
    assert!(found[0]["command"].as_str().unwrap().contains("sleep 1000"), "{found}");
    assert!(found[0]["job"].as_str().unwrap().starts_with("run-1/job-"), "{found}");
    assert!(found[0]["age_seconds"].as_f64().is_some() && found[0]["ended"] == false, "{found}");
    assert!(escapees.iter().all(|&pid| lives(pid)), "a dry run ends nothing");

    let (code, text) = cleanup(&rig, &[]);
    assert!(
        code == Some(0) && text.contains("3 ended") && text.contains(" left alone: "),
        "{text}"
    );
    assert!(escapees.iter().all(|&pid| !lives(pid)));
    assert!(unmarked.lives() && stranger.lives());
    let (code, text) = cleanup(&rig, &[]);
    assert!(code == Some(0) && text.starts_with("nothing to clean up"), "{text}");
}

#[tokio::test]
async fn a_living_workers_jobs_are_left_alone() {
    let rig = Rig::new().await;
    let _busy = rig.worker_of(&example("hostile"), "escapes and stays", &["--eager"], TWELVE);
    rig.publish(&job("job-1", 0, 999)).await;
    let pids = rig.started(2).await;
    let (code, text) = cleanup(&rig, &["--json"]);
    assert_eq!((code, text.as_str()), (Some(0), "[]\n"));
    assert!(pids.iter().all(|&pid| lives(pid)));
}

/// A worker that was itself started by a dead worker's job cleans up around itself.
#[tokio::test]
async fn whoever_cleans_up_spares_itself_and_those_it_comes_from() {
    let rig = Rig::new().await;
    let escapees = killed(&rig, 1).await;
    let lock = std::fs::read_dir(rig.runtime()).unwrap().flatten().map(|entry| entry.path());
    let lock = lock.into_iter().find(|path| path.extension().is_some_and(|it| it == "lock"));
    let instance = lock.unwrap().file_stem().unwrap().to_str().unwrap().to_owned();
    let program = rig.install(&example("hostile"));
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" cleanup && echo spared"]).arg(&program);
    shell.env("RIGQUEUE_RUNTIME", rig.runtime()).env("RIGQUEUE_WORKER", instance);
    let Output { stdout, .. } = shell.output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(text.contains("1 ended") && text.ends_with("spared\n"), "{text}");
    assert!(!lives(escapees[0]));
}

/// How many escapees there have been.
fn escapees(rig: &Rig) -> usize {
    rig.pids().into_values().filter(|text| text == "escapee\n").count()
}

/// How often a worker is killed at a random moment: `RIGQUEUE_KILLS`, or a few times.
#[tokio::test]
async fn random_kills_leave_no_orphans() {
    let kills = env::var("RIGQUEUE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let rig = Rig::new().await;
    let settings = "[worker]\nslots = 4\ngrace = \"45s\"\n";
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    for number in 0..kills {
        for part in 0..4 {
            rig.publish(&job(&format!("job-{number}-{part}"), 0, 999)).await;
        }
        let mut worker: Worker =
            rig.worker_of(&example("hostile"), "escapes and stays", &["--eager"], settings);
        if number % 2 == 0 {
            // Not only at its start: when one more job has all of its processes.
            let seen = number / 2;
            until("an escapee", async || (escapees(&rig) > seen).then_some(())).await;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Any moment will do: it is the state that is looked at.
        tokio::time::sleep(Duration::from_millis(random >> 55)).await;
        worker.signal(Signal::KILL);
        worker.end().await;
    }
    let (code, _) = cleanup(&rig, &[]);
    assert_eq!(code, Some(0));
    assert_eq!(rig.processes(), [0; 0], "orphans after {kills} kills");
    assert!(escapees(&rig) >= kills / 2);
}

#[tokio::test]
async fn a_lease_lives_as_long_as_what_holds_its_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut holder = Command::new(example("holder"));
    holder.arg(folder.path()).args(["pci-a", "pci-b"]);
    let mut holder = Beside(holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let said = BufReader::new(holder.0.stdout.take().unwrap());
    // Whichever says so first.
    let mut lines: Vec<String> = said.lines().take(2).map(Result::unwrap).collect();
    lines.sort_unstable();
    let pid = |line: &String| line.split_once(' ').unwrap().1.parse().unwrap();
    let pids: Vec<i32> = lines.iter().map(pid).collect();
    let is_free = |name: &str| Lease::take(Path::new(folder.path()), name).unwrap().is_some();
    let kill = |pid: i32| kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert!(!is_free("pci-a") && !is_free("pci-b") && is_free("pci-c"));
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    assert!(pids.iter().all(|&pid| lives(pid)));
    assert!(!is_free("pci-a") && !is_free("pci-b"), "the worker is gone, the devices are in use");
    kill(pids[0]);
    until("the first lease", async || is_free("pci-a").then_some(())).await;
    assert!(!is_free("pci-b"), "each holds its own");
    kill(pids[1]);
    until("the second lease", async || is_free("pci-b").then_some(())).await;
}
