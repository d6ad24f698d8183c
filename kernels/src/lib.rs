//! What runs inside RigQueue's isolated subprocesses: the generators, the sieves' engines, the
//! statistics of single seeds, the device code, and what the runners share.

mod affine;
pub mod device;
pub mod engine;
pub mod generators;
pub mod lanes;
pub mod reference;
pub mod residue;
pub mod runner;
mod scan;
pub mod screen;
pub mod sequence;
pub mod statistics;
mod structure;
pub mod variable;
