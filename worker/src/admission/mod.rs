//! Admission: which job may start now, by the host's memory and the node's limits.

mod crowd;
mod gate;
mod memory;
mod spacing;
mod tokens;
mod wants;

pub use crowd::Crowd;
pub use gate::{Answer, Gate, Rules};
pub use memory::{Memory, MemorySource};
pub use spacing::Spacing;
pub use tokens::{Limits, Permit, Token, Tokens};
pub use wants::{Kind, Learned, Origin, Want};
