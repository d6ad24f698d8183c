//! `worker cleanup`: the sweep, by hand.

use std::io::{self, Write};

use shared::exit_codes;

use crate::{
    WorkerError,
    cli::CleanupArgs,
    runtime_folder,
    sweep::{Sweep, Swept, cleanup},
};

/// Ends (or only names) what dead workers left behind, and says what it was; returns the exit code.
///
/// # Errors
/// [`WorkerError`] when the runtime folder or stdout can't be used, or a process will not end.
pub fn run(args: &CleanupArgs) -> Result<u8, WorkerError> {
    let system = |what| move |source| WorkerError::System { what, source };
    let folder = runtime_folder()?;
    let sweep = cleanup(&folder, !args.dry_run).map_err(system("looking for orphans"))?;
    let written = if args.json { json(&sweep.swept) } else { table(&sweep, args.dry_run) };
    match written {
        // Who stops reading has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(system("writing to stdout")(error));
        }
        _ => {}
    }
    let left = sweep.swept.iter().filter(|it| !it.ended).map(|it| it.pid.to_string());
    let left: Vec<String> = left.collect();
    if args.dry_run || left.is_empty() {
        return Ok(exit_codes::DONE);
    }
    let source = io::Error::other(format!(
        "{} won't end, most likely for a driver that hangs; only a restart of the host helps",
        left.join(", ")
    ));
    Err(system("ending orphans")(source))
}

fn json(swept: &[Swept]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, swept)?;
    writeln!(out)
}

fn table(Sweep { swept, unknown }: &Sweep, is_dry: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let done = if is_dry { "would be ended" } else { "ended" };
    if swept.is_empty() {
        writeln!(out, "nothing to clean up: no process of a dead worker")?;
    } else {
        writeln!(out, "{:>8}  {:>8}  {:<36}  job, command", "pid", "age", "worker")?;
    }
    for Swept { pid, command, instance, job, age_seconds, .. } in swept {
        let age = age_seconds.map_or_else(|| "-".to_owned(), |age| format!("{age:.0} s"));
        let job = if job.is_empty() { "-" } else { job };
        writeln!(out, "{pid:>8}  {age:>8}  {instance:<36}  {job}, {command}")?;
    }
    if !swept.is_empty() {
        writeln!(out, "{} {done}", swept.len())?;
    }
    if *unknown > 0 {
        writeln!(
            out,
            "{unknown} left alone: of workers that this runtime folder does not know, dead or alive"
        )?;
    }
    Ok(())
}
