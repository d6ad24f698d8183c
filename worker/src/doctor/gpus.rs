//! The GPUs: whether they are there, answer, and may be used.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use shared::{
    exit_codes,
    health::Condition,
    job::Arch,
    settings::{Settings, Slots},
};

use super::findings::Findings;
use crate::{
    cores,
    devices::{Found, Gauges, Gpu, KernelLog, System, discover, gfxoff_advice},
};

/// The most lines of the kernel's log that are told.
const LINES: usize = 5;

/// Looks at the devices of the worker's architecture.
pub(super) fn look(settings: &Settings, system: &System, findings: &mut Findings) {
    let arch = settings.worker.arch;
    if arch == Arch::Cpu {
        findings.ok("device", format!("{}, {} cores usable", cores::model(), cores::usable()));
        return;
    }
    let Found { gpus, left_out } = match discover(arch, system) {
        Ok(found) => found,
        Err(error) => {
            let advice = "mend the driver; `worker probe` shows more";
            return findings.fail_with(exit_codes::DEVICE, "device", error, advice);
        }
    };
    for left in left_out {
        let found = format!("{} {}: {}", left.pci, left.name, left.why);
        findings.warn("device", found, "it takes no jobs");
    }
    let wanted = match settings.worker.slots {
        Slots::Count(wanted) => wanted as usize,
        Slots::Auto => 1,
    };
    if gpus.len() < wanted {
        let found = format!("{} GPUs for {arch}; worker.slots wants {wanted}", gpus.len());
        let advice = "see `lspci` and the kernel's log, or correct worker.arch and worker.slots";
        findings.fail_with(exit_codes::DEVICE, "device", found, advice);
    }
    health(&gpus, system, findings);
    if !gpus.is_empty() {
        nodes(arch, system, findings);
    }
    if arch == Arch::Rocm
        && let Some(advice) = gfxoff_advice(system)
    {
        findings.warn("gfxoff", "cards may switch themselves off between jobs", advice);
    }
    kernel_log(&gpus, system, findings);
}

fn health(gpus: &[Gpu], system: &System, findings: &mut Findings) {
    let gauges = match Gauges::start(gpus, system) {
        Ok(gauges) => gauges,
        Err(error) => return findings.fail("device", error, "the system gives no thread"),
    };
    gauges.ask();
    gauges.settle();
    for gpu in gpus {
        let health = gauges.health(gpu);
        let name = format!("gpu{} {} {} at {}", gpu.index, gpu.name, gpu.architecture, gpu.pci);
        let (condition, why) = (health.condition, health.why);
        match condition {
            Condition::Good => findings.ok("device", name),
            Condition::Hot => {
                let advice = "it takes no jobs until it is cooler: see to its fans and dust";
                findings.warn("device", format!("{name}: {why}"), advice);
            }
            _ => {
                let found = format!("{name}: {condition}: {why}");
                let advice = "look into the kernel's log (dmesg), check riser and power, restart";
                findings.fail_with(exit_codes::DEVICE, "device", found, advice);
            }
        }
    }
}

/// Whether this user may open what the drivers are reached through.
fn nodes(arch: Arch, system: &System, findings: &mut Findings) {
    let root = system.root();
    let wanted: Vec<PathBuf> = match arch {
        Arch::Cuda => ["dev/nvidiactl", "dev/nvidia-uvm"].map(|node| root.join(node)).into(),
        _ => vec![root.join("dev/kfd")].into_iter().chain(render_nodes(root)).collect(),
    };
    let may = |node: &&PathBuf| access(node.as_path(), Access::READ_OK | Access::WRITE_OK).is_err();
    let refused: Vec<String> =
        wanted.iter().filter(may).map(|node| node.display().to_string()).collect();
    if refused.is_empty() {
        findings.ok("access", format!("{} device files may be opened", wanted.len()));
    } else {
        findings.fail_with(
            exit_codes::DEVICE,
            "access",
            format!("this user may not open {}", refused.join(", ")),
            "load the driver, and add the user to the groups render and video",
        );
    }
}

fn render_nodes(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("dev/dri")).into_iter().flatten().flatten();
    let is_node = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("renderD"))
    };
    entries.map(|entry| entry.path()).filter(is_node).collect()
}

/// What the kernel has said of GPUs since it was started.
fn kernel_log(gpus: &[Gpu], system: &System, findings: &mut Findings) {
    let mut log = match KernelLog::from_boot(system) {
        Ok(log) => log,
        Err(error) => {
            let found = format!("the kernel's log can't be read: {error}");
            let advice = "resets of GPUs can't be seen; kernel.dmesg_restrict=0 lets this user";
            return findings.unverified("kernel", found, advice);
        }
    };
    let troubles = log.news();
    let ours = |pci: &Option<String>| {
        pci.as_ref().is_none_or(|pci| gpus.iter().any(|gpu| gpu.pci == *pci))
    };
    let lines: Vec<_> = troubles.iter().filter(|trouble| ours(&trouble.pci)).collect();
    if lines.is_empty() {
        findings.ok("kernel", "no reset and no hang of a GPU since it was started");
    }
    for trouble in lines.iter().rev().take(LINES).rev() {
        let advice =
            "an unstable card: lower its clocks or raise its voltage, check riser and power";
        findings.warn("kernel", &trouble.line, advice);
    }
}
