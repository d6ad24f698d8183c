//! `runner-cpu`: one sieve job on this machine's processor (see `shared::runner`).

use std::process::ExitCode;

fn main() -> ExitCode {
    kernels::runner::report("runner-cpu", kernels::runner::run_cpu)
}
