//! RabbitMQ, from 3.10 to 4.x, through lapin without its auto-recovery: one supervisor a broker
//! value rebuilds the session, and every call waits for it or fails as its patience says.

mod address;
mod broker;
mod channels;
mod consuming;
mod dial;
mod examine;
mod lasting;
mod ledger;
mod listener;
mod outgoing;
mod properties;
mod session;
mod subscription;
mod supervisor;
mod tls;
mod topology;
mod trouble;

pub use broker::RabbitBroker;
pub use examine::{Examination, Examining, examine};
pub use topology::{Topology, TopologyReport, apply_topology, check_topology};
