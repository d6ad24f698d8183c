//! Looking for devices.

use std::fmt;

use shared::job::Arch;

use super::{Gpu, System, amd::amd, nvidia, visible::visible};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// GPUs that can take jobs, by PCI address.
    pub gpus: Vec<Gpu>,
    /// What is there and takes none.
    pub left_out: Vec<LeftOut>,
}

/// A device that takes no jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its PCI address; empty where that is not known.
    pub pci: String,
    /// Its name.
    pub name: String,
    /// Why, in one line.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pci, name, why } = self;
        if pci.is_empty() { write!(f, "{name}: {why}") } else { write!(f, "{pci} {name}: {why}") }
    }
}

/// Devices that can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// NVIDIA's driver is there and does not work.
    #[error("NVIDIA's driver does not answer: {0}; see whether `nvidia-smi` works")]
    Driver(String),
    /// There is none.
    #[error(
        "worker.arch is {arch}, and this machine shows no GPU for it{}; \
         see `worker probe`, or set worker.arch = \"cpu\"", .left_out
    )]
    None {
        /// Of this architecture.
        arch: Arch,
        /// What was left out and why, to follow the sentence; or empty.
        left_out: String,
    },
    /// There are fewer than were asked for.
    #[error(
        "worker.slots is {wanted}, and this machine shows {found} GPUs for {arch}; \
         see `worker probe`, or set worker.slots = \"auto\""
    )]
    Fewer {
        /// Of this architecture.
        arch: Arch,
        /// `worker.slots`.
        wanted: u32,
        /// How many there are.
        found: usize,
    },
    /// A variable of the worker's own environment that can't be followed.
    #[error("{0}")]
    Variable(String),
}

/// The GPUs of an architecture, by PCI address; none for processors. For NVIDIA's it starts a
/// subprocess and waits at most a minute for it; AMD's files may hang when a card does.
///
/// # Errors
/// [`DeviceError::Driver`] when NVIDIA's driver is there and does not work.
pub fn discover(arch: Arch, system: &System) -> Result<Found, DeviceError> {
    let mut found = match arch {
        Arch::Cpu => Found::default(),
        Arch::Rocm => amd(system),
        Arch::Cuda => nvidia::found(system).map_err(DeviceError::Driver)?,
    };
    found.gpus.sort_by_cached_key(|gpu| (gpu.pci.len(), gpu.pci.clone()));
    for (index, gpu) in (0..).zip(&mut found.gpus) {
        gpu.index = index;
    }
    Ok(found)
}

/// The GPUs that a worker of this architecture may use: those of [`discover`] that its own
/// environment does not hide (`CUDA_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`).
///
/// # Errors
/// [`DeviceError`] when there is none, or it can't be said which.
pub fn for_worker(arch: Arch, system: &System) -> Result<Vec<Gpu>, DeviceError> {
    let found = discover(arch, system)?;
    for left in &found.left_out {
        tracing::warn!(device = %left, "a device takes no jobs");
    }
    let variable = |name: &str| std::env::var(name).ok();
    let there = found.gpus.len();
    let gpus = visible(arch, found.gpus, variable).map_err(DeviceError::Variable)?;
    if gpus.is_empty() && arch != Arch::Cpu {
        let mut left_out: Vec<String> = found.left_out.iter().map(ToString::to_string).collect();
        if there > 0 {
            left_out.push(format!("its environment hides all {there}"));
        }
        let left_out =
            if left_out.is_empty() { String::new() } else { format!(" ({})", left_out.join("; ")) };
        return Err(DeviceError::None { arch, left_out });
    }
    Ok(gpus)
}
