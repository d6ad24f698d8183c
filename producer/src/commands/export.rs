//! `producer export`: a run's survivors as a file.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use crate::{
    context::Context,
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
    let (ledger, run) = context.find_run(&args.run)?;
    match &args.output {
        Some(path) => whole_file(path, |file| write(&ledger, &run, args.format, file))?,
        None if args.format == Format::Npz && io::stdout().is_terminal() => {
            return Err(Failure::usage("npz is not for a terminal: give a file with --output"));
        }
        None => match write(&ledger, &run, args.format, io::stdout().lock()) {
            Err(ExportError::Stream(error)) => return Err(error.into()),
            other => other?,
        },
    }
    Ok(())
}
