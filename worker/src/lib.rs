//! RigQueue on a rig: takes the jobs that it can start at once, runs each in a process of its
//! own, reports what became of it, and only then acknowledges it.
//!
//! One dispatcher ([`service`]) owns all state; everything else is a task that sends it messages.
//!
//! | module | role |
//! |---|---|
//! | [`cli`], [`setup`] | the command line, and what it resolves to |
//! | [`service`] | the dispatcher: takes, places, keeps, drains |
//! | [`admission`] | which job may start now, by the host's memory and the node's limits |
//! | [`health`] | which devices are fit for work |
//! | [`looks`] | which queue to look at next, and which are known to be empty |
//! | [`devices`], [`slots`], [`cores`], [`seats`] | what jobs run on, and which slot holds which |
//! | [`runtime_folder()`], [`lease`] | where workers of one host meet; one process tree on one device |
//! | [`fleet`] | what the aggregator wants every worker to know |
//! | [`job`] | one job from its bytes to its outcome |
//! | [`endpoint`] | slots that are serverless workers behind a URL |
//! | [`scripts`] | one script job: its folder, its child, what its end means |
//! | [`staging`] | files on the ramdisk for all scripts of a step |
//! | [`spawn`], [`child`], [`output`] | one subprocess: its start, its watch, its end, its words |
//! | [`shim`], [`cgroup`], [`memory`] | what programs that are none of ours are bound by |
//! | [`marked`], [`orphans`] | processes by the mark in their environment; what a job leaves behind |
//! | [`sweep`], [`cleanup`] | what dead workers left behind |
//! | [`report`] | publishes outcomes and acknowledges behind them |
//! | [`recent`] | which outcomes were published lately |
//! | [`heartbeat`], [`events`], [`signals`] | what goes out and comes in beside jobs |
//! | [`doctor`] | what this machine, its settings and its broker lack |
//! | [`bench`] | how fast this machine's slots sieve |

pub mod admission;
mod answer;
pub mod bench;
pub mod cgroup;
pub mod child;
pub mod cleanup;
pub mod cli;
pub mod cores;
pub mod devices;
pub mod doctor;
pub mod endpoint;
mod error;
pub mod events;
pub mod fleet;
pub mod health;
pub mod heartbeat;
pub mod job;
pub mod lease;
pub mod looks;
pub mod marked;
pub mod memory;
pub mod orphans;
pub mod output;
pub mod recent;
pub mod report;
mod runtime_folder;
pub mod scripts;
pub mod seats;
pub mod service;
pub mod setup;
pub mod shim;
pub mod signals;
pub mod slots;
pub mod spawn;
pub mod staging;
pub mod sweep;

pub use error::WorkerError;
pub use runtime_folder::{ENV_RUNTIME, RuntimeFolderError, runtime_folder};
