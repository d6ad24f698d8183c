//! `worker bench`: what it says, what it keeps, and what the service then tells.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::{families::Family, rates::Rates};

use crate::harness::{Rig, fake_runner, until};

/// `worker bench` beside a runner, not yet started.
fn bench(rig: &Rig, runner: &Path, behaviour: &str, args: &[&str]) -> Command {
    let mut command = rig.command(&rig.install(runner), "");
    command.arg("bench").args(args).env("FAKE_RUNNER", behaviour);
    command
}

async fn ended(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn rates_are_said_kept_and_told_by_the_service() {
    let rig = Rig::new().await;
    let args = ["--family", "lcg32", "--plan", "c", "--plan", "A", "--json"];
    let output = ended(bench(&rig, &fake_runner(), "two seconds", &args)).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = said["rates"].as_array().unwrap();
    let plans: Vec<_> = rows.iter().map(|row| row["plan"].as_str().unwrap()).collect();
    assert_eq!(plans, ["A.25", "A.5", "A1", "C"]);
    for row in rows {
        // Each figure was one piece that took two seconds, and says so.
        let (seeds, rate) = (row["seeds"].as_f64().unwrap(), row["seeds_per_second"].as_f64());
        assert_eq!((rate, row["seconds"].as_f64()), (Some(seeds / 2.0), Some(2.0)));
    }
    let all = f64::from(u32::MAX) + 1.0;
    assert_eq!(rows[0]["seeds"].as_f64(), Some(all));
    assert_eq!(rows[0]["tests_per_second"].as_f64(), Some(all / 2.0 * 21.0 * 23.0));
    // The model's ceiling: 20 M seeds a second for a core; a slot has one or more.
    let ceiling = 20e6 * said["threads"].as_f64().unwrap();
    let percent = rows[0]["ceiling_percent"].as_f64().unwrap();
    assert!((percent / (all / 2.0 / ceiling * 100.0) - 1.0).abs() < 1e-9);
    assert!(rows[1]["ceiling_percent"].is_null(), "section 4 has no figure");

    let kept = Rates::read(&rig.folder.path().join("home")).unwrap();
    assert_eq!(kept.all().len(), 4);
    let mut ears = rig.ears().await;
    let _worker = rig.worker("whole");
    let heartbeat = ears.heartbeat(|_| true).await;
    let told: Vec<_> =
        heartbeat.measured.iter().map(|rate| (&*rate.plan, &*rate.family, rate.seeds)).collect();
    assert_eq!(told, [("A.25", "lcg32", 1 << 32)], "one for a family and engine");
}

#[tokio::test]
async fn a_lost_device_ends_it_and_another_failure_does_not() {
    let rig = Rig::new().await;
    let args = ["--family", "minstd"];
    let output = ended(bench(&rig, &fake_runner(), "bad memory", &args)).await;
    assert_eq!(output.status.code(), Some(6));
    let said = text(&output.stderr);
    assert_eq!(said, "error: minstd A.25: the device and the processor disagree\n");
    let output = ended(bench(&rig, &fake_runner(), "exit 3", &args)).await;
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 4, "a line for each figure: {said}");
    assert!(said.lines().all(|line| line.contains("last words")), "{said}");
    assert!(!rig.folder.path().join("home/rates.json").exists());
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_runs() {
    let rig = Rig::new().await;
    for (args, named) in [
        (["--plan", "Z"], "'Z' is no plan"),
        (["--family", "minst"], "did you mean 'minstd'"),
        (["--seconds", "0"], ".05 to 60"),
        (["--arch", "tpu"], "tpu"),
    ] {
        let output = ended(bench(&rig, &fake_runner(), "whole", &args)).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(named) && said.lines().count() == 1, "{said}");
    }
    fs::write(rig.folder.path().join("home/rates.json"), "[1").unwrap();
    let output = ended(bench(&rig, &fake_runner(), "whole", &["--plan", "D"])).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("rates.json holds no rates"));
    assert!(rig.pids().is_empty());
}

#[tokio::test]
async fn an_interrupt_ends_its_runner_too() {
    let rig = Rig::new().await;
    let mut command = bench(&rig, &fake_runner(), "silent", &["--json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    rig.started(1).await;
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = until("the bench's end", async || child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(130));
    rig.all_gone().await;
    // What was measured until then is told.
    let said: Value = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
    assert_eq!(said["rates"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn every_family_is_measured_by_the_real_runner() {
    let tests = env::current_exe().unwrap();
    let runner = tests.parent().and_then(Path::parent).unwrap().join("runner-cpu");
    if !runner.is_file() {
        println!("skipped: {} is not built (cargo build --release -p kernels)", runner.display());
        return;
    }
    let rig = Rig::new().await;
    let args = ["--plan", "A1", "--plan", "E", "--seconds", "0.05"];
    let output = ended(bench(&rig, &runner, "", &args)).await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for family in Family::ALL {
        assert!(said.contains(&format!("\n{family} ")), "{family}: {said}");
    }
    let kept = Rates::read(&rig.folder.path().join("home")).unwrap();
    let structural: Vec<_> =
        kept.all().iter().filter(|known| known.rate.engine == "structural").collect();
    assert_eq!((kept.all().len(), structural.len()), (Family::ALL.len() + 1, 1));
    assert_eq!(structural[0].rate.seeds, 1 << 48);
    assert!(kept.all().iter().all(|known| known.rate.seconds > 0.0 && known.rate.seeds > 0));
}
