//! How a GPU is, now.
//!
//! A hung card's files can fail, or not answer for minutes, and then nothing gets the reading
//! thread back. So nobody who must not hang calls [`health`] itself: [`Gauges`](super::Gauges) give
//! each card a thread of its own and answer at once.

use std::{fs, io, path::Path};

use rustix::io::Errno;
use shared::{
    health::{Condition, Health, Readings},
    job::Arch,
};

use super::{Gpu, System, nvidia, system::read_text};

/// A card is too hot so many degrees below the limit that its driver names.
const MARGIN: i32 = 5;
/// The limit, in degrees, of a card whose driver names none: that of the RX 6600.
pub(super) const LIMIT: i32 = 100;
/// The bit of `amdgpu.ppfeaturemask` that lets a card switch its graphics part off when idle.
const GFXOFF: u32 = 0x8000;

/// Reads a GPU's health. It may block for as long as the card's driver does (see the module); for
/// NVIDIA's it starts a subprocess and waits at most half a minute.
#[must_use]
pub fn health(gpu: &Gpu, system: &System) -> Health {
    match gpu.arch {
        Arch::Rocm => amd(gpu, system),
        Arch::Cuda => nvidia::health(std::slice::from_ref(gpu), system).pop().unwrap_or_default(),
        Arch::Cpu => Health::default(),
    }
}

fn amd(gpu: &Gpu, system: &System) -> Health {
    let folder = system.pci(&gpu.pci);
    let lost = |why: String| Health::without_readings(Condition::Lost, why);
    if !folder.is_dir() {
        return lost(format!("there is no device at {} any more", gpu.pci));
    }
    if fs::symlink_metadata(folder.join("driver")).is_err() {
        return lost(format!("no driver holds the device at {}", gpu.pci));
    }
    let state = read_text(&folder.join("power/runtime_status"));
    if state.is_ok_and(|state| state == "suspended") {
        // To read it would wake it.
        return Health::of(Readings::default(), LIMIT);
    }
    if is_off_the_bus(&folder) {
        return lost(format!("the device at {} has fallen off the bus", gpu.pci));
    }
    let sensors = sensors(&folder);
    let mut failed = Vec::new();
    let mut ask = |path: &Path| {
        reading(path).unwrap_or_else(|error| {
            let file = path.file_name().unwrap_or_default().display();
            failed.push(format!("{file}: {error}"));
            None
        })
    };
    let memory_total_bytes = ask(&folder.join("mem_info_vram_total"));
    let memory_used_bytes = ask(&folder.join("mem_info_vram_used"));
    let busy = ask(&folder.join("gpu_busy_percent"));
    let heat = sensors.as_ref().and_then(|sensors| ask(&sensors.join("temp1_input")));
    let limit = sensors.as_ref().and_then(|sensors| ask(&sensors.join("temp1_crit")));
    let readings = Readings {
        temperature_c: heat.and_then(degrees),
        utilisation_percent: busy.and_then(|busy| u32::try_from(busy).ok()),
        memory_used_bytes,
        memory_total_bytes,
    };
    if failed.is_empty() && readings == Readings::default() {
        failed.push("its driver tells neither heat nor load nor memory".to_owned());
    }
    if failed.is_empty() {
        let limit = limit.and_then(degrees).filter(|limit| *limit > 0).unwrap_or(LIMIT);
        return Health::of(readings, limit - MARGIN);
    }
    Health { condition: Condition::Unreadable, why: failed.join("; "), readings }
}

/// Whole degrees from the thousandths in which the kernel writes them.
fn degrees(thousandths: u64) -> Option<i32> {
    i32::try_from(thousandths / 1000).ok()
}

/// Where its sensors are.
fn sensors(folder: &Path) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(folder.join("hwmon")).ok()?;
    entries.flatten().map(|entry| entry.path()).min()
}

/// What is gone from the bus answers all ones. The file's owner alone may read past 64 bytes, and
/// anybody the first few.
fn is_off_the_bus(folder: &Path) -> bool {
    use std::io::Read as _;
    let mut first = [0; 4];
    let read =
        fs::File::open(folder.join("config")).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == [0xff; 4]
}

/// A number from a file; `None` where the driver has none to tell.
fn reading(path: &Path) -> io::Result<Option<u64>> {
    match read_text(path) {
        Ok(text) => Ok(text.parse().ok()),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::INVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The kernel's `amdgpu.ppfeaturemask`; `None` where amdgpu is not loaded.
#[must_use]
pub fn ppfeaturemask(system: &System) -> Option<u32> {
    let text = read_text(&system.path("sys/module/amdgpu/parameters/ppfeaturemask")).ok()?;
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        // Some kernels write it as a signed number.
        None => text.parse::<i64>().ok().map(|mask| mask as u32),
    }
}

/// What to do about GFXOFF, in one line, where it is on: a card that switches itself off between
/// two launches is a known way to freeze a rig.
#[must_use]
pub fn gfxoff_advice(system: &System) -> Option<String> {
    let mask = ppfeaturemask(system).filter(|mask| mask & GFXOFF != 0)?;
    Some(format!(
        "GFXOFF is on (amdgpu.ppfeaturemask is {mask:#010x}): idle cards may hang when they wake; \
         boot with amdgpu.ppfeaturemask={:#010x}",
        mask & !GFXOFF
    ))
}
