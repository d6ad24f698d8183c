//! `worker probe`: what this machine has, as a table or as JSON.

use std::io::{self, Write};

use serde::Serialize;
use shared::{
    exit_codes,
    health::{Condition, Health, Readings},
    job::Arch,
};

use super::{Gauges, Gpu, System, discover, gfxoff_advice};
use crate::cores;

/// One device: a contract with scripts, keys are only ever added.
#[derive(Debug, Serialize)]
struct Row {
    index: u32,
    arch: String,
    runtime: Arch,
    name: String,
    uuid: String,
    memory_bytes: u64,
    health: Condition,
    why: String,
    readings: Readings,
    /// GPUs: the PCI address.
    pci: Option<String>,
    /// The processor: how many cores the worker may use.
    cores: Option<u32>,
}

/// Prints what there is, and on stderr what takes no jobs and why. Returns the exit code: 0, or 6
/// when a driver is there and does not work.
///
/// # Errors
/// When stdout can't be written.
pub fn probe(system: &System, json: bool) -> io::Result<u8> {
    let mut gpus = Vec::new();
    let mut remarks = Vec::new();
    let mut code = exit_codes::DONE;
    for arch in [Arch::Cuda, Arch::Rocm] {
        match discover(arch, system) {
            Ok(found) => {
                gpus.extend(found.gpus);
                let left_out = found.left_out.into_iter();
                remarks.extend(left_out.map(|left| format!("left out: {left}")));
            }
            Err(error) => {
                remarks.push(error.to_string());
                code = exit_codes::DEVICE;
            }
        }
    }
    if gpus.iter().any(|gpu| gpu.arch == Arch::Rocm) {
        remarks.extend(gfxoff_advice(system));
    }
    let gauges = Gauges::start(&gpus, system)?;
    gauges.ask();
    gauges.settle();
    let mut rows: Vec<Row> = gpus
        .into_iter()
        .map(|gpu| {
            let health = gauges.health(&gpu);
            row(gpu, health)
        })
        .collect();
    rows.push(processor());
    let mut out = io::stdout().lock();
    let written = if json {
        serde_json::to_writer(&mut out, &rows).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        table(&mut out, &rows)
    };
    // Whoever reads only the first lines has what they want.
    written.or_else(
        |error| {
            if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
        },
    )?;
    for remark in remarks {
        writeln!(io::stderr(), "{remark}").ok();
    }
    Ok(code)
}

fn row(gpu: Gpu, health: Health) -> Row {
    Row {
        index: gpu.index,
        uuid: gpu.uuid.clone().unwrap_or_else(|| gpu.pci.clone()),
        arch: gpu.architecture,
        runtime: gpu.arch,
        name: gpu.name,
        memory_bytes: gpu.memory_bytes,
        health: health.condition,
        why: health.why,
        readings: health.readings,
        pci: Some(gpu.pci),
        cores: None,
    }
}

fn processor() -> Row {
    let pages = rustix::system::sysinfo();
    Row {
        index: 0,
        arch: std::env::consts::ARCH.to_owned(),
        runtime: Arch::Cpu,
        name: cores::model(),
        uuid: "cpu".to_owned(),
        memory_bytes: pages.totalram.saturating_mul(pages.mem_unit.into()),
        health: Condition::Good,
        why: String::new(),
        readings: Readings::default(),
        pci: None,
        cores: Some(cores::usable()),
    }
}

fn table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let name = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default().max(4);
    let uuid = rows.iter().map(|row| row.uuid.len()).max().unwrap_or_default().max(4);
    writeln!(
        out,
        "{:<7} {:>2}  {:<8} {:<name$}  {:<uuid$}  {:>9}  HEALTH",
        "RUNTIME", "#", "ARCH", "NAME", "UUID", "MEMORY"
    )?;
    for row in rows {
        let memory = format!("{:.1} GiB", row.memory_bytes as f64 / f64::from(1 << 30));
        let (runtime, index) = (row.runtime.name(), row.index);
        write!(
            out,
            "{runtime:<7} {index:>2}  {:<8} {:<name$}  {:<uuid$}  {memory:>9}  {}",
            row.arch, row.name, row.uuid, row.health
        )?;
        writeln!(out, "{}", details(row))?;
    }
    Ok(())
}

/// What stands behind the word.
fn details(row: &Row) -> String {
    let mut all = Vec::new();
    if !row.why.is_empty() {
        all.push(row.why.clone());
    }
    all.extend(row.readings.temperature_c.map(|heat| format!("{heat} C")));
    all.extend(row.readings.utilisation_percent.map(|busy| format!("{busy} % busy")));
    all.extend(row.readings.memory_used_bytes.map(|used| format!("{} MiB used", used >> 20)));
    all.extend(row.cores.map(|cores| format!("{cores} cores usable")));
    if all.is_empty() { String::new() } else { format!(" ({})", all.join(", ")) }
}
