//! `worker __nvml`: asks NVIDIA's management library, in a process of its own.
//!
//! The library maps itself and its driver into whoever asks, may hang with a broken card, and is
//! not for the worker's own process. What it says goes to stdout as JSON.

use std::ffi::OsStr;

use nvml_wrapper::{
    Device, Nvml,
    enum_wrappers::device::{TemperatureSensor, TemperatureThreshold},
    error::NvmlError,
};
use serde::{Deserialize, Serialize};
use shared::{
    health::{Condition, Health, Readings},
    job::Arch,
};

use super::{Gpu, System, gpu::pci_address, health::LIMIT};

/// NVIDIA's library, as its driver installs it: the name without a number is for developers.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// What the library says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    /// The driver's version; `None` when there is no driver.
    pub(super) driver: Option<String>,
    /// Why the driver, though there, does not answer.
    pub(super) broken: Option<String>,
    /// Its cards.
    pub(super) gpus: Vec<Seen>,
    /// Cards that it can't describe, a line each.
    pub(super) failed: Vec<String>,
}

/// A card and how it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) gpu: Gpu,
    pub(super) health: Health,
}

/// What the library says, as JSON; with a recorded tree, what is recorded there.
///
/// # Errors
/// When a recorded answer can't be read.
pub fn answer(system: &System) -> std::io::Result<String> {
    if !system.is_real() {
        return match std::fs::read_to_string(system.path("nvml.json")) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("{}".to_owned()),
            recorded => recorded,
        };
    }
    let answer = asked().unwrap_or_else(|error| match error {
        // The library comes with the driver: without it there is none.
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded => {
            Answer::default()
        }
        error => Answer { broken: Some(error.to_string()), ..Answer::default() },
    });
    Ok(serde_json::to_string(&answer)?)
}

fn asked() -> Result<Answer, NvmlError> {
    let nvml = Nvml::builder().lib_path(OsStr::new(LIBRARY)).init()?;
    let mut answer = Answer { driver: Some(nvml.sys_driver_version()?), ..Answer::default() };
    for ordinal in 0..nvml.device_count()? {
        match nvml.device_by_index(ordinal).and_then(|device| described(&device, ordinal)) {
            Ok(gpu) => answer.gpus.push(gpu),
            Err(error) => answer.failed.push(format!("NVIDIA's card {ordinal}: {error}")),
        }
    }
    Ok(answer)
}

fn described(device: &Device<'_>, ordinal: u32) -> Result<Seen, NvmlError> {
    let (address, capability) = (device.pci_info()?.bus_id, device.cuda_compute_capability()?);
    let health = health(device);
    let gpu = Gpu {
        index: ordinal,
        ordinal,
        arch: Arch::Cuda,
        architecture: format!("sm_{}{}", capability.major, capability.minor),
        name: device.name()?,
        uuid: Some(device.uuid()?),
        pci: pci_address(&address).unwrap_or(address),
        memory_bytes: health.readings.memory_total_bytes.unwrap_or_default(),
    };
    Ok(Seen { gpu, health })
}

fn health(device: &Device<'_>) -> Health {
    let mut failed = Vec::new();
    let mut lost = false;
    let mut note = |what: &str, error: NvmlError| match error {
        // The driver's `N/A`, or one that is too old for the question.
        NvmlError::NotSupported
        | NvmlError::NoPermission
        | NvmlError::NotFound
        | NvmlError::FailedToLoadSymbol(_) => {}
        error => {
            lost |= matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired);
            failed.push(format!("{what}: {error}"));
        }
    };
    let memory = device.memory_info().map_err(|error| note("memory", error)).ok();
    let heat =
        device.temperature(TemperatureSensor::Gpu).map_err(|error| note("temperature", error)).ok();
    let busy = device.utilization_rates().map_err(|error| note("utilisation", error)).ok();
    let readings = Readings {
        temperature_c: heat.and_then(|heat| i32::try_from(heat).ok()),
        utilisation_percent: busy.map(|busy| busy.gpu),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
    };
    if failed.is_empty() {
        let limit = device.temperature_threshold(TemperatureThreshold::Slowdown).ok();
        let limit = limit.and_then(|limit| i32::try_from(limit).ok()).filter(|limit| *limit > 0);
        return Health::of(readings, limit.unwrap_or(LIMIT));
    }
    let condition = if lost { Condition::Lost } else { Condition::Unreadable };
    Health { condition, why: failed.join("; "), readings }
}
