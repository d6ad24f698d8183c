//! The real worker, with the embedded broker and (mostly) a fake runner that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod cards;
mod devices;
mod ending;
mod harness;
mod messages;
mod orders;
mod outcomes;
mod runner_cpu;
mod scripts;
mod starting;
