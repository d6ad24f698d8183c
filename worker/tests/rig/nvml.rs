//! The way to NVIDIA's library, with one of our own in its place: real NVIDIA cards are not to be
//! had in most places that run these tests.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::harness::{Rig, Worker, fake_runner};

/// A folder with the library in it; `None` where there is no C compiler.
fn library() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rig/fake_nvml.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.path().join("libnvidia-ml.so.1"))
        .arg(source)
        .status();
    let made = made.ok()?;
    assert!(made.success(), "fake_nvml.c does not compile");
    Some(folder)
}

/// What `worker probe` shows of NVIDIA's cards, its exit code, and what it remarks.
fn probed(library: &Path, behaviour: &str) -> (Vec<Value>, Option<i32>, String) {
    let said = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["probe", "--json"])
        .env("LD_LIBRARY_PATH", library)
        .env("FAKE_NVML", behaviour)
        .env_remove("RIGQUEUE_SYSTEM_ROOT")
        .output()
        .unwrap();
    let mut rows: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
    rows.retain(|row| row["runtime"] == "cuda");
    (rows, said.status.code(), String::from_utf8(said.stderr).unwrap())
}

#[test]
fn what_the_library_says_is_told() {
    let Some(library) = library() else {
        println!("skipped: there is no C compiler (cc)");
        return;
    };
    let (rows, code, remarks) = probed(library.path(), "");
    assert_eq!((rows.len(), code), (2, Some(0)), "{remarks}");
    let card = &rows[1];
    assert_eq!((&card["arch"], &card["uuid"]), (&"sm_86".into(), &"GPU-b".into()));
    assert_eq!((&card["pci"], &card["index"]), (&"0000:0a:00.0".into(), &1.into()));
    assert_eq!(card["memory_bytes"], 12_884_901_888_u64);
    assert_eq!(card["readings"]["temperature_c"], 41);
    assert_eq!(card["readings"]["utilisation_percent"], 7);
    assert_eq!(card["readings"]["memory_used_bytes"], 1_048_576);

    let conditions = |behaviour| {
        let (rows, code, remarks) = probed(library.path(), behaviour);
        let all: Vec<String> =
            rows.iter().map(|row| row["health"].as_str().unwrap().to_owned()).collect();
        (all.join(" "), code, remarks)
    };
    let (told, _, _) = conditions("tells little");
    assert_eq!(told, "good good", "N/A is no failure");
    assert_eq!(conditions("hot").0, "good hot");
    assert_eq!(conditions("fails").0, "good lost");
    let (told, code, remarks) = conditions("lost");
    assert_eq!((told.as_str(), code), ("good", Some(0)));
    assert!(remarks.contains("card 1") && remarks.contains("fell off the bus"), "{remarks}");
    let (told, code, _) = conditions("no driver");
    assert_eq!((told.as_str(), code), ("", Some(0)), "a library without a driver is no GPU");
    let (told, code, remarks) = conditions("mismatch");
    assert_eq!((told.as_str(), code), ("", Some(6)));
    assert!(remarks.contains("version mismatch") && remarks.contains("nvidia-smi"), "{remarks}");
}

/// The library comes into a subprocess, never into the worker.
#[tokio::test]
async fn a_worker_for_nvidias_cards_never_loads_their_library() {
    let Some(library) = library() else {
        println!("skipped: there is no C compiler (cc)");
        return;
    };
    let rig = Rig::new().await;
    let mut command = rig.command(&rig.install(&fake_runner()), "");
    command.args(["--eager", "--arch", "cuda", "--slots", "auto"]);
    command.env("LD_LIBRARY_PATH", library.path());
    let worker = Worker::start(command, &rig.log());
    let heartbeat = rig.heartbeat(|_| true).await;
    assert_eq!(heartbeat.slots.len(), 2, "the library was asked");
    let maps = fs::read_to_string(format!("/proc/{}/maps", worker.id())).unwrap();
    assert!(maps.contains("worker") && !maps.contains("libnvidia"), "{maps}");
}
