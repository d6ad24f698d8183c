//! Health: which devices are fit for work, as their readings, their failures and a job with a
//! known answer tell.

mod fitness;
mod gauge;
mod known;
mod quarantine;

pub use fitness::{Fitness, News};
pub use gauge::{Gauge, memory_is_back};
pub use known::{Finding, known_job, probe};
pub use quarantine::Quarantine;
