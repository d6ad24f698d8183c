//! `producer export`: a run's survivors as a file.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use crate::{
    context::{Context, check_run_name},
    export::{ExportError, Format, whole_file, write},
    failure::Failure,
};

/// What to export, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The run
    run: String,
    /// json (the fleet's records), csv, npz (NumPy arrays; seeds are uint64), or the certificate of
    /// a complete run
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// The file to write; standard output unless given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the survivors of a run, ascending by seed.
pub(crate) fn export(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    check_run_name(&args.run)?;
    if let Some(server) = &context.server {
        let mut survivors = server.survivors(&args.run, args.format.name())?;
        return put(args, |mut out| Ok(io::copy(&mut survivors, &mut out).map(drop)?));
    }
    let (ledger, run) = context.find_run(&args.run)?;
    put(args, |out| write(&ledger, &run, args.format, out))
}

/// Writes to the file that was asked for, which appears whole or not at all, or to stdout.
fn put(
    args: &ExportArgs,
    fill: impl FnOnce(&mut dyn io::Write) -> Result<(), ExportError>,
) -> Result<(), Failure> {
    match &args.output {
        Some(path) => Ok(whole_file(path, |mut file| fill(&mut file))?),
        None if args.format == Format::Npz && io::stdout().is_terminal() => {
            Err(Failure::usage("npz is not for a terminal: give a file with --output"))
        }
        None => match fill(&mut io::stdout().lock()) {
            Err(ExportError::Stream(error)) => Err(error.into()),
            other => Ok(other?),
        },
    }
}
