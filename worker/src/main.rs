//! The worker's executable: parses, resolves, runs, and says what went wrong in one line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

fn main() -> ExitCode {
    let args = worker::cli::Args::parse();
    match worker::setup::run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            writeln!(io::stderr(), "error: {error}").ok();
            ExitCode::from(error.exit_code())
        }
    }
}
