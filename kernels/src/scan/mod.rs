//! The scan engine: one stream for all skips, many seeds beside each other, hopeless seeds
//! dropped early, and exactly the reference's survivors and near misses.

mod cascade;
mod group;
mod stages;
mod vector;
mod window;

pub(crate) use cascade::Scan;
pub use vector::Instructions;
