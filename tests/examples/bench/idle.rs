//! What a worker costs that has nothing to do.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Failed,
    fleet::{Fleet, Service},
    report::{Line, Required, say},
};

/// A rig's slots.
const SLOTS: u32 = 12;
/// How long it is left to come to rest.
const SETTLE: Duration = Duration::from_secs(15);

/// A worker with twelve slots beside an aggregator, `seconds` long: its memory, and its share of one
/// core.
pub(crate) fn measure(
    fleet: &Fleet,
    name: &str,
    seconds: f64,
    lines: &mut Vec<Line>,
) -> Result<(), Failed> {
    let _aggregator = fleet.aggregator()?;
    let worker = fleet.worker(SLOTS)?;
    sleep(SETTLE);
    let (began, before) = (Instant::now(), processor_seconds(&worker)?);
    sleep(Duration::from_secs_f64(seconds));
    let used = processor_seconds(&worker)? - before;
    let share = 100.0 * used / began.elapsed().as_secs_f64();
    let memory = resident_mib(&worker)?;
    say(&format!("   {name}: {memory:.1} MiB, {share:.2} % of a core"))?;
    let what = |figure: &str| format!("{name}: idle worker with {SLOTS} slots, {figure}");
    lines.push(Line::new(what("memory"), memory, " MiB", Required::Below(30.0)));
    lines.push(Line::new(what("of a core"), share, " %", Required::Below(1.0)));
    Ok(())
}

/// Processor time so far, of all threads.
fn processor_seconds(service: &Service) -> Result<f64, Failed> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", service.id()))?;
    // utime and stime are fields 14 and 15; the third follows the name.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / rustix::param::clock_ticks_per_second() as f64)
}

fn resident_mib(service: &Service) -> Result<f64, Failed> {
    let status = fs::read_to_string(format!("/proc/{}/status", service.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 =
        line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}
