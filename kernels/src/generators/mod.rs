//! Every family's arithmetic, written once for any number of lanes, in files by kinship.

mod catalogue;
mod generator;
mod glibc;
mod java;
mod lcg;
mod mersenne;
mod numpy;
mod pcg;
mod philox;
mod wide;
mod xorshift;

pub use catalogue::{Visit, stream, visit, visit_wide};
pub use generator::{Generator, Output};
pub use numpy::NumpyMt19937;
