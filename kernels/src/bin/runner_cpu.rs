//! `runner-cpu`: one sieve job on this machine's processor (see `shared::runner`).

use std::process::ExitCode;

fn main() -> ExitCode {
    match kernels::runner::run_cpu(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

#[expect(clippy::print_stderr, reason = "stderr is where a runner speaks to people")]
fn complain(error: &kernels::runner::RunError) {
    eprintln!("runner-cpu: {error}");
}
