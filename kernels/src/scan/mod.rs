//! The scan engine: one stream for all skips, many seeds beside each other, hopeless seeds
//! dropped early, and exactly the reference's survivors and near misses. With variable skips each
//! strategy walks by itself (`walks`), all of a seed's over one stream.

mod cascade;
mod group;
mod matching;
mod run;
mod stages;
mod streams;
mod vector;
mod walk;
mod walks;
mod window;

pub(crate) use cascade::Scan;
pub(crate) use stages::{binomial_tail, first_stage, work};
pub use vector::Instructions;
pub(crate) use walks::Walks;
