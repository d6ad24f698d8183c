//! The one broker trait, and its two implementations chosen by URL.
//!
//! - `embedded:` or `embedded:/path`: queues in SQLite, several processes on one machine
//! - `amqp://` and `amqps://`: RabbitMQ
//!
//! Both keep the same promises: a publish that returned is on disk; a delivery that was not
//! acknowledged comes back when its session is gone; each queue is first in, first out but for
//! deliveries that came back.

mod api;
mod connect;
mod embedded;
mod ownership;
mod rabbit;

pub use api::{Broker, BrokerError, Delivery, Listener, Patience, Subscription, Tag};
pub use connect::{Connecting, Identity, connect};
pub use embedded::EmbeddedBroker;
pub use ownership::{Claiming, Owner, claim_ledger, owns_ledger};
pub use rabbit::{
    Examination, Examining, RabbitBroker, Topology, TopologyReport, apply_topology, check_topology,
    examine,
};
