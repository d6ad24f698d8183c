//! What a worker finds on made machines, how it tells their health, and what its children see.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::{Value, json};
use shared::{
    health::Condition,
    job::Arch,
    outcome::Verdict,
    settings::{Layers, Settings},
};
use worker::{
    devices::{self, DeviceError, Found, Gauges, Gpu, KernelLog, System, TroubleKind},
    slots::slots,
};

use crate::{
    cards::{Machine, ROOT},
    harness::{Rig, fake_runner, job, until},
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A folder for a machine, and the system that looks into it.
fn place() -> (tempfile::TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    let system = System::recorded(folder.path(), WORKER);
    (folder, system)
}

fn rocm(system: &System) -> Found {
    devices::discover(Arch::Rocm, system).unwrap()
}

fn pcis(gpus: &[Gpu]) -> Vec<&str> {
    gpus.iter().map(|gpu| gpu.pci.as_str()).collect()
}

#[test]
fn a_rig_of_eight_is_found_and_well() {
    let (folder, system) = place();
    Machine::of_rx6600(folder.path(), 8);
    let found = rocm(&system);
    assert_eq!((found.gpus.len(), found.left_out.len()), (8, 0));
    let last = &found.gpus[7];
    assert_eq!(
        *last,
        Gpu {
            index: 7,
            ordinal: 7,
            arch: Arch::Rocm,
            architecture: "gfx1032".to_owned(),
            name: "AMD Radeon RX 6600".to_owned(),
            uuid: Some("GPU-a5f0000000000008".to_owned()),
            pci: "0000:18:00.0".to_owned(),
            memory_bytes: 8_573_157_376,
        }
    );
    for gpu in &found.gpus {
        let health = devices::health(gpu, &system);
        assert_eq!((health.condition, health.why.as_str()), (Condition::Good, ""));
        assert_eq!(health.readings.temperature_c, Some(47));
        assert_eq!(health.readings.memory_used_bytes, Some(23_068_672));
    }
}

fn probe(root: &std::path::Path, args: &[&str]) -> Output {
    Command::new(WORKER).arg("probe").args(args).env(ROOT, root).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn probe_tells_it_as_json_and_as_a_table() {
    let (folder, _) = place();
    let machine = Machine::of_rx6600(folder.path(), 2);
    machine.nvidia(1);
    machine.card(9, "0x73ff", "0xc1");
    let said = probe(folder.path(), &["--json"]);
    assert_eq!(said.status.code(), Some(0));
    let rows: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
    let keys = ["index", "arch", "runtime", "name", "uuid", "memory_bytes", "health"];
    let told = |row: &Value| keys.map(|key| row[key].clone());
    let expected = [
        json!([
            0,
            "sm_86",
            "cuda",
            "NVIDIA GeForce RTX 3080 Ti",
            "GPU-00000000-0000-4000-8000-000000000000",
            12_884_901_888_u64,
            "good"
        ]),
        json!([
            0,
            "gfx1032",
            "rocm",
            "AMD Radeon RX 6600",
            "GPU-a5f0000000000001",
            8_573_157_376_u64,
            "good"
        ]),
        json!([
            1,
            "gfx1032",
            "rocm",
            "AMD Radeon RX 6600",
            "GPU-a5f0000000000002",
            8_573_157_376_u64,
            "good"
        ]),
    ];
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(json!(told(row)), *expected);
    }
    let cpu = &rows[3];
    assert_eq!((rows.len(), &cpu["runtime"], &cpu["health"]), (4, &json!("cpu"), &json!("good")));
    assert_eq!(cpu["arch"], json!(std::env::consts::ARCH));
    assert!(cpu["memory_bytes"].as_u64().unwrap() > 0 && cpu["cores"].as_u64().unwrap() > 0);
    // A card that only the graphics driver knows is named, with what to do.
    let remarks = text(&said.stderr);
    assert!(remarks.contains("0000:09:00.0 AMD Radeon RX 6600 XT") && remarks.contains("KFD"));

    let said = probe(folder.path(), &[]);
    let lines: Vec<&str> = text(&said.stdout).lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("RUNTIME") && lines[0].ends_with("HEALTH"), "{}", lines[0]);
    let cells: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(cells[..3], ["rocm", "0", "gfx1032"]);
    assert!(lines[2].contains("8.0 GiB  good (47 C, 0 % busy, 22 MiB used)"), "{}", lines[2]);
}

#[test]
fn a_driver_that_does_not_answer_is_said_and_hides_no_other_card() {
    let (folder, _) = place();
    let machine = Machine::of_rx6600(folder.path(), 1);
    for (answer, named) in [
        (r#"{"driver":"550","broken":"RM detects a driver/library version mismatch"}"#, "mismatch"),
        ("no json", "nonsense"),
    ] {
        machine.write("nvml.json", answer);
        let said = probe(folder.path(), &["--json"]);
        assert_eq!(said.status.code(), Some(6));
        let rows: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(text(&said.stderr).contains(named), "{}", text(&said.stderr));
    }
}

#[test]
fn a_hung_card_is_unreadable_and_the_others_are_not() {
    let (folder, system) = place();
    let mut machine = Machine::of_rx6600(folder.path(), 1);
    let hung = machine.rx6600(1, 0x0a);
    let gpus = rocm(&system).gpus;
    let of = |place: usize| devices::health(&gpus[place], &system);
    // What a driver does not tell is no failure, as long as it tells something.
    hung.set("hwmon/hwmon4/temp1_input", "N/A\n");
    fs::remove_file(hung.folder.join("gpu_busy_percent")).unwrap();
    let health = of(1);
    assert_eq!(health.condition, Condition::Good, "{}", health.why);
    assert_eq!((health.readings.temperature_c, health.readings.utilisation_percent), (None, None));

    hung.fails("mem_info_vram_used");
    let health = of(1);
    assert_eq!(health.condition, Condition::Unreadable);
    assert!(health.why.contains("mem_info_vram_used: Input/output error"), "{}", health.why);
    assert_eq!(of(0).condition, Condition::Good);

    for file in ["mem_info_vram_total", "mem_info_vram_used"] {
        fs::remove_file(hung.folder.join(file)).unwrap();
    }
    let health = of(1);
    assert_eq!(health.condition, Condition::Unreadable, "nothing at all is told");
}

#[test]
fn a_hot_card_and_a_lost_one_are_told_apart() {
    let (folder, system) = place();
    let mut machine = Machine::new(folder.path());
    let card = machine.rx6600(0, 3);
    let gpu = &rocm(&system).gpus[0];
    let now = || devices::health(gpu, &system);
    card.set("hwmon/hwmon4/temp1_input", "94999\n");
    assert_eq!(now().condition, Condition::Good);
    card.set("hwmon/hwmon4/temp1_input", "95000\n");
    assert_eq!(now().condition, Condition::Hot);
    assert!(now().why.contains("95 degrees"), "{}", now().why);

    fs::write(card.folder.join("config"), [0xff; 64]).unwrap();
    assert_eq!(now().condition, Condition::Lost);
    assert!(now().why.contains("fallen off the bus"));
    // A card that sleeps answers all ones as well, and is well; to read it would wake it.
    card.set("power/runtime_status", "suspended\n");
    assert_eq!(now().condition, Condition::Good);
    fs::remove_file(card.folder.join("driver")).unwrap();
    assert!(now().condition == Condition::Lost && now().why.contains("no driver"));
    fs::remove_dir_all(&card.folder).unwrap();
    assert!(now().condition == Condition::Lost && now().why.contains("no device"));
}

#[tokio::test]
async fn a_card_that_does_not_answer_holds_nobody_up() {
    let (folder, system) = place();
    let mut machine = Machine::of_rx6600(folder.path(), 1);
    let hung = machine.rx6600(1, 0x0a);
    let gpus = rocm(&system).gpus;
    hung.hangs("gpu_busy_percent");
    let gauges = Gauges::start(&gpus, &system).unwrap();
    gauges.ask();
    until("the good card's health", async || {
        (gauges.health(&gpus[0]).condition == Condition::Good).then_some(())
    })
    .await;
    assert_eq!(gauges.health(&gpus[1]).condition, Condition::Unread);
    gauges.ask();
    hung.answers("gpu_busy_percent", "7\n");
    until("the hung card's health", async || {
        (gauges.health(&gpus[1]).readings.utilisation_percent == Some(7)).then_some(())
    })
    .await;
}

#[test]
fn gfxoff_is_seen_in_the_kernels_parameter() {
    let (folder, system) = place();
    let machine = Machine::of_rx6600(folder.path(), 1);
    assert_eq!(devices::gfxoff_advice(&system), None);
    for (mask, advice) in
        [("0xffffffff", "0xffff7fff"), ("-1", "0xffff7fff"), ("0xfff7bfff", "0xfff73fff")]
    {
        machine.write("sys/module/amdgpu/parameters/ppfeaturemask", mask);
        let said = devices::gfxoff_advice(&system).unwrap();
        assert!(said.ends_with(&format!("ppfeaturemask={advice}")), "{said}");
        let probed = probe(folder.path(), &[]);
        assert!(text(&probed.stderr).contains(advice));
    }
}

#[test]
fn graphics_inside_a_processor_are_left_out_by_name() {
    let (folder, system) = place();
    let mut machine = Machine::new(folder.path());
    // As on a rig with a Ryzen: its node comes first, and ROCm counts it.
    machine.compute_node(0x02, 90_012, 0, 0);
    machine.card(0x02, "0x1638", "0xc8");
    machine.compute_node(0x03, 100_302, 0, 0);
    machine.card(0x03, "0x73ff", "0xc7");
    let found = rocm(&system);
    assert_eq!(pcis(&found.gpus), ["0000:03:00.0"]);
    assert_eq!((found.gpus[0].index, found.gpus[0].visible().as_str()), (0, "1"));
    assert_eq!(found.left_out.len(), 1);
    assert_eq!(found.left_out[0].pci, "0000:02:00.0");
    assert!(found.left_out[0].why.contains("gfx90c is part of a processor"));
}

#[test]
fn a_card_in_another_place_is_another_lease_and_the_same_card() {
    let (one, before) = place();
    Machine::new(one.path()).rx6600(5, 3);
    let (two, after) = place();
    Machine::new(two.path()).rx6600(5, 0x0b);
    let (before, after) = (&rocm(&before).gpus[0], &rocm(&after).gpus[0]);
    assert_eq!((before.key(), after.key()), ("pci-0000:03:00.0".into(), "pci-0000:0b:00.0".into()));
    assert_eq!(before.visible(), after.visible());
    assert_eq!(before.index, after.index);
}

#[test]
fn a_card_is_called_what_its_driver_or_libdrm_calls_it() {
    let (folder, system) = place();
    let mut machine = Machine::new(folder.path());
    let name = || rocm(&system).gpus[0].name.clone();
    let card = machine.rx6600(0, 3);
    card.set("device", "0x9999\n");
    assert_eq!(name(), "AMD GPU gfx1032");
    let ids =
        "# a comment\n1.0.0\n73FF,\tC7,\tAMD Radeon RX 6600\n9999,\tC7,\tAMD Radeon of libdrm\n";
    machine.write("usr/share/libdrm/amdgpu.ids", ids);
    assert_eq!(name(), "AMD Radeon of libdrm");
    machine.write("sys/bus/pci/devices/0000:03:00.0/product_name", "Its own name\n");
    assert_eq!(name(), "Its own name");
}

#[test]
fn a_uuid_that_two_cards_share_names_neither() {
    let (folder, system) = place();
    let mut machine = Machine::new(folder.path());
    for bus in [3, 6, 9] {
        machine.compute_node(bus, 100_302, 0, u64::from(bus / 6));
        machine.card(bus, "0x73ff", "0xc7");
    }
    let shown: Vec<String> = rocm(&system).gpus.iter().map(Gpu::visible).collect();
    assert_eq!(shown, ["0", "1", "2"]);
}

#[test]
fn nvidias_cards_are_told_and_a_missing_one_is_lost() {
    let (folder, system) = place();
    let machine = Machine::new(folder.path());
    assert_eq!(devices::discover(Arch::Cuda, &system).unwrap().gpus, [], "no driver, no card");
    machine.nvidia(2);
    let gpus = devices::discover(Arch::Cuda, &system).unwrap().gpus;
    assert_eq!(pcis(&gpus), ["0000:01:00.0", "0000:02:00.0"]);
    assert_eq!(devices::health(&gpus[1], &system).readings.temperature_c, Some(41));
    machine.nvidia(1);
    let gone = devices::health(&gpus[1], &system);
    assert_eq!(gone.condition, Condition::Lost);
    machine.write("nvml.json", r#"{"broken":"timeout"}"#);
    let silent = devices::health(&gpus[0], &system);
    assert_eq!((silent.condition, silent.why.as_str()), (Condition::Unreadable, "timeout"));
}

#[test]
fn the_kernels_log_is_read_from_where_it_was_left() {
    let (folder, system) = place();
    let machine = Machine::new(folder.path());
    let reset = "[ 10.5] amdgpu 0000:03:00.0: amdgpu: GPU reset begin!\n";
    machine.write("dev/kmsg", reset);
    let mut log = KernelLog::from_now(&system).unwrap();
    assert_eq!(log.news(), []);
    let more = "[ 11.0] usb 1-1: new device\n[ 12.0] NVRM: Xid (PCI:0000:01:00): 79, GPU has";
    machine.write("dev/kmsg", &format!("{reset}{more}"));
    assert_eq!(log.news(), [], "the last line is not whole");
    machine.write("dev/kmsg", &format!("{reset}{more} fallen off the bus.\n"));
    let news = log.news();
    assert_eq!((news.len(), news[0].kind), (1, TroubleKind::Xid(79)));
    assert_eq!(news[0].pci.as_deref(), Some("0000:01:00.0"));
    assert_eq!(log.news(), []);
    // The real one, where it may be read, ends as well.
    if let Ok(mut real) = KernelLog::from_now(&System::recorded("/", WORKER)) {
        assert_eq!(real.news(), []);
    }
    let all = KernelLog::from_boot(&system).unwrap().news();
    assert_eq!((all.len(), all[0].kind), (2, TroubleKind::Reset));
    assert_eq!(all[0].at.as_secs_f64(), 10.5);
}

fn settings(text: &str) -> Settings {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    Layers::load(Some(file.path())).unwrap().settings().unwrap()
}

#[test]
fn slots_are_the_first_cards_each_bound_to_its_own() {
    let (folder, system) = place();
    Machine::of_rx6600(folder.path(), 8);
    let gpus = rocm(&system).gpus;
    let bin = tempfile::tempdir().unwrap();
    fs::write(bin.path().join("runner-opencl"), "").unwrap();
    let made = |text: &str| slots(&settings(text), 2, &gpus, bin.path(), &[]);
    let all = made("[worker]\narch = \"rocm\"").unwrap();
    assert_eq!(all.len(), 8);
    let second = &all[1];
    assert_eq!((second.device.name.as_str(), second.device.threads), ("gpu1", 1));
    assert_eq!(second.device.model, "AMD Radeon RX 6600");
    assert_eq!(second.gpu.as_ref(), Some(&gpus[1]));
    let env: Vec<String> =
        second.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        env,
        [
            "HIP_PATH=/opt/rocm",
            "HSA_ENABLE_SDMA=0",
            "HSA_OVERRIDE_GFX_VERSION=10.3.0",
            "PYTORCH_HIP_ALLOC_CONF=garbage_collection_threshold:0.8,max_split_size_mb:128",
            "ROCM_PATH=/opt/rocm",
            "CUDA_VISIBLE_DEVICES=",
            "ROCR_VISIBLE_DEVICES=GPU-a5f0000000000002",
            "HIP_VISIBLE_DEVICES=0",
            "GPU_DEVICE_ORDINAL=0",
            "RIGQUEUE_DEVICE=0000:06:00.0"
        ]
    );
    let some = made("[worker]\narch = \"rocm\"\nslots = 3").unwrap();
    assert_eq!(some.len(), 3);
    assert_eq!(made("[worker]\narch = \"rocm\"\nmax_jobs = 5").unwrap().len(), 5);
    let why = made("[worker]\narch = \"rocm\"\nslots = 9").unwrap_err().to_string();
    assert!(why.contains("worker.slots is 9") && why.contains("8 GPUs for rocm"), "{why}");
    let own = "[worker]\narch = \"rocm\"\n[arch.rocm.env]\nROCR_VISIBLE_DEVICES = \"0\"";
    let why = made(own).unwrap_err().to_string();
    assert!(why.contains("arch.rocm sets ROCR_VISIBLE_DEVICES"), "{why}");
}

#[test]
fn a_machine_without_the_cards_says_what_it_left_out() {
    let (folder, system) = place();
    let mut machine = Machine::new(folder.path());
    machine.compute_node(0x02, 90_012, 0, 0);
    let error = devices::for_worker(Arch::Rocm, &system).unwrap_err();
    assert!(matches!(error, DeviceError::None { arch: Arch::Rocm, .. }));
    assert!(error.to_string().contains("gfx90c is part of a processor"), "{error}");
}

/// The binding is the worker's: what its own environment says of cards is followed or refused, and
/// reaches no child.
#[tokio::test]
async fn the_workers_own_environment_chooses_cards_or_is_refused() {
    let rig = Rig::new().await;
    let program = rig.install(&fake_runner());
    let root = rig.folder.path().join("machine");
    Machine::of_rx6600(&root, 3);
    let refused = |name: &str, value: &str| {
        let mut command = rig.command(&program, "");
        command.args(["--arch", "rocm", "--slots", "auto"]).env(ROOT, &root).env(name, value);
        let said = command.env("RIGQUEUE_LOG", "error").output().unwrap();
        let line = text(&said.stderr).to_owned();
        assert!(said.status.code() == Some(2) && line.lines().count() == 1, "{line}");
        line
    };
    assert!(refused("HIP_VISIBLE_DEVICES", "1").contains("HIP_VISIBLE_DEVICES is '1'"));
    assert!(refused("ROCR_VISIBLE_DEVICES", "7").contains("'7' is no one card"));
    assert!(refused("ROCR_VISIBLE_DEVICES", "").contains("hides all 3"));

    let mut command = rig.command(&program, "");
    command.args(["--eager", "--arch", "rocm", "--slots", "auto"]).env(ROOT, &root);
    command.env("ROCR_VISIBLE_DEVICES", "2,1");
    let _worker = crate::harness::Worker::start(command, &rig.log());
    let heartbeat = rig.heartbeat(|_| true).await;
    assert_eq!(heartbeat.slots.len(), 2);
    assert_eq!(heartbeat.slots[0].device.name, "gpu1", "the device's name is the card's");
}

/// The environment that a child of a worker finds, when the worker's own shows it other cards.
async fn found_by_a_child(arch: Arch) -> String {
    let rig = Rig::new().await;
    let program = rig.install(&fake_runner());
    let root = rig.folder.path().join("machine");
    Machine::of_rx6600(&root, 2).nvidia(2);
    let mut command = rig.command(&program, "");
    command.args(["--eager", "--arch", arch.name(), "--slots", "1"]).env(ROOT, &root);
    command.env("FAKE_RUNNER", "environment").env("HSA_ENABLE_SDMA", "1");
    // Of its own kind the second card, of the other kind one that is not there.
    match arch {
        Arch::Cuda => {
            command.env("CUDA_VISIBLE_DEVICES", "GPU-00000000-0000-4000-8000-000000000001");
            command.env("ROCR_VISIBLE_DEVICES", "5").env("HIP_VISIBLE_DEVICES", "5");
        }
        _ => {
            command.env("CUDA_VISIBLE_DEVICES", "5").env("CUDA_DEVICE_ORDER", "FASTEST_FIRST");
            command.env("ROCR_VISIBLE_DEVICES", "1");
        }
    }
    let _worker = crate::harness::Worker::start(command, &rig.log());
    let mut asked = job("job-1", 0, 9);
    asked.arch = arch;
    rig.publish(&asked).await;
    let outcome = rig.outcome().await;
    let Verdict::Failed { detail, .. } = outcome.verdict else { panic!("{outcome:?}") };
    detail
}

#[tokio::test]
async fn a_child_sees_its_card_and_not_what_the_worker_sees() {
    assert_eq!(
        found_by_a_child(Arch::Cuda).await,
        "CUDA_DEVICE_ORDER=PCI_BUS_ID \
         CUDA_VISIBLE_DEVICES=GPU-00000000-0000-4000-8000-000000000001 HIP_VISIBLE_DEVICES=5 \
         HSA_ENABLE_SDMA=1 RIGQUEUE_DEVICE=GPU-00000000-0000-4000-8000-000000000001 \
         ROCR_VISIBLE_DEVICES="
    );
    assert_eq!(
        found_by_a_child(Arch::Rocm).await,
        "CUDA_DEVICE_ORDER=FASTEST_FIRST CUDA_VISIBLE_DEVICES= GPU_DEVICE_ORDINAL=0 \
         HIP_VISIBLE_DEVICES=0 HSA_ENABLE_SDMA=0 HSA_OVERRIDE_GFX_VERSION=10.3.0 \
         RIGQUEUE_DEVICE=0000:06:00.0 ROCR_VISIBLE_DEVICES=GPU-a5f0000000000002"
    );
    assert_eq!(
        found_by_a_child(Arch::Cpu).await,
        "CUDA_DEVICE_ORDER=FASTEST_FIRST CUDA_VISIBLE_DEVICES= HSA_ENABLE_SDMA=1 \
         ROCR_VISIBLE_DEVICES="
    );
}
