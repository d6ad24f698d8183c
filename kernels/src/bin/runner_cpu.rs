//! `runner-cpu`: one job on this machine's processor (see `shared::runner`), or with `screen` as
//! its first argument the seedless tests (see `shared::screen`), or with `stream` outputs of
//! generators (see `shared::stream`).

use std::process::ExitCode;

use kernels::runner::{report, run_cpu, run_screen, run_stream};

fn main() -> ExitCode {
    report("runner-cpu", |args| {
        let mut args = args.peekable();
        match args.next_if(|first| first == "screen" || first == "stream").as_deref() {
            Some("screen") => run_screen(args),
            Some(_) => run_stream(args),
            None => run_cpu(args),
        }
    })
}
