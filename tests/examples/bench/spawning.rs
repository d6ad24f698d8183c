//! Processes started one after the other, as fast as it goes: what isolation costs by itself.

use std::{
    env,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::{Failed, report::say};

/// The first argument with which this program is the loop and nothing else: a small process with
/// one busy thread. (`Command` uses `posix_spawn` there as it does in the worker.)
pub(crate) const COMMAND: &str = "spawn-loop";

/// Starts a second of a program that gets `input` on stdin and ends at once.
pub(crate) fn rate(program: &Path, input: &Path, count: u32) -> Result<f64, Failed> {
    let output = Command::new(env::current_exe()?)
        .arg(COMMAND)
        .args([program, input])
        .arg(count.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().map_err(|error| format!("the loop said '{text}': {error}").into())
}

/// The loop: program, input file, count. Prints starts a second.
pub(crate) fn child(args: &[String]) -> Result<(), Failed> {
    let [program, input, count] = args else { return Err("three arguments are needed".into()) };
    let count: u32 = count.parse()?;
    fs::metadata(input)?;
    let started = Instant::now();
    for _ in 0..count {
        let status = Command::new(program)
            .stdin(File::open(input)?)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()?;
        if !status.success() {
            return Err(format!("{program}: {status}").into());
        }
    }
    say(&(f64::from(count) / started.elapsed().as_secs_f64()).to_string())
}
