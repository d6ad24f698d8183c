//! The scan engine: one stream for all skips, many seeds beside each other, hopeless seeds
//! dropped early, and exactly the reference's survivors and near misses.

mod cascade;
mod group;
mod matching;
mod run;
mod stages;
mod vector;
mod window;

pub(crate) use cascade::Scan;
pub(crate) use stages::{binomial_tail, first_stage, work};
pub use vector::Instructions;
