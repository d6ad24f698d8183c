//! Faults of the machine under the aggregator: a full disk, a clock that jumps.

#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use tests::{exact::LONG, rig::Rig};

/// Debian's libfaketime, which has a program see the time that a file names.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A small file system of its own; gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
            .arg(at)
            .output()
            .expect("mount");
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
            println!("skipped: no small disk can be mounted here (as root it can): {why}");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the rig's processes may still have files on it.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_disk_under_the_ledger_is_waited_out() {
    let rig = Rig::embedded();
    let Some(_disk) = SmallDisk::mount(&rig.home()) else { return };
    let aggregator = rig.spawn_aggregator();
    rig.spawn_worker(2);
    let waiting = LONG.enqueue(&rig, "r");
    rig.until_under_way("r");
    let ballast = rig.home().join("ballast");
    let mut file = File::create(&ballast).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);
    rig.until("the aggregator to say so", || {
        let log = rig.log(aggregator);
        (log.contains("the ledger can't be written") || log.contains("the ledger is in trouble"))
            .then_some(())
    });
    fs::remove_file(&ballast).expect("room again");
    LONG.finish(&rig, waiting);
    rig.until_empty();
    rig.end_services();
}

#[test]
fn a_clock_that_jumps_loses_and_doubles_nothing() {
    if !Path::new(FAKETIME).exists() {
        println!("skipped: libfaketime is missing (apt-get install faketime)");
        return;
    }
    let rig = Rig::embedded();
    // Shorter than any jump: none of them may be taken for silence.
    rig.add_settings("[aggregator]\nreconcile_after = \"60s\"");
    let clock = rig.file("clock", "+0\n");
    let jumping = [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", clock.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    rig.with_env(&jumping, Rig::spawn_aggregator);
    let died = rig.path("died");
    let failing = format!("job_read@{}", died.display());
    let waiting = LONG.enqueue(&rig, "r");
    // A retry waits in the outbox while the clock jumps.
    rig.armed(&failing, |rig| rig.spawn_worker(2));
    rig.until("a runner's death", || died.exists().then_some(()));
    for jump in ["+2h\n", "-1d\n", "+0\n"] {
        let before = rig.until_status("r", "the run", |_| true)["covered"].as_u64();
        drop(rig.file("clock", jump));
        rig.until_status("r", "more to be covered", |now| {
            now["state"] != "open" || now["covered"].as_u64() > before
        });
    }
    LONG.finish(&rig, waiting);
    rig.until_empty();
    rig.end_services();
}
