//! The `producer` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    producer::cli::main()
}
