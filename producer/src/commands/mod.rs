//! The commands, one file each.

mod aggregate;
mod config;
mod dead;
pub(crate) mod enqueue;
mod export;
mod families;
pub(crate) mod follow;
pub(crate) mod local;
mod node;
mod orders;
pub(crate) mod publish;
pub(crate) mod run;
mod screen;
mod scripts;
mod serve;
mod status;
mod stream;
mod study;
mod topology;
mod verify;

pub(crate) use aggregate::{AggregateArgs, aggregate};
pub(crate) use config::config_show;
pub(crate) use dead::{DeadAction, dead};
pub(crate) use enqueue::{EnqueueArgs, enqueue};
pub(crate) use export::{ExportArgs, export};
pub(crate) use families::families;
pub(crate) use node::{NodeAction, node};
pub(crate) use orders::{RunName, order_run};
pub(crate) use run::{RunArgs, run};
pub(crate) use screen::{ScreenArgs, screen};
pub(crate) use serve::{ServeArgs, serve};
pub(crate) use status::{StatusArgs, runs, status};
pub(crate) use stream::{StreamArgs, stream};
pub(crate) use study::{StudyAction, study};
pub(crate) use topology::{TopologyAction, topology};
pub(crate) use verify::{VerifyArgs, verify};
