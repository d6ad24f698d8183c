//! Queues in one SQLite file, for several processes of one machine, with no service to install.
//!
//! - A publish that returned is on disk (`synchronous=FULL`); a lost take or acknowledgement
//!   after a power cut only means a redelivery, so those commit with `NORMAL`.
//! - A session is a file under an flock, so that the kernel itself says when it is gone; whoever
//!   looks puts back what a gone session held.
//! - One plain OS thread a session owns the connection and commits in groups.
//! - Every session has a FIFO as its bell, with a slow poll behind it.

mod bell;
mod broker;
mod fault;
mod files;
mod ledger;
mod listener;
mod request;
mod schema;
mod session;
mod store;
mod subscription;
mod thread;

pub use broker::EmbeddedBroker;
pub(super) use ledger::{claim, owner};
