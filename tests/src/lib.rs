//! Whole-system tests of RigQueue: what they run against.

pub mod exact;
mod installed;
pub mod kept;
pub mod planted;
pub mod rabbitmq;
pub mod rig;
