//! The dispatcher: the one task that owns the worker's state. It takes jobs for free slots, starts
//! them, hands their outcomes over, and drains when it is asked to end.

mod dispatcher;
mod ending;
mod hearing;
mod kept;
mod placing;
mod probing;

pub use dispatcher::{Node, Service};
