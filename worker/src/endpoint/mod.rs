//! Slots that are serverless workers behind a URL: the same jobs, the same outcomes.

mod breaker;
mod client;
mod message;
mod run;
mod slots;

pub use client::{Call, Endpoint, Trouble};
pub use message::{Answer, Content, Request, Status, Told, Way};
pub(crate) use run::attempt;
pub use slots::slots;
