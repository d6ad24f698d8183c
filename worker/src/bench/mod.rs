//! `worker bench`: how fast this machine's slots sieve, by family and standard plan.

mod ceilings;
mod cells;
mod measure;
mod report;
mod session;

pub use cells::{Cell, cells};
pub use session::{Places, run};
