//! What RigQueue's rooms must agree on: jobs, outcomes, the wire format, queue names, settings,
//! families and exit codes, and (feature `broker`) the one broker trait with its implementations.
//!
//! This crate depends on nothing of ours. The runners use it without `broker`.

#[cfg(feature = "broker")]
pub mod blobs;
#[cfg(feature = "broker")]
pub mod broker;
pub mod exit_codes;
pub mod failpoint;
pub mod families;
pub mod handover;
pub mod health;
pub mod input;
pub mod job;
pub mod messages;
pub mod npy;
pub mod outcome;
pub mod parent;
pub mod plans;
pub mod rates;
#[cfg(feature = "broker")]
pub mod retry;
pub mod runner;
pub mod screen;
pub mod script;
#[cfg(feature = "broker")]
pub mod server;
#[cfg(feature = "broker")]
pub mod service_manager;
#[cfg(feature = "broker")]
pub mod settings;
pub mod sieve;
pub mod spans;
pub mod statistics;
pub mod stream;
pub mod structure;
pub mod topology;
pub mod variable;
pub mod wire;
pub mod witness;
