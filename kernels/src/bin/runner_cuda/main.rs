//! `runner-cuda`: one sieve job on an NVIDIA GPU (see `shared::runner`). CUDA's driver and its
//! compiler NVRTC are loaded when it starts: it builds, and says what is missing, without them.

mod compiler;
mod driver;

use std::process::ExitCode;

fn main() -> ExitCode {
    kernels::runner::report("runner-cuda", |args| {
        kernels::runner::run_device(args, || driver::Cuda::open(kernels::device::Cache::of_user()))
    })
}
