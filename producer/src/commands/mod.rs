//! The commands, one file each.

mod aggregate;
mod config;
mod enqueue;
mod export;
mod families;
mod follow;
mod local;
mod publish;
mod run;
mod status;
mod topology;
mod verify;

pub(crate) use aggregate::{AggregateArgs, aggregate};
pub(crate) use config::config_show;
pub(crate) use enqueue::{EnqueueArgs, enqueue};
pub(crate) use export::{ExportArgs, export};
pub(crate) use families::families;
pub(crate) use run::{RunArgs, run};
pub(crate) use status::{StatusArgs, runs, status};
pub(crate) use topology::{TopologyAction, topology};
pub(crate) use verify::{VerifyArgs, verify};
