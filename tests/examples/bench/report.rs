//! What is printed: lines as they come, one table at the end.

use std::{
    fs,
    io::{Write as _, stderr, stdout},
    thread,
};

use crate::Failed;

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Required {
    /// Anything; it is shown for what it is beside.
    Nothing,
    /// This or more.
    AtLeast(f64),
    /// Less than this.
    Below(f64),
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Line {
    what: String,
    measured: f64,
    unit: &'static str,
    required: Required,
}

impl Line {
    /// A figure that must be something.
    pub(crate) fn new(what: String, measured: f64, unit: &'static str, required: Required) -> Self {
        Self { what, measured, unit, required }
    }

    /// A figure to compare with.
    pub(crate) fn figure(what: String, measured: f64, unit: &'static str) -> Self {
        Self::new(what, measured, unit, Required::Nothing)
    }
}

/// Processor time of every child that has ended, and of theirs: RigQueue's processes, not the
/// broker's. Unlike a rate it does not depend on what else the machine is doing.
pub(crate) fn processor_seconds() -> Result<f64, Failed> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which ends in the last parenthesis: cutime and cstime are fields 16 and 17.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(13).take(2);
    let ticks: Vec<f64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / rustix::param::clock_ticks_per_second() as f64)
}

/// Which machine this is, and how busy it was before.
pub(crate) fn machine() -> Result<(), Failed> {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.unwrap_or("unknown processor").trim_matches([' ', '\t', ':']);
    let cores = thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    say(&format!("{model}, {cores} cores; load before the start {load}"))
}

/// Prints the table. A figure that is not what it must be is marked, and is no failure: another
/// program on this machine may be the reason.
pub(crate) fn table(lines: &[Line]) -> Result<(), Failed> {
    say(&format!("\n{:50} {:>12} {:>10}", "", "measured", "required"))?;
    for Line { what, measured, unit, required } in lines {
        let digits = usize::from(*measured < 1000.0) + usize::from(*measured < 10.0);
        let (required, kept) = match *required {
            Required::Nothing => (String::new(), true),
            Required::AtLeast(least) => (format!(">= {least:.2}"), *measured >= least),
            Required::Below(limit) => (format!("< {limit}{unit}"), *measured < limit),
        };
        let measured = format!("{measured:.digits$}{unit}");
        let mark = if kept { "" } else { "  MISSED" };
        say(&format!("{what:50} {measured:>12} {required:>10}{mark}"))?;
    }
    Ok(())
}

/// One line on stdout.
pub(crate) fn say(line: &str) -> Result<(), Failed> {
    Ok(writeln!(stdout(), "{line}")?)
}

/// One line on stderr; when that is closed there is nobody to tell.
pub(crate) fn complain(line: &str) {
    writeln!(stderr(), "bench: {line}").ok();
}
