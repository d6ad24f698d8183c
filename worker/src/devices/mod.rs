//! What this machine has to compute on.

mod gpu;

pub use gpu::Gpu;
