//! `runner-opencl`: one sieve job on a GPU through OpenCL (see `shared::runner`).

mod driver;

use std::process::ExitCode;

fn main() -> ExitCode {
    kernels::runner::report("runner-opencl", |args| {
        kernels::runner::run_device(
            args,
            || driver::OpenCl::open(kernels::device::Cache::of_user()),
        )
    })
}
