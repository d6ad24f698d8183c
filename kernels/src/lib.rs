//! What runs inside RigQueue's isolated subprocesses: the generators, the sieves' engines and the
//! runner for processors.

pub mod engine;
pub mod generators;
pub mod lanes;
pub mod reference;
pub mod residue;
pub mod runner;
mod scan;
pub mod sequence;
mod structure;
