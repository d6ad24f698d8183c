//! `worker doctor`: what this machine, its settings and its broker lack.

mod broker;
mod examination;
mod files;
mod findings;
mod gpus;
mod machine;
mod management;
mod memory;
mod scripts;

pub use examination::{Subject, run};
