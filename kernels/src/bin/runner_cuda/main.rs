//! `runner-cuda`: one sieve job on an NVIDIA GPU (see `shared::runner`).

fn main() {}
