//! Slots: what jobs run on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use shared::{
    job::Arch,
    outcome::Device,
    settings::{Settings, Slots},
};

use crate::{WorkerError, cores, devices::Gpu};

/// A place for one job at a time.
#[derive(Debug)]
pub struct Slot {
    /// Its architecture: whose queues it serves first.
    pub arch: Arch,
    /// What it runs on.
    pub device: Device,
    /// The GPU behind it; none for processor cores.
    pub gpu: Option<Gpu>,
    /// The executable that runs its jobs.
    pub runner: PathBuf,
    /// What its children find in their environment beside the worker's own.
    pub env: Arc<[(String, String)]>,
}

/// The executable that runs an architecture's jobs.
#[must_use]
pub const fn runner_of(arch: Arch) -> &'static str {
    match arch {
        Arch::Cpu => "runner-cpu",
        Arch::Cuda => "runner-cuda",
        Arch::Rocm => "runner-opencl",
    }
}

/// The slots that the settings ask for, at most `max_jobs`. The runner lies in `folder`.
///
/// # Errors
/// [`WorkerError::Setting`] when no job may run at all, or the number of GPUs is not given;
/// [`WorkerError::NoRunner`] when the runner is not in `folder`.
pub fn slots(
    settings: &Settings,
    cores: u32,
    folder: &Path,
    env: &[(String, String)],
) -> Result<Vec<Arc<Slot>>, WorkerError> {
    let arch = settings.worker.arch;
    let wanted = match settings.worker.slots {
        Slots::Count(count) => count,
        Slots::Auto if arch == Arch::Cpu => cores,
        Slots::Auto => {
            let why = format!("worker.arch is {arch}: set worker.slots to the number of its GPUs");
            return Err(WorkerError::Setting(why));
        }
    };
    let count = wanted.min(settings.worker.max_jobs);
    if count == 0 {
        let why = "worker.max_jobs is 0; it must be at least 1".to_owned();
        return Err(WorkerError::Setting(why));
    }
    let runner = folder.join(runner_of(arch));
    if !runner.is_file() {
        return Err(WorkerError::NoRunner { path: runner });
    }
    let profile = settings.arch.get(&arch);
    let mut all = env.to_vec();
    all.extend(profile.into_iter().flat_map(|profile| profile.env.clone()));
    let cpu = cores::model();
    Ok((0..count)
        .map(|index| {
            let mut env = all.clone();
            env.extend(binding(arch, index));
            Arc::new(Slot {
                arch,
                device: device(arch, index, &cpu, (cores / count).max(1)),
                gpu: None,
                runner: runner.clone(),
                env: env.into(),
            })
        })
        .collect())
}

/// What a slot runs on.
fn device(arch: Arch, index: u32, cpu: &str, threads: u32) -> Device {
    let gpu =
        |model: &str| Device { name: format!("gpu{index}"), model: model.to_owned(), threads: 1 };
    match arch {
        Arch::Cpu => Device { name: format!("cpu{index}"), model: cpu.to_owned(), threads },
        Arch::Cuda => gpu("NVIDIA GPU"),
        Arch::Rocm => gpu("AMD GPU"),
    }
}

/// Environment that shows a child one GPU and no other.
fn binding(arch: Arch, index: u32) -> Vec<(String, String)> {
    let set = |name: &str, value: String| (name.to_owned(), value);
    match arch {
        Arch::Cpu => Vec::new(),
        Arch::Cuda => vec![
            set("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned()),
            set("CUDA_VISIBLE_DEVICES", index.to_string()),
        ],
        Arch::Rocm => vec![set("ROCR_VISIBLE_DEVICES", index.to_string())],
    }
}
