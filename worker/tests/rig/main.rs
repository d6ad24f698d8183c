//! The real worker, with the embedded broker and (mostly) a fake runner that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admission;
mod bench;
mod bounds;
mod cards;
mod crowded;
mod devices;
mod doctor;
mod ending;
mod endpoint;
mod harness;
mod health;
mod killed;
mod messages;
mod nvml;
mod orders;
mod outcomes;
mod runner_cpu;
mod runpod;
mod scripts;
mod starting;
mod trees;
