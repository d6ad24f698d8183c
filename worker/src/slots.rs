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

use crate::{
    WorkerError, cores,
    devices::{self, DeviceError, Gpu},
    endpoint::Endpoint,
};

/// A place for one job at a time.
#[derive(Debug)]
pub struct Slot {
    /// Its architecture: whose queues it serves first.
    pub arch: Arch,
    /// What it runs on.
    pub device: Device,
    /// The GPU behind it; none for processor cores.
    pub gpu: Option<Gpu>,
    /// The endpoint that it is instead of anything here.
    pub endpoint: Option<Arc<Endpoint>>,
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

/// The slots that the settings ask for, at most `max_jobs`: processor cores, or the first of
/// `gpus`. The runner lies in `folder`.
///
/// # Errors
/// [`WorkerError::Setting`] when no job may run at all, or a profile sets what is not its own;
/// [`WorkerError::Device`] when there are fewer GPUs than wanted; [`WorkerError::NoRunner`] when
/// the runner is not in `folder`.
pub fn slots(
    settings: &Settings,
    cores: u32,
    gpus: &[Gpu],
    folder: &Path,
    env: &[(String, String)],
) -> Result<Vec<Arc<Slot>>, WorkerError> {
    let arch = settings.worker.arch;
    let there =
        if arch == Arch::Cpu { cores } else { u32::try_from(gpus.len()).unwrap_or(u32::MAX) };
    let wanted = match settings.worker.slots {
        Slots::Count(wanted) if arch != Arch::Cpu && wanted > there => {
            return Err(DeviceError::Fewer { arch, wanted, found: gpus.len() }.into());
        }
        Slots::Count(count) => count,
        Slots::Auto => there,
    };
    let count = wanted.min(settings.worker.max_jobs);
    if count == 0 {
        let why = "worker.max_jobs is 0; it must be at least 1".to_owned();
        return Err(WorkerError::Setting(why));
    }
    let profile = settings.arch.get(&arch);
    if let Some(name) = profile.and_then(devices::reserved) {
        let why = format!("arch.{arch} sets {name}, which the worker sets itself: take it out");
        return Err(WorkerError::Setting(why));
    }
    let runner = folder.join(runner_of(arch));
    if !runner.is_file() {
        return Err(WorkerError::NoRunner { path: runner });
    }
    let cpu = cores::model();
    let slot = |index: u32| {
        let gpu = gpus.get(index as usize).filter(|_| arch != Arch::Cpu).cloned();
        let device = gpu.as_ref().map_or_else(
            || Device {
                name: format!("cpu{index}"),
                model: cpu.clone(),
                threads: (cores / count).max(1),
            },
            |gpu| Device { name: format!("gpu{}", gpu.index), model: gpu.name.clone(), threads: 1 },
        );
        let bound = devices::environment(arch, gpu.as_ref(), profile);
        let env = env.iter().cloned().chain(bound).collect();
        Arc::new(Slot { arch, device, gpu, endpoint: None, runner: runner.clone(), env })
    };
    Ok((0..count).map(slot).collect())
}
