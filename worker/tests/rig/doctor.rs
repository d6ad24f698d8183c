//! `worker doctor` on made machines: what it says of cards.

use serde_json::Value;

use crate::{
    cards::{Machine, ROOT},
    harness::{Rig, fake_runner},
};

/// What a doctor of such a machine says of one check (state and finding), and its exit code.
async fn examined(make: impl FnOnce(&mut Machine), check: &str) -> (i32, Vec<(String, String)>) {
    let rig = Rig::new().await;
    let root = rig.folder.path().join("machine");
    let mut machine = Machine::new(&root);
    machine.write("dev/kfd", "");
    make(&mut machine);
    let mut command = rig.command(&rig.install(&fake_runner()), "[worker]\narch = \"rocm\"\n");
    let output = command.args(["doctor", "--json"]).env(ROOT, &root).output().unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let of = findings.iter().filter(|finding| finding["check"] == check);
    let of = of.map(|finding| (text(finding, "state"), text(finding, "found"))).collect();
    (output.status.code().unwrap(), of)
}

#[tokio::test]
async fn well_cards_are_well() {
    let two = |machine: &mut Machine| (0..2).for_each(|n| drop(machine.rx6600(n, 3 + n)));
    let (code, found) = examined(two, "device").await;
    assert_eq!((code, found.len()), (0, 2), "{found:?}");
    assert!(found.iter().all(|(state, _)| state == "ok"), "{found:?}");
    assert!(found[1].1.contains("gpu1 AMD Radeon RX 6600 gfx1032 at 0000:04:00.0"), "{found:?}");
}

#[tokio::test]
async fn a_card_whose_files_fail_is_a_failure() {
    let (code, found) = examined(
        |machine| {
            machine.rx6600(0, 3);
            machine.rx6600(1, 4).fails("gpu_busy_percent");
        },
        "device",
    )
    .await;
    assert_eq!((code, found[0].0.as_str(), found[1].0.as_str()), (6, "ok", "failed"), "{found:?}");
    assert!(found[1].1.contains("gpu_busy_percent"), "{found:?}");
}

#[tokio::test]
async fn no_card_is_a_failure() {
    let (code, found) = examined(|_| {}, "device").await;
    assert_eq!((code, found[0].0.as_str()), (6, "failed"), "{found:?}");
}

#[tokio::test]
async fn what_freezes_rigs_is_told() {
    let log = "6,900,5000000,-;amdgpu 0000:03:00.0: amdgpu: GPU reset begin!\n";
    let frail = |machine: &mut Machine| {
        machine.rx6600(0, 3);
        machine.write("sys/module/amdgpu/parameters/ppfeaturemask", "0xfff7bfff\n");
        machine.write("dev/kmsg", log);
    };
    let (code, found) = examined(frail, "gfxoff").await;
    assert_eq!((code, found.len(), found[0].0.as_str()), (0, 1, "warning"), "{found:?}");
    let (code, found) = examined(frail, "kernel").await;
    assert_eq!((code, found.len(), found[0].0.as_str()), (0, 1, "warning"), "{found:?}");
    assert!(found[0].1.contains("GPU reset begin"), "{found:?}");
}
