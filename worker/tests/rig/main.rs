//! The real worker, with the embedded broker and (mostly) a fake runner that misbehaves.

mod ending;
mod harness;
mod messages;
mod outcomes;
mod runner_cpu;
mod starting;
