//! What this machine has to compute on: which devices, how they are, and how a child is shown one
//! of them and no other. Nothing here loads a GPU library into the worker: AMD cards are read from
//! the kernel's files, NVIDIA's library is asked by a subprocess (`worker __nvml`).

mod amd;
mod environment;
mod found;
mod gauges;
mod gpu;
mod health;
mod kernel_log;
mod names;
mod nvidia;
mod nvml;
mod probe;
mod system;
mod visible;

pub use environment::{environment, reserved};
pub use found::{DeviceError, Found, LeftOut, discover, for_worker};
pub use gauges::Gauges;
pub use gpu::Gpu;
pub use health::{gfxoff_advice, health, ppfeaturemask};
pub use kernel_log::{KernelLog, Trouble, TroubleKind};
pub use nvml::answer as nvml_answer;
pub use probe::probe;
pub use system::{ENV_ROOT, System};
