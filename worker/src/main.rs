//! The worker's executable: parses, resolves, runs, and says what went wrong in one line.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use shared::exit_codes;
use worker::{
    cli::{Args, one_line},
    shim,
};

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    if words.next().is_some_and(|word| word == shim::WORD) {
        // Before anything else: it runs once for each script.
        return shim::run(words);
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(help) if !help.use_stderr() => {
            // A closed pipe is nobody's loss.
            help.print().ok();
            return exit_codes::DONE.into();
        }
        Err(wrong) => {
            writeln!(io::stderr(), "{}", one_line(&wrong)).ok();
            return exit_codes::USAGE.into();
        }
    };
    match worker::setup::run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody is left to tell when stderr is closed.
            writeln!(io::stderr(), "error: {error}").ok();
            ExitCode::from(error.exit_code())
        }
    }
}
