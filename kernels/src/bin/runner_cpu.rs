//! `runner-cpu`: one job on this machine's processor (see `shared::runner`), or with `screen` as
//! its first argument the seedless tests (see `shared::screen`).

use std::process::ExitCode;

use kernels::runner::{report, run_cpu, run_screen};

fn main() -> ExitCode {
    report("runner-cpu", |args| {
        let mut args = args.peekable();
        match args.next_if(|first| first == "screen") {
            Some(_) => run_screen(args),
            None => run_cpu(args),
        }
    })
}
